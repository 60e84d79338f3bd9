//! HTTP/2 as a client speaks it: bytes in, the parts of a response and the bytes to answer with out.
//!
//! Has no socket and no clock: the protocol is the crate `h2`, whose socket is a pair of buffers here,
//! and which is polled when bytes came in. One request at a time, as on a connection of HTTP/1.1.

use std::fmt;
use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Buf, Bytes};
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderName, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::message::{Head, MAX_HEAD, MAX_INTERIM, Malformed, Part, redirected};

/// Most fields of a head, as over HTTP/1.1.
const MAX_FIELDS: usize = 128;

/// What a field counts in the length of a head beside its name and value, in bytes: what HTTP/1.1 puts between them.
const FIELD: usize = 4;

/// Longest head that is decoded at all, in bytes as HTTP/2 counts them.
const MAX_DECODED: u32 = 128 * 1024;

/// The windows of a stream and of the connection, in bytes: the largest there are, so that they hold no server back.
/// What arrives is handed on at once, so that they cost no memory.
const WINDOW: u32 = (1 << 31) - 1;

/// Length of the head of a frame, in bytes.
const FRAME_HEAD: usize = 9;

/// Longest first frame of a server, in bytes: what every client takes.
const MAX_FRAME: usize = 16 * 1024;

/// Most bytes that wait to be sent beside a request, which answer what the server sends.
const MAX_ANSWERS: usize = 1 << 20;

/// Room for bytes that came in which a connection keeps, in bytes.
const USUAL: usize = 16 * 1024;

/// The client's end of one connection.
pub struct Client {
    wire: Arc<Mutex<Wire>>,
    connection: Connection<End, Body>,
    requests: SendRequest<Body>,
    /// Held by each body that was not sent whole.
    unsent: Arc<()>,
    /// The response under way.
    response: Option<Awaited>,
    /// Interim responses before it.
    interim: u8,
    woken: Arc<Woken>,
    /// The first bytes of the server, up to the length of a frame's head.
    first: Vec<u8>,
    /// Bytes that came in while the first frame was not whole.
    begun: usize,
    settled: bool,
    /// Whether the connection has ended as far as HTTP/2 goes.
    over: bool,
    /// Length of the body that was sent last, in bytes.
    body: usize,
    /// Whether anything was heard of the server since then.
    heard: bool,
}

impl fmt::Debug for Client {
    /// Leaves out what is sent: it holds keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settled", &self.settled).finish_non_exhaustive()
    }
}

/// A response under way.
enum Awaited {
    Head(ResponseFuture),
    Body(RecvStream),
}

/// What became of bytes that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fed {
    /// All of them were read.
    Read {
        /// Whether another request can follow, if the response has ended.
        clean: bool,
    },
    /// The server gave up the response, or the connection with it.
    Cut {
        /// Why.
        why: String,
        /// Whether the server has said nothing of the answer, nor that it looked at the request.
        unread: bool,
    },
}

impl Client {
    /// A client that has greeted the server: [`Self::take_outgoing`] has what is to be sent first.
    ///
    /// # Errors
    /// If the greeting cannot be made, for which there is no known reason.
    pub fn new() -> io::Result<Self> {
        let wire = Arc::new(Mutex::new(Wire::default()));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(MAX_DECODED)
            // Until the server's settings are there.
            .initial_max_send_streams(0);
        let greeting = pin!(builder.handshake(End(wire.clone())));
        let Poll::Ready(greeted) = greeting.poll(&mut Context::from_waker(&waker)) else {
            return Err(io::Error::other("the greeting of HTTP/2 waits for something"));
        };
        let (requests, connection) = greeted.map_err(io::Error::other)?;
        let mut client = Self {
            wire,
            connection,
            requests,
            unsent: Arc::new(()),
            response: None,
            interim: 0,
            woken,
            first: Vec::with_capacity(FRAME_HEAD),
            begun: 0,
            settled: false,
            over: false,
            body: 0,
            heard: false,
        };
        let _ = client.run(&mut |_| Ok::<(), Malformed>(())).map_err(io::Error::other)?;
        Ok(client)
    }

    /// Returns whether the server has shown that it speaks HTTP/2, and takes a request.
    pub fn is_settled(&mut self) -> bool {
        self.settled && self.is_free()
    }

    /// Returns whether the next request can be sent: nothing is left of the one before, and the server takes more.
    pub fn is_free(&mut self) -> bool {
        let waker = Waker::from(self.woken.clone());
        !self.over
            && self.response.is_none()
            && Arc::strong_count(&self.unsent) == 1
            && self.requests.current_max_send_streams() > 0
            && matches!(
                self.requests.poll_ready(&mut Context::from_waker(&waker)),
                Poll::Ready(Ok(()))
            )
    }

