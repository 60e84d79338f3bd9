//! Server-sent events: bytes in, events out, however the bytes are cut.
//!
//! Knows nothing of JSON, of clocks, or of what an event means.
//! Lines may end in LF, CRLF or CR; comments, `id` and `retry` are skipped; the space after the colon is optional.
//!
//! Two habits of real servers are read beyond the standard, neither of which changes the meaning of a valid stream:
//! - Events that are separated by one line end instead of two: a `data` line that opens a JSON value directly after one that closed a JSON value starts a new event, since no JSON text continues that way.
//! - Lines of bare JSON objects without `data:`, which the standard would skip as unknown fields.

use std::fmt;

use memchr::memchr2;

/// Longest event, in bytes: far above any that an engine sends, log probabilities of a long prompt included.
pub const MAX_EVENT: usize = 64 << 20;

/// What is kept of an event that has not ended is more than the cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// The cap, in bytes.
    pub cap: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event of the stream is longer than {} MiB", self.cap >> 20)
    }
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of the `event` field; empty for the default type.
    pub kind: &'a [u8],
    /// The `data` lines, joined by LF.
    pub data: &'a [u8],
}

/// Cuts a byte stream into events.
#[derive(Debug)]
pub struct Reader {
    /// Most bytes that are kept.
    cap: usize,
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    /// `data` lines of the event under way.
    data: Vec<u8>,
    has_data: bool,
    kind: Vec<u8>,
    /// A CR was the last byte, so that a LF now belongs to it.
    after_cr: bool,
    /// The first line has been seen, so that no byte order mark can follow.
    begun: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self::with_cap(MAX_EVENT)
    }
}

impl Reader {
    /// A reader that keeps at most `cap` bytes of an event that has not ended.
    pub fn with_cap(cap: usize) -> Self {
        Self {
            cap,
            partial: Vec::new(),
            data: Vec::new(),
            has_data: false,
            kind: Vec::new(),
            after_cr: false,
            begun: false,
        }
    }

    /// Bytes that are kept of an event that has not ended.
    pub fn held(&self) -> usize {
        self.partial.len() + self.data.len() + self.kind.len()
    }

    /// Returns whether `more` bytes can be kept. Asked where memory grows, which no event does that lies whole in one
    /// chunk.
    fn room(&self, more: usize) -> Result<(), TooLong> {
        if self.held() + more > self.cap { Err(TooLong { cap: self.cap }) } else { Ok(()) }
    }

