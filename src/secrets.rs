//! What must not be shown, and the texts that it is taken out of.
//!
//! Secrets are never put into texts. But a server that is told a key can say it again, in an error or in an answer,
//! and so what others say goes through [`Secrets::hide`] before anybody reads it.

mod matching;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use self::matching::Matcher;
use crate::model::{Outcome, RequestRecord};

/// Shorter keys and passwords are not looked for: they are placeholders such as `EMPTY`, or parts of words.
const SHORTEST_KEY: usize = 6;

/// Values of headers that are shorter are not looked for: many are ordinary words.
const SHORTEST_VALUE: usize = 8;

/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// Texts that must not be shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Arc<Matcher>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(***)")
    }
}

/// Collects secrets; the forms in which they may be said again are found from them.
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
            self.0.push(key.to_owned());
        }
    }

    /// The value of a header: as a whole, its credentials, and the values of which it consists, such as those of cookies.
    pub fn value(&mut self, value: &str) {
        let value = value.trim();
        self.part(value);
        if let Some((scheme, credentials)) = value.split_once(' ') {
            self.part(credentials.trim());
            if scheme.eq_ignore_ascii_case("basic") {
                self.pair(credentials.trim());
            }
        }
        for part in value.split([';', ',', ' ']) {
            let part = part.split_once('=').map_or("", |(_, value)| value);
            self.part(part.trim_matches('"'));
        }
    }

    fn part(&mut self, part: &str) {
        if part.len() >= SHORTEST_VALUE {
            self.0.push(part.to_owned());
        }
    }

    /// User and password in base64.
    fn pair(&mut self, credentials: &str) {
        let decoded = base64::engine::general_purpose::STANDARD.decode(credentials);
        let Some(pair) = decoded.ok().and_then(|pair| String::from_utf8(pair).ok()) else { return };
        self.key(&pair);
        if let Some((user, password)) = pair.split_once(':') {
            self.key(user);
            self.key(password);
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

    /// All of them.
    pub fn done(self) -> Secrets {
        let texts = self.0.into_iter().map(|text| {
            let is_word = may_be_ours(&text);
            (text, is_word)
        });
        Secrets(Arc::new(Matcher::new(texts)))
    }
}

/// Longest text that may be a name of rbench's own, such as that of a backend or a key of a result.
const LONGEST_WORD: usize = 24;

/// Whether `secret` may as well be a name or a number of rbench's own, whose lines it must not break: it is looked for in
/// what others say alone.
fn may_be_ours(secret: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || b"-_/.".contains(&byte);
    let is_number = |byte: u8| byte.is_ascii_digit() || b".+-eE".contains(&byte);
    secret.len() <= LONGEST_WORD && (secret.bytes().all(is_word) || secret.bytes().all(is_number))
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

    /// `text`, said by others, without them, and without the beginning of one where it ends: long texts are cut before
    /// they are shown.
    pub fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let whole = text.trim_end_matches(['.', char::REPLACEMENT_CHARACTER]);
        match self.replace(whole.as_bytes(), true, Some(SHORTEST_KEY)) {
            Cow::Borrowed(_) => self.hide_whole(text),
            Cow::Owned(shown) => {
                Cow::Owned(String::from_utf8_lossy(&shown).into_owned() + &text[whole.len()..])
            }
        }
    }

    /// `text` without those that reach into what [`Secrets::hide`] takes for the mark of a cut.
    fn hide_whole<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.replace(text.as_bytes(), true, None) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(shown) => Cow::Owned(String::from_utf8_lossy(&shown).into_owned()),
        }
    }

    /// `text`, a whole of our own with parts that others have said, without them.
    pub fn mask<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        self.replace(text, false, None)
    }

    fn replace<'a>(&self, text: &'a [u8], words: bool, cut: Option<usize>) -> Cow<'a, [u8]> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut shown = Vec::new();
        let mut from = 0;
        while let Some(found) = self.0.find(text, from, words, cut) {
            shown.extend_from_slice(&text[from..found.start]);
            shown.extend_from_slice(HIDDEN.as_bytes());
            from = found.end;
        }
        if from == 0 {
            return Cow::Borrowed(text);
        }
        shown.extend_from_slice(&text[from..]);
        Cow::Owned(shown)
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
        let tiers = record.cached.as_mut().and_then(|cached| cached.tiers.as_mut());
        if let Some(name) = tiers.and_then(|tiers| tiers.storage_backend.as_mut()) {
            self.take_out(name);
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
            ("key sk-1234\"5-lo...", "key ***..."),
            ("key sk-1234, and more", "key sk-1234, and more"),
            ("key sk-12", "key sk-12"),
            // What curl and this client make of user and password.
            ("Basic bWU6cEBzc3dvcmQ=", "Basic ***"),
            ("a sk-1234\"5...", "a ***..."),
        ] {
            assert_eq!(secrets.hide(text), want, "{text}");
        }
        assert!(Secrets::default().is_empty() && !secrets.is_empty());
        assert_eq!(format!("{secrets:?}"), "Secrets(***)");
    }

    #[test]
    fn secrets_in_every_encoding() {
        let mut collected = Collected::default();
        collected.key("Ab/c=d&e\\f g'h\"é<7>");
        collected.value("Basic bWU6cEBzczp3b3JkOQ==");
        collected.value("session=c00kie-value; theme=dark; id=\"quoted-value-1\"");
        let secrets = collected.done();
        for text in [
            r#"Ab/c=d&e\f g'h"é<7>"#,
            r#"Ab\/c=d&e\\f g'h\"é<7>"#,
            r#"Ab\/c\u003dd\u0026e\\f g\u0027h\"\u00E9\u003c7\u003E"#,
            r#"Ab\\/c\\u003dd\\u0026e\\\\f g'h\\\"\\u00e9<7>"#,
            "Ab%2Fc%3Dd%26e%5Cf%20g%27h%22%C3%A9%3C7%3E",
            "Ab/c=d&e%5cf%20g'h%22%c3%a9%3c7%3e",
            "Ab%2Fc%3Dd%26e%5Cf+g%27h%22%C3%A9%3C7%3E",
            "%41%62%2F%63%3D%64%26%65%5C%66%20%67%27%68%22%C3%A9%3C%37%3E",
            "Ab%252Fc%253Dd%2526e%255Cf%2520g%2527h%2522%25C3%25A9%253C7%253E",
            "Ab/c=d&amp;e\\f g&#39;h&quot;é&lt;7&gt;",
            "Ab&#x2F;c&#61;d&amp;e&#92;f g&#x27;h&#34;&#233;&lt;7&gt;",
            "Ab/c=d&amp;amp;e\\f g&amp;#39;h&amp;quot;é&amp;lt;7&amp;gt;",
            r"Ab/c=d&e\x5cf\x20g\x27h\x22\xc3\xa9\x3c7\x3e",
            "me:p@ss:word9",
            "p@ss:word9",
            "p%40ss%3Aword9",
            "c00kie-value",
            "quoted-value-1",
        ] {
            for (before, after) in [("", ""), ("at ", ", and more"), ("\\n", "\\n")] {
                let said = format!("{before}{text}{after}");
                assert_eq!(secrets.hide(&said), format!("{before}***{after}"), "{text}");
            }
        }
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let url_safe = |text: &str| base64::engine::general_purpose::URL_SAFE.encode(text);
        for before in ["", "a", "ab", "Bearer "] {
            for after in ["", "c", "cd", "cde"] {
                let text = format!("{before}Ab/c=d&e\\f g'h\"é<7>{after}");
                for said in [encode(&text), url_safe(&text), encode(&text).replace('/', "\\/")] {
                    // What is left has at most two characters of it at either end.
                    let shown = secrets.hide(&said).into_owned();
                    assert!(shown.contains("***"), "{text}: {said}: {shown}");
                    assert!(shown.len() <= (before.len() + after.len()) * 4 / 3 + 13, "{shown}");
                }
            }
        }
        // What is cut within an escape.
        for cut in ["Ab%2Fc%3Dd%", "Ab%2Fc%3Dd%2", r"Ab\/c\u003dd\u00", "Ab/c=d&am..."] {
            let shown = secrets.hide(cut).into_owned();
            assert!(!shown.contains('b'), "{cut}: {shown}");
        }
    }

    #[test]
    fn words_of_our_own_are_not_broken() {
        let mut collected = Collected::default();
        for word in ["sglang", "completed", "application/json", "12345678", "sk-Secret"] {
            collected.key(word);
        }
        let secrets = collected.done();
        let line = br#"{"backend":"sglang","completed":12345678,"said":"sk-Secret"}"#;
        let shown = secrets.mask(line).into_owned();
        assert_eq!(shown, br#"{"backend":"sglang","completed":12345678,"said":"***"}"#);
        assert_eq!(secrets.hide("sglang completed"), "*** ***");
    }

    #[test]
    fn secrets_in_json() {
        let mut value = json!({"a": ["research", 1, null], "research": {"b": "my research"}});
        secrets().take_out_of(&mut value);
        assert_eq!(value, json!({"a": ["***", 1, null], "***": {"b": "my ***"}}));
    }
}