    /// Sends a request, as far as the server lets it be sent now.
    ///
    /// # Errors
    /// If the connection takes none.
    pub fn send(&mut self, head: Request<()>, body: Bytes) -> io::Result<()> {
        let ends = body.is_empty();
        self.body = body.len();
        self.heard = false;
        let (response, mut stream) =
            self.requests.send_request(head, ends).map_err(io::Error::other)?;
        if !ends {
            let body = Body { left: body, _unsent: self.unsent.clone() };
            stream.send_data(body, true).map_err(io::Error::other)?;
        }
        self.response = Some(Awaited::Head(response));
        self.interim = 0;
        // What comes of it has not come yet, and an error of the connection is told when it is read.
        let _ = self.run(&mut |_| Ok::<(), Malformed>(()));
        Ok(())
    }

    /// Returns how many bytes may wait to be sent: the body in its frames, and answers to what the server sends. A
    /// server that has this client answer more, and does not read it, is not waited for.
    pub fn most_outgoing(&self) -> usize {
        MAX_ANSWERS + 2 * self.body
    }

    /// Returns whether the server has said anything since the last request was sent.
    pub fn has_heard(&self) -> bool {
        self.heard
    }

    /// Returns whether nothing has come of the response under way, not even an interim one.
    fn awaits_head(&self) -> bool {
        matches!(self.response, Some(Awaited::Head(_))) && self.interim == 0
    }

