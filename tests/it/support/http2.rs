//! Servers that speak HTTP/2 alone: one that keeps its rules and does as it is told, and one that sends any bytes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::server::{MODEL, Request};
use super::stream::{Listener, Stream};
use super::wire::{WORDS, Wire};

/// One act of an answer.
#[derive(Debug, Clone)]
enum Act {
    /// The head, with a status and fields.
    Head(u16, Vec<(&'static str, String)>),
    Data(Bytes),
    Trailers,
    End,
    Reset(Reason),
    /// Takes no more requests over this connection, and ends those that it has.
    GoAway,
    /// Gives up the connection.
    GiveUp(Reason),
    Hang,
}

/// What a server does with a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acts(Vec<Act>);

impl Acts {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn then(mut self, act: Act) -> Self {
        self.0.push(act);
        self
    }

    pub(crate) fn head(self, status: u16, fields: &[(&'static str, &str)]) -> Self {
        let fields = fields.iter().map(|&(name, value)| (name, value.to_owned())).collect();
        self.then(Act::Head(status, fields))
    }

    /// The head of a stream of events.
    pub(crate) fn events(self) -> Self {
        self.head(200, &[("content-type", "text/event-stream")])
    }

    pub(crate) fn data(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Act::Data(bytes.into().into()))
    }

    pub(crate) fn trailers(self) -> Self {
        self.then(Act::Trailers)
    }

    pub(crate) fn end(self) -> Self {
        self.then(Act::End)
    }

    pub(crate) fn reset(self, reason: Reason) -> Self {
        self.then(Act::Reset(reason))
    }

    pub(crate) fn go_away(self) -> Self {
        self.then(Act::GoAway)
    }

    pub(crate) fn give_up(self, reason: Reason) -> Self {
        self.then(Act::GiveUp(reason))
    }

    pub(crate) fn hang(self) -> Self {
        self.then(Act::Hang)
    }

    /// A stream of these pieces, each a frame.
    pub(crate) fn stream<T: Into<Vec<u8>>>(pieces: impl IntoIterator<Item = T>) -> Self {
        pieces.into_iter().fold(Self::new().events(), Self::data).end()
    }
}

/// A good answer of any protocol: [`WORDS`] in a stream.
pub(crate) fn good(request: &Request) -> Acts {
    Acts::stream(Wire::of(&request.path).events(WORDS))
}

type Handler = Box<dyn Fn(&Request) -> Acts + Send + Sync>;

#[derive(Debug, Default)]
struct Log {
    requests: Vec<Request>,
    /// Connections over which there were requests to generate.
    connections: usize,
    panics: usize,
}

/// A server of HTTP/2 that runs.
pub(crate) struct Http2 {
    url: String,
    port: u16,
    log: Arc<Mutex<Log>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Http2 {
    /// One without TLS, on a free port of 127.0.0.1.
    pub(crate) fn start(handler: impl Fn(&Request) -> Acts + Send + Sync + 'static) -> Self {
        Self::over_tcp(Box::new(handler), None)
    }

    /// One behind TLS.
    pub(crate) fn start_tls(
        config: ServerConfig,
        handler: impl Fn(&Request) -> Acts + Send + Sync + 'static,
    ) -> Self {
        Self::over_tcp(Box::new(handler), Some(TlsAcceptor::from(Arc::new(config))))
    }

    /// One on a Unix socket.
    pub(crate) fn start_unix(
        path: &Path,
        handler: impl Fn(&Request) -> Acts + Send + Sync + 'static,
    ) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        let url = format!("unix:{}", path.display());
        Self::on(Box::new(handler), url, 0, move || Listener::unix(listener))
    }

    fn over_tcp(handler: Handler, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{port}");
        Self::on(handler, url, port, move || Listener::tcp(listener, tls))
    }

    fn on(
        handler: Handler,
        url: String,
        port: u16,
        listener: impl FnOnce() -> Listener + Send + 'static,
    ) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let (stop, mut stopped) = oneshot::channel();
        let shared = Arc::new((handler, log.clone()));
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = listener();
                let mut connections = JoinSet::new();
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            let (accepted, shared) = (accepted.unwrap(), shared.clone());
                            connections.spawn(async move {
                                // A client that goes away is its own business.
                                if let Ok(stream) = accepted.open().await {
                                    let _ = converse(stream, &shared).await;
                                }
                            });
                        }
                        _ = &mut stopped => break,
                    }
                }
            });
        });
        Self { url, port, log, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Connections over which requests to generate came.
    pub(crate) fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    /// The requests to generate, in the order of arrival.
    pub(crate) fn inference(&self) -> Vec<Request> {
        let log = self.log.lock().unwrap();
        log.requests.iter().filter(|request| request.method == "POST").cloned().collect()
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the server's thread panicked");
            assert_eq!(self.log.lock().unwrap().panics, 0, "scripts panicked");
        }
    }
}

/// What is done with a whole connection.
enum Order {
    GoAway,
    GiveUp(Reason),
}

