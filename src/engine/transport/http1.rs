//! The responses of HTTP/1.1: bytes in, head and body out, however the bytes are cut.
//!
//! Has no socket and no clock. The body is handed out as slices of what was fed; only a head that is cut is copied.

use std::time::Duration;

use super::http2::begins_http2;
use super::message::{Head, MAX_HEAD, MAX_INTERIM, MAX_REASON, Malformed, Part, redirected};

/// A head of up to so many bytes is read anew with each piece that arrives of it.
const SHORT_HEAD: usize = 1024;

/// Most fields of a head.
const MAX_FIELDS: usize = 128;

/// Longest line that tells the size of a chunk, and longest trailer, in bytes. Neither is kept.
const MAX_CHUNK_LINE: usize = 16 * 1024;

/// Reads one response after the other.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
    /// The beginning of a head whose end has not arrived.
    partial: Vec<u8>,
    /// Interim responses before the response under way.
    interim: u8,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// Bytes left.
    Fixed(u64),
    Chunked(Chunk),
    UntilClose,
    Ended,
}

/// Where in a chunked body the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// In the size, which has so far this value and this many digits.
    Size(u64, u8),
    /// After the size, in a line of this many bytes so far.
    Extension(u64, usize),
    /// At the line feed after the size.
    SizeEnd(u64),
    /// In the data, bytes left.
    Data(u64),
    /// At the carriage return after the data.
    DataReturn,
    /// At the line feed after the data.
    DataEnd,
    /// In the trailer: bytes of it so far, bytes of this line so far.
    Trailer(usize, usize),
}

impl Reader {
    /// Reads `bytes` up to the end of the response, hands its parts to `on`, and returns how many bytes it took.
    ///
    /// After an end the next call begins the next response.
    ///
    /// # Errors
    /// If the bytes are no response, or the first error of `on`; the reader is not to be used again.
    pub fn feed<E: From<Malformed>>(
        &mut self,
        bytes: &[u8],
        on: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        if self.state == State::Ended {
            self.state = State::Head;
        }
        let mut at = 0;
        loop {
            match self.state {
                State::Ended => return Ok(at),
                State::Head => {
                    if at == bytes.len() {
                        return Ok(at);
                    }
                    at += self.head(&bytes[at..], on)?;
                }
                State::Fixed(0) => {
                    self.state = State::Ended;
                    on(Part::End)?;
                }
                _ if at == bytes.len() => return Ok(at),
                State::Fixed(left) => {
                    let n = clamp(left, bytes.len() - at);
                    self.state = State::Fixed(left - n as u64);
                    on(Part::Body(&bytes[at..at + n]))?;
                    at += n;
                }
                State::UntilClose => {
                    on(Part::Body(&bytes[at..]))?;
                    return Ok(bytes.len());
                }
                State::Chunked(Chunk::Size(0, 0)) => {
                    let took = whole_chunks(&bytes[at..], on)?;
                    at += took;
                    if took == 0 {
                        at += self.chunk(Chunk::Size(0, 0), &bytes[at..], on)?;
                    }
                }
                State::Chunked(chunk) => at += self.chunk(chunk, &bytes[at..], on)?,
            }
        }
    }

    /// The connection was closed: whether that is the proper end of the response.
    pub fn close(&mut self) -> bool {
        match self.state {
            State::UntilClose => {
                self.state = State::Ended;
                true
            }
            _ => false,
        }
    }

    /// Bytes that are kept of a head that has not ended.
    pub fn held(&self) -> usize {
        self.partial.len()
    }

    /// Returns whether any byte of a response that has not ended was read, interim responses before it included.
    pub fn begun(&self) -> bool {
        !self.partial.is_empty()
            || self.interim > 0
            || !matches!(self.state, State::Head | State::Ended)
    }

