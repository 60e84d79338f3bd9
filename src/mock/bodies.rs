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

/// Headers whose values are secrets.
const SECRET: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "api-key", "x-api-key"];

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
        let value = if SECRET.contains(&name.as_str()) {
            "***".to_owned()
        } else {
            let values = headers.get_all(name).iter();
            let texts: Vec<_> =
                values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            texts.join(", ")
        };
        map.insert(name.as_str().to_owned(), Value::String(value));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &[u8], expected: &str) {
        let mut headers = HeaderMap::new();
        headers.append("authorization", "Bearer secret".parse().unwrap());
        headers.append("x-tag", "a".parse().unwrap());
        headers.append("x-tag", "b".parse().unwrap());
        let found = String::from_utf8(line("/generate", &headers, body).unwrap()).unwrap();
        let start = r#"{"path":"/generate","headers":{"#;
        assert!(found.starts_with(start), "{found}");
        assert!(found.contains(r#""authorization":"***""#), "{found}");
        assert!(found.contains(r#""x-tag":"a, b""#), "{found}");
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
