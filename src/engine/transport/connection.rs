//! One connection: opening it, sending a request over it, and the bytes that come back, with or without TLS.

mod records;

use std::io::{self, IoSlice, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use self::records::{Wire, decrypt, is_wait, shake_hands};
use super::http2::Fed;
use super::message::{Malformed, Part};
use super::proxy::Tunnel;
use super::socket::{Address, CONTROL, Disorder, Received, Socket};
use super::{Endpoint, Version, http1, http2};
use crate::model::PlannedRequest;

/// Room for what arrives while HTTP/2 is agreed on, in bytes.
const SETTLING: usize = 64 * 1024;

/// How to speak TLS with a server.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Roots, certificates and protocols, for HTTP/1.1 and for HTTP/2.
    pub configs: [Arc<ClientConfig>; 2],
    /// The name that the server's certificate must have.
    pub name: ServerName<'static>,
}

/// A connection that never blocks.
///
/// There is one for each stream of the load: what only its opening needs, or few connections, lies elsewhere.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
    /// What opening it needs, until [`Self::took`].
    setup: Option<Box<Setup>>,
    stage: Stage,
    /// What the kernel did not take at once.
    outgoing: Option<Box<Outgoing>>,
    /// What the next read is to find, known from the one before; with TLS only.
    next: Option<Box<io::Result<Arrived>>>,
    /// Whether bytes came since the last send that TLS kept to itself: they may be a part of an answer.
    kept_by_tls: bool,
    http: Http,
}

/// A connection that is being opened.
#[derive(Debug)]
struct Setup {
    tunnel: Option<Tunnel>,
    /// When that was begun.
    begun: Instant,
    took: Took,
}

/// Reads the responses, and for HTTP/2 makes the requests.
#[derive(Debug)]
enum Http {
    One(http1::Reader),
    Two(Box<http2::Client>),
}

/// The head of a request.
#[derive(Debug)]
pub enum RequestHead {
    /// As bytes.
    Http1(Vec<u8>),
    /// As fields.
    Http2(Box<http::Request<()>>),
}

/// How long opening a connection took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Took {
    /// Until the connection stood, the way through a proxy included.
    pub connect: Duration,
    /// The handshake of TLS after that.
    pub tls: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// Asking a proxy for a way to the server.
    Tunnelling,
    /// Shaking hands over TLS.
    Greeting,
    /// Waiting for the settings of HTTP/2.
    Settling,
    Open,
}

/// What is left to send.
#[derive(Debug, Default)]
struct Outgoing {
    /// The head of a request of HTTP/1.1, or frames of HTTP/2.
    head: Vec<u8>,
    body: Bytes,
    /// Bytes of both that were taken.
    taken: usize,
}

impl Outgoing {
    fn left(&self) -> usize {
        self.head.len() + self.body.len() - self.taken
    }

    /// Adds frames, which are never together with a body.
    fn add(&mut self, frames: Vec<u8>) {
        self.head.drain(..std::mem::take(&mut self.taken));
        self.head.extend(frames);
    }

