//! How the body of a response is written, by its bytes: what its head says of that is often wrong.

use std::time::Duration;

use serde::de::IgnoredAny;

/// How the body of a response is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Events,
    /// One JSON value.
    Whole,
}

impl Framing {
    /// The framing that the content type declares; without one, the framing that was asked for.
    ///
    /// It counts where the first bytes of the body tell nothing.
    pub fn of(content_type: Option<&str>, streams: bool) -> Self {
        let declared = content_type.unwrap_or("").to_ascii_lowercase();
        if declared.contains("event-stream") {
            Self::Events
        } else if declared.contains("json") && !declared.contains("ndjson") {
            Self::Whole
        } else if streams {
            Self::Events
        } else {
            Self::Whole
        }
    }
}

/// What the first bytes of a body are the beginning of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// A field of an event, or a comment.
    Events,
    /// An object or a list of JSON, which may be the first of many lines.
    Json,
    /// What this compression makes.
    Compressed(&'static str),
    /// Something else.
    Other,
}

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// What compressed bodies begin with.
const COMPRESSED: [(&[u8], &str); 6] = [
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x78\x01", "deflate"),
    (b"\x78\x5e", "deflate"),
    (b"\x78\x9c", "deflate"),
    (b"\x78\xda", "deflate"),
];

/// Returns what `body` begins with; `None` if more of it is needed to know.
pub(super) fn opening(body: &[u8]) -> Option<Opening> {
    if body.len() < BOM.len() && BOM.starts_with(body) {
        return None;
    }
    let body = body.strip_prefix(BOM).unwrap_or(body).trim_ascii_start();
    match body.first()? {
        b'{' | b'[' => return Some(Opening::Json),
        b':' => return Some(Opening::Events),
        _ => {}
    }
    let mut may_be_more = false;
    for field in [&b"data"[..], b"event", b"id", b"retry"] {
        let rest = body.strip_prefix(field);
        if rest.is_some_and(|rest| matches!(rest, [b':' | b'\r' | b'\n', ..])) {
            return Some(Opening::Events);
        }
        may_be_more |= field.starts_with(body);
    }
    for (magic, name) in COMPRESSED {
        if body.starts_with(magic) {
            return Some(Opening::Compressed(name));
        }
        may_be_more |= magic.starts_with(body);
    }
    if may_be_more { None } else { Some(Opening::Other) }
}

/// Whether a body that begins with JSON is one value, or has lines of JSON, each of which is an event.
#[derive(Debug, Default)]
pub(super) enum Lines {
    /// The first line has not ended.
    #[default]
    Unknown,
    /// The first line is a whole value and ends before this place; it arrived then. Nothing has come after it.
    First(usize, Duration),
    /// It is one value.
    One,
}

impl Lines {
    /// Looks at `body`, to which the bytes from `start` were added at `at`: where the first line ends and when it came,
    /// once it is known to be followed by others.
    pub(super) fn look(
        &mut self,
        body: &[u8],
        start: usize,
        at: Duration,
    ) -> Option<(usize, Duration)> {
        if matches!(self, Self::Unknown)
            && let Some(end) = memchr::memchr(b'\n', &body[start..])
        {
            let end = start + end + 1;
            let line = body.strip_prefix(BOM).map_or(&body[..end], |_| &body[BOM.len()..end]);
            let is_whole = serde_json::from_slice::<IgnoredAny>(line).is_ok();
            // Blank lines may come before it.
            let is_blank = line.trim_ascii().is_empty();
            *self = match (is_blank, is_whole) {
                (true, _) => return self.look(body, end, at),
                (false, true) => Self::First(end, at),
                (false, false) => Self::One,
            };
        }
        match *self {
            Self::First(end, came) if !body[end..].trim_ascii().is_empty() => Some((end, came)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_count_where_bytes_say_nothing() {
        for (content_type, streams, want) in [
            (Some("text/event-stream; charset=utf-8"), false, Framing::Events),
            (Some("application/json"), true, Framing::Whole),
            (Some("application/x-ndjson"), true, Framing::Events),
            (None, true, Framing::Events),
            (None, false, Framing::Whole),
        ] {
            assert_eq!(Framing::of(content_type, streams), want, "{content_type:?} {streams}");
        }
    }

    #[test]
    fn first_bytes_tell_what_a_body_is() {
        use Opening::{Compressed, Events, Json, Other};
        for (body, want) in [
            (&b"data: {}"[..], Some(Events)),
            (b"data:{}", Some(Events)),
            (b"\r\n\n: ping", Some(Events)),
            (b"event: x", Some(Events)),
            (b"id\n", Some(Events)),
            (b"retry:", Some(Events)),
            (b"\xEF\xBB\xBFdata:", Some(Events)),
            (b"dat", None),
            (b"data", None),
            (b"", None),
            (b" \n", None),
            (b"\xEF\xBB", None),
            (b"{", Some(Json)),
            (b" \n[", Some(Json)),
            (b"\x1f", None),
            (b"\x1f\x8b\x08", Some(Compressed("gzip"))),
            (b"\x28\xb5\x2f\xfd", Some(Compressed("zstd"))),
            (b"x\x9c", Some(Compressed("deflate"))),
            (b"<html>", Some(Other)),
            (b"date: today", Some(Other)),
            (b"error: no", Some(Other)),
        ] {
            assert_eq!(opening(body), want, "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn lines_of_json_are_known_by_the_second() {
        let ms = Duration::from_millis;
        let look = |pieces: &[&str]| {
            let (mut lines, mut body) = (Lines::default(), Vec::new());
            pieces.iter().zip(1..).find_map(|(piece, at)| {
                let start = body.len();
                body.extend_from_slice(piece.as_bytes());
                lines.look(&body, start, ms(at))
            })
        };
        assert_eq!(look(&["{\"a\":1}\n{\"a\":2}\n"]), Some((8, ms(1))));
        assert_eq!(look(&["{\"a\":", "1}\n", "\n", "{"]), Some((8, ms(2))));
        assert_eq!(look(&["\n", "{}\n", "x"]), Some((4, ms(2))));
        assert_eq!(look(&["{\"a\":1}\n", " \n"]), None);
        assert_eq!(look(&["{\n", "\"a\":1}\n", "{}"]), None);
        assert_eq!(look(&["{\"a\":1}"]), None);
    }
}
