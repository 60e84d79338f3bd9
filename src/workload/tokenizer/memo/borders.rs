//! Where a text may be cut without changing what it encodes to.

/// The places where all patterns of the byte-level family begin a new match.
///
/// - Before a space that follows something else, and before a line end that follows a letter or digit.
/// - Before the last of several spaces that a letter or mark follows: they take it along.
/// - Behind a single line end.
/// - Between a letter or digit and a mark.
///
/// What follows must not be what an added token begins with where that would end a piece, and no border lies inside an
/// added token.
pub(super) struct Borders {
    /// Marks before which a text may be cut behind a letter or digit.
    marks: [bool; 256],
    /// What takes along one of several spaces before it.
    takers: [bool; 256],
    /// Whether added tokens begin with neither space nor letter, so that words have none.
    plain: bool,
}

impl Borders {
    /// Borders that lie in none of the added tokens; `None` if those have white space inside.
    pub(super) fn around<'a>(added: impl Iterator<Item = &'a str>) -> Option<Self> {
        let ascii = |test: fn(&u8) -> bool| {
            std::array::from_fn(|at| u8::try_from(at).is_ok_and(|byte| test(&byte)))
        };
        let mut borders = Self {
            marks: ascii(u8::is_ascii_punctuation),
            takers: ascii(|b| b.is_ascii_alphabetic() || b.is_ascii_punctuation()),
            plain: true,
        };
        // Contractions are words of their own for some patterns and the end of a word for others.
        borders.marks[usize::from(b'\'')] = false;
        for token in added {
            if token.contains(char::is_whitespace) {
                return None;
            }
            let bytes = token.as_bytes();
            if let Some(&first) = bytes.first() {
                borders.takers[usize::from(first)] = false;
                borders.plain &= !first.is_ascii_alphabetic();
            }
            for pair in bytes.windows(2).filter(|pair| pair[0].is_ascii_alphanumeric()) {
                borders.marks[usize::from(pair[1])] = false;
            }
        }
        Some(borders)
    }

    /// The parts of a text, none of them empty.
    pub(super) fn parts<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let mut start = 0;
        let borders = (1..text.len()).filter(|&at| self.is_border(text, at));
        borders
            .chain((!text.is_empty()).then_some(text.len()))
            .map(move |end| &text[std::mem::replace(&mut start, end)..end])
    }

    /// Whether a text may be cut before the byte at `at`, which is not the first.
    #[inline]
    fn is_border(&self, text: &str, at: usize) -> bool {
        let bytes = text.as_bytes();
        let (before, byte) = (bytes[at - 1], bytes[at]);
        match byte {
            b' ' if before.is_ascii_graphic() => true,
            b' ' if before.is_ascii_whitespace() => {
                bytes.get(at + 1).is_some_and(|&next| self.takers[usize::from(next)])
            }
            b' ' => {
                text[..at].chars().next_back().is_some_and(|c| !c.is_ascii() && c.is_alphanumeric())
            }
            // Some patterns take line ends together with the marks before them.
            b'\n' => before.is_ascii_alphanumeric(),
            // And some a slash behind the line end.
            _ if before == b'\n' => {
                at > 1
                    && bytes[at - 2].is_ascii_graphic()
                    && byte.is_ascii_graphic()
                    && byte != b'/'
            }
            _ => self.marks[usize::from(byte)] && before.is_ascii_alphanumeric(),
        }
    }

    /// Whether a part is one piece for each pattern: letters of which only the first is a capital, and a space before them.
    pub(super) fn is_word(&self, part: &str) -> bool {
        let letters = part.strip_prefix(' ').unwrap_or(part).as_bytes();
        self.plain
            && letters.first().is_some_and(u8::is_ascii_alphabetic)
            && letters.len() > 1
            && letters[1..].iter().all(u8::is_ascii_lowercase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_where_no_word_goes_on() {
        let borders = Borders::around(["<|im_end|>"].into_iter()).unwrap();
        let cut = |text| borders.parts(text).collect::<Vec<_>>();
        assert_eq!(
            cut("one two,  three\n\nfour.\nfive(six_7)\n    x <|im_end|>"),
            [
                "one",
                " two",
                ",",
                " ",
                " three",
                "\n\nfour",
                ".\n",
                "five",
                "(six_7",
                ")\n   ",
                " x",
                " <|im_end|>"
            ]
        );
        // Words of Latin and other letters; a space that does not break; an added token that begins a piece.
        assert_eq!(cut("é ж\u{a0} x  <|"), ["é", " ж\u{a0} x", "  <|"]);
        assert_eq!(cut("don't"), ["don't"]);
        assert_eq!(cut(" a"), [" a"]);
        assert!(cut("").is_empty());
        assert!(Borders::around(["two words"].into_iter()).is_none());
    }

    #[test]
    fn words_are_one_piece() {
        let word =
            |added: &'static str, part| Borders::around([added].into_iter()).unwrap().is_word(part);
        for part in [" word", "Word", "an"] {
            assert!(word("<s>", part), "{part}");
            assert!(!word("word", part), "{part}");
        }
        for part in ["WORD", "aB", " x1", " ", "", "  ab", "a", "é"] {
            assert!(!word("<s>", part), "{part}");
        }
    }
}
