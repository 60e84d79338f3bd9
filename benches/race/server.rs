//! The server that clients are raced against.
//!
//! One thread, and as little work per event as there can be, so that the other cores are the client's.
//! It owes nothing to rbench's own simulated engine: a quirk that client and engine shared would flatter the client.
//! The times of an answer follow from the moment its request was read: token k is due at that + TTFT + k · ITL,
//! in whole milliseconds, which is also what the timers of most servers tell apart.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use nix::sys::socket::{Backlog, listen};
use serde_json::Value;
use slab::Slab;

use crate::wire::{Route, Writer};

/// Bytes that one read takes at most.
const BUFFER: usize = 64 * 1024;

/// Largest request, in bytes.
const LARGEST: usize = 64 << 20;

/// Turns of the wheel that holds what is due, in ms: no pause may be longer.
pub(crate) const LONGEST_PAUSE: u64 = 4096;

const LISTENER: Token = Token(usize::MAX);

/// An answer that is being streamed.
#[derive(Debug)]
struct Answer {
    route: Route,
    /// Tells it from others on the same connection, and on one that has its number later.
    serial: u64,
    /// Tokens to send, and how many were.
    total: usize,
    told: usize,
    usage: bool,
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    received: Vec<u8>,
    /// What the kernel has not taken yet.
    unsent: Vec<u8>,
    answer: Option<Answer>,
}

struct Server {
    listener: TcpListener,
    registry: Registry,
    connections: Slab<Connection>,
    writers: [Writer; Route::ALL.len()],
    began: Instant,
    ttft: u64,
    itl: u64,
    /// What is due in each ms: a connection and the serial of its answer.
    wheel: Vec<Vec<(usize, u64)>>,
    serials: u64,
    /// Answers under way.
    active: usize,
    /// Answers and tokens that were sent.
    answers: u64,
    tokens: u64,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

/// Serves on a free port, which it prints, until the process is ended. Times are in ms, from 1 to [`LONGEST_PAUSE`].
///
/// # Errors
/// If the system has no port or event queue left.
pub(crate) fn run(ttft: u64, itl: u64) -> Result<(), Box<dyn Error>> {
    let mut poll = Poll::new()?;
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    // Thousands may connect at once.
    listen(&listener, Backlog::MAXCONN)?;
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("{}", listener.local_addr()?.port());
    let slots = usize::try_from(LONGEST_PAUSE)? + 1;
    let mut server = Server {
        listener,
        registry: poll.registry().try_clone()?,
        connections: Slab::new(),
        writers: Route::ALL.map(Writer::new),
        began: Instant::now(),
        ttft,
        itl,
        wheel: vec![Vec::new(); slots],
        serials: 0,
        active: 0,
        answers: 0,
        tokens: 0,
        buffer: vec![0; BUFFER],
        scratch: Vec::new(),
    };
    let mut events = Events::with_capacity(1024);
    let mut tick = 0;
    loop {
        let next = Duration::from_millis(tick).saturating_sub(server.began.elapsed());
        match poll.poll(&mut events, (server.active > 0).then_some(next)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => server.accept()?,
                Token(key) => server.ready(key, event.is_readable(), event.is_writable()),
            }
        }
        let now = server.now();
        while tick <= now {
            server.send_due(tick);
            tick += 1;
        }
    }
}

