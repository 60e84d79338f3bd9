//! Flags of older releases, under the names that they have now.

use std::ffi::OsString;

use clap::{Arg, Command};

use crate::dialect::sglang::RENAMED;

/// Replaces old names among the args of a load by those of flags that `command` has,
/// and says so with one note for each.
pub(super) fn replace(args: &mut [OsString], command: &Command) -> Vec<String> {
    let load = super::load_of(args).and_then(|name| command.find_subcommand(name));
    let Some(load) = load else { return Vec::new() };
    let known = |flag: &str| load.get_arguments().filter_map(Arg::get_long).any(|f| f == flag);
    let mut notes = Vec::new();
    for word in args.iter_mut().skip(2) {
        let Some(text) = word.to_str() else { continue };
        if text == "--" {
            break;
        }
        let Some(typed) = text.strip_prefix("--") else { continue };
        let (flag, value) = typed.split_once('=').map_or((typed, None), |(f, v)| (f, Some(v)));
        let Some((old, new)) = RENAMED.iter().find(|(old, _)| *old == flag) else { continue };
        let (name, fixed) = new.split_once('=').map_or((*new, false), |(name, _)| (name, true));
        // A value where there was none is the parser's to refuse.
        if !known(name) || (fixed && value.is_some()) {
            continue;
        }
        notes.push(format!("--{old} of older releases is now --{}", new.replace('=', " ")));
        let value = value.map_or(String::new(), |value| format!("={value}"));
        *word = format!("--{new}{value}").into();
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(line: &str) -> (String, Vec<String>) {
        let flag = |name: &'static str| Arg::new(name).long(name);
        let serve = Command::new("serve")
            .args(["warmup-requests", "gsp-num-groups", "gsp-send-routing-key"].map(flag));
        let mut args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let notes = replace(&mut args, &Command::new("rbench").subcommand(serve));
        let args: Vec<&str> = args.iter().map(|word| word.to_str().unwrap()).collect();
        (args.join(" "), notes)
    }

    #[test]
    fn old_names_become_new_ones_with_a_note() {
        for (typed, meant, note) in [
            (
                "rbench serve --disable-warmup --seed 1",
                "rbench serve --warmup-requests=0 --seed 1",
                "--disable-warmup of older releases is now --warmup-requests 0",
            ),
            (
                "rbench serve --gen-num-groups 4",
                "rbench serve --gsp-num-groups 4",
                "--gen-num-groups of older releases is now --gsp-num-groups",
            ),
            (
                "rbench serve --gen-num-groups=4",
                "rbench serve --gsp-num-groups=4",
                "--gen-num-groups of older releases is now --gsp-num-groups",
            ),
            (
                "rbench serve --gsp-send-routing-id",
                "rbench serve --gsp-send-routing-key",
                "--gsp-send-routing-id of older releases is now --gsp-send-routing-key",
            ),
        ] {
            assert_eq!(replaced(typed), (meant.to_owned(), vec![note.to_owned()]));
        }
    }

    #[test]
    fn other_words_stay() {
        for typed in [
            "rbench mock --disable-warmup",
            "rbench serve --seed 1 -- --disable-warmup",
            "rbench serve --disable-warmup=yes",
            "rbench serve disable-warmup",
            // This command has no flag of the new name.
            "rbench serve --pd-seperated",
        ] {
            assert_eq!(replaced(typed), (typed.to_owned(), Vec::new()));
        }
    }
}
