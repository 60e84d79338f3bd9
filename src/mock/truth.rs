//! A file of when events were really sent: what a client measured can be held against it.
//!
//! The instants are taken around the system calls that write to the sockets, on the clock of this machine that never
//! jumps, which all its processes share. So they are true whatever held the server up before a write.

use std::fs::File;
use std::io::{self, BufWriter, IoSlice, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The header by which a client names its requests.
pub(super) const KEY: &str = "x-smg-routing-key";

/// What ends a chunked body.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// The time on the clock of this machine that never jumps and that its processes share, in ns; 0 if it has none.
pub fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).ok();
    let ns = |time: nix::sys::time::TimeSpec| {
        let seconds = u64::try_from(time.tv_sec()).ok()?;
        Some(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).ok()?)
    };
    time.and_then(ns).unwrap_or(0)
}

/// One line of the file: a request to generate, and when the events of its answer were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The request's header `x-smg-routing-key`, if it has one.
    pub routing_key: Option<String>,
    /// When the request had been read in full, in ns of [`monotonic_ns`].
    pub received_ns: u64,
    /// For each event directly before the system call that wrote its last byte, in ns of [`monotonic_ns`].
    pub sent_ns: Vec<u64>,
    /// How long each of these system calls took, in ns: the data left within that time.
    pub took_ns: Vec<u64>,
    /// Whether the end of a streamed answer was written.
    pub ended: bool,
}

/// The file.
#[derive(Debug)]
pub(super) struct Log(Mutex<Writing>);

#[derive(Debug)]
struct Writing {
    file: BufWriter<File>,
    /// The first error, which the end of the server tells.
    failed: Option<io::Error>,
}

impl Log {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    ///
    /// When the file cannot be written to.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        Ok(Self(Mutex::new(Writing { file, failed: None })))
    }

    fn write(&self, line: &Line) {
        let Writing { file, failed } = &mut *lock(&self.0);
        let written = serde_json::to_writer(&mut *file, line)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(b"\n"));
        if let Err(error) = written {
            failed.get_or_insert(error);
        }
    }

    /// Writes out what is still in memory.
    ///
    /// # Errors
    ///
    /// When that fails, or when something before did.
    pub(super) fn finish(&self) -> io::Result<()> {
        let Writing { file, failed } = &mut *lock(&self.0);
        let flushed = file.flush();
        failed.take().map_or(flushed, Err)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked while it held the lock left at most a line that ends early.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is sent over one connection; its handlers and its socket share it.
#[derive(Clone, Debug)]
pub(super) struct Watched(Arc<Mutex<Conversation>>);

#[derive(Debug)]
struct Conversation {
    log: Arc<Log>,
    line: Option<Line>,
    scan: Scan,
}

impl Watched {
    /// What is sent from now on answers the request of `routing_key`.
    pub(super) fn begin(&self, routing_key: Option<String>) {
        let mut conversation = lock(&self.0);
        conversation.end();
        let received_ns = monotonic_ns();
        conversation.line = Some(Line { routing_key, received_ns, ..Line::default() });
        conversation.scan = Scan::default();
    }
}

impl Conversation {
    /// The bytes were handed over by a system call between `before` and `after`.
    fn sent<'a>(&mut self, bytes: impl Iterator<Item = &'a [u8]>, before: u64, after: u64) {
        let Some(line) = &mut self.line else { return };
        let events: usize = bytes.map(|bytes| self.scan.take(bytes)).sum();
        for _ in 0..events {
            line.sent_ns.push(before);
            line.took_ns.push(after.saturating_sub(before));
        }
        if self.scan.ended() {
            line.ended = true;
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(line) = self.line.take() {
            self.log.write(&line);
        }
    }
}

impl Drop for Conversation {
    /// An answer that was cut short has its line as well.
    fn drop(&mut self) {
        self.end();
    }
}

/// Finds the ends of events in a chunked body: two line feeds in a row, which neither heads nor chunk lines have.
#[derive(Debug, Default)]
struct Scan {
    /// The last bytes so far.
    tail: Vec<u8>,
}

impl Scan {
    /// Reads on, and returns how many events ended.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let before = |at: usize| match at.checked_sub(1) {
            Some(at) => bytes.get(at),
            None => self.tail.last(),
        };
        let events =
            memchr::memchr_iter(b'\n', bytes).filter(|&at| before(at) == Some(&b'\n')).count();
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(END.len())..]);
        self.tail.drain(..self.tail.len().saturating_sub(END.len()));
        events
    }

    /// Returns whether the body has ended.
    fn ended(&self) -> bool {
        self.tail == END
    }
}

