//! What to write instead, where the parser's own message does not say.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

/// Adds to an error about `words` what to write, where that can be told.
pub(super) fn advise(mut error: Error, words: &[OsString], command: &Command) -> Error {
    match error.kind() {
        ErrorKind::UnknownArgument => {
            if let Some(tip) = stray(&error, words, command) {
                let tips = vec![StyledStr::from(tip)];
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
            }
        }
        ErrorKind::InvalidValue if error.get(ContextKind::SuggestedValue).is_none() => {
            if let Some(value) = longer(&error) {
                error.insert(ContextKind::SuggestedValue, ContextValue::String(value));
            }
        }
        _ => {}
    }
    error
}

fn text(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

/// A word such as `true` behind a flag that is on by being there.
fn stray(error: &Error, words: &[OsString], command: &Command) -> Option<String> {
    let word = text(error, ContextKind::InvalidArg)?;
    let serve = command.find_subcommand(words.get(1)?)?;
    let pairs = words.iter().zip(words.iter().skip(1)).filter(|(_, stray)| *stray == word);
    let mut before = pairs.filter_map(|(flag, _)| flag.to_str()?.strip_prefix("--"));
    let flag = before.find(|flag| {
        serve
            .get_arguments()
            .any(|arg| arg.get_long() == Some(flag) && !arg.get_action().takes_values())
    })?;
    Some(format!("--{flag} takes no value: leave out '{word}', or the flag if you do not want it"))
}

/// The only value that has the invalid one in it.
fn longer(error: &Error) -> Option<String> {
    let invalid = text(error, ContextKind::InvalidValue).filter(|value| !value.is_empty())?;
    let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue) else {
        return None;
    };
    match &valid.iter().filter(|value| value.contains(invalid)).collect::<Vec<_>>()[..] {
        [value] => Some((*value).clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    fn refused(words: &str) -> String {
        let words = ["rbench", "serve"].into_iter().chain(words.split(' '));
        super::super::parse(words.map(Into::into)).unwrap_err().to_string()
    }

    #[test]
    fn values_of_flags_that_take_none() {
        for (words, flag, word) in [
            ("--use-trace-timestamps true", "--use-trace-timestamps", "true"),
            ("--seed 1 --flush-cache --disable-stream False --seed 2", "--disable-stream", "False"),
            ("--disable-tq 1", "--disable-tqdm", "1"),
        ] {
            let error = refused(words);
            let tip = format!("tip: {flag} takes no value: leave out '{word}'");
            assert!(error.contains(&tip), "{error}");
        }
        for words in ["true", "--seed 1 true", "--no-such-flag true"] {
            assert!(!refused(words).contains("takes no value"), "{words}");
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
