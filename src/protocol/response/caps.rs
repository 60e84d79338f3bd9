//! How long an answer may be: far longer than was asked for, and no longer than that.
//!
//! A server that sends without end, or a thousand times what was asked for, does not answer; to keep what it sends would
//! take the memory that other answers need. Servers that ignore the length that was asked for stay below these caps.

use super::{MAX_BODY, MAX_TEXT};
use crate::model::{Asked, MAX_TOKENS};
use crate::protocol::sse;

/// Events with output, and bytes of text, for each token that was asked for.
const EVENTS_EACH: u64 = 64;
const TEXT_EACH: u64 = 256;

/// The same whatever was asked for.
const EVENTS_LEAST: u64 = 1 << 16;
const TEXT_LEAST: u64 = 1 << 20;

/// Bytes of one event, or of a body in one piece, for each token that was asked for and for each byte of the request,
/// and whatever was asked for: they have more in them than text.
const BODY_EACH: u64 = 4 << 10;
const BODY_OF_REQUEST: u64 = 64;
const BODY_LEAST: u64 = 4 << 20;

/// Returns whether an answer with so much text and so many events is within its caps, whatever was asked for.
#[inline]
pub(super) fn allow_any(text: usize, events: u64) -> bool {
    text as u64 <= TEXT_LEAST && events <= EVENTS_LEAST
}

/// The caps of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caps {
    /// Events with output.
    pub(super) events: u64,
    /// Bytes of text, over all completions.
    pub(super) text: usize,
    /// Bytes of a body in one piece.
    pub(super) body: usize,
    /// Bytes of one event.
    pub(super) event: usize,
    /// Tokens that were asked for, of all completions, if that is what sets the caps.
    tokens: Option<u64>,
}

impl Default for Caps {
    /// Those of any answer.
    fn default() -> Self {
        Self {
            events: MAX_TOKENS,
            text: MAX_TEXT,
            body: MAX_BODY,
            event: sse::MAX_EVENT,
            tokens: None,
        }
    }
}

impl Caps {
    /// Those of an answer to a request with a body of `request` bytes that asks for this.
    pub(super) fn of(asked: Asked, request: usize) -> Self {
        let any = Self::default();
        let Some(tokens) = asked.tokens else { return any };
        let tokens = tokens.saturating_mul(asked.completions.map_or(1, u64::from).max(1));
        let most = |least: u64, each: u64| least.saturating_add(tokens.saturating_mul(each));
        let bytes = |most: u64, any: usize| usize::try_from(most).unwrap_or(any).min(any);
        let of_request = (request as u64).saturating_mul(BODY_OF_REQUEST);
        let body = most(BODY_LEAST, BODY_EACH).saturating_add(of_request);
        // What else was asked for has no length that is known.
        let body = |any| if asked.is_text_alone { bytes(body, any) } else { any };
        Self {
            events: most(EVENTS_LEAST, EVENTS_EACH).min(any.events),
            text: bytes(most(TEXT_LEAST, TEXT_EACH), any.text),
            body: body(any.body),
            event: body(any.event),
            tokens: Some(tokens),
        }
    }

    /// Why an answer that has more than `cap` of `what` is cut.
    pub(super) fn reason(&self, what: &str, cap: u64) -> String {
        match self.tokens {
            Some(tokens) => format!(
                "the answer is cut, being far beyond the {tokens} tokens that were asked for: it has more than {cap} {what}"
            ),
            None => format!("the response has more than {cap} {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_grow_with_what_is_asked_for() {
        let asked = |tokens, is_text_alone| Asked {
            completions: Some(2),
            tokens,
            is_text_alone,
            ..Asked::default()
        };
        let caps = Caps::of(asked(Some(100), true), 1000);
        assert_eq!((caps.events, caps.text), (65_536 + 12_800, (1 << 20) + 51_200));
        assert_eq!((caps.body, caps.event), ((4 << 20) + 883_200, (4 << 20) + 883_200));
        let caps = Caps::of(asked(Some(100), false), 1000);
        assert_eq!((caps.body, caps.event), (MAX_BODY, sse::MAX_EVENT));
        assert_eq!(Caps::of(asked(None, true), 1000), Caps::default());
        let caps = Caps::of(asked(Some(u64::MAX), true), usize::MAX);
        assert_eq!(Caps { tokens: None, ..caps }, Caps::default());
    }
}