/// A listener whose connections are watched.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) listener: TcpListener,
    pub(super) log: Arc<Log>,
}

impl Listener for Watching {
    type Io = Watch;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Watch, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // As for connections that are not watched.
        drop(stream.set_nodelay(true));
        let log = Arc::clone(&self.log);
        let conversation = Conversation { log, line: None, scan: Scan::default() };
        (Watch { stream, watched: Watched(Arc::new(Mutex::new(conversation))) }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Watching>> for Watched {
    fn connect_info(stream: IncomingStream<'_, Watching>) -> Self {
        stream.io().watched.clone()
    }
}

/// A connection whose writes are watched.
#[derive(Debug)]
pub(super) struct Watch {
    stream: TcpStream,
    watched: Watched,
}

impl Watch {
    /// Writes with `write`, and notes when.
    fn write<'a>(
        &mut self,
        bytes: impl Iterator<Item = &'a [u8]>,
        write: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let before = monotonic_ns();
        let result = write(Pin::new(&mut self.stream));
        let after = monotonic_ns();
        if let Poll::Ready(Ok(mut left)) = result {
            // Only what the system took.
            let taken = bytes.map_while(move |bytes| {
                let n = left.min(bytes.len());
                left -= n;
                (n > 0 || bytes.is_empty()).then(|| &bytes[..n])
            });
            lock(&self.watched.0).sent(taken, before, after);
        }
        result
    }
}

impl AsyncRead for Watch {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watch {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(std::iter::once(bytes), |stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = slices.iter().map(|slice| &**slice);
        self.write(all, |stream| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        9\r\ndata: a\n\n\r\n12\r\ndata: b\n\ndata: c\n\n\r\n0\r\n\r\n";

    proptest! {
        /// Forall ways to cut a body into writes: each event ends once, with the write that has its last byte.
        #[test]
        fn events_are_found_however_they_are_written(cuts in prop::collection::vec(0..BODY.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, BODY.len()]);
            cuts.sort_unstable();
            let mut scan = Scan::default();
            let mut before = 0;
            for pair in cuts.windows(2) {
                let ended = BODY[..pair[1]].windows(2).filter(|two| *two == b"\n\n").count();
                prop_assert_eq!(scan.take(&BODY[pair[0]..pair[1]]), ended - before);
                prop_assert_eq!(scan.ended(), pair[1] == BODY.len());
                before = ended;
            }
        }
    }

    #[test]
    fn a_line_has_the_instants_of_its_writes_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("truth.jsonl");
        let log = Arc::new(Log::create(&path).unwrap());
        let conversation =
            Conversation { log: Arc::clone(&log), line: None, scan: Scan::default() };
        let watched = Watched(Arc::new(Mutex::new(conversation)));
        let sent = |bytes: &[u8], before, after| {
            lock(&watched.0).sent(std::iter::once(bytes), before, after);
        };
        sent(b"nobody asked\n\n", 1, 2);
        watched.begin(Some("7".to_owned()));
        sent(&BODY[..BODY.len() - 30], 10, 11);
        sent(&BODY[BODY.len() - 30..], 20, 24);
        sent(b"after the end\n\n", 30, 31);
        watched.begin(None);
        sent(&BODY[..BODY.len() - 1], 40, 41);
        drop(watched);
        log.finish().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<Line> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let line = |key: Option<&str>, sent: &[u64], took: &[u64], ended| Line {
            routing_key: key.map(str::to_owned),
            received_ns: 0,
            sent_ns: sent.to_vec(),
            took_ns: took.to_vec(),
            ended,
        };
        let mut expected = [
            line(Some("7"), &[10, 20, 20], &[1, 4, 4], true),
            line(None, &[40; 3], &[1; 3], false),
        ];
        for (expected, found) in expected.iter_mut().zip(&lines) {
            expected.received_ns = found.received_ns;
        }
        assert_eq!(lines, expected);
        assert!(0 < lines[0].received_ns && lines[0].received_ns <= lines[1].received_ns);
    }
}
