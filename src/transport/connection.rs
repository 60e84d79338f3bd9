//! One connection: opening it, sending a request over it, and the bytes that come back, with or without TLS.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::http1;
use super::proxy::Tunnel;
use super::socket::{Address, CONTROL, Received, Socket};

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
    tunnel: Option<Box<Tunnel>>,
    stage: Stage,
    /// When it was begun to be opened.
    begun: Instant,
    took: Took,
    outgoing: Outgoing,
    /// What the next read is to find, known from the one before.
    next: Option<io::Result<Arrived>>,
    /// Reads the responses.
    pub http: http1::Reader,
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
    /// Begins to connect to `address`, through the tunnel of a proxy if there is one.
    ///
    /// # Errors
    /// If no socket can be had, or there is no way to the address.
    pub fn open(
        address: &Address,
        tunnel: Option<&Tunnel>,
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
        let begun = Instant::now();
        let mut socket = Socket::connect(address, stamps)?;
        socket.register(registry, token)?;
        Ok(Self {
            socket,
            tls,
            tunnel: tunnel.cloned().map(Box::new),
            stage: Stage::Connecting,
            begun,
            took: Took::default(),
            outgoing: Outgoing::default(),
            next: None,
            http: http1::Reader::default(),
        })
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
            self.stage = Stage::Tunnelling;
        }
        if self.stage == Stage::Tunnelling {
            if let Some(tunnel) = &mut self.tunnel
                && !tunnel.go_on(&mut Wire { socket: &mut self.socket })?
            {
                return Ok(Opening::Waiting);
            }
            self.tunnel = None;
            self.took.connect = self.begun.elapsed();
            self.stage = if self.tls.is_some() { Stage::Greeting } else { Stage::Open };
        }
        if let (Stage::Greeting, Some(tls)) = (self.stage, &mut self.tls) {
            if !shake_hands(tls, &mut Wire { socket: &mut self.socket })? {
                return Ok(Opening::Waiting);
            }
            self.stage = Stage::Open;
            self.took.tls = Some(self.begun.elapsed().saturating_sub(self.took.connect));
            // What is left of the client's part. Should that fail, the first read tells why.
            let _ = self.flush();
        }
        Ok(Opening::Open)
    }

    /// Time since it was begun to be opened.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Whether the server was reached, and TLS is not agreed on.
    pub fn is_greeting(&self) -> bool {
        self.stage == Stage::Greeting
    }

    /// How long opening took, once it is open.
    pub fn took(&self) -> Took {
        self.took
    }

    /// Whether TLS is spoken.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
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
            match self.socket.send(&[IoSlice::new(head), IoSlice::new(body)]) {
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
        if let Some(next) = self.next.take() {
            return next;
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
            // An answer to a change of keys, or an alert. What has arrived counts even if it can not be sent.
            let _ = self.flush();
        }
        match end {
            Some(end) if len == 0 => end,
            Some(end) => {
                self.next = Some(end);
                Ok(Arrived::Bytes { len, stamp, more: true })
            }
            None => Ok(Arrived::Bytes { len, stamp, more }),
        }
    }

    /// Whether an idle connection can not be used any more; `buffer` and `control` are scratch space.
    pub fn is_spent(&mut self, buffer: &mut [u8], control: &mut [u8]) -> bool {
        if self.next.is_some() {
            return true;
        }
        if !self.socket.has_news() {
            return false;
        }
        if self.tls.is_none() {
            return true;
        }
        // Tickets and new keys come unasked, and are nobody's answer.
        loop {
            match self.receive(buffer, control) {
                Ok(Arrived::Nothing) => return false,
                Ok(Arrived::Bytes { len: 0, .. }) => {}
                _ => return true,
            }
        }
    }
}

/// Decrypts `cipher` to the beginning of `plain`; returns how much that gave, and what ends the connection, if anything.
fn decrypt(
    tls: &mut ClientConnection,
    mut cipher: &[u8],
    plain: &mut [u8],
) -> (usize, Option<io::Result<Arrived>>) {
    let mut len = 0;
    loop {
        let result = match tls.read_tls(&mut cipher) {
            // After the end of the encrypted data nothing is taken any more.
            Ok(0) => return (len, Some(Ok(Arrived::Close { whole: true }))),
            Ok(_) => tls.process_new_packets().map_err(io::Error::other),
            Err(error) => Err(error),
        };
        // What was decrypted before an error counts.
        loop {
            match tls.reader().read(&mut plain[len..]) {
                Ok(0) | Err(_) => break,
                Ok(n) => len += n,
            }
        }
        match result {
            Err(error) => return (len, Some(Err(error))),
            Ok(state) if state.peer_has_closed() => {
                return (len, Some(Ok(Arrived::Close { whole: true })));
            }
            Ok(_) if cipher.is_empty() => return (len, None),
            Ok(_) => {}
        }
    }
}

