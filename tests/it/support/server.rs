//! A scripted HTTP/1.1 server on the loopback interface.
//!
//! Framing is written by hand, so that a script decides every byte and every pause, and may break each rule.
//! Calls around the load (`/v1/models` and such) have default answers; a script needs the inference path alone.
//! When dropped, the server checks that no script panicked and that the inference path was called.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::sync::{Barrier, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::reading::read;
use super::stream::{Listener, Stream};

/// Name of the model that the server lists.
pub(crate) const MODEL: &str = "tiny";

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query as sent.
    pub(crate) path: String,
    /// Names in lower case, in the order of arrival.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// How many requests to the same path came before.
    pub(crate) nth: usize,
}

impl Request {
    /// The only header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "two headers {name}: {self:?}");
        value
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One act of an answer.
#[derive(Debug, Clone)]
enum Step {
    Write(Vec<u8>),
    /// The same bytes again and again, until the client goes away.
    Flood(Vec<u8>),
    /// Byte by byte.
    Drip(Vec<u8>),
    /// Sets two instants apart, where a latency is what is tested.
    Pause(Duration),
    /// Goes on when as many answers as the barrier counts have come this far.
    Meet(Arc<Barrier>),
    /// Ends the connection in order.
    Close,
    /// Ends it without the words that TLS has for that.
    Cut,
    /// Ends the connection with a reset.
    Reset,
}

/// What to send back, act by act. Each piece is flushed by itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    steps: Vec<Step>,
}

impl Answer {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// These bytes as they are.
    pub(crate) fn raw(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Write(bytes.as_ref().to_vec()))
    }

    /// These bytes again and again, until the client goes away.
    pub(crate) fn flood(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Flood(bytes.as_ref().to_vec()))
    }

    /// This answer with each piece sent byte by byte.
    pub(crate) fn dripping(mut self) -> Self {
        for step in &mut self.steps {
            if let Step::Write(bytes) = step {
                *step = Step::Drip(std::mem::take(bytes));
            }
        }
        self
    }

    /// A head with `headers`, a line each, and the empty line.
    pub(crate) fn head(status: &str, headers: &[&str]) -> Self {
        let first = format!("HTTP/1.1 {status}");
        let lines = [&[&*first], headers, &["", ""]].concat();
        Self::new().raw(lines.join("\r\n"))
    }

    /// The head of a chunked stream of events, to be followed by chunks.
    pub(crate) fn events() -> Self {
        Self::head("200 OK", &["content-type: text/event-stream", "transfer-encoding: chunked"])
    }

    /// One chunk of a chunked body.
    pub(crate) fn chunk(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
        framed.extend_from_slice(bytes);
        framed.extend_from_slice(b"\r\n");
        self.then(Step::Write(framed))
    }

    /// The end of a chunked body.
    pub(crate) fn end(self) -> Self {
        self.raw("0\r\n\r\n")
    }

    /// A whole chunked stream of events, a chunk for each piece.
    pub(crate) fn stream<T: AsRef<[u8]>>(pieces: impl IntoIterator<Item = T>) -> Self {
        pieces.into_iter().fold(Self::events(), Self::chunk).end()
    }

    /// A whole answer with a length.
    pub(crate) fn body(status: &str, content_type: &str, body: &str) -> Self {
        let kind = format!("content-type: {content_type}");
        let length = format!("content-length: {}", body.len());
        Self::head(status, &[&kind, &length]).raw(body)
    }

    /// A whole answer with status 200.
    pub(crate) fn json(body: &Value) -> Self {
        Self::body("200 OK", "application/json", &body.to_string())
    }

    /// The answer of a server that has no such path.
    pub(crate) fn not_found() -> Self {
        Self::body("404 Not Found", "application/json", r#"{"detail":"Not Found"}"#)
    }

    pub(crate) fn pause(self, ms: u64) -> Self {
        self.then(Step::Pause(Duration::from_millis(ms)))
    }

    /// Nothing more, with the connection left open.
    pub(crate) fn hang(self) -> Self {
        self.meet(&Arc::new(Barrier::new(2)))
    }

    pub(crate) fn meet(self, barrier: &Arc<Barrier>) -> Self {
        self.then(Step::Meet(barrier.clone()))
    }

    pub(crate) fn close(self) -> Self {
        self.then(Step::Close)
    }

    pub(crate) fn cut(self) -> Self {
        self.then(Step::Cut)
    }

    pub(crate) fn reset(self) -> Self {
        self.then(Step::Reset)
    }

    /// This answer after a barrier or anything else that is in `first`.
    pub(crate) fn after(self, first: Self) -> Self {
        Self { steps: [first.steps, self.steps].concat() }
    }
}

