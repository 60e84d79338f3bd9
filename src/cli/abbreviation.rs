//! Long flags of the commands that send a load may be shortened, as far as they are those of SGLang's clients.
//!
//! Scripts shorten the flags of those clients. A prefix is resolved against their whole flag set, so that a flag which
//! only rbench has is always written in full: none makes such a prefix ambiguous or changes its meaning.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, Command};

use crate::dialect::sglang::REFERENCE;

/// Replaces shortened flags by the whole ones.
///
/// # Errors
/// If a prefix fits several flags; the message lists them.
pub(super) fn expand(
    mut args: Vec<OsString>,
    command: &mut Command,
) -> Result<Vec<OsString>, clap::Error> {
    let Some(name) = super::load_of(&args) else { return Ok(args) };
    let flags = |name: &str| {
        let command = command.find_subcommand(name);
        command.map_or_else(Vec::new, |command| command.get_arguments().flat_map(longs).collect())
    };
    let (ours, serve) = (flags(name), flags("serve"));
    let mut reference: Vec<&str> = match name {
        // Its flags are of another client, which shares some names with this one.
        "one-batch" => REFERENCE.iter().copied().filter(|flag| ours.contains(flag)).collect(),
        _ => REFERENCE.to_vec(),
    };
    if matches!(name, "offline" | "one-batch") {
        // What these have beyond `serve` is that of their own references.
        reference.extend(ours.iter().copied().filter(|flag| !serve.contains(flag)));
    }
    let takes_all = |arg: &&Arg| arg.is_allow_hyphen_values_set() && is_list(arg);
    let rest: Vec<&str> = command
        .find_subcommand(name)
        .into_iter()
        .flat_map(|command| command.get_arguments().filter(takes_all).flat_map(longs))
        .collect();
    let mut ambiguous = None;
    for word in args.iter_mut().skip(2) {
        let Some(text) = word.to_str() else { continue };
        if text == "--" {
            break;
        }
        let Some(flag) = text.strip_prefix("--") else { continue };
        // What follows belongs to the command line of another program.
        if rest.contains(&flag) {
            break;
        }
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (flag, None),
        };
        match resolve(flag, &reference, &ours) {
            Resolved::Whole => {}
            Resolved::Prefix(whole) => {
                let value = value.map_or(String::new(), |value| format!("={value}"));
                *word = format!("--{whole}{value}").into();
                if rest.contains(&whole) {
                    break;
                }
            }
            Resolved::Ambiguous(candidates) => {
                ambiguous = Some(format!(
                    "'--{flag}' is ambiguous: it could be {}",
                    candidates.iter().map(|c| format!("--{c}")).collect::<Vec<_>>().join(", ")
                ));
                break;
            }
        }
    }
    match ambiguous {
        Some(message) => {
            // Names the program in the usage line of the error.
            command.build();
            let load = command.find_subcommand_mut(name);
            Err(load
                .unwrap_or(&mut Command::new("rbench"))
                .error(ErrorKind::UnknownArgument, message))
        }
        None => Ok(args),
    }
}

/// Whether the flag takes any number of values.
fn is_list(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|values| values.max_values() == usize::MAX)
}

#[derive(Debug, PartialEq, Eq)]
enum Resolved<'a> {
    /// A whole flag, or nothing that fits: left to the parser.
    Whole,
    /// The prefix of one flag.
    Prefix(&'a str),
    /// The prefix of several.
    Ambiguous(Vec<&'a str>),
}

/// The names of a flag, without their hyphens.
fn longs(arg: &Arg) -> Vec<&str> {
    arg.get_long_and_visible_aliases().unwrap_or_default()
}

fn resolve<'a>(flag: &str, reference: &[&'a str], ours: &[&str]) -> Resolved<'a> {
    if flag.is_empty() || ours.contains(&flag) || reference.contains(&flag) {
        return Resolved::Whole;
    }
    let fits: Vec<&str> =
        reference.iter().copied().filter(|whole| whole.starts_with(flag)).collect();
    match fits[..] {
        [] => Resolved::Whole,
        [whole] => Resolved::Prefix(whole),
        _ => Resolved::Ambiguous(fits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_that_scripts_use() {
        let ours = ["num-prompts", "random-input-len", "worker-threads", "numa", "mock"];
        for (typed, whole) in [
            ("num-prompt", "num-prompts"),
            ("n", "num-prompts"),
            ("random-input", "random-input-len"),
            ("random-in", "random-input-len"),
            ("random-output", "random-output-len"),
            ("random-o", "random-output-len"),
            ("random-range", "random-range-ratio"),
            ("random-r", "random-range-ratio"),
            ("random-im", "random-image-count"),
            ("max-conc", "max-concurrency"),
            ("ma", "max-concurrency"),
            ("req", "request-rate"),
            ("sharegpt-output", "sharegpt-output-len"),
            ("sharegpt-context", "sharegpt-context-len"),
            ("warmup", "warmup-requests"),
            ("w", "warmup-requests"),
            ("temp", "temperature"),
            ("te", "temperature"),
            ("disable-ignore", "disable-ignore-eos"),
            ("dataset-n", "dataset-name"),
            ("dataset-p", "dataset-path"),
            ("dataset-o", "dataset-offset"),
            ("output-f", "output-file"),
            ("output-d", "output-details"),
            ("see", "seed"),
            ("e", "extra-request-body"),
            ("c", "cache-report"),
            ("go", "goodput"),
            ("hea", "header"),
            ("gsp-num-g", "gsp-num-groups"),
            ("gsp-num-t", "gsp-num-turns"),
            ("gsp-or", "gsp-ordered"),
            ("gsp-ou", "gsp-output-len"),
            ("tokenize-", "tokenize-prompt"),
        ] {
            assert_eq!(resolve(typed, REFERENCE, &ours), Resolved::Prefix(whole), "{typed}");
        }
    }

    #[test]
    fn whole_flags_win_over_longer_ones() {
        for flag in ["flush-cache", "profile", "numa", "worker", "unheard-of"] {
            let ours = ["numa", "numa-nodes", "worker-threads"];
            assert_eq!(resolve(flag, REFERENCE, &ours), Resolved::Whole, "{flag}");
        }
    }

    #[test]
    fn ambiguous_prefixes() {
        for flag in [
            "random",
            "random-i",
            "dataset",
            "output",
            "out",
            "flush",
            "profile-s",
            "tokeniz",
            "image-co",
            "pro",
            "h",
        ] {
            let Resolved::Ambiguous(candidates) = resolve(flag, REFERENCE, &[]) else {
                panic!("{flag}")
            };
            assert!(candidates.len() > 1, "{flag}");
        }
        let candidates = vec!["random-image-count", "random-input-len"];
        assert_eq!(resolve("random-i", REFERENCE, &[]), Resolved::Ambiguous(candidates));
    }
}
