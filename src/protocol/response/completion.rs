//! One completion of a stream, by its events: its text, and where its count of tokens stands.

use super::manner::{Manner, Take};
use crate::protocol::backend::{End, Part, TextMode, repaired};
use crate::sys;

/// What the events so far have said of one completion.
#[derive(Default)]
pub(super) struct Completion {
    pub(super) text: String,
    /// The text as JSON writes it, where it is read only at the end.
    pub(super) escaped: Vec<u8>,
    /// Whether it had output.
    pub(super) begun: bool,
    /// Whether texts repeat all before them, where the protocol says so.
    manner: Manner,
    /// The server's count of its tokens.
    counted: Option<u64>,
    /// Whether that was told with the last output or after it.
    is_fresh: bool,
    /// Whether its count fell, or rose by more than can be.
    pub(super) is_odd: bool,
    /// Where the server's running count stood at the last event with output.
    pub(super) stepped: u64,
    /// Whether the server has a field that marks the end, and whether it did.
    pub(super) marks_end: bool,
    pub(super) finished: bool,
    /// Whether that was a stop.
    pub(super) stopped: bool,
}

impl Completion {
    /// The whole text, without memory for more.
    pub(super) fn into_text(mut self) -> String {
        self.text.shrink_to_fit();
        self.text
    }

    /// Returns how far the count beside an event with output rose above the one before; `None` if it is no running
    /// count.
    pub(super) fn rise(&mut self, total: u64) -> Option<u32> {
        let tokens = total.checked_sub(self.stepped).filter(|&tokens| tokens > 0 || self.begun)?;
        self.stepped = total;
        u32::try_from(tokens).ok()
    }

    /// Reserves room for `bytes` of text where `part` has its text.
    pub(super) fn reserve(&mut self, part: &Part<'_>, bytes: usize) {
        match part.escaped {
            Some(_) => self.escaped.reserve(bytes),
            None => self.text.reserve(bytes),
        }
    }

    /// Prefetches the places that the next text is compared with and goes to.
    pub(super) fn prefetch(&self) {
        sys::prefetch_end(self.text.as_bytes());
        sys::prefetch_end(&self.escaped);
    }

    /// Bytes of text that are kept of it.
    pub(super) fn kept(&self) -> usize {
        self.text.len() + self.escaped.len() + self.manner.kept()
    }

    /// Takes the count that an event tells, which has output or not.
    pub(super) fn count(&mut self, told: Option<u64>, has_output: bool) {
        if told.is_some() {
            self.is_odd |= told < self.counted;
            self.counted = told;
            self.is_fresh = true;
        } else if has_output {
            self.is_fresh = false;
        }
    }

    /// The server's count of its tokens.
    pub(super) fn counted(&self) -> Option<u64> {
        self.counted
    }

    /// Returns whether that count is one of all its output, as far as can be seen.
    pub(super) fn is_counted(&self) -> bool {
        !self.begun || (self.counted.is_some() && self.is_fresh && !self.is_odd)
    }

    /// Bytes of memory that it has.
    pub(super) fn heap(&self) -> usize {
        self.text.capacity() + self.escaped.capacity()
    }

    /// Forgets the text after `end`, and all that was not read yet.
    pub(super) fn shorten(&mut self, end: usize) {
        self.text.truncate(self.text.floor_char_boundary(end));
        self.text.shrink_to_fit();
        self.escaped = Vec::new();
    }

    /// Keeps a text that repeats the one before and goes on, without reading what is known already.
    fn take_escaped(&mut self, text: &[u8], is_new: bool, end: End) {
        /// Bytes before the new ones that are compared: what a detokenizer takes back is shorter.
        const SEAM: usize = 16;
        match self.manner.weigh(&self.escaped, text, is_new, end.is_over()) {
            Take::Anew(before) => self.escaped = before,
            Take::After => {}
            Take::Instead => {
                let kept = self.escaped.len();
                let seam = kept.saturating_sub(SEAM)..kept;
                if end == End::Open && text.get(seam.clone()) == self.escaped.get(seam) {
                    self.escaped.extend_from_slice(&text[kept..]);
                    return;
                }
                self.escaped.clear();
            }
        }
        self.escaped.extend_from_slice(text);
    }

    /// Reads the text that was kept as JSON writes it.
    pub(super) fn read_escaped(&mut self) -> Result<(), serde_json::Error> {
        let (escaped, joined) = (std::mem::take(&mut self.escaped), self.manner.settle());
        if !escaped.is_empty() {
            self.text = unescaped(joined.as_deref().unwrap_or(&escaped))?;
        } else if let Some(joined) = joined {
            self.text = String::from_utf8_lossy(&joined).into_owned();
        }
        Ok(())
    }

    /// Takes the text of `part`, which comes after what was taken before or in its place; `is_new` says whether it
    /// brought tokens.
    pub(super) fn take_text(&mut self, part: &Part<'_>, is_new: bool) {
        let is_last = part.end.is_over();
        match (part.escaped, part.mode) {
            // A stream is written in one way, but for a server that changes it: then all of it is read at once.
            (Some(text), _) if self.text.is_empty() => {
                self.take_escaped(text, is_new, part.end);
            }
            (Some(text), _) => {
                let text = unescaped(text).unwrap_or_default();
                self.take_repeated(&text, is_new, is_last);
            }
            (None, TextMode::Replace) => self.take_repeated(&part.text, is_new, is_last),
            (None, TextMode::Append) => self.text.push_str(&part.text),
        }
    }

    fn take_repeated(&mut self, text: &str, is_new: bool, is_last: bool) {
        if !self.escaped.is_empty() {
            self.text = unescaped(&std::mem::take(&mut self.escaped)).unwrap_or_default();
            self.manner.rewrite(|joined| unescaped(joined).unwrap_or_default().into_bytes());
        }
        match self.manner.weigh(self.text.as_bytes(), text.as_bytes(), is_new, is_last) {
            Take::After => {}
            Take::Instead => self.text.clear(),
            Take::Anew(before) => self.text = String::from_utf8_lossy(&before).into_owned(),
        }
        self.text.push_str(text);
    }
}

/// The text that stands between the quotes of a JSON string.
fn unescaped(text: &[u8]) -> Result<String, serde_json::Error> {
    let quoted = [b"\"".as_slice(), text, b"\""].concat();
    serde_json::from_slice(&quoted)
        .or_else(|error| repaired(&quoted).map_or(Err(error), |json| serde_json::from_slice(&json)))
}