type Handler = Box<dyn Fn(&Request) -> Answer + Send + Sync>;

/// What a server is to answer, before it runs.
pub(crate) struct Script {
    inference: Handler,
    control: HashMap<&'static str, Handler>,
    calls: Calls,
    /// Whether requests to generate are answered without a look at their bodies, which are never read.
    hasty: bool,
    /// Whether a connection is served only when those before it are closed.
    one_worker: bool,
    /// What is done with a connection to generate before anything is read from it.
    greeting: Option<Answer>,
    /// How long a connection may wait for a request before it is closed.
    idle: Option<Duration>,
}

/// What the server has to have seen when it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// The inference path, at least once.
    Inference,
    /// Anything but the inference path.
    Control,
    /// Nothing at all.
    None,
    /// Whatever it was.
    Any,
}

impl Script {
    /// A server whose inference paths answer as `inference` says. Those are all that have no answer of their own.
    pub(crate) fn new(inference: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let models =
            json!({"object": "list", "data": [{"id": MODEL, "object": "model", "root": MODEL}]});
        let script = Self {
            inference: Box::new(inference),
            control: HashMap::new(),
            calls: Calls::Inference,
            hasty: false,
            one_worker: false,
            greeting: None,
            idle: None,
        };
        script
            .on("/v1/models", move |_| Answer::json(&models))
            .on("/model_info", |_| Answer::not_found())
            .on("/server_info", |_| Answer::not_found())
            .on("/metrics", |_| Answer::not_found())
            .on("/tokenize", |_| Answer::not_found())
            .on("/", |_| Answer::not_found())
    }

    /// A server that must not be asked to generate.
    pub(crate) fn control_only() -> Self {
        let mut script = Self::new(|request| panic!("load was sent: {request:?}"));
        script.calls = Calls::Control;
        script
    }

    /// A server that must not be asked anything.
    pub(crate) fn untouched() -> Self {
        Self { calls: Calls::None, ..Self::control_only() }
    }

    /// Asks nothing of what the server is asked.
    pub(crate) fn whatever(mut self) -> Self {
        self.calls = Calls::Any;
        self
    }

    /// Answers requests to generate when their heads are there, and ends each connection after that.
    pub(crate) fn hasty(mut self) -> Self {
        self.hasty = true;
        self
    }

    /// Serves one connection at a time, each until it is closed.
    pub(crate) fn one_worker(mut self) -> Self {
        self.one_worker = true;
        self
    }

    /// Does this with every connection but the first, before it reads anything.
    pub(crate) fn greeting(mut self, greeting: Answer) -> Self {
        self.greeting = Some(greeting);
        self
    }

    /// Closes connections that wait so long for a request.
    pub(crate) fn idle(mut self, ms: u64) -> Self {
        self.idle = Some(Duration::from_millis(ms));
        self
    }

    /// Another answer for one of the paths around the load; the query does not matter.
    pub(crate) fn on(
        mut self,
        path: &'static str,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.control.insert(path, Box::new(handler));
        self
    }

    /// Starts it on a free port of 127.0.0.1.
    pub(crate) fn start(self) -> Server {
        self.start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
    }

