//! Whether the texts of a stream repeat all before them, as its protocol says, or are pieces, which some servers send all
//! the same.
//!
//! A text that does not go on from the one before is a piece. One that goes on, twice, tells that texts repeat. Texts that
//! are all alike tell nothing: at the end they are pieces, unless one was told again that brought no token.

/// Texts that have to go on from the one before.
const GROWN: u8 = 2;

/// What was found out of the texts of one completion.
#[derive(Debug, Default)]
pub(super) enum Manner {
    /// There was none.
    #[default]
    Fresh,
    /// They may be either.
    Open(Box<Open>),
    Repeats,
    Pieces,
}

/// The texts so far, where it is not known what they are.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Texts that went on from the one before.
    grown: u8,
    /// Length of the first text.
    first: usize,
    /// All texts, one after the other, as long as they may be pieces.
    joined: Vec<u8>,
}

/// What to do with a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// It comes after what was kept.
    After,
    /// It comes in the place of what was kept.
    Instead,
    /// It comes after these bytes, which come in the place of what was kept.
    Anew(Vec<u8>),
}

impl Manner {
    /// Returns what to do with `text`, which comes after `kept`; `is_new` says whether it brought tokens, and `is_last`
    /// whether it is the last, which may be shorter.
    pub(super) fn weigh(&mut self, kept: &[u8], text: &[u8], is_new: bool, is_last: bool) -> Take {
        let open = match self {
            Self::Repeats => return Take::Instead,
            Self::Pieces => return Take::After,
            Self::Fresh => {
                if !text.is_empty() {
                    let open = Open { grown: 0, first: text.len(), joined: text.to_vec() };
                    *self = Self::Open(Box::new(open));
                }
                return Take::Instead;
            }
            Self::Open(open) => open,
        };
        let goes_on = text.starts_with(unbroken(kept));
        if goes_on && text.len() > kept.len() {
            open.grown += 1;
        }
        let is_cut = is_last && open.grown > 0 && kept.starts_with(text);
        if open.grown >= GROWN || is_cut || (text == kept && !is_new) {
            *self = Self::Repeats;
        } else if goes_on {
            open.joined.extend_from_slice(text);
        } else {
            let joined = std::mem::take(&mut open.joined);
            *self = Self::Pieces;
            return Take::Anew(joined);
        }
        Take::Instead
    }

    /// Rewrites the texts that may be pieces.
    pub(super) fn rewrite(&mut self, write: impl FnOnce(&[u8]) -> Vec<u8>) {
        if let Self::Open(open) = self {
            open.joined = write(&open.joined);
        }
    }

    /// Bytes that are kept.
    pub(super) fn kept(&self) -> usize {
        if let Self::Open(open) = self { open.joined.len() } else { 0 }
    }

    /// The texts one after the other, if they are pieces for all that is known at the end.
    pub(super) fn settle(&mut self) -> Option<Vec<u8>> {
        match std::mem::take(self) {
            Self::Open(open) if open.grown == 0 && open.joined.len() > open.first => {
                Some(open.joined)
            }
            Self::Open(_) => None,
            known => {
                *self = known;
                None
            }
        }
    }
}

/// `text` without the end of it that stands for a character that has not come whole.
fn unbroken(mut text: &[u8]) -> &[u8] {
    while let Some(whole) =
        text.strip_suffix("\u{fffd}".as_bytes()).or_else(|| text.strip_suffix(b"\\ufffd"))
    {
        text = whole;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that comes of `texts`, each of which brought a token unless it begins with `=`.
    fn read(texts: &[&str]) -> String {
        let mut manner = Manner::default();
        let mut kept = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            let (is_new, text) =
                text.strip_prefix('=').map_or((true, *text), |again| (false, again));
            match manner.weigh(&kept, text.as_bytes(), is_new, i + 1 == texts.len()) {
                Take::After => {}
                Take::Instead => kept.clear(),
                Take::Anew(before) => kept = before,
            }
            kept.extend_from_slice(text.as_bytes());
        }
        String::from_utf8(manner.settle().unwrap_or(kept)).unwrap()
    }

    #[test]
    fn texts_that_repeat_and_pieces() {
        for (texts, want) in [
            (&["a"][..], "a"),
            (&["a", "ab"], "ab"),
            (&["a", "ab", "abc", "abcd"], "abcd"),
            (&["a\u{fffd}", "aé", "aé!"], "aé!"),
            (&["a", "ab", "abc", "abX", "abXd"], "abXd"),
            (&["a", "ab", "ab", "abc", "abc"], "abc"),
            (&["a b STOP", "a b STOP x", "a b STOP"], "a b STOP"),
            (&["a", "=a"], "a"),
            (&["a", "a", "=a"], "a"),
            (&["a", "b", "c"], "abc"),
            (&["a", "b", "a"], "aba"),
            (&[" the", " the", " the"], " the the the"),
            (&[" the", " the", " cat", " the"], " the the cat the"),
            (&[" the", " then", " there"], " the then there"),
            (&["the", "t"], "thet"),
        ] {
            assert_eq!(read(texts), want, "{texts:?}");
        }
    }
}
