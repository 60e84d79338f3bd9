//! What must not be shown, and the texts that it is taken out of.
//!
//! Secrets are never put into texts. But a server that is told a key can say it again, in an error or in an answer,
//! and so what others say goes through [`Secrets::hide`] before anybody reads it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use crate::model::{Outcome, RequestRecord};

/// Shorter keys and passwords are not looked for: they are placeholders such as `EMPTY`, or parts of words.
const SHORTEST_KEY: usize = 6;

/// Values of headers that are shorter are not looked for: many are ordinary words.
const SHORTEST_VALUE: usize = 8;

/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// Texts that must not be shown.
#[derive(Clone, Default)]
pub struct Secrets(Arc<[String]>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(***)")
    }
}

/// Collects secrets, in all the forms in which they may be said again.
#[derive(Default)]
pub struct Collected(Vec<String>);

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collected(***)")
    }
}

impl Collected {
    /// A key or a password.
    pub fn key(&mut self, key: &str) {
        if key.len() >= SHORTEST_KEY {
            self.add(key);
        }
    }

    /// The value of a header.
    pub fn value(&mut self, value: &str) {
        if value.len() >= SHORTEST_VALUE {
            self.add(value);
        }
    }

    /// User and password of `url`, if it has any.
    pub fn url(&mut self, url: &str) {
        let Ok(url) = url::Url::parse(url) else { return };
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (user, password) = (url.username(), url.password().unwrap_or(""));
        for part in [user, password] {
            self.key(part);
            self.key(&plain(part));
        }
        if !user.is_empty() || !password.is_empty() {
            let pair = format!("{}:{}", plain(user), plain(password));
            self.key(&base64::engine::general_purpose::STANDARD.encode(pair));
        }
    }

    fn add(&mut self, text: &str) {
        // Within JSON, and within a URL.
        let json = serde_json::to_string(text).unwrap_or_default();
        let encoded = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        self.0.extend([text.to_owned(), json.trim_matches('"').to_owned(), encoded]);
    }

    /// All of them.
    pub fn done(mut self) -> Secrets {
        // One may be a part of another.
        self.0.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.0.dedup();
        Secrets(self.0.into())
    }
}

/// Longest ending of a file's name that is taken for one.
const LONGEST_ENDING: usize = 5;

/// The name of the file that a flag gives, with a blank before it: nothing if the file does not exist and the name has
/// not the form of one, as it may be a key that was given in place of a file.
pub fn named(path: &Path) -> String {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    let is_name = (1..=LONGEST_ENDING).contains(&ending.len())
        && ending.bytes().all(|byte| byte.is_ascii_lowercase());
    if is_name || path.exists() { format!(" {}", path.display()) } else { String::new() }
}

impl Secrets {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` without them, and without the beginning of one where it ends: long texts are cut before they are shown.
    pub fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut shown = Cow::Borrowed(text);
        for secret in self.0.iter() {
            if memchr::memmem::find(shown.as_bytes(), secret.as_bytes()).is_some() {
                shown = Cow::Owned(shown.replace(secret, HIDDEN));
            }
        }
        let whole = shown.trim_end_matches(['.', char::REPLACEMENT_CHARACTER]);
        if let Some(at) = self.0.iter().filter_map(|secret| begun(whole, secret)).min() {
            let rest = &shown[whole.len()..];
            shown = Cow::Owned(format!("{}{HIDDEN}{rest}", &whole[..at]));
        }
        shown
    }

    /// Takes them out of `text`; whether there were any.
    pub fn take_out(&self, text: &mut String) -> bool {
        let Cow::Owned(shown) = self.hide(text) else { return false };
        *text = shown;
        true
    }

    /// Takes them out of what a server has said in `record`.
    pub fn take_out_of_record(&self, record: &mut RequestRecord) {
        let mut hidden = self.take_out(&mut record.text);
        for text in &mut record.other_texts {
            hidden |= self.take_out(text);
        }
        if hidden {
            // The places of the pieces were those in the text as it came.
            record.events.text_ends.clear();
        }
        if let Outcome::Failed(failure) = &mut record.outcome {
            self.take_out(&mut failure.message);
            failure.excerpt.as_mut().map(|excerpt| self.take_out(excerpt));
        }
    }

    /// Takes them out of all strings and keys of `value`.
    pub fn take_out_of(&self, value: &mut Value) {
        match value {
            Value::String(text) => drop(self.take_out(text)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.take_out_of(item)),
            Value::Object(map) => {
                map.values_mut().for_each(|value| self.take_out_of(value));
                if map.keys().any(|key| matches!(self.hide(key), Cow::Owned(_))) {
                    let entries = std::mem::take(map);
                    map.extend(
                        entries
                            .into_iter()
                            .map(|(key, value)| (self.hide(&key).into_owned(), value)),
                    );
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Where the beginning of `secret` begins with which `text` ends, if it does.
fn begun(text: &str, secret: &str) -> Option<usize> {
    let longest = secret.len().saturating_sub(1).min(text.len());
    let lengths = (SHORTEST_KEY..=longest).rev();
    lengths
        .filter(|&len| secret.is_char_boundary(len))
        .find(|&len| text.ends_with(&secret[..len]))
        .map(|len| text.len() - len)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secrets() -> Secrets {
        let mut collected = Collected::default();
        collected.key("sk-1234\"5");
        collected.key("sk-1234\"5-longer");
        collected.key("EMPTY");
        collected.value("research");
        collected.value("yes");
        collected.url("http://me:p%40ssword@h:1/v1");
        collected.url("unix:/run/a.sock");
        collected.done()
    }

    #[test]
    fn secrets_in_every_form() {
        let secrets = secrets();
        for (text, want) in [
            ("nothing", "nothing"),
            ("key sk-1234\"5-longer, key sk-1234\"5", "key ***, key ***"),
            (r#"{"key": "sk-1234\"5"}"#, r#"{"key": "***"}"#),
            ("sk%2D1234%225", "***"),
            ("EMPTY yes research", "EMPTY yes ***"),
            ("p@ssword p%40ssword p%40sswort", "*** *** p%40sswort"),
            // Cut texts end with the beginning of one.
            ("key sk-1234", "key ***"),
            ("key sk-1234\"5-lo...", "key ***-lo..."),
            ("key sk-1234, and more", "key sk-1234, and more"),
            ("key sk-12", "key sk-12"),
            // What curl and this client make of user and password.
            ("Basic bWU6cEBzc3dvcmQ=", "Basic ***"),
        ] {
            assert_eq!(secrets.hide(text), want, "{text}");
        }
        assert!(Secrets::default().is_empty() && !secrets.is_empty());
        assert_eq!(format!("{secrets:?}"), "Secrets(***)");
    }

    #[test]
    fn secrets_in_json() {
        let mut value = json!({"a": ["research", 1, null], "research": {"b": "my research"}});
        secrets().take_out_of(&mut value);
        assert_eq!(value, json!({"a": ["***", 1, null], "***": {"b": "my ***"}}));
    }
}
