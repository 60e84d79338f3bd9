//! Finds texts in whatever form they are written: with any of their characters escaped as JSON, URLs, forms and HTML do,
//! and as any part of a text in base64.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter pieces of base64 are not looked for: they are parts of words.
const SHORTEST_PIECE: usize = 8;

/// A text that is looked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    bytes: Vec<u8>,
    /// Whether it may be a word of rbench's own as well.
    is_word: bool,
}

/// Texts that are looked for, in all their forms.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Matcher {
    patterns: Vec<Pattern>,
    /// By first byte, the patterns.
    first: Vec<Vec<u16>>,
}

/// Where a text was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// How far a pattern fits.
enum Fit {
    /// To its end, up to this place of the text.
    Whole(usize),
    /// To the end of the text, with so many bytes of the pattern.
    Begun(usize),
    No,
}

/// One byte of a text, or what stands for some.
struct Unit {
    bytes: [u8; 4],
    n: usize,
    /// Bytes of the text that it takes.
    taken: usize,
}

impl Unit {
    fn of(c: char, taken: usize) -> Self {
        let mut bytes = [0; 4];
        let n = c.encode_utf8(&mut bytes).len();
        Self { bytes, n, taken }
    }

    fn byte(byte: u8, taken: usize) -> Self {
        Self { bytes: [byte, 0, 0, 0], n: 1, taken }
    }
}

