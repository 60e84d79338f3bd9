//! What to write instead, where the parser's own message does not say; and what its messages must not repeat.
//!
//! An argument at the wrong place may be a key. One is repeated only if it cannot be: it is short, a number,
//! or a word of rbench's own or close to one.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

use super::siblings;
use crate::dialect::sglang;

/// Keys have at least as many bytes.
const SHORTEST_KEY: usize = 6;

/// Longest number that is no key.
const LONGEST_NUMBER: usize = 20;

/// Longest word in the name of an unknown flag that is repeated.
const LONGEST_WORD: usize = 12;

/// What stands in the place of an argument that may be a key.
pub(super) const HIDDEN: &str = "***";

/// Adds to an error about `args` what to write, where that is known, and takes out what may be a key.
pub(super) fn advise(mut error: Error, args: &[OsString], command: &Command) -> Error {
    let used = args.get(1).and_then(|name| command.find_subcommand(name)).unwrap_or(command);
    match error.kind() {
        ErrorKind::UnknownArgument => unknown_argument(&mut error, args, used, command),
        ErrorKind::InvalidSubcommand => unknown_command(&mut error, command),
        _ => bad_value(&mut error, used),
    }
    error
}

fn text(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    }
}

/// The strings of `kind` in `error`, of which there may be one or several.
fn texts(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

fn put(error: &mut Error, kind: ContextKind, text: impl Into<String>) {
    error.insert(kind, ContextValue::String(text.into()));
}

/// Replaces the tips of `error`.
fn tip(error: &mut Error, tips: impl IntoIterator<Item = String>) {
    let tips: Vec<StyledStr> = tips.into_iter().map(StyledStr::from).collect();
    error.remove(ContextKind::Suggested);
    if !tips.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
}

/// The flags of `command` that its help has, without their hyphens.
fn flags(command: &Command) -> impl Iterator<Item = &str> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    shown.filter_map(Arg::get_long_and_visible_aliases).flatten()
}

/// A flag or an argument that `command` does not take.
fn unknown_argument(error: &mut Error, args: &[OsString], command: &Command, program: &Command) {
    error.remove(ContextKind::SuggestedArg);
    error.remove(ContextKind::TrailingArg);
    let Some(typed) = text(error, ContextKind::InvalidArg) else { return };
    if typed.len() < 2 || !typed.starts_with('-') {
        let mut tips: Vec<String> = stray(&typed, args, command).into_iter().collect();
        if !may_repeat(&typed, &flags(command).collect::<Vec<_>>()) {
            put(error, ContextKind::InvalidArg, HIDDEN);
            let place = args.iter().position(|word| word.to_string_lossy() == typed.as_str());
            tips.push(format!(
                "argument {} is not shown, as it may be a key",
                place.map_or_else(|| "at fault".to_owned(), |place| place.to_string())
            ));
        }
        return tip(error, tips);
    }
    let name = typed.trim_start_matches('-').replace('_', "-");
    let close = if typed.starts_with("--") { close(&name, flags(command)) } else { Vec::new() };
    let is_word = |word: &str| {
        word.len() <= LONGEST_WORD && word.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    let is_name = name.split('-').all(is_word);
    if !is_name && close.is_empty() && siblings::flag(&typed).is_none() {
        put(error, ContextKind::InvalidArg, HIDDEN);
    }
    let answer = siblings::flag(&typed).map(|answer| counterpart(&typed, answer, command));
    match answer.or_else(|| elsewhere(&name, command, program)) {
        Some(answer) => tip(error, [answer]),
        None if close.is_empty() => tip(error, []),
        None => {
            tip(error, []);
            let close = close.into_iter().map(|flag| format!("--{flag}")).collect();
            error.insert(ContextKind::SuggestedArg, ContextValue::Strings(close));
        }
    }
}

/// Which of the commands that share their flags has the flag `name`, which `command` has not.
fn elsewhere(name: &str, command: &Command, program: &Command) -> Option<String> {
    if flags(command).any(|flag| flag == name) {
        return None;
    }
    let shares = |one: &str| sglang::COMMANDS.contains(&one);
    let used = command.get_name();
    let mut others = program.get_subcommands().filter(|one| shares(one.get_name()) && shares(used));
    let other = others.find(|other| flags(other).any(|flag| flag == name))?;
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut letters = about.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    let purpose: String = first.into_iter().chain(letters).collect();
    Some(format!("`rbench {}` has --{name}; `rbench {used}` is to {purpose}", other.get_name()))
}

/// What to write in place of `typed`, a flag of another client, if `command` has what `answer` names.
fn counterpart(typed: &str, answer: &str, command: &Command) -> String {
    let has = |named: &str| {
        let end = named.find(|c: char| !c.is_ascii_lowercase() && c != '-');
        let named = &named[..end.unwrap_or(named.len())];
        command.get_arguments().any(|arg| arg.get_long() == Some(named)) || named == "records"
    };
    if !answer.is_empty() && answer.split("--").skip(1).all(has) {
        answer.to_owned()
    } else {
        format!(
            "{typed} is a flag of other clients, and rbench {} has no counterpart",
            command.get_name()
        )
    }
}

/// A command that does not exist.
fn unknown_command(error: &mut Error, command: &Command) {
    let names = || command.get_subcommands().filter(|c| !c.is_hide_set()).map(Command::get_name);
    error.remove(ContextKind::SuggestedSubcommand);
    error.remove(ContextKind::SuggestedCommand);
    tip(error, []);
    let Some(typed) = text(error, ContextKind::InvalidSubcommand) else { return };
    let close = close(&typed, names());
    if !may_repeat(&typed, &names().collect::<Vec<_>>()) {
        put(error, ContextKind::InvalidSubcommand, HIDDEN);
        tip(error, ["the argument is not shown, as it may be a key".to_owned()]);
    }
    if !close.is_empty() {
        let close = close.into_iter().map(str::to_owned).collect();
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(close));
    }
}