    /// Reads the head, or keeps its beginning; returns how many bytes it took.
    fn head<E: From<Malformed>>(
        &mut self,
        bytes: &[u8],
        on: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let kept = self.partial.len();
        // What cannot belong to the longest head is not looked at.
        let new = &bytes[..bytes.len().min(MAX_HEAD + 1 - kept)];
        let parsed = if kept == 0 {
            parse_head(new)?
        } else {
            self.partial.extend_from_slice(new);
            // Heads end with their lines: a long one that comes byte by byte is not read again for each of them.
            if kept < SHORT_HEAD || new.contains(&b'\n') {
                parse_head(&self.partial)?
            } else {
                None
            }
        };
        let Some(Opened { len, real }) = parsed.filter(|opened| opened.len <= MAX_HEAD) else {
            if kept + new.len() > MAX_HEAD {
                return Err(Malformed::LongHead.into());
            }
            if kept == 0 {
                self.partial.extend_from_slice(new);
            }
            return Ok(bytes.len());
        };
        self.partial.clear();
        if let Some((head, state)) = real {
            self.interim = 0;
            self.state = state;
            on(Part::Head(head))?;
        } else if self.interim == MAX_INTERIM {
            return Err(Malformed::Interim.into());
        } else {
            self.interim += 1;
        }
        // What was kept held no whole head, so the head ends within the new bytes.
        Ok(len.saturating_sub(kept))
    }

    /// Reads on in a chunked body; returns how many bytes it took, at least one.
    fn chunk<E: From<Malformed>>(
        &mut self,
        chunk: Chunk,
        bytes: &[u8],
        on: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let first = bytes[0];
        let (next, took) = match chunk {
            Chunk::Size(value, digits) => (size_digit(value, digits, first)?, 1),
            Chunk::Extension(size, _) if first == b'\n' => (after_size(size), 1),
            Chunk::Extension(_, MAX_CHUNK_LINE) => return Err(Malformed::Chunk.into()),
            Chunk::Extension(size, len) => (Chunk::Extension(size, len + 1), 1),
            Chunk::SizeEnd(size) if first == b'\n' => (after_size(size), 1),
            Chunk::Data(left) => {
                let n = clamp(left, bytes.len());
                on(Part::Body(&bytes[..n]))?;
                let left = left - n as u64;
                (if left == 0 { Chunk::DataReturn } else { Chunk::Data(left) }, n)
            }
            Chunk::DataReturn if first == b'\r' => (Chunk::DataEnd, 1),
            Chunk::DataReturn | Chunk::DataEnd if first == b'\n' => (Chunk::Size(0, 0), 1),
            Chunk::Trailer(_, 0) if first == b'\n' => {
                self.state = State::Ended;
                on(Part::End)?;
                return Ok(1);
            }
            Chunk::Trailer(MAX_CHUNK_LINE, _)
            | Chunk::SizeEnd(_)
            | Chunk::DataReturn
            | Chunk::DataEnd => return Err(Malformed::Chunk.into()),
            Chunk::Trailer(all, _) if first == b'\n' => (Chunk::Trailer(all + 1, 0), 1),
            // A carriage return alone does not make a line.
            Chunk::Trailer(all, line) if first == b'\r' => (Chunk::Trailer(all + 1, line), 1),
            Chunk::Trailer(all, line) => (Chunk::Trailer(all + 1, line + 1), 1),
        };
        self.state = State::Chunked(next);
        Ok(took)
    }
}

/// Hands on the chunks that `bytes` begin with, as far as they are whole and written plainly;
/// returns how many bytes they take. What servers nearly always send.
fn whole_chunks<E>(
    bytes: &[u8],
    on: &mut impl FnMut(Part<'_>) -> Result<(), E>,
) -> Result<usize, E> {
    /// Digits of a size that are read here; longer ones are left to the state machine.
    const DIGITS: usize = 6;
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let (mut size, mut digits) = (0_usize, 0);
        while let Some(digit) = rest.get(digits).and_then(|&byte| char::from(byte).to_digit(16)) {
            size = size << 4 | digit as usize;
            digits += 1;
            if digits > DIGITS {
                return Ok(at);
            }
        }
        let start = digits + 2;
        let (Some(b"\r\n"), Some(b"\r\n"), 1..) =
            (rest.get(digits..start), rest.get(start + size..start + size + 2), size)
        else {
            return Ok(at);
        };
        on(Part::Body(&rest[start..start + size]))?;
        at += start + size + 2;
    }
}

