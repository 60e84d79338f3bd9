//! The floor: what a client costs that does no more than it must.
//!
//! It sends the same requests, waits for sockets, reads each that has data, looks at the clock once a read,
//! counts the events in the bytes, and sees the end of each answer. It parses nothing and keeps nothing.

use std::error::Error;
use std::hint::black_box;
use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

use memchr::memmem::Finder;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::wire::{END, Route};

/// Bytes that one read takes at most.
const BUFFER: usize = 256 * 1024;

/// A connection, and the last bytes that it gave.
struct Link {
    socket: TcpStream,
    tail: [u8; END.len()],
}

impl Link {
    /// Keeps the last of all bytes that came.
    fn keep(&mut self, bytes: &[u8]) {
        let room = self.tail.len();
        if let Some(last) = bytes.last_chunk() {
            self.tail = *last;
        } else {
            self.tail.rotate_left(bytes.len());
            self.tail[room - bytes.len()..].copy_from_slice(bytes);
        }
    }
}

/// Sends `n` requests for `out` tokens each, `concurrency` at a time, and reads the answers.
///
/// # Errors
/// If the server ends an answer early or sends fewer events.
pub(crate) fn run(
    port: u16,
    route: Route,
    n: usize,
    concurrency: usize,
    out: usize,
) -> Result<(), Box<dyn Error>> {
    let request = route.request(out);
    let mut poll = Poll::new()?;
    let mut links = Vec::new();
    for key in 0..concurrency.min(n) {
        let socket = std::net::TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(key), Interest::READABLE)?;
        links.push(Link { socket, tail: [0; END.len()] });
    }
    let mut sent = 0;
    for link in &mut links {
        link.socket.write_all(&request)?;
        sent += 1;
    }
    let (mut ended, mut counted) = (0, 0);
    let mut buffer = vec![0; BUFFER];
    let mut events = Events::with_capacity(1024);
    let data = Finder::new(b"data: ");
    while ended < n {
        poll.poll(&mut events, None)?;
        for event in &events {
            let link = &mut links[event.token().0];
            loop {
                let read = match link.socket.read(&mut buffer) {
                    Ok(0) => return Err("the server closed a connection".into()),
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error.into()),
                };
                black_box(Instant::now());
                counted += data.find_iter(&buffer[..read]).count();
                link.keep(&buffer[..read]);
                if link.tail == END {
                    link.tail = [0; END.len()];
                    ended += 1;
                    if sent < n {
                        sent += 1;
                        link.socket.write_all(&request)?;
                    }
                }
                // Less than was asked for: there is no more.
                if read < buffer.len() {
                    break;
                }
            }
        }
    }
    // A mark that two reads share is not counted; there are others beside the tokens.
    if counted < n * out {
        return Err(format!("{counted} events came, {} were asked for", n * out).into());
    }
    Ok(())
}
