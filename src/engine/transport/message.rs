//! What a response is made of, whichever version of HTTP it comes in.

use std::fmt;
use std::time::Duration;

/// Longest head of a response, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;

/// Most interim responses (those with a status of 1xx) before a response.
pub(super) const MAX_INTERIM: u8 = 100;

/// Longest reason of a head that is kept, and longest place that one of a redirect names, in characters.
pub(super) const MAX_REASON: usize = 200;

/// The head of a final response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The words after the status code; those of a redirect, which nobody follows, also name where it leads,
    /// without user, password, query and fragment.
    pub reason: String,
    /// The value of `content-type`.
    pub content_type: Option<String>,
    /// The value of `content-encoding`, if the body is encoded.
    pub encoding: Option<String>,
    /// The value of `retry-after`.
    pub retry_after: Option<String>,
    /// Whether the connection can be used again after the body.
    pub keep_alive: bool,
    /// How long the server keeps the connection open without a request, if it says so.
    pub idle: Option<Duration>,
}

/// A piece of a response.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The head; heads of interim responses are skipped.
    Head(Head),
    /// Bytes of the body.
    Body(&'a [u8]),
    /// The end of the body.
    End,
}

/// Why bytes are no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The head cannot be read.
    Head,
    /// The head is longer than [`MAX_HEAD`] or has too many fields.
    LongHead,
    /// More than 100 interim responses come before the response.
    Interim,
    /// The body's length is told in a way that cannot be read.
    Length,
    /// The chunks of the body are broken.
    Chunk,
    /// The server changes to another protocol.
    Upgrade,
    /// The server answers in frames of HTTP/2, which it was not asked in.
    Frames,
    /// A server that was greeted in HTTP/2 answers in something else.
    NotHttp2,
    /// The frames of HTTP/2 break its rules in this way.
    Http2(h2::Reason),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "the response head is not HTTP/1.1",
            Self::LongHead => "the response head is longer than 64 KiB or has more than 128 fields",
            Self::Interim => "more than 100 interim responses come before the response",
            Self::Length => "the response head gives no usable body length",
            Self::Chunk => "the chunked encoding of the body is broken",
            Self::Upgrade => "the server changed to another protocol",
            Self::Frames => {
                "the response is not HTTP/1.1 but frames of HTTP/2, which --http-version 2 speaks"
            }
            Self::NotHttp2 => "the server does not speak HTTP/2, which --http-version 2 forces",
            Self::Http2(h2::Reason::PROTOCOL_ERROR) => {
                "the response breaks the rules of HTTP/2, or its head is longer than 128 KiB"
            }
            Self::Http2(reason) => {
                return write!(f, "the response breaks the rules of HTTP/2 ({reason:?}: {reason})");
            }
        })
    }
}

impl std::error::Error for Malformed {}

/// Where a redirect leads, without what may be secret: user and password, query and fragment.
pub fn shown(location: &str) -> String {
    let end = location.find(['?', '#']).unwrap_or(location.len());
    let place = &location[..end];
    let start = place.find("//").map_or(0, |at| at + 2);
    let authority = place[start..].find('/').map_or(place.len(), |at| start + at);
    let host = match place[start..authority].rfind('@') {
        Some(at) if start > 0 => start + at + 1,
        _ => start,
    };
    place[..start].chars().chain(place[host..].chars()).take(MAX_REASON).collect()
}

/// Returns what is said of a redirect to `location`, which nobody follows, beside the `reason` of its head.
pub(super) fn redirected(reason: &str, location: &str) -> String {
    let leads = format!("which leads to {} and is not followed", shown(location));
    if reason.is_empty() { leads } else { format!("{reason}, {leads}") }
}
