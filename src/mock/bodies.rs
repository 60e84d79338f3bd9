//! A file of the requests that were received, one JSON object a line.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Parts of the names of headers whose values are secrets.
const SECRET: [&str; 12] = [
    "auth",
    "cookie",
    "credential",
    "jwt",
    "key",
    "pass",
    "pwd",
    "secret",
    "session",
    "signature",
    "ticket",
    "token",
];

/// Headers whose values are none, though their names or values look like it.
const OPEN: [&str; 8] = [
    "accept",
    "content-type",
    "host",
    "traceparent",
    "user-agent",
    "x-correlation-id",
    "x-request-id",
    "x-smg-routing-key",
];

/// Values as long as this, with letters and digits and no blanks, may be keys whatever their header is.
const LONG: usize = 16;

/// Appends requests to a file, each with a single write.
#[derive(Debug)]
pub(super) struct Bodies(Mutex<File>);

/// One line of the file.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    headers: Map<String, Value>,
    body: Body<'a>,
}

/// A body as it was sent, or as text where it is not JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Json(&'a RawValue),
    Text(Cow<'a, str>),
}

impl Bodies {
    /// Opens `path` to append to it.
    ///
    /// # Errors
    ///
    /// When the file can be neither opened nor created.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().append(true).create(true).open(path).map(Mutex::new).map(Self)
    }

    /// Appends one request.
    ///
    /// # Errors
    ///
    /// When the file cannot be written to.
    pub(super) fn append(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> io::Result<()> {
        let mut line = line(path, headers, body)?;
        line.push(b'\n');
        // A thread that panicked while it held the file left at most a partial line.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

/// Formats one request, without the line feed.
fn line(path: &str, headers: &HeaderMap, body: &[u8]) -> serde_json::Result<Vec<u8>> {
    // JSON has line breaks between its tokens only, never inside a string, where they are
    // escaped. Spaces in their place keep a request on one line and change nothing else.
    let flat: Vec<u8> =
        body.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
    let body = serde_json::from_slice(&flat)
        .map_or_else(|_| Body::Text(String::from_utf8_lossy(body)), Body::Json);
    serde_json::to_vec(&Line { path, headers: visible(headers), body })
}

/// The headers by name, without the values of the secret ones.
fn visible(headers: &HeaderMap) -> Map<String, Value> {
    let mut map = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let texts: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let is_secret = !OPEN.contains(&name.as_str())
            && (SECRET.iter().any(|part| name.as_str().contains(part))
                || texts.iter().any(|text| may_be_key(text)));
        let value = if is_secret { "***".to_owned() } else { texts.join(", ") };
        map.insert(name.as_str().to_owned(), Value::String(value));
    }
    map
}

/// Returns whether a value may be a key: credentials with their scheme, or a long word of letters and digits.
fn may_be_key(value: &str) -> bool {
    let scheme = value.split(' ').next().unwrap_or_default().to_ascii_lowercase();
    let is_key = |word: &str| {
        let has = |kind: fn(&u8) -> bool| word.as_bytes().iter().any(kind);
        word.len() >= LONG && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
    };
    ["basic", "bearer", "digest"].contains(&scheme.as_str())
        || value.split([' ', ';', ',', '=']).any(is_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &[u8], expected: &str) {
        let mut headers = HeaderMap::new();
        headers.append("authorization", "Bearer secret".parse().unwrap());
        for (name, value) in [
            ("x-auth-token", "open"),
            ("x-goog-api-key", "open"),
            ("cookie", "a=b"),
            ("x-my-secret", "open"),
            ("x-anything", "sk-0123456789abcdef"),
            ("x-other", "Bearer open"),
            ("x-pair", "id=0123456789abcdef"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        headers.append("x-smg-routing-key", "0123456789abcdef".parse().unwrap());
        headers.append("x-tag", "a".parse().unwrap());
        headers.append("x-tag", "b".parse().unwrap());
        let found = String::from_utf8(line("/generate", &headers, body).unwrap()).unwrap();
        let start = r#"{"path":"/generate","headers":{"#;
        assert!(found.starts_with(start), "{found}");
        assert!(found.contains(r#""authorization":"***""#), "{found}");
        assert_eq!(found.matches(r#":"***""#).count(), 8, "{found}");
        assert!(found.contains(r#""x-tag":"a, b""#), "{found}");
        assert!(found.contains(r#""x-smg-routing-key":"0123456789abcdef""#), "{found}");
        assert!(found.ends_with(&format!(r#""body":{expected}}}"#)), "{found}");
    }

    #[test]
    fn json_is_kept_as_sent_but_on_one_line() {
        check(b"{\"a\": 1.0,\n \"b\":\"x\\ny\"}", r#"{"a": 1.0,  "b":"x\ny"}"#);
    }

    #[test]
    fn anything_else_is_kept_as_text() {
        check(b"{\"a\":\n", r#""{\"a\":\n""#);
    }
}