    /// Takes what is to be sent.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.wire).outgoing)
    }

    /// Reads `bytes` and hands the parts of the response to `on`.
    ///
    /// # Errors
    /// If the bytes are not HTTP/2, or the first error of `on`; the client is not to be used again.
    pub fn feed<E: From<Malformed>>(
        &mut self,
        bytes: &[u8],
        on: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<Fed, E> {
        if !self.settled {
            self.look(bytes)?;
        }
        self.heard = true;
        lock(&self.wire).incoming.extend_from_slice(bytes);
        let fed = self.run(on);
        lock(&self.wire).tidy();
        fed
    }

    /// Looks at the first bytes of a server: they have to be a frame with its settings.
    fn look(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let missing = FRAME_HEAD - self.first.len();
        self.first.extend_from_slice(&bytes[..missing.min(bytes.len())]);
        self.begun = self.begun.saturating_add(bytes.len());
        if !begins_like_http2(&self.first) {
            return Err(Malformed::NotHttp2);
        }
        let Some(&[a, b, c, ..]) = self.first.first_chunk::<FRAME_HEAD>() else { return Ok(()) };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > MAX_FRAME {
            return Err(Malformed::NotHttp2);
        }
        self.settled = self.begun >= FRAME_HEAD + length;
        Ok(())
    }

    /// Goes on as far as the bytes go that came in.
    fn run<E: From<Malformed>>(
        &mut self,
        on: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<Fed, E> {
        let waker = Waker::from(self.woken.clone());
        let mut context = Context::from_waker(&waker);
        let awaited = self.response.is_some();
        loop {
            self.woken.0.store(false, Ordering::Relaxed);
            let mut failed = None;
            if !self.over
                && let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(&mut context)
            {
                self.over = true;
                failed = ended.err();
            }
            // What came before an error counts, and streams know errors of the connection.
            if let Some(cut) = self.hand_on(&mut context, on)? {
                return Ok(cut);
            }
            if self.over {
                return match (failed, &self.response) {
                    // What comes after the end of a response does it no harm.
                    (_, None) if awaited => Ok(Fed::Read { clean: false }),
                    (Some(error), _) => explain(&error, self.awaits_head()),
                    (None, Some(_)) => Ok(Fed::Cut {
                        why: "the server gave up the connection".to_owned(),
                        unread: self.awaits_head(),
                    }),
                    (None, None) => Ok(Fed::Read { clean: false }),
                };
            }
            if !self.woken.0.load(Ordering::Relaxed) {
                return Ok(Fed::Read { clean: self.is_free() });
            }
        }
    }

    /// Hands on what there is of the response.
    fn hand_on<E: From<Malformed>>(
        &mut self,
        context: &mut Context<'_>,
        on: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<Option<Fed>, E> {
        loop {
            match &mut self.response {
                None => return Ok(None),
                Some(Awaited::Head(response)) => {
                    while let Poll::Ready(Some(Ok(_))) = response.poll_informational(context) {
                        if self.interim == MAX_INTERIM {
                            return Err(Malformed::Interim.into());
                        }
                        self.interim += 1;
                    }
                    match Pin::new(response).poll(context) {
                        Poll::Pending => return Ok(None),
                        Poll::Ready(Err(error)) => {
                            return explain(&error, self.interim == 0).map(Some);
                        }
                        Poll::Ready(Ok(response)) => {
                            let head = head(&response)?;
                            self.response = Some(Awaited::Body(response.into_body()));
                            on(Part::Head(head))?;
                        }
                    }
                }
                Some(Awaited::Body(body)) => match body.poll_data(context) {
                    Poll::Pending => return Ok(None),
                    Poll::Ready(Some(Err(error))) => return explain(&error, false).map(Some),
                    Poll::Ready(Some(Ok(bytes))) => {
                        // It was received, so it can be released.
                        let _ = body.flow_control().release_capacity(bytes.len());
                        if !bytes.is_empty() {
                            on(Part::Body(&bytes))?;
                        }
                    }
                    Poll::Ready(None) => match body.poll_trailers(context) {
                        Poll::Pending => return Ok(None),
                        Poll::Ready(Err(error)) => return explain(&error, false).map(Some),
                        Poll::Ready(Ok(_)) => {
                            self.response = None;
                            on(Part::End)?;
                        }
                    },
                },
            }
        }
    }
}

/// Returns what an error of HTTP/2 means: the server gave up, or it does not keep the rules. `unread` is whether
/// nothing has come of the response.
fn explain<E: From<Malformed>>(error: &h2::Error, unread: bool) -> Result<Fed, E> {
    match error.reason() {
        Some(reason) if error.is_library() => Err(Malformed::Http2(reason).into()),
        Some(reason) if error.is_go_away() => {
            let why = format!("the server gave up the connection ({reason:?}: {reason})");
            Ok(Fed::Cut { why, unread })
        }
        Some(reason) => {
            let why = format!("the server reset the stream ({reason:?}: {reason})");
            // A server that resets a stream for another reason has looked at the request.
            Ok(Fed::Cut { why, unread: unread && reason == Reason::REFUSED_STREAM })
        }
        None => Ok(Fed::Cut { why: error.to_string(), unread }),
    }
}

/// The head of a response.
fn head<T>(response: &Response<T>) -> Result<Head, Malformed> {
    let fields = response.headers();
    let length = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    if fields.len() > MAX_FIELDS || length.sum::<usize>() > MAX_HEAD {
        return Err(Malformed::LongHead);
    }
    let text = |name: &HeaderName| {
        let value = fields.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
    };
    let location = text(&LOCATION).filter(|_| response.status().is_redirection());
    Ok(Head {
        status: response.status().as_u16(),
        // There are no words for it on the wire.
        reason: location.map(|location| redirected("", &location)).unwrap_or_default(),
        content_type: text(&CONTENT_TYPE),
        encoding: text(&CONTENT_ENCODING)
            .filter(|v| !v.is_empty() && !v.eq_ignore_ascii_case("identity")),
        retry_after: text(&RETRY_AFTER),
        keep_alive: true,
        idle: None,
    })
}

/// Returns whether `bytes` can be the beginning of what a server of HTTP/2 says first: the head of a frame with its
/// settings.
fn begins_like_http2(bytes: &[u8]) -> bool {
    // Three bytes of length, of which the first is 0 in frames that every client takes; the kind, no flags, no stream.
    bytes
        .iter()
        .zip([0, 0, 0, 4, 0, 0, 0, 0, 0])
        .enumerate()
        .all(|(at, (&byte, want))| matches!(at, 1 | 2) || byte == want)
}

/// Returns whether `bytes` begin with what a server of HTTP/2 says first.
pub(super) fn begins_http2(bytes: &[u8]) -> bool {
    bytes.len() >= FRAME_HEAD && begins_like_http2(bytes)
}

/// The body of a request, which is dropped when it was sent.
struct Body {
    left: Bytes,
    _unsent: Arc<()>,
}

impl Buf for Body {
    fn remaining(&self) -> usize {
        self.left.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.left.chunk()
    }

    fn advance(&mut self, n: usize) {
        self.left.advance(n);
    }
}

/// Notes whether there is more to do.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What has come in, which is read whole before more comes, and what is to go out.
#[derive(Default)]
struct Wire {
    incoming: Vec<u8>,
    /// Bytes of it that were read.
    read: usize,
    outgoing: Vec<u8>,
}

impl Wire {
    /// Keeps no room for what was read, beyond what is usual.
    fn tidy(&mut self) {
        self.incoming.clear();
        self.incoming.shrink_to(USUAL);
        self.read = 0;
    }
}

/// Only one thread has a connection; what a panic leaves is not used again.
fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wire as `h2` sees it: a socket that takes everything, and gives what there is.
struct End(Arc<Mutex<Wire>>);

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = lock(&self.0);
        let left = &wire.incoming[wire.read..];
        if left.is_empty() {
            // It is polled again when bytes come in.
            return Poll::Pending;
        }
        let n = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..n]);
        wire.read += n;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).outgoing.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
