//! The steps of TLS on a connection: the handshake, and records to plain text.

use std::io::{self, IoSlice, Read, Write};

use rustls::ClientConnection;

use super::Arrived;
use crate::engine::transport::socket::{CONTROL, Socket};

/// Decrypts `cipher` to the beginning of `plain`; returns how much that gave, and what ends the connection, if anything.
pub(super) fn decrypt(
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

/// Returns what the server said before it closed the connection, if that is why nothing can be sent.
fn last_words(tls: &mut ClientConnection, wire: &mut Wire<'_>) -> Option<io::Error> {
    while tls.read_tls(wire).is_ok_and(|n| n > 0) {
        if let Err(error) = tls.process_new_packets() {
            return Some(io::Error::other(error));
        }
    }
    None
}

/// Goes on with the handshake of TLS, and returns whether it is done.
pub(super) fn shake_hands(tls: &mut ClientConnection, wire: &mut Wire<'_>) -> io::Result<bool> {
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

/// Returns whether the kernel wants to be asked again later.
pub(super) fn is_wait(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// A socket as TLS wants it.
pub(super) struct Wire<'a> {
    pub(super) socket: &'a mut Socket,
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
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};

    use super::*;
    use crate::engine::transport::tls;

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
        assert!(tls::trouble(&error).is_some(), "{error}");
    }
}