    /// Reads one chunk and hands each complete event to `on`.
    ///
    /// # Errors
    /// If an event is longer than the cap, or the first error of `on`; the reader is not to be used again.
    pub fn feed<E: From<TooLong>>(
        &mut self,
        mut chunk: &[u8],
        on: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            if self.after_cr && !chunk.is_empty() {
                self.after_cr = false;
                chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
            }
            let Some(end) = memchr2(b'\n', b'\r', chunk) else {
                self.room(chunk.len())?;
                self.partial.extend_from_slice(chunk);
                return Ok(());
            };
            let (line, rest) = (&chunk[..end], &chunk[end + 1..]);
            self.after_cr = chunk[end] == b'\r';
            chunk = rest;
            if self.partial.is_empty() {
                // The common event is one `data` line and its blank line in one read: nothing to copy.
                if let Some(value) = self.lone_data(line)
                    && let Some(after) = blank_line(chunk, self.after_cr)
                {
                    self.after_cr = false;
                    self.begun = true;
                    chunk = after;
                    let kind = std::mem::take(&mut self.kind);
                    if !value.is_empty() {
                        on(Event { kind: &kind, data: value })?;
                    }
                    continue;
                }
                self.line(line, on)?;
            } else {
                self.room(line.len())?;
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole, on)?;
                whole.clear();
                self.partial = whole;
            }
        }
    }

    /// Ends the stream: an event that lacks only its line ends is handed out as well.
    ///
    /// # Errors
    /// As for [`Self::feed`].
    pub fn finish<E: From<TooLong>>(
        &mut self,
        on: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let last = std::mem::take(&mut self.partial);
        if !last.is_empty() {
            self.line(&last, on)?;
        }
        self.dispatch(on)
    }

    /// The value of `line` if it is a `data` line that opens an event.
    fn lone_data<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        let value = line.strip_prefix(b"data:")?;
        (!self.has_data).then(|| value.strip_prefix(b" ").unwrap_or(value))
    }

    fn line<E: From<TooLong>>(
        &mut self,
        mut line: &[u8],
        on: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.begun {
            self.begun = true;
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(on);
        }
        if line[0] == b'{' {
            self.dispatch(on)?;
            return on(Event { kind: b"", data: line });
        }
        let colon = memchr::memchr(b':', line);
        let (field, value) = match colon {
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
            None => (line, &line[line.len()..]),
        };
        match field {
            b"data" => {
                if self.has_data {
                    if closes(&self.data) && opens(value) {
                        self.dispatch(on)?;
                    } else {
                        self.data.push(b'\n');
                    }
                }
                self.room(value.len())?;
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => {
                self.kind.clear();
                self.room(value.len())?;
                self.kind.extend_from_slice(value);
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch<E>(&mut self, on: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let result = if self.has_data && !self.data.is_empty() {
            on(Event { kind: &self.kind, data: &self.data })
        } else {
            Ok(())
        };
        self.has_data = false;
        self.data.clear();
        self.kind.clear();
        result
    }
}

/// Returns what follows if `rest` begins with the line end that makes a line blank.
fn blank_line(rest: &[u8], after_cr: bool) -> Option<&[u8]> {
    let rest = if after_cr { rest.strip_prefix(b"\n").unwrap_or(rest) } else { rest };
    match rest {
        // A CR alone at the end of the chunk may be half of a CRLF: left to the slow path.
        [b'\n', after @ ..] | [b'\r', b'\n', after @ ..] => Some(after),
        _ => None,
    }
}

fn closes(data: &[u8]) -> bool {
    let end = data.trim_ascii_end();
    end.ends_with(b"}") || end.ends_with(b"]")
}

fn opens(value: &[u8]) -> bool {
    let start = value.trim_ascii_start();
    start.starts_with(b"{") || start.starts_with(b"[")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut events = Vec::new();
        let mut reader = Reader::default();
        let mut on = |event: Event<'_>| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            events.push((text(event.kind), text(event.data)));
            Ok::<(), TooLong>(())
        };
        for chunk in chunks {
            reader.feed(chunk, &mut on).unwrap();
        }
        reader.finish(&mut on).unwrap();
        events
    }

    fn data(stream: &str) -> Vec<String> {
        read(&[stream.as_bytes()]).into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn legal_streams() {
        let cases: &[(&str, &[&str])] = &[
            ("data: a\n\ndata: b\n\n", &["a", "b"]),
            ("data:a\n\ndata:  b\n\n", &["a", " b"]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
            ("data: a\r\rdata: b\r\r", &["a", "b"]),
            (": ping\n\ndata: a\n\n:\n\n", &["a"]),
            ("id: 1\nretry: 5\ndata: a\nid: 2\n\n", &["a"]),
            ("data: a\ndata: b\n\n", &["a\nb"]),
            ("data\n\ndata: a\n\n", &["a"]),
            ("\u{feff}data: a\n\n", &["a"]),
            ("unknown: x\nnocolon\ndata: a\n\n", &["a"]),
            ("data: {\ndata: \"a\": 1}\n\n", &["{\n\"a\": 1}"]),
        ];
        for (stream, want) in cases {
            assert_eq!(data(stream), *want, "{stream:?}");
        }
    }

    #[test]
    fn streams_beyond_the_standard() {
        let cases: &[(&str, &[&str])] = &[
            ("data: a", &["a"]),
            ("data: a\n", &["a"]),
            (
                "data: {\"a\":1}\ndata: {\"a\":2}\ndata: [DONE]\n\n",
                &["{\"a\":1}", "{\"a\":2}", "[DONE]"],
            ),
            ("{\"a\":1}\n{\"a\":2}\n", &["{\"a\":1}", "{\"a\":2}"]),
        ];
        for (stream, want) in cases {
            assert_eq!(data(stream), *want, "{stream:?}");
        }
    }

    #[test]
    fn the_event_field_names_one_event_only() {
        let events = read(&[b"event: error\ndata: a\n\ndata: b\n\n"]);
        assert_eq!(events, [("error".into(), "a".into()), (String::new(), "b".into())]);
    }

    /// Feeds `chunks` to a reader that keeps little; how many events came before it had too much.
    fn capped(chunks: &[&[u8]]) -> (usize, bool) {
        let mut reader = Reader::with_cap(10);
        let mut events = 0;
        let mut on = |_: Event<'_>| {
            events += 1;
            Ok::<(), TooLong>(())
        };
        for chunk in chunks {
            if reader.feed(chunk, &mut on).is_err() {
                return (events, false);
            }
            assert!(reader.held() <= 10, "{}", reader.held());
        }
        let fits = reader.finish(&mut on).is_ok();
        (events, fits)
    }

    #[test]
    fn what_is_kept_has_a_cap() {
        for (chunks, want) in [
            // Nothing has to be kept of what lies whole in a chunk.
            (&[&b"data: 0123456789012345\n\ndata: a\n\n"[..]][..], (2, true)),
            (&[b"data: a\n\n", b"data: 0123456789012345"], (1, false)),
            (&[b"data", b": 01", b"2\n", b"\n"], (1, true)),
            (&[b"data", b": 01", b"23456"], (0, false)),
            (&[b"data: 01", b"23456\n\n"], (0, false)),
            // Several lines of one event count together, comments do not.
            (&[b"data: 01234\n", b"data: 56\n\n"], (1, true)),
            (&[b"data: 01234\n", b"data: 56789012\n\n"], (0, false)),
            (&[b": 0123456789\n", b": 0123456789\n", b"data: a\n\n"], (1, true)),
            (&[b"event: 01234567\n", b"data: 012", b"\n\n"], (0, false)),
            (&[b"event: 01234567890\n"], (0, false)),
        ] {
            assert_eq!(capped(chunks), want, "{chunks:?}");
        }
        assert_eq!(
            TooLong { cap: MAX_EVENT }.to_string(),
            "an event of the stream is longer than 64 MiB"
        );
    }

    fn line_end() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("\n"), Just("\r\n"), Just("\r")]
    }

    fn block() -> impl Strategy<Value = (Vec<String>, Option<String>)> {
        let payload = "[a-zé漢😀 \"\\\\{}:]{0,12}";
        (prop::collection::vec(payload, 0..3), prop::option::of("[a-z]{1,5}"))
    }

    proptest! {
        /// Forall event sequences, line ends and cuts: the pieces give the same events as the whole.
        #[test]
        fn any_cut_gives_the_same_events(
            blocks in prop::collection::vec((block(), line_end(), any::<bool>()), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut stream = String::new();
            for ((lines, kind), end, comment) in &blocks {
                if *comment {
                    stream += &format!(": note{end}");
                }
                if let Some(kind) = kind {
                    stream += &format!("event: {kind}{end}");
                }
                for line in lines {
                    stream += &format!("data: {line}{end}");
                }
                stream += end;
            }
            let bytes = stream.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let whole = read(&[bytes]);
            prop_assert_eq!(&read(&chunks), &whole);
            prop_assert_eq!(&read(&single), &whole);
        }

        /// Forall bytes: nothing panics, and one byte at a time gives what the whole gives.
        #[test]
        fn arbitrary_bytes_are_cut_the_same_way(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b'{'), Just(b'}'), Just(b' '), Just(b'd'), any::<u8>()], 0..200)) {
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(read(&single), read(&[&bytes[..]]));
        }
    }
}