    /// Starts it on a free port of `::1`, unless this machine has no such address.
    pub(crate) fn start_v6(self) -> Option<Server> {
        self.start_at(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))).ok()
    }

    /// Starts it on a free port of 127.0.0.1, behind TLS.
    pub(crate) fn start_tls(self, config: ServerConfig) -> Server {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = TlsAcceptor::from(Arc::new(config));
        self.start_on(Bound::Tcp(listener, Some(tls)), port, format!("https://127.0.0.1:{port}"))
    }

    /// Starts it on a Unix socket at `path`.
    pub(crate) fn start_unix(self, path: &Path) -> Server {
        self.start_unix_with(path, 128)
    }

    /// The same with a queue of `backlog` connections.
    pub(crate) fn start_unix_with(self, path: &Path, backlog: i32) -> Server {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        let backlog = nix::sys::socket::Backlog::new(backlog).unwrap();
        nix::sys::socket::listen(&listener, backlog).unwrap();
        self.start_on(Bound::Unix(listener), 0, format!("unix:{}", path.display()))
    }

    fn start_at(self, address: SocketAddr) -> std::io::Result<Server> {
        let listener = std::net::TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let url = format!("http://{address}");
        Ok(self.start_on(Bound::Tcp(listener, None), address.port(), url))
    }

    fn start_on(self, bound: Bound, port: u16, url: String) -> Server {
        let log = Arc::new(Mutex::new(Log::default()));
        let calls = self.calls;
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::new(Shared { script: self, log: log.clone() });
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = match bound {
                    Bound::Tcp(listener, tls) => Listener::tcp(listener, tls),
                    Bound::Unix(listener) => Listener::unix(listener),
                };
                serve(listener, &shared, stopped).await;
            });
        });
        Server { port, url, calls, log, stop: Some(stop), thread: Some(thread) }
    }
}

/// Where a server listens.
enum Bound {
    Tcp(std::net::TcpListener, Option<TlsAcceptor>),
    Unix(std::os::unix::net::UnixListener),
}

/// An address that refuses connections for as long as this lives.
#[derive(Debug)]
pub(crate) struct Refusing {
    _socket: TcpSocket,
    address: SocketAddr,
}

impl Refusing {
    /// Takes a port and does not listen on it.
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = socket.local_addr().unwrap();
        Self { _socket: socket, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[derive(Debug, Default)]
struct Log {
    requests: Vec<Request>,
    inference: Vec<usize>,
    nth: HashMap<String, usize>,
    /// Connections over which the inference path was called.
    connections: usize,
    open: usize,
    peak: usize,
    /// Whether there was a connection.
    greeted: bool,
    panics: Vec<String>,
}

struct Shared {
    script: Script,
    log: Arc<Mutex<Log>>,
}

/// A running server.
pub(crate) struct Server {
    port: u16,
    url: String,
    calls: Calls,
    log: Arc<Mutex<Log>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Its base URL, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    /// The requests to generate, in the order of arrival.
    pub(crate) fn inference(&self) -> Vec<Request> {
        let log = self.log();
        log.inference.iter().map(|&at| log.requests[at].clone()).collect()
    }

    /// All requests, in the order of arrival, as method and path.
    pub(crate) fn calls(&self) -> Vec<String> {
        let log = self.log();
        log.requests.iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }

    /// The requests to `path`, its query included.
    pub(crate) fn requests_to(&self, path: &str) -> Vec<Request> {
        self.log().requests.iter().filter(|request| request.path == path).cloned().collect()
    }

    /// Most requests to generate that were open at one time.
    pub(crate) fn peak(&self) -> usize {
        self.log().peak
    }

    /// Connections over which requests to generate came.
    pub(crate) fn connections(&self) -> usize {
        self.log().connections
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended, which its join tells.
            let _ = stop.send(());
        }
        let ended = self.thread.take().map(JoinHandle::join);
        if std::thread::panicking() {
            return;
        }
        assert!(matches!(ended, Some(Ok(()))), "the server's thread panicked");
        let log = self.log();
        assert!(log.panics.is_empty(), "scripts panicked: {:#?}", log.panics);
        let (any, load) = (!log.requests.is_empty(), !log.inference.is_empty());
        let as_told = match self.calls {
            Calls::Inference => load,
            Calls::Control => any && !load,
            Calls::None => !any,
            Calls::Any => true,
        };
        assert!(as_told, "expected calls: {:?}, and got {:?}", self.calls, log.requests);
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    // A script that panicked is told of by itself.
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: Listener, shared: &Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    let worker = Arc::new(tokio::sync::Mutex::new(()));
    let note = |ended: Result<(), tokio::task::JoinError>| {
        if let Err(error) = ended
            && error.is_panic()
        {
            let panic = error.into_panic();
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            lock(&shared.log).panics.push(text.unwrap_or_default());
        }
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let accepted = accepted.unwrap();
                let (shared, worker) = (shared.clone(), worker.clone());
                connections.spawn(async move {
                    let _turn = if shared.script.one_worker { Some(worker.lock().await) } else { None };
                    // A client that goes away is its own business: what it makes of it is tested there.
                    if let Ok(stream) = accepted.open().await {
                        let _ = converse(stream, &shared).await;
                    }
                });
            }
            Some(ended) = connections.join_next() => note(ended),
            _ = &mut stopped => break,
        }
    }
    connections.abort_all();
    while let Some(ended) = connections.join_next().await {
        note(ended);
    }
}