impl Server {
    /// Whole ms since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn slot(&mut self, tick: u64) -> &mut Vec<(usize, u64)> {
        let slots = self.wheel.len() as u64;
        // Less than the length of a list.
        &mut self.wheel[usize::try_from(tick % slots).unwrap_or(0)]
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // It was gone before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            socket.set_nodelay(true)?;
            let entry = self.connections.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.registry.register(&mut socket, Token(entry.key()), interest)?;
            let (received, unsent) = (Vec::new(), Vec::new());
            entry.insert(Connection { socket, received, unsent, answer: None });
        }
    }

    fn ready(&mut self, key: usize, readable: bool, writable: bool) {
        if writable && self.connections.get(key).is_some_and(|link| !link.unsent.is_empty()) {
            self.write(key, &[]);
        }
        if readable && self.read(key).is_err() {
            self.close(key);
        }
    }

    fn close(&mut self, key: usize) {
        if let Some(link) = self.connections.try_remove(key)
            && link.answer.is_some()
        {
            self.active -= 1;
        }
    }

    /// Reads what is there, and begins the answer of a request that is complete.
    fn read(&mut self, key: usize) -> io::Result<()> {
        loop {
            let Some(link) = self.connections.get_mut(key) else { return Ok(()) };
            match link.socket.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => link.received.extend_from_slice(&self.buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let received = std::mem::take(&mut link.received);
            let taken = match request(&received) {
                Ok(Some((method, path, body, taken))) => {
                    self.answer(key, method, path, body);
                    taken
                }
                Ok(None) if received.len() < LARGEST => 0,
                Ok(None) | Err(()) => return Err(ErrorKind::InvalidData.into()),
            };
            if let Some(link) = self.connections.get_mut(key) {
                link.received = received;
                link.received.drain(..taken);
            }
        }
    }

    fn answer(&mut self, key: usize, method: &str, path: &str, body: &[u8]) {
        let path = path.split('?').next().unwrap_or("");
        let route = Route::ALL.into_iter().find(|route| route.path() == path);
        match (method, route) {
            ("POST", Some(route)) => match asked(route, body) {
                Some((total, usage)) => self.begin(key, route, total, usage),
                None => self.tell(key, "400 Bad Request", "only streams of one token or more"),
            },
            ("GET", None) => {
                let told = match path {
                    "/v1/models" => {
                        r#"{"object":"list","data":[{"id":"mock","object":"model","created":0,"owned_by":"race"}]}"#.to_owned()
                    }
                    "/health" | "/health_generate" => "{}".to_owned(),
                    "/model_info" | "/get_model_info" => r#"{"model_path":"mock"}"#.to_owned(),
                    "/server_info" | "/get_server_info" => r#"{"internal_states":[{}]}"#.to_owned(),
                    "/served" => {
                        format!(r#"{{"answers":{},"tokens":{}}}"#, self.answers, self.tokens)
                    }
                    _ => return self.tell(key, "404 Not Found", "there is no such route"),
                };
                self.tell(key, "200 OK", &told);
            }
            _ => self.tell(key, "404 Not Found", "there is no such route"),
        }
    }

    /// Sends an answer in one piece.
    fn tell(&mut self, key: usize, status: &str, body: &str) {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.write(key, head.as_bytes());
    }

    fn begin(&mut self, key: usize, route: Route, total: usize, usage: bool) {
        self.serials += 1;
        let serial = self.serials;
        let due = self.now() + self.ttft;
        self.slot(due).push((key, serial));
        self.active += 1;
        if let Some(link) = self.connections.get_mut(key) {
            link.answer = Some(Answer { route, serial, total, told: 0, usage });
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        self.writers[route as usize].begin(&mut bytes);
        self.write(key, &bytes);
        self.scratch = bytes;
    }

    /// Sends all tokens that are due at `tick`.
    fn send_due(&mut self, tick: u64) {
        let due = std::mem::take(self.slot(tick));
        let mut bytes = std::mem::take(&mut self.scratch);
        for &(key, serial) in &due {
            let Some(link) = self.connections.get_mut(key) else { continue };
            let Some(answer) = link.answer.as_mut().filter(|answer| answer.serial == serial) else {
                continue;
            };
            answer.told += 1;
            bytes.clear();
            let writer = &mut self.writers[answer.route as usize];
            writer.token(answer.told, answer.total, answer.usage, &mut bytes);
            self.tokens += 1;
            if answer.told == answer.total {
                link.answer = None;
                self.active -= 1;
                self.answers += 1;
            } else {
                let next = tick + self.itl;
                self.slot(next).push((key, serial));
            }
            self.write(key, &bytes);
        }
        self.scratch = bytes;
        // The memory is used again.
        let mut due = due;
        due.clear();
        let slot = self.slot(tick);
        if slot.is_empty() {
            *slot = due;
        }
    }

    /// Writes what was left and `bytes`, as far as the kernel takes it.
    fn write(&mut self, key: usize, bytes: &[u8]) {
        let Some(link) = self.connections.get_mut(key) else { return };
        let left = !link.unsent.is_empty();
        if left {
            link.unsent.extend_from_slice(bytes);
        }
        let all = if left { &link.unsent } else { bytes };
        let mut written = 0;
        while written < all.len() {
            match link.socket.write(&all[written..]) {
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(key),
            }
        }
        if left {
            link.unsent.drain(..written);
        } else {
            link.unsent.extend_from_slice(&bytes[written..]);
        }
    }
}

/// A request: its method, path and body, and the bytes that it takes.
type Request<'a> = (&'a str, &'a str, &'a [u8], usize);

/// The first request in `bytes` if it is complete.
fn request(bytes: &[u8]) -> Result<Option<Request<'_>>, ()> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(start) = head.parse(bytes).map_err(drop)? else {
        return Ok(None);
    };
    let length = head
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok())
        .unwrap_or(0);
    let Some(body) = bytes.get(start..).and_then(|rest| rest.get(..length)) else {
        return Ok(None);
    };
    Ok(Some((head.method.unwrap_or(""), head.path.unwrap_or(""), body, start + length)))
}

/// How many tokens a body asks for and whether it wants them counted; `None` if it does not ask for a stream of some.
fn asked(route: Route, body: &[u8]) -> Option<(usize, bool)> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let total = match route {
        Route::Completions => &body["max_tokens"],
        Route::Chat => body.get("max_completion_tokens").unwrap_or(&body["max_tokens"]),
        Route::Generate => &body["sampling_params"]["max_new_tokens"],
    };
    let total = usize::try_from(total.as_u64()?).ok()?;
    let usage = body["stream_options"]["include_usage"] == true;
    (body["stream"] == true && total > 0).then_some((total, usage))
}