/// Answers the requests of one connection.
async fn converse(
    stream: Stream,
    shared: &Arc<(Handler, Arc<Mutex<Log>>)>,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    let (orders, mut ordered) = mpsc::unbounded_channel();
    let mut answers = JoinSet::new();
    let mut counted = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, respond) = accepted?;
                if request.method() == "POST" && !std::mem::replace(&mut counted, true) {
                    shared.1.lock().unwrap().connections += 1;
                }
                answers.spawn(answer(request, respond, shared.clone(), orders.clone()));
            }
            Some(order) = ordered.recv() => match order {
                Order::GoAway => connection.graceful_shutdown(),
                Order::GiveUp(reason) => connection.abrupt_shutdown(reason),
            },
            Some(ended) = answers.join_next() => {
                if ended.is_err() {
                    shared.1.lock().unwrap().panics += 1;
                }
            }
        }
    }
}

async fn answer(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: Arc<(Handler, Arc<Mutex<Log>>)>,
    orders: mpsc::UnboundedSender<Order>,
) {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(bytes)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(bytes.len());
        body.extend_from_slice(&bytes);
    }
    let mut headers: Vec<(String, String)> = vec![(
        ":authority".to_owned(),
        head.uri.authority().map(ToString::to_string).unwrap_or_default(),
    )];
    headers.extend(
        head.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())),
    );
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let request = {
        let mut log = shared.1.lock().unwrap();
        let nth = log.requests.iter().filter(|request| request.path == path).count();
        let body = String::from_utf8(body).unwrap();
        let request = Request { method: head.method.to_string(), path, headers, body, nth };
        log.requests.push(request.clone());
        request
    };
    let acts = match request.path.as_str() {
        "/v1/models" => {
            let list = json!({"object": "list", "data": [{"id": MODEL, "root": MODEL}]});
            Acts::new().head(200, &[]).data(list.to_string()).end()
        }
        _ if request.method == "GET" => Acts::new().head(404, &[]).end(),
        _ => (shared.0)(&request),
    };
    let mut sending = None;
    for act in acts.0 {
        match act {
            Act::Head(status, fields) => {
                let mut response = http::Response::builder().status(status);
                for (name, value) in fields {
                    response = response.header(name, value);
                }
                let response = response.body(()).unwrap();
                if (100..200).contains(&status) {
                    let _ = respond.send_informational(response);
                } else {
                    // Errors are those of a client that went away.
                    sending = respond.send_response(response, false).ok();
                }
            }
            Act::Data(bytes) => {
                if let Some(stream) = &mut sending {
                    let _ = stream.send_data(bytes, false);
                }
                tokio::task::yield_now().await;
            }
            Act::Trailers => {
                let mut fields = http::HeaderMap::new();
                fields.insert("x-checksum", "1".parse().unwrap());
                if let Some(stream) = &mut sending {
                    let _ = stream.send_trailers(fields);
                }
            }
            Act::End => {
                if let Some(stream) = &mut sending {
                    let _ = stream.send_data(Bytes::new(), true);
                }
            }
            Act::Reset(reason) => {
                // What was sent before goes first.
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                match &mut sending {
                    Some(stream) => stream.send_reset(reason),
                    None => respond.send_reset(reason),
                }
            }
            Act::GoAway => drop(orders.send(Order::GoAway)),
            Act::GiveUp(reason) => {
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                drop(orders.send(Order::GiveUp(reason)));
            }
            Act::Hang => std::future::pending().await,
        }
    }
}

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A field of a head that is not to be remembered; for names and values of less than 127 bytes.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// A server that greets with `greeting`, and answers each request with bytes for its stream,
/// the second of which come again and again until the client goes away, if there are any.
/// A request without any bytes ends its connection.
/// Returns its URL. It lives as long as the test.
pub(crate) fn raw(
    greeting: Vec<u8>,
    answer: impl Fn(u32) -> (Vec<u8>, Vec<u8>) + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let (greeting, answer) = (greeting.clone(), answer.clone());
            std::thread::spawn(move || drop(say(stream, &greeting, &*answer)));
        }
    });
    url
}

/// The largest window there is, which the load has.
const WINDOW: &[u8] = &[0x7f, 0xff, 0xff, 0xff];

fn say(
    mut stream: TcpStream,
    greeting: &[u8],
    answer: &dyn Fn(u32) -> (Vec<u8>, Vec<u8>),
) -> std::io::Result<()> {
    stream.write_all(greeting)?;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface)?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [_, a, b, kind, _, stream_id @ ..] = head;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([a, b]))];
        stream.read_exact(&mut payload)?;
        if kind == 4 && head[4] == 0 && !payload.windows(4).any(|window| window == WINDOW) {
            // One of the calls around the load, which need not wait.
            return Ok(());
        }
        if kind == 1 {
            let (once, again) = answer(u32::from_be_bytes(stream_id));
            if once.is_empty() && again.is_empty() {
                return Ok(());
            }
            stream.write_all(&once)?;
            while !again.is_empty() {
                stream.write_all(&again)?;
            }
        }
    }
}