fn size_digit(value: u64, digits: u8, byte: u8) -> Result<Chunk, Malformed> {
    match (char::from(byte).to_digit(16), byte, digits) {
        (Some(_), _, 16..) => Err(Malformed::Chunk),
        (Some(digit), _, _) => Ok(Chunk::Size(value << 4 | u64::from(digit), digits + 1)),
        (None, b'\r', 1..) => Ok(Chunk::SizeEnd(value)),
        (None, b'\n', 1..) => Ok(after_size(value)),
        (None, b';' | b' ' | b'\t', 1..) => Ok(Chunk::Extension(value, 0)),
        _ => Err(Malformed::Chunk),
    }
}

fn after_size(size: u64) -> Chunk {
    if size == 0 { Chunk::Trailer(0, 0) } else { Chunk::Data(size) }
}

/// `left`, but at most `len`.
fn clamp(left: u64, len: usize) -> usize {
    usize::try_from(left).map_or(len, |left| left.min(len))
}

/// A head, and what is to come after it.
struct Opened {
    /// Length of the head, in bytes.
    len: usize,
    /// `None` for an interim response, after which another head comes.
    real: Option<(Head, State)>,
}

/// The head that `bytes` begin with; `None` if its end has not arrived.
fn parse_head(bytes: &[u8]) -> Result<Option<Opened>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let len = match response.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::LongHead),
        Err(_) if begins_http2(bytes) => return Err(Malformed::Frames),
        Err(_) => return Err(Malformed::Head),
    };
    let status = response.code.ok_or(Malformed::Head)?;
    match status {
        101 => return Err(Malformed::Upgrade),
        100..=199 => return Ok(Some(Opened { len, real: None })),
        _ => {}
    }
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
    let mut head = Head {
        status,
        reason: response.reason.unwrap_or("").chars().take(MAX_REASON).collect(),
        content_type: None,
        encoding: None,
        retry_after: None,
        keep_alive: response.version == Some(1),
        idle: None,
    };
    let (mut length, mut chunked, mut other_coding) = (None, false, false);
    let mut location = None;
    for field in response.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let value = text(field.value);
        if is("content-type") {
            head.content_type = Some(value);
        } else if is("content-encoding") {
            head.encoding =
                Some(value).filter(|v| !v.is_empty() && !v.eq_ignore_ascii_case("identity"));
        } else if is("retry-after") {
            head.retry_after = Some(value);
        } else if is("content-length") {
            // A proxy may have joined several fields into one.
            for told in value.split(',').map(str::trim) {
                let told: u64 = told.parse().map_err(|_| Malformed::Length)?;
                if length.is_some_and(|length| length != told) {
                    return Err(Malformed::Length);
                }
                length = Some(told);
            }
        } else if is("transfer-encoding") {
            for coding in value.split(',').map(str::trim) {
                // Says that there is none, as some servers still write.
                if coding.eq_ignore_ascii_case("identity") {
                    continue;
                }
                // Chunks come last, or the length is unknown.
                other_coding |= !coding.eq_ignore_ascii_case("chunked");
                chunked = coding.eq_ignore_ascii_case("chunked");
            }
        } else if is("location") && (300..400).contains(&status) {
            location = Some(value);
        } else if is("keep-alive") {
            head.idle = idle(&value);
        } else if is("connection") {
            for option in value.split(',').map(str::trim) {
                if option.eq_ignore_ascii_case("close") {
                    head.keep_alive = false;
                } else if option.eq_ignore_ascii_case("keep-alive") {
                    head.keep_alive = true;
                }
            }
        }
    }
    if other_coding {
        return Err(Malformed::Length);
    }
    if let Some(location) = location {
        head.reason = redirected(&head.reason, &location);
    }
    let state = match (chunked, length, status) {
        (_, _, 204 | 304) => State::Fixed(0),
        (true, _, _) => State::Chunked(Chunk::Size(0, 0)),
        (false, Some(length), _) => State::Fixed(length),
        (false, None, _) => {
            head.keep_alive = false;
            State::UntilClose
        }
    };
    Ok(Some(Opened { len, real: Some((head, state)) }))
}

/// The time in the value of `keep-alive`, such as `timeout=5, max=100`.
fn idle(value: &str) -> Option<Duration> {
    value.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        let seconds = seconds.trim().trim_matches('"').parse().ok()?;
        is_timeout.then_some(Duration::from_secs(seconds))
    })
}

#[cfg(test)]
mod tests;