    /// Sends as much as the kernel takes now.
    fn write(&mut self, socket: &mut Socket) -> io::Result<()> {
        while self.left() > 0 {
            let head = self.head.get(self.taken..).unwrap_or(&[]);
            let body = &self.body[self.taken.saturating_sub(self.head.len())..];
            match socket.send(&[IoSlice::new(head), IoSlice::new(body)]) {
                Ok(n) => self.taken += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_wait(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns what is left, if anything is.
    fn rest(self) -> Option<Box<Self>> {
        (self.left() > 0).then(|| Box::new(self))
    }
}

/// How far opening a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Not there yet.
    Waiting,
    /// Requests can be sent.
    Open,
}

/// What a look at a connection gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// Nothing.
    Nothing,
    /// The other end has closed.
    Close {
        /// Whether it is sure that nothing was cut off: TLS has words for that, without it none are needed.
        whole: bool,
    },
    /// Bytes.
    Bytes {
        /// Number of bytes of plain text at the beginning of the buffer; 0 if TLS kept all that came to itself.
        len: usize,
        /// When the kernel received them, as time of day since the epoch.
        stamp: Option<Duration>,
        /// Whether more may be waiting.
        more: bool,
    },
}

impl Connection {
    /// Begins to connect to `address`, one of those of `endpoint`, through the tunnel of a proxy if there is one.
    ///
    /// # Errors
    /// If no socket can be had, or there is no way to the address.
    pub fn open(
        address: &Address,
        endpoint: &Endpoint,
        stamps: bool,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let version = endpoint.version();
        let tls = endpoint
            .tls
            .as_ref()
            .map(|tls| {
                ClientConnection::new(tls.configs[version as usize].clone(), tls.name.clone())
            })
            .transpose()
            .map_err(io::Error::other)?
            .map(|mut tls| {
                // Bodies are in memory already; a limit would only cut them.
                tls.set_buffer_limit(None);
                Box::new(tls)
            });
        let mut outgoing = None;
        let http = match version {
            Version::Http1 => Http::One(http1::Reader::default()),
            Version::Http2 => {
                let mut client = Box::new(http2::Client::new()?);
                outgoing = Outgoing { head: client.take_outgoing(), ..Outgoing::default() }.rest();
                Http::Two(client)
            }
        };
        let begun = Instant::now();
        let mut socket = Socket::connect(address, stamps)?;
        socket.register(registry, token)?;
        Ok(Self {
            socket,
            tls,
            setup: Some(Box::new(Setup {
                tunnel: endpoint.tunnel.clone(),
                begun,
                took: Took::default(),
            })),
            stage: Stage::Connecting,
            outgoing,
            next: None,
            kept_by_tls: false,
            http,
        })
    }

    /// Goes on opening.
    ///
    /// # Errors
    /// If the server cannot be reached, TLS fails, or HTTP/2 was to be spoken and is not.
    pub fn go_on(&mut self) -> io::Result<Opening> {
        if self.stage == Stage::Connecting {
            match self.socket.connected() {
                None => return Ok(Opening::Waiting),
                Some(result) => result?,
            }
            self.stage = Stage::Tunnelling;
        }
        if self.stage == Stage::Tunnelling {
            if let Some(setup) = &mut self.setup {
                if let Some(tunnel) = &mut setup.tunnel
                    && !tunnel.go_on(&mut Wire { socket: &mut self.socket })?
                {
                    return Ok(Opening::Waiting);
                }
                setup.tunnel = None;
                setup.took.connect = setup.begun.elapsed();
            }
            self.stage = if self.tls.is_some() { Stage::Greeting } else { self.agreed() };
        }
        if let (Stage::Greeting, Some(tls)) = (self.stage, &mut self.tls) {
            if !shake_hands(tls, &mut Wire { socket: &mut self.socket })? {
                return Ok(Opening::Waiting);
            }
            self.stage = self.agreed();
            if let Some(setup) = &mut self.setup {
                let took = &mut setup.took;
                took.tls = Some(setup.begun.elapsed().saturating_sub(took.connect));
            }
            // What is left of the client's part. Should that fail, the first read tells why.
            let _ = self.flush();
        }
        if self.stage == Stage::Settling {
            if !self.settle()? {
                return Ok(Opening::Waiting);
            }
            self.stage = Stage::Open;
        }
        Ok(Opening::Open)
    }

    /// Returns what comes when the way to the server stands, and is encrypted if it is to be.
    fn agreed(&self) -> Stage {
        match self.http {
            Http::One(_) => Stage::Open,
            Http::Two(_) => Stage::Settling,
        }
    }

    /// Goes on agreeing on HTTP/2, and returns whether that is done.
    fn settle(&mut self) -> io::Result<bool> {
        self.flush()?;
        let (mut buffer, mut control) = (vec![0; SETTLING], [0; CONTROL]);
        loop {
            match self.receive(&mut buffer, &mut control)? {
                Arrived::Nothing => break,
                Arrived::Close { .. } => {
                    let why = "the server closed the connection before HTTP/2 was agreed on";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                Arrived::Bytes { len, .. } => {
                    let fed = self.feed(&buffer[..len], &mut |_| Ok::<(), Malformed>(()));
                    if let Fed::Cut { why, .. } = fed.map_err(io::Error::other)? {
                        return Err(io::Error::other(why));
                    }
                }
            }
        }
        Ok(match &mut self.http {
            Http::One(_) => true,
            Http::Two(client) => client.is_settled(),
        })
    }

    /// Returns how far packets have come in another order than they were sent in, if the system tells.
    pub fn disorder(&self) -> Option<Disorder> {
        self.socket.disorder()
    }

    /// Returns how long it has been opened for; zero once it is open.
    pub fn age(&self) -> Duration {
        self.setup.as_ref().map_or(Duration::ZERO, |setup| setup.begun.elapsed())
    }

    /// Returns whether the server was reached, and TLS is not agreed on.
    pub fn is_greeting(&self) -> bool {
        self.stage == Stage::Greeting
    }

    /// Returns how long opening took, once it is open; to be asked once.
    pub fn took(&mut self) -> Took {
        self.setup.take().map_or_else(Took::default, |setup| setup.took)
    }

    /// The version of HTTP that is spoken.
    pub fn version(&self) -> Version {
        match self.http {
            Http::One(_) => Version::Http1,
            Http::Two(_) => Version::Http2,
        }
    }

    /// Returns whether TLS is spoken.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns whether requests can be sent.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Sends a request, as far as the kernel takes it now.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn send(&mut self, head: RequestHead, body: Bytes) -> io::Result<()> {
        self.kept_by_tls = false;
        match (head, &mut self.http) {
            (RequestHead::Http1(head), _) => {
                if let Some(tls) = &mut self.tls {
                    tls.writer().write_all(&head)?;
                    tls.writer().write_all(&body)?;
                } else {
                    // The plan keeps the body; this connection need not.
                    let mut out = Outgoing { head, body, taken: 0 };
                    let sent = out.write(&mut self.socket);
                    self.outgoing = out.rest();
                    return sent;
                }
            }
            (RequestHead::Http2(head), Http::Two(client)) => {
                client.send(*head, body)?;
                let frames = client.take_outgoing();
                self.queue(frames);
            }
            (RequestHead::Http2(_), Http::One(_)) => {
                return Err(io::Error::other("the request is not for this version of HTTP"));
            }
        }
        self.flush()
    }

    /// The head of `request` to `endpoint`, as this connection sends it.
    pub fn head(&self, endpoint: &Endpoint, request: &PlannedRequest) -> RequestHead {
        match self.http {
            Http::One(_) => RequestHead::Http1(endpoint.head(request)),
            Http::Two(_) => RequestHead::Http2(Box::new(endpoint.request(request))),
        }
    }

    /// Reads `bytes` and hands the parts of the response to `on`.
    ///
    /// # Errors
    /// If the bytes are no response, or the first error of `on`; the connection is not to be used again.
    pub fn feed<E: From<Malformed>>(
        &mut self,
        bytes: &[u8],
        on: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<Fed, E> {
        let client = match &mut self.http {
            Http::One(reader) => {
                // Bytes after the end belong to nothing.
                return Ok(Fed::Read { clean: reader.feed(bytes, on)? == bytes.len() });
            }
            Http::Two(client) => client,
        };
        let fed = client.feed(bytes, on)?;
        let frames = client.take_outgoing();
        if !frames.is_empty() {
            let most = client.most_outgoing();
            self.queue(frames);
            if self.outgoing.as_ref().is_some_and(|out| out.left() > most) {
                let why = "the server does not read what it has this client answer".to_owned();
                return Ok(Fed::Cut { why, unread: false });
            }
            // What has arrived counts even if nothing can be sent any more.
            let _ = self.flush();
        }
        Ok(fed)
    }

    /// The connection was closed, and nothing was cut off: whether that is the proper end of the response.
    pub fn ends_with_close(&mut self) -> bool {
        match &mut self.http {
            Http::One(reader) => reader.close(),
            // Streams say when they end.
            Http::Two(_) => false,
        }
    }

    /// Sends what is left of the request, as far as the kernel takes it now.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            let mut wire = Wire { socket: &mut self.socket };
            loop {
                while tls.wants_write() {
                    match tls.write_tls(&mut wire) {
                        Err(error) if is_wait(&error) => return Ok(()),
                        result => result?,
                    };
                }
                // Frames of HTTP/2. They wait here and not within TLS, where nobody can tell how many they are.
                let Some(out) = self.outgoing.take() else { return Ok(()) };
                tls.writer().write_all(&out.head[out.taken..])?;
            }
        }
        if let Some(out) = &mut self.outgoing {
            out.write(&mut self.socket)?;
            if out.left() == 0 {
                self.outgoing = None;
            }
        }
        Ok(())
    }

    /// Adds frames of HTTP/2 to what is left to send.
    fn queue(&mut self, frames: Vec<u8>) {
        match &mut self.outgoing {
            Some(out) => out.add(frames),
            none => *none = Outgoing { head: frames, ..Outgoing::default() }.rest(),
        }
    }

    /// Returns whether a part of the request is still to be sent.
    pub fn is_sending(&self) -> bool {
        self.outgoing.is_some() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Reads what has arrived into `buffer`; `control` is scratch space.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn receive(&mut self, buffer: &mut [u8], control: &mut [u8]) -> io::Result<Arrived> {
        if let Some(next) = self.next.take() {
            return *next;
        }
        // What TLS keeps of a record that is not complete comes out together with what completes it:
        // so more can come out than goes in, and there is room for it.
        let room = if self.tls.is_some() { buffer.len() / 3 * 2 } else { 0 };
        let (plain, arriving) = buffer.split_at_mut(room);
        let received = loop {
            match self.socket.receive(arriving, control) {
                Ok(received) => break received,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_wait(&error) => return Ok(Arrived::Nothing),
                Err(error) => return Err(error),
            }
        };
        let Received { len, stamp } = received;
        let more = len == arriving.len();
        let Some(tls) = &mut self.tls else {
            return Ok(match len {
                0 => Arrived::Close { whole: true },
                _ => Arrived::Bytes { len, stamp, more },
            });
        };
        if len == 0 {
            return Ok(Arrived::Close { whole: false });
        }
        let (len, end) = decrypt(tls, &arriving[..len], plain);
        if tls.wants_write() {
            // An answer to a change of keys, or an alert. What has arrived counts even if it cannot be sent.
            let _ = self.flush();
        }
        self.kept_by_tls |= len == 0 && end.is_none();
        match end {
            Some(end) if len == 0 => end,
            Some(end) => {
                self.next = Some(Box::new(end));
                Ok(Arrived::Bytes { len, stamp, more: true })
            }
            None => Ok(Arrived::Bytes { len, stamp, more }),
        }
    }

    /// Returns whether nothing at all has arrived since the last request was sent.
    pub fn is_unanswered(&self) -> bool {
        !self.kept_by_tls
            && match &self.http {
                Http::One(reader) => !reader.begun(),
                Http::Two(client) => !client.has_heard(),
            }
    }

    /// Returns whether a server of HTTP/1.1 has sent bytes of a response before anything was asked over this
    /// connection; `buffer` and `control` are scratch space. That it has closed is for the next read to find.
    pub fn speaks_unasked(&mut self, buffer: &mut [u8], control: &mut [u8]) -> bool {
        if self.version() != Version::Http1 || !self.socket.has_news() {
            return false;
        }
        loop {
            match self.receive(buffer, control) {
                Ok(Arrived::Nothing) => return false,
                // What TLS has to say.
                Ok(Arrived::Bytes { len: 0, .. }) => {}
                Ok(Arrived::Bytes { .. }) => return true,
                end => {
                    self.next = Some(Box::new(end));
                    return false;
                }
            }
        }
    }

    /// Returns whether an idle connection cannot be used any more; `buffer` and `control` are scratch space.
    pub fn is_spent(&mut self, buffer: &mut [u8], control: &mut [u8]) -> bool {
        if self.next.is_some() {
            return true;
        }
        if !self.socket.has_news() {
            return false;
        }
        if self.tls.is_none() && self.version() == Version::Http1 {
            return true;
        }
        // Tickets and new keys come unasked, and are nobody's answer; so are settings and pings of HTTP/2.
        loop {
            match self.receive(buffer, control) {
                Ok(Arrived::Nothing) => return false,
                Ok(Arrived::Bytes { len: 0, .. }) => {}
                Ok(Arrived::Bytes { len, .. }) if self.is_unmoved_by(&buffer[..len]) => {}
                _ => return true,
            }
        }
    }

    /// Returns whether the connection can still be used after `bytes`, which came unasked.
    pub fn is_unmoved_by(&mut self, bytes: &[u8]) -> bool {
        self.version() == Version::Http2
            && matches!(
                self.feed(bytes, &mut |_| Ok::<(), Malformed>(())),
                Ok(Fed::Read { clean: true })
            )
    }
}

#[cfg(test)]
mod tests;