/// Answers the requests of one connection.
async fn converse(mut stream: Stream, shared: &Shared) -> std::io::Result<()> {
    let mut unread = Vec::new();
    let mut counted = false;
    // The first connection is that of the calls around the load.
    if let Some(greeting) = &shared.script.greeting
        && std::mem::replace(&mut lock(&shared.log).greeted, true)
        && !act(&mut stream, greeting.steps.clone()).await?
    {
        return Ok(());
    }
    let whole = |path: &str| !shared.script.hasty || shared.script.control.contains_key(path);
    let idle = shared.script.idle.unwrap_or(Duration::from_hours(1));
    while let Some(mut request) = tokio::time::timeout(idle, read(&mut stream, &mut unread, &whole))
        .await
        .unwrap_or(Ok(None))?
    {
        let path = request.path.split('?').next().unwrap_or_default().to_owned();
        let control = shared.script.control.get(path.as_str());
        let _open = {
            let mut log = lock(&shared.log);
            let nth = log.nth.entry(path).or_default();
            request.nth = *nth;
            *nth += 1;
            let at = log.requests.len();
            log.requests.push(request.clone());
            if control.is_none() {
                log.inference.push(at);
                log.connections += usize::from(!std::mem::replace(&mut counted, true));
                log.open += 1;
                log.peak = log.peak.max(log.open);
            }
            control.is_none().then(|| Open(shared.log.clone()))
        };
        let answer = control.unwrap_or(&shared.script.inference)(&request);
        let read_all = control.is_some() || !shared.script.hasty;
        if !act(&mut stream, answer.steps).await? || !read_all {
            return Ok(());
        }
    }
    Ok(())
}

/// Acts out an answer; whether the connection can go on after it.
async fn act(stream: &mut Stream, steps: Vec<Step>) -> std::io::Result<bool> {
    for step in steps {
        match step {
            Step::Write(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
            }
            Step::Flood(bytes) => loop {
                stream.write_all(&bytes).await?;
            },
            Step::Drip(bytes) => {
                for byte in bytes {
                    stream.write_u8(byte).await?;
                    stream.flush().await?;
                }
            }
            Step::Pause(time) => tokio::time::sleep(time).await,
            Step::Meet(barrier) => {
                barrier.wait().await;
            }
            Step::Close => return stream.shutdown().await.map(|()| false),
            Step::Cut => return stream.cut().await.map(|()| false),
            Step::Reset => return stream.reset().map(|()| false),
        }
    }
    Ok(true)
}

/// Counts a request as open for as long as it lives.
struct Open(Arc<Mutex<Log>>);

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.0).open -= 1;
    }
}