/// A value that its flag does not take.
fn bad_value(error: &mut Error, command: &Command) {
    let Some(typed) = text(error, ContextKind::InvalidValue).filter(|typed| !typed.is_empty())
    else {
        return;
    };
    let valid = texts(error, ContextKind::ValidValue);
    let valid: Vec<&str> = valid.iter().map(String::as_str).collect();
    let named = text(error, ContextKind::InvalidArg).unwrap_or_default();
    let flag = named.trim_start_matches("--").split([' ', '=', '[']).next().unwrap_or_default();
    let meant = siblings::value(flag, &typed).filter(|value| valid.contains(value));
    let close = close(&typed, valid.iter().copied());
    let mut containing = valid.iter().copied().filter(|value| value.contains(typed.as_str()));
    let only = containing.next().filter(|_| containing.next().is_none());
    let suggested = meant.or(close.first().copied()).or(only);
    error.remove(ContextKind::SuggestedValue);
    if let Some(value) = suggested {
        put(error, ContextKind::SuggestedValue, value);
    }
    let known: Vec<&str> = valid.iter().copied().chain(flags(command)).collect();
    if meant.is_none() && !may_repeat(&typed, &known) {
        put(error, ContextKind::InvalidValue, HIDDEN);
        tip(error, ["the value is not shown, as it may be a key".to_owned()]);
    }
}

/// Whether a message may repeat `word`, among whose kind are the args of `known`.
pub(super) fn may_repeat(word: &str, known: &[&str]) -> bool {
    let numeral = |c: char| c.is_ascii_digit() || "+-.,:%eE".contains(c);
    if word.contains(|c: char| c.is_control()) {
        return false;
    }
    // Such as `ttft:0`, whose parts are as short.
    let parts = word.split_once([':', '=']).map_or([word, ""], |(first, rest)| [first, rest]);
    parts.iter().all(|part| part.len() < SHORTEST_KEY)
        || (word.len() <= LONGEST_NUMBER && word.chars().all(numeral))
        || known.iter().any(|known| known.contains(word))
        || !close(word, known.iter().copied()).is_empty()
}

/// Those of `known` that are nearest to `typed`, if they are near enough to be what was meant.
fn close<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let allowed = (typed.chars().count() / 4).clamp(1, 3);
    let near = known.filter_map(|word| {
        let distance = strsim::damerau_levenshtein(typed, word);
        // One letter is not a spelling of another.
        (distance <= allowed && typed.chars().count() > 2).then_some((distance, word))
    });
    let near: Vec<(usize, &str)> = near.collect();
    let best = near.iter().map(|(distance, _)| *distance).min();
    near.into_iter().filter(|(d, _)| Some(*d) == best).map(|(_, word)| word).collect()
}

/// What to do about `word`, such as `true`, behind a flag that is on by being there.
fn stray(word: &str, args: &[OsString], command: &Command) -> Option<String> {
    let pairs = args.iter().zip(args.iter().skip(1)).filter(|(_, stray)| *stray == word);
    let mut before = pairs.filter_map(|(flag, _)| flag.to_str()?.strip_prefix("--"));
    let flag = before.find(|flag| {
        command
            .get_arguments()
            .any(|arg| arg.get_long() == Some(flag) && !arg.get_action().takes_values())
    })?;
    let shown = if may_repeat(word, &flags(command).collect::<Vec<_>>()) { word } else { HIDDEN };
    Some(format!("--{flag} takes no value: leave out '{shown}', or the flag if you do not want it"))
}

#[cfg(test)]
mod tests {
    fn refused(args: &str) -> String {
        let args = ["rbench", "serve"].into_iter().chain(args.split(' '));
        super::super::parse(args.map(Into::into)).unwrap_err().to_string()
    }

    #[test]
    fn values_of_flags_that_take_none() {
        for (args, flag, word) in [
            ("--use-trace-timestamps true", "--use-trace-timestamps", "true"),
            ("--seed 1 --flush-cache --disable-stream False --seed 2", "--disable-stream", "False"),
            ("--disable-tq 1", "--disable-tqdm", "1"),
        ] {
            let error = refused(args);
            let tip = format!("tip: {flag} takes no value: leave out '{word}'");
            assert!(error.contains(&tip), "{error}");
        }
        for args in ["--flush-cache --num-promt 1", "true", "--seed 1 true", "--no-such-flag true"]
        {
            assert!(!refused(args).contains("takes no value"), "{args}");
        }
    }

    #[test]
    fn values_that_are_a_part_of_one() {
        let error = refused("--mooncake-workload agent");
        assert!(error.contains("tip: a similar value exists: 'toolagent'"), "{error}");
        let error = refused("--mooncake-workload xyz");
        assert!(!error.contains("similar value"), "{error}");
    }
}
