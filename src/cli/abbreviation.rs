//! Long flags of the commands that send a load may be shortened.
//!
//! Scripts shorten the flags of SGLang's client. A prefix is resolved against that client's whole flag set first,
//! so that a flag which only rbench has cannot make such a prefix ambiguous or change its meaning.
//! Of the others, flags that name a file, start a program or weaken what protects keys are never meant by a prefix,
//! and a whole flag of another client is no prefix.

use std::ffi::OsString;

use clap::builder::Str;
use clap::error::ErrorKind;
use clap::{Arg, Command};

use super::siblings;
use crate::dialect::sglang::{BATCH, REFERENCE};

/// Replaces shortened flags by the whole ones.
///
/// # Errors
/// If a prefix fits several flags; the message lists them.
pub(super) fn expand(
    mut args: Vec<OsString>,
    command: &mut Command,
) -> Result<Vec<OsString>, clap::Error> {
    let Some(name) = super::load_of(&args) else { return Ok(args) };
    let Some(load) = command.find_subcommand(name) else { return Ok(args) };
    let ours: Vec<&str> = load.get_arguments().flat_map(longs).collect();
    let theirs = |flag: &&str| name == "one-batch" && BATCH.contains(flag);
    let guarded = load.get_arguments().filter(|arg| is_guarded(arg)).flat_map(longs);
    let guarded: Vec<&str> = guarded.filter(|flag| !theirs(flag)).collect();
    // The reference has flags of other names for batches, all of which are among ours.
    let reference = if name == "one-batch" { &[] } else { REFERENCE };
    let mut ambiguous = None;
    for word in args.iter_mut().skip(2) {
        let Some(text) = word.to_str() else { continue };
        if text == "--" {
            break;
        }
        let Some(flag) = text.strip_prefix("--") else { continue };
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (flag, None),
        };
        match resolve(flag, reference, &ours, &guarded) {
            Resolved::Whole => {}
            Resolved::Prefix(whole) => {
                let value = value.map_or(String::new(), |value| format!("={value}"));
                *word = format!("--{whole}{value}").into();
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

/// Names of values that are files or programs.
const OPENED: &[&str] = &["FILE", "PATH", "PATH|ID", "COMMAND"];

/// Flags without such a value that open something, or more than was asked for.
const TRUSTING: &[&str] = &["mock", "insecure", "no-proxy"];

/// Whether the flag is to be written in full.
fn is_guarded(arg: &Arg) -> bool {
    let opens = |name: &Str| OPENED.contains(&name.as_str());
    arg.get_value_names().unwrap_or_default().iter().any(opens)
        || arg.get_long().is_some_and(|long| TRUSTING.contains(&long))
}

fn resolve<'a>(
    flag: &str,
    reference: &[&'a str],
    ours: &[&'a str],
    guarded: &[&str],
) -> Resolved<'a> {
    if flag.is_empty() || ours.contains(&flag) || reference.contains(&flag) {
        return Resolved::Whole;
    }
    for (set, guarded) in [(reference, &[][..]), (ours, guarded)] {
        let begins = |whole: &&str| whole.starts_with(flag);
        let fits: Vec<&str> = set.iter().copied().filter(begins).collect();
        if fits.iter().any(|whole| guarded.contains(whole)) {
            return Resolved::Whole;
        }
        match fits[..] {
            [] => {}
            [whole] => return Resolved::Prefix(whole),
            _ => return Resolved::Ambiguous(fits),
        }
        if siblings::flag(&format!("--{flag}")).is_some() {
            return Resolved::Whole;
        }
    }
    Resolved::Whole
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
            ("worker", "worker-threads"),
        ] {
            assert_eq!(
                resolve(typed, REFERENCE, &ours, &["mock"]),
                Resolved::Prefix(whole),
                "{typed}"
            );
        }
    }

    #[test]
    fn whole_flags_win_over_longer_ones() {
        for flag in ["flush-cache", "profile", "numa", "unheard-of"] {
            assert_eq!(
                resolve(flag, REFERENCE, &["numa", "numa-nodes"], &[]),
                Resolved::Whole,
                "{flag}"
            );
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
            let Resolved::Ambiguous(candidates) = resolve(flag, REFERENCE, &[], &[]) else {
                panic!("{flag}")
            };
            assert!(candidates.len() > 1, "{flag}");
        }
        let candidates = vec!["random-image-count", "random-input-len"];
        assert_eq!(resolve("random-i", REFERENCE, &[], &[]), Resolved::Ambiguous(candidates));
    }
}
