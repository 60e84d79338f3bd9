//! One connection: opening it, sending a request over it, and the bytes that come back, with or without TLS.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::{Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::http1;
use super::socket::{Address, Received, Socket};

/// How to speak TLS with a server.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Roots, certificates and protocols.
    pub config: Arc<ClientConfig>,
    /// The name that the server's certificate must have.
    pub name: ServerName<'static>,
}

/// A connection that never blocks.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
    stage: Stage,
    outgoing: Outgoing,
    /// Reads the responses.
    pub http: http1::Reader,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// Shaking hands over TLS.
    Greeting,
    Open,
}

/// What is left to send.
#[derive(Debug, Default)]
struct Outgoing {
    head: Vec<u8>,
    body: Bytes,
    /// Bytes of both that were taken.
    taken: usize,
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
    Close,
    /// Bytes.
    Bytes {
        /// Number of bytes of plain text at the beginning of the buffer; 0 if TLS needs more for a record.
        len: usize,
        /// When the kernel received them, as time of day since the epoch.
        stamp: Option<Duration>,
        /// Whether more may be waiting.
        more: bool,
    },
}

impl Connection {
    /// Begins to connect to `address`.
    ///
    /// # Errors
    /// If no socket can be had, or there is no way to the address.
    pub fn open(
        address: &Address,
        tls: Option<&Tls>,
        stamps: bool,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let tls = tls
            .map(|tls| ClientConnection::new(tls.config.clone(), tls.name.clone()))
            .transpose()
            .map_err(io::Error::other)?
            .map(|mut tls| {
                // Bodies are in memory already; a limit would only cut them.
                tls.set_buffer_limit(None);
                Box::new(tls)
            });
        let mut socket = Socket::connect(address, stamps)?;
        socket.register(registry, token)?;
        let (outgoing, http) = (Outgoing::default(), http1::Reader::default());
        Ok(Self { socket, tls, stage: Stage::Connecting, outgoing, http })
    }

    /// Goes on opening.
    ///
    /// # Errors
    /// If the server can not be reached, or TLS fails.
    pub fn go_on(&mut self) -> io::Result<Opening> {
        if self.stage == Stage::Connecting {
            match self.socket.connected() {
                None => return Ok(Opening::Waiting),
                Some(result) => result?,
            }
            self.stage = if self.tls.is_some() { Stage::Greeting } else { Stage::Open };
        }
        if let (Stage::Greeting, Some(tls)) = (self.stage, &mut self.tls) {
            let mut wire = Wire { socket: &mut self.socket };
            while tls.is_handshaking() {
                if tls.wants_write() {
                    match tls.write_tls(&mut wire) {
                        Err(error) if is_wait(&error) => return Ok(Opening::Waiting),
                        result => result?,
                    };
                } else {
                    match tls.read_tls(&mut wire) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Err(error) if is_wait(&error) => return Ok(Opening::Waiting),
                        result => result?,
                    };
                    tls.process_new_packets().map_err(io::Error::other)?;
                }
            }
            self.stage = Stage::Open;
            // The client's last words of the handshake.
            self.flush()?;
        }
        Ok(Opening::Open)
    }

    /// Whether requests can be sent.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Sends a request, as far as the kernel takes it now.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn send(&mut self, head: Vec<u8>, body: Bytes) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(&head)?;
            tls.writer().write_all(&body)?;
        } else {
            self.outgoing = Outgoing { head, body, taken: 0 };
        }
        self.flush()
    }

    /// Sends what is left of the request, as far as the kernel takes it now.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            let mut wire = Wire { socket: &mut self.socket };
            while tls.wants_write() {
                match tls.write_tls(&mut wire) {
                    Err(error) if is_wait(&error) => return Ok(()),
                    result => result?,
                };
            }
            return Ok(());
        }
        let out = &mut self.outgoing;
        while out.taken < out.head.len() + out.body.len() {
            let head = out.head.get(out.taken..).unwrap_or(&[]);
            let body = &out.body[out.taken.saturating_sub(out.head.len())..];
            match self.socket.send(head, body) {
                Ok(n) => out.taken += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_wait(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // The plan keeps the body; this connection need not.
        self.outgoing = Outgoing::default();
        Ok(())
    }

    /// Whether a part of the request is still to be sent.
    pub fn is_sending(&self) -> bool {
        !self.outgoing.head.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Reads what has arrived into `buffer`; `control` is scratch space.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn receive(&mut self, buffer: &mut [u8], control: &mut [u8]) -> io::Result<Arrived> {
        let received = loop {
            match self.socket.receive(buffer, control) {
                Ok(received) => break received,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_wait(&error) => return Ok(Arrived::Nothing),
                Err(error) => return Err(error),
            }
        };
        let Received { len, stamp } = received;
        let more = len == buffer.len();
        let Some(tls) = &mut self.tls else {
            return Ok(if len == 0 { Arrived::Close } else { Arrived::Bytes { len, stamp, more } });
        };
        if len == 0 {
            return Ok(Arrived::Close);
        }
        let mut cipher = &buffer[..len];
        let mut plain = Vec::with_capacity(len);
        let mut closed = false;
        while !cipher.is_empty() {
            tls.read_tls(&mut cipher)?;
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            closed |= state.peer_has_closed();
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            if plain.len() > start {
                tls.reader().read_exact(&mut plain[start..])?;
            }
        }
        if plain.is_empty() && closed {
            return Ok(Arrived::Close);
        }
        // What was encrypted is longer than what it says, so it fits.
        buffer[..plain.len()].copy_from_slice(&plain);
        if tls.wants_write() {
            self.flush()?;
        }
        Ok(Arrived::Bytes { len: plain.len(), stamp, more })
    }

    /// Whether an idle connection can not be used any more.
    pub fn is_spent(&self) -> bool {
        self.socket.is_spent()
    }
}

/// Whether the kernel wants to be asked again later.
fn is_wait(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// A socket as TLS wants it.
struct Wire<'a> {
    socket: &'a mut Socket,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut control = [0; super::socket::CONTROL];
        self.socket.receive(buffer, &mut control).map(|received| received.len)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.send(bytes, &[])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