/// What the server said before it closed the connection, if that is why nothing can be sent.
fn last_words(tls: &mut ClientConnection, wire: &mut Wire<'_>) -> Option<io::Error> {
    while tls.read_tls(wire).is_ok_and(|n| n > 0) {
        if let Err(error) = tls.process_new_packets() {
            return Some(io::Error::other(error));
        }
    }
    None
}

/// Goes on with the handshake of TLS, and returns whether it is done.
fn shake_hands(tls: &mut ClientConnection, wire: &mut Wire<'_>) -> io::Result<bool> {
    while tls.is_handshaking() {
        if tls.wants_write() {
            match tls.write_tls(wire) {
                Err(error) if is_wait(&error) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(last_words(tls, wire).unwrap_or(error)),
                Ok(_) => {}
            }
            continue;
        }
        match tls.read_tls(wire) {
            Ok(0) => {
                let why = "the server closed the connection";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
            Err(error) if is_wait(&error) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => drop(result?),
        }
        if let Err(error) = tls.process_new_packets() {
            // Tells the server why; whether that arrives changes nothing.
            let _ = tls.write_tls(wire);
            return Err(io::Error::other(error));
        }
    }
    Ok(true)
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
        let mut control = [0; CONTROL];
        self.socket.receive(buffer, &mut control).map(|received| received.len)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.send(&[IoSlice::new(bytes)])
    }

    /// Several records at once.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.send(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{RootCertStore, ServerConfig, ServerConnection};

    use super::*;

    /// Both ends of a connection, the handshake done; tickets are still to be sent to the client.
    fn ends() -> (ClientConnection, ServerConnection) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        server.set_buffer_limit(None);
        while client.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets().unwrap();
            let mut wire = &said(&mut server)[..];
            while !wire.is_empty() {
                client.read_tls(&mut wire).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets().unwrap();
        (client, server)
    }

    /// Everything that the server has to say.
    fn said(server: &mut ServerConnection) -> Vec<u8> {
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        wire
    }

    #[test]
    fn records_come_out_however_they_are_cut() {
        let text: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        for cut in [1, 2, 5, 1000, 4096, 16_384, 20_000, 87_381] {
            let (mut client, mut server) = ends();
            // Tickets first, then records of several sizes, with new keys between.
            let mut wire = said(&mut server);
            assert!(!wire.is_empty(), "no tickets");
            for (i, part) in text.chunks(30_001).enumerate() {
                if i == 3 {
                    server.refresh_traffic_keys().unwrap();
                }
                server.writer().write_all(part).unwrap();
                wire.extend(said(&mut server));
            }
            let mut plain = vec![0; cut * 2 + 40_000];
            let mut got = Vec::new();
            for piece in wire.chunks(cut) {
                let (len, end) = decrypt(&mut client, piece, &mut plain);
                assert!(end.is_none(), "{cut}: {end:?}");
                got.extend_from_slice(&plain[..len]);
            }
            assert_eq!(got.len(), text.len(), "{cut}");
            assert!(got == text, "{cut}");
        }
    }

    #[test]
    fn what_came_before_the_end_counts() {
        let (mut client, mut server) = ends();
        server.writer().write_all(b"last words").unwrap();
        server.send_close_notify();
        let mut wire = said(&mut server);
        // Nobody is to read what comes after the end.
        wire.extend_from_slice(b"more");
        let mut plain = [0; 1000];
        let (len, end) = decrypt(&mut client, &wire, &mut plain);
        assert_eq!(&plain[..len], b"last words");
        assert!(matches!(end, Some(Ok(Arrived::Close { whole: true }))), "{end:?}");
        let (len, end) = decrypt(&mut client, b"more", &mut plain);
        assert!(len == 0 && matches!(end, Some(Ok(Arrived::Close { whole: true }))), "{end:?}");
    }

    #[test]
    fn what_came_before_an_error_counts() {
        let (mut client, mut server) = ends();
        server.writer().write_all(b"good").unwrap();
        let mut wire = said(&mut server);
        server.writer().write_all(b"changed on its way").unwrap();
        let mut changed = said(&mut server);
        *changed.last_mut().unwrap() ^= 1;
        wire.extend(changed);
        let mut plain = [0; 1000];
        let (len, end) = decrypt(&mut client, &wire, &mut plain);
        assert_eq!(&plain[..len], b"good");
        let Some(Err(error)) = end else { panic!("{end:?}") };
        assert!(super::super::tls::trouble(&error).is_some(), "{error}");
    }
}