impl Matcher {
    /// Looks for `texts`, each with whether it may be a word of rbench's own.
    pub(super) fn new(texts: impl IntoIterator<Item = (String, bool)>) -> Self {
        let mut patterns = Vec::new();
        for (text, is_word) in texts {
            for bytes in pieces(text.as_bytes()) {
                patterns.push(Pattern { bytes, is_word: false });
            }
            patterns.push(Pattern { bytes: text.into_bytes(), is_word });
        }
        patterns.sort();
        patterns.dedup_by(|b, a| a.bytes == b.bytes);
        // More than that nobody has; those that are left out are the last by the alphabet.
        patterns.truncate(usize::from(u16::MAX));
        let mut first = vec![Vec::new(); 256];
        for (i, pattern) in (0..=u16::MAX).zip(&patterns) {
            if let Some(byte) = pattern.bytes.first() {
                first[usize::from(*byte)].push(i);
            }
        }
        Self { patterns, first }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The first place at or after `from` where one of the texts stands in `text`, and the longest there.
    /// With `shortest`, also one that is cut by the end of `text` after so many bytes.
    /// Those that may be words are looked for with `words` alone.
    pub(super) fn find(
        &self,
        text: &[u8],
        from: usize,
        words: bool,
        shortest: Option<usize>,
    ) -> Option<Found> {
        let mut at = from;
        while at < text.len() {
            let byte = text[at];
            let mut end = self.longest(text, at, at, byte, words, shortest);
            let mut step = 1;
            if let Some(Unit { bytes, .. }) = unit(text, at) {
                end = end.max(self.longest(text, at, at, bytes[0], words, shortest));
            }
            if byte == b'\\' {
                // A run of them is looked at once.
                step = text[at..].iter().take_while(|byte| **byte == b'\\').count();
                // The character of an escape such as \n may as well be the first of a text after a backslash.
                if let Some(&next) = text.get(at + step) {
                    end = end.max(self.longest(text, at, at + step, next, words, shortest));
                }
            }
            if let Some(end) = end {
                return Some(Found { start: at, end });
            }
            at += step;
        }
        None
    }

    /// The end of the longest text that stands at `at` and begins with `byte`.
    fn longest(
        &self,
        text: &[u8],
        start: usize,
        at: usize,
        byte: u8,
        words: bool,
        shortest: Option<usize>,
    ) -> Option<usize> {
        let candidates = self.first.get(usize::from(byte))?.iter();
        let patterns = candidates.map(|&i| &self.patterns[usize::from(i)]);
        let ends = patterns.filter(|pattern| words || !pattern.is_word).filter_map(|pattern| {
            match fits(text, at, &pattern.bytes) {
                Fit::Whole(end) => Some(end),
                Fit::Begun(n) if shortest.is_some_and(|shortest| n >= shortest) => Some(text.len()),
                Fit::Begun(_) | Fit::No => None,
            }
        });
        ends.filter(|end| *end > start).max()
    }
}

/// How far `pattern` stands at `at` of `text`.
fn fits(text: &[u8], mut at: usize, pattern: &[u8]) -> Fit {
    let mut done = 0;
    while done < pattern.len() {
        let rest = &pattern[done..];
        let Some(&byte) = text.get(at) else { return Fit::Begun(done) };
        let escape = unit(text, at).filter(|unit| rest.starts_with(&unit.bytes[..unit.n]));
        if byte == rest[0] {
            // A backslash or a percent sign of the text itself, or the beginning of an escape.
            if let Some(escape) = escape
                && let Fit::Whole(end) = fits(text, at + escape.taken, &rest[escape.n..])
            {
                return Fit::Whole(end);
            }
            if is_cut(&text[at..]) && matches!(fits(text, at + 1, &rest[1..]), Fit::No) {
                return Fit::Begun(done);
            }
            (at, done) = (at + 1, done + 1);
        } else if let Some(escape) = escape {
            (at, done) = (at + escape.taken, done + escape.n);
        } else if byte == b'+' && rest[0] == b' ' {
            (at, done) = (at + 1, done + 1);
        } else if is_cut(&text[at..]) {
            return Fit::Begun(done);
        } else {
            return Fit::No;
        }
    }
    Fit::Whole(at)
}

/// Whether `rest` may be an escape that the end of the text has cut.
fn is_cut(rest: &[u8]) -> bool {
    const LONGEST: usize = 8;
    rest.len() < LONGEST
        && matches!(rest[0], b'\\' | b'%' | b'&')
        && rest[1..].iter().all(|byte| byte.is_ascii_alphanumeric() || b"\\%#".contains(byte))
}

/// What an escape at `at` stands for.
fn unit(text: &[u8], at: usize) -> Option<Unit> {
    match text.get(at)? {
        b'\\' => backslash(text, at),
        b'%' => percent(text, at),
        b'&' => entity(text, at),
        _ => None,
    }
}

fn hex(text: &[u8], at: usize, digits: usize) -> Option<u32> {
    let digits = std::str::from_utf8(text.get(at..at + digits)?).ok()?;
    // A sign is no digit.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
    u32::from_str_radix(digits, 16).ok()
}

/// `\/`, `\"`, `\u003d`, `\x3d`, with as many backslashes as texts within texts give them.
fn backslash(text: &[u8], at: usize) -> Option<Unit> {
    let run = text[at..].iter().take_while(|byte| **byte == b'\\').count();
    let next = at + run;
    match *text.get(next).unwrap_or(&b'\\') {
        b'u' => {
            let high = hex(text, next + 1, 4)?;
            if let Some(c) = char::from_u32(high) {
                return Some(Unit::of(c, run + 5));
            }
            // Half a surrogate pair; the other half is written likewise.
            let low = next + 5 + run;
            let low = (text.get(low) == Some(&b'u')).then(|| hex(text, low + 1, 4)).flatten()?;
            let pair = [u16::try_from(high).ok()?, u16::try_from(low).ok()?];
            let c = char::decode_utf16(pair).next()?.ok()?;
            Some(Unit::of(c, 2 * (run + 5)))
        }
        b'x' => Some(Unit::byte(u8::try_from(hex(text, next + 1, 2)?).ok()?, run + 3)),
        b'\\' => (run > 1).then(|| Unit::byte(b'\\', run)),
        byte if byte.is_ascii_punctuation() => {
            // A backslash before another character is one of the text itself, written twice.
            Some(Unit::byte(byte, run + 1))
        }
        _ => (run > 1).then(|| Unit::byte(b'\\', run)),
    }
}

/// `%3D`, and `%253D`, which was encoded twice.
fn percent(text: &[u8], at: usize) -> Option<Unit> {
    let mut digits = at + 1;
    while text.get(digits..digits + 2) == Some(b"25") && hex(text, digits + 2, 2).is_some() {
        digits += 2;
    }
    let byte = u8::try_from(hex(text, digits, 2)?).ok()?;
    Some(Unit::byte(byte, digits + 2 - at))
}

/// `&amp;`, `&#61;`, `&#x3D;`, and `&amp;#61;`, which was encoded twice.
fn entity(text: &[u8], at: usize) -> Option<Unit> {
    const NAMES: &[(&str, char)] = &[
        ("amp", '&'),
        ("apos", '\''),
        ("colon", ':'),
        ("commat", '@'),
        ("equals", '='),
        ("gt", '>'),
        ("lt", '<'),
        ("num", '#'),
        ("percnt", '%'),
        ("plus", '+'),
        ("quot", '"'),
        ("sol", '/'),
    ];
    const LONGEST: usize = 10;
    let mut name = at + 1;
    let inner = |name: usize| {
        let rest = text.get(name..)?;
        let end = rest.iter().take(LONGEST).position(|byte| *byte == b';')?;
        Some((std::str::from_utf8(&rest[..end]).ok()?, name + end + 1))
    };
    let read = |name: usize| {
        let (word, end) = inner(name)?;
        let c = match word.strip_prefix('#') {
            Some(number) => char::from_u32(match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            })?,
            None => NAMES.iter().find(|(known, _)| *known == word)?.1,
        };
        Some((c, end))
    };
    while text[name..].starts_with(b"amp;") && read(name + 4).is_some() {
        name += 4;
    }
    let (c, end) = read(name)?;
    Some(Unit::of(c, end - at))
}

/// What of `text` in base64 does not depend on what stands before and after it, for the three ways in which it may lie
/// among groups of three bytes, in both alphabets.
fn pieces(text: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    for before in 0..3 {
        let mut whole = vec![0; before];
        whole.extend(text);
        // The first characters have bits of what stands before, the last ones of what follows.
        let start = (before * 8).div_ceil(6);
        let end = whole.len() * 8 / 6;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&whole);
            let piece = encoded.as_bytes().get(start..end).unwrap_or_default();
            if piece.len() >= SHORTEST_PIECE {
                pieces.push(piece.to_vec());
            }
        }
    }
    pieces
}
