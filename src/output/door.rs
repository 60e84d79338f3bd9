//! The door: what every text passes before it leaves the process.
//!
//! Secrets are taken out of it, whoever says them and in whatever field they stand, and characters that steer a terminal
//! or turn the direction of text are written as JSON writes them. A message is one line; a text of several lines, such as
//! a table, is made here, and what others say within it goes through [`one_line`] first.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use crate::secrets::Secrets;

/// What is not written, whoever says it: the secrets of every target that this process has had.
///
/// The door is the last thing before a stream or a file, also for an error after a session; so it outlives them all.
static SECRETS: RwLock<Vec<Secrets>> = RwLock::new(Vec::new());

/// Takes `secrets` out of all that is written from now on, beside those that are taken out already.
pub fn keep_secret(secrets: &Secrets) {
    let mut kept = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    if !secrets.is_empty() && !kept.contains(secrets) {
        kept.push(secrets.clone());
    }
}

/// `text` after `hide` has taken out the secrets of each target.
fn without<'a, T: ?Sized + ToOwned>(
    text: &'a T,
    hide: impl for<'b> Fn(&Secrets, &'b T) -> Cow<'b, T>,
) -> Cow<'a, T>
where
    T::Owned: std::borrow::Borrow<T>,
{
    let kept = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    kept.iter().fold(Cow::Borrowed(text), |text, secrets| match text {
        Cow::Borrowed(text) => hide(secrets, text),
        Cow::Owned(text) => {
            Cow::Owned(hide(secrets, std::borrow::Borrow::borrow(&text)).into_owned())
        }
    })
}

/// A message as it may be written: one line without its end.
pub fn message(text: &str) -> Cow<'_, str> {
    match without(text, Secrets::hide) {
        Cow::Borrowed(text) => one_line(text),
        Cow::Owned(text) => Cow::Owned(one_line(&text).into_owned()),
    }
}

/// A text of several lines of ours as it may be written.
pub fn block(text: &str) -> Cow<'_, str> {
    match without(text.as_bytes(), Secrets::mask) {
        Cow::Owned(masked) => {
            Cow::Owned(escaped(&String::from_utf8_lossy(&masked), is_unsafe_in_block).into_owned())
        }
        Cow::Borrowed(_) => escaped(text, is_unsafe_in_block),
    }
}

/// Makes whole lines of JSON, from `start` of `lines` on, as they may be written.
pub fn json(lines: &mut Vec<u8>, start: usize) {
    let Some(new) = lines.get(start..) else { return };
    let masked = without(new, Secrets::mask);
    // All others are escaped in JSON already.
    let suspect = masked.iter().any(|byte| matches!(byte, 0x7F | 0xC2 | 0xD8 | 0xE2));
    let shown = match std::str::from_utf8(&masked) {
        Ok(text) if suspect => match escaped(text, is_unsafe_in_block) {
            Cow::Owned(text) => Some(text.into_bytes()),
            Cow::Borrowed(_) => None,
        },
        _ => None,
    };
    let shown = match (shown, masked) {
        (Some(shown), _) | (None, Cow::Owned(shown)) => shown,
        (None, Cow::Borrowed(_)) => return,
    };
    lines.truncate(start);
    lines.extend(shown);
}

/// `text` on one line, without characters that steer a terminal.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

fn is_unsafe_in_block(c: char) -> bool {
    c != '\n' && is_unsafe(c)
}

/// Whether `c` is a control character (C0, DEL, C1), ends a line, or turns the direction of what follows.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// `text` with the characters that `wrong` holds for written as in JSON.
fn escaped(text: &str, wrong: fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(wrong) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !wrong(c) => out.push(c),
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            // All of them have four digits.
            c => out += &format!("\\u{:04x}", u32::from(c)),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Collected;

    #[test]
    fn the_secrets_of_every_target_are_kept() {
        let secrets = |key: &str| {
            let mut secrets = Collected::default();
            secrets.key(key);
            secrets.done()
        };
        for _ in 0..2 {
            keep_secret(&secrets("sk-first-1234567"));
            keep_secret(&secrets("sk-second-1234567"));
        }
        let said = "to sk-first-1234567 and sk-second-1234567";
        let mut line = format!("[{said:?}]\n").into_bytes();
        json(&mut line, 0);
        for shown in [message(said), block(said), String::from_utf8_lossy(&line)] {
            assert!(!shown.contains("sk-"), "{shown}");
        }
        assert_eq!(SECRETS.read().unwrap().len(), 2);
    }

    #[test]
    fn characters_that_steer_are_written_as_in_json() {
        for (text, want) in [
            ("plain, ümlaut, 日本語 😀", "plain, ümlaut, 日本語 😀"),
            ("a\nClient: not the bottleneck\r\tb", "a\\nClient: not the bottleneck\\r\\tb"),
            ("\u{1b}[2J\u{7}\0", "\\u001b[2J\\u0007\\u0000"),
            ("\u{7f}\u{9b}31m\u{85}", "\\u007f\\u009b31m\\u0085"),
            ("\u{202e}x\u{2066}y\u{200f}\u{61c}\u{2028}", "\\u202ex\\u2066y\\u200f\\u061c\\u2028"),
        ] {
            assert_eq!(one_line(text), want);
            assert_eq!(block(text), want.replacen("\\n", "\n", 1));
            let value = serde_json::Value::from(text);
            let mut line = format!("{value}\n").into_bytes();
            json(&mut line, 0);
            let line = String::from_utf8(line).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
            assert!(!line.trim_end().contains(is_unsafe), "{line}");
        }
    }
}
