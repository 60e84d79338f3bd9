//! A simulated engine behind a real HTTP server, to test clients against.
//!
//! It speaks the protocols of SGLang, OpenAI, truss, and TensorRT-LLM behind Triton, and
//! generates tokens at a pace that is drawn from distributions and known in advance. It knows
//! nothing of benchmarks and prints nothing.
//!
//! Times follow an absolute schedule for each request, which starts when the request takes its
//! slot, so they do not drift. The timer has a resolution of one millisecond: an event is never
//! early, and on an idle machine at most about two milliseconds late.
//!
//! Prompts are counted as the texts they hold, without a chat template.

mod bodies;
pub mod distribution;
mod engine;
mod refusal;
mod request;
mod routes;
mod slots;
mod stream;
#[cfg(test)]
mod tests;
pub mod truth;
mod vocabulary;
mod wire;

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::thread;

use axum::http::{HeaderMap, header};
use axum::serve::ListenerExt;
use clap::Args;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use bodies::Bodies;
use distribution::Distribution;
use engine::Pace;
use routes::Engine;
use slots::Slots;
use truth::{Log, Watched, Watching};
pub use vocabulary::{Vocabulary, vocabulary_from};

/// Connections that may wait to be accepted; thousands of clients may connect at once.
const BACKLOG: u32 = 16_384;

/// The name of the model that is served where none is chosen.
pub const MODEL: &str = "mock-model";

/// The environment variable that stands in for `--api-key`.
const API_KEY_VARIABLE: &str = "RBENCH_MOCK_API_KEY";

/// The options of the simulated engine.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Opts {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", help_heading = "Server")]
    pub host: String,

    /// Port to listen on; 0 takes any free one
    #[arg(long, default_value_t = 30000, help_heading = "Server")]
    pub port: u16,

    /// Name of the model that is served
    #[arg(long, value_name = "NAME", default_value = MODEL, help_heading = "Server")]
    pub model: String,

    /// Key that clients must send
    ///
    /// Requests to the inference and model routes need the header `Authorization: Bearer KEY`.
    /// The environment variable `RBENCH_MOCK_API_KEY` is used where the option is not given, and
    /// keeps the key out of the list of processes.
    #[arg(long, value_name = "KEY", help_heading = "Server")]
    pub api_key: Option<ApiKey>,

    /// File to append each inference request to
    ///
    /// Each line is a JSON object with the path, the headers and the body of a request. Values of
    /// headers that hold secrets are replaced by `***`.
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub bodies: Option<PathBuf>,

    /// File of when each event was sent
    ///
    /// Each line is a JSON object with the header `x-smg-routing-key` of a request to generate, when it had been
    /// read, and for each event of its answer when the system call that sent it began and how long it took. All in
    /// ns of the clock of this machine that never jumps (`CLOCK_MONOTONIC`). The file is complete when the server ends.
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub truth: Option<PathBuf>,

    /// Threads that serve connections
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Server")]
    pub threads: NonZeroUsize,

    /// End when the standard input ends
    ///
    /// A process that starts this one and keeps the other end of its standard input takes it down
    /// when it dies.
    #[arg(long, hide = true, help_heading = "Server")]
    pub exit_with_stdin: bool,

    /// Time to the first token
    ///
    /// One draw for each request, counted from the moment it has a slot. Accepted forms: `20ms`,
    /// `20` (milliseconds), `1.5s`, `500us`, `uniform:10ms-30ms`, `normal:20ms,5ms` (mean and
    /// deviation, clipped at zero), `exponential:20ms` (mean), `lognormal:20ms,0.5` (median and
    /// the deviation of the logarithm).
    #[arg(long, value_name = "DIST", default_value = "20ms", help_heading = "Timing")]
    pub ttft: Distribution,

    /// Time between two tokens
    ///
    /// One draw for each token after the first event; the gap before an event of several tokens is
    /// the sum of as many draws. Takes the same forms as --ttft.
    #[arg(long, value_name = "DIST", default_value = "10ms", help_heading = "Timing")]
    pub itl: Distribution,

    /// Seed of all random draws
    ///
    /// The draws of a request depend on the seed and on its place in the order of arrival, and not
    /// on timing.
    #[arg(long, value_name = "N", default_value_t = 42, help_heading = "Timing")]
    pub seed: u64,

    /// Tokenizer that counts prompts and provides the words of answers
    ///
    /// A tokenizer.json, tiktoken, SentencePiece or GGUF file, or a folder with one. A bundled
    /// tokenizer is used where the option is not given.
    #[arg(long, value_name = "PATH", help_heading = "Engine")]
    pub tokenizer: Option<PathBuf>,

    /// Requests that run at one time; others wait in order of arrival
    #[arg(long, value_name = "N", default_value = "256", help_heading = "Engine")]
    pub max_batch: NonZeroUsize,

    /// Tokens in each streamed event; the last event may hold fewer
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Engine")]
    pub tokens_per_event: NonZeroU64,

    /// Tokens at the start of each chat answer that are reasoning
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Engine")]
    pub reasoning_tokens: u64,

    /// Output tokens after which an answer stops by itself
    ///
    /// Stands for an end-of-sequence token; a request with `ignore_eos` is not affected.
    #[arg(long, value_name = "N", help_heading = "Engine")]
    pub stop_after: Option<NonZeroU64>,

    /// Average length of accepted speculation to report as the server's own
    #[arg(long, value_name = "X", value_parser = finite, help_heading = "Engine")]
    pub accept_length: Option<f64>,
}

/// A key that clients must send; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Returns whether the headers of a request hold the key.
    fn admits(&self, headers: &HeaderMap) -> bool {
        headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
            .is_some_and(|key| key == self.0.as_bytes())
    }
}

impl FromStr for ApiKey {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// Reads a finite number of zero or more.
fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("expected a number of zero or more, such as 2.5".to_owned()),
    }
}

/// Why the server could not start or go on; the messages read after "failed to".
#[derive(Debug, Error)]
pub enum Error {
    /// The host has no address.
    #[error("find an address for --host {host}")]
    Host {
        /// The host as typed.
        host: String,
        /// The reason, absent where the look-up worked and found nothing.
        source: Option<io::Error>,
    },
    /// The address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The file for request bodies cannot be opened.
    #[error("open the file of --bodies, {}", path.display())]
    Bodies {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file of when events were sent cannot be written.
    #[error("write the file of --truth, {}", path.display())]
    Truth {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The key of the environment is not text.
    #[error("read {API_KEY_VARIABLE}: it is not UTF-8")]
    Key,
    /// The system refuses threads or timers.
    #[error("start the server's threads")]
    Threads {
        /// The reason.
        source: io::Error,
    },
    /// The server broke while it ran.
    #[error("serve on {address}")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
}

/// A server that listens, and answers once [`Server::serve`] runs.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    engine: Engine,
    truth: Option<Arc<Log>>,
}

impl Server {
    /// The address that clients connect to, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL, such as `http://127.0.0.1:30000`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers requests until the future is dropped.
    ///
    /// Connections run on tasks of their own, which end with the runtime.
    ///
    /// # Errors
    ///
    /// When connections can no longer be accepted.
    pub async fn serve(self) -> Result<(), Error> {
        let address = self.address;
        let router = routes::router(Arc::new(self.engine));
        let failed = |source| Error::Serve { address, source };
        if let Some(log) = self.truth {
            let watching = Watching { listener: self.listener, log };
            let service = router.into_make_service_with_connect_info::<Watched>();
            return axum::serve(watching, service).await.map_err(failed);
        }
        // Without the option, small events would wait for the acknowledgement of the last one. A
        // socket that refuses it is closed already.
        let listener = self.listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        axum::serve(listener, router).await.map_err(failed)
    }
}

/// Opens the port; connections wait in line until [`Server::serve`] runs.
///
/// # Errors
///
/// When the host has no address, when the address is in use, or when the file for request bodies
/// cannot be opened.
pub async fn bind(opts: &Opts, vocabulary: Vocabulary) -> Result<Server, Error> {
    let engine = engine(opts, vocabulary)?;
    let create = |path: &PathBuf| Log::create(path).map(Arc::new).map_err(truth_error(path));
    let truth = opts.truth.as_ref().map(create).transpose()?;
    let host_error = |source| Error::Host { host: opts.host.clone(), source };
    let address = lookup_host((opts.host.as_str(), opts.port))
        .await
        .map_err(|source| host_error(Some(source)))?
        .next()
        .ok_or_else(|| host_error(None))?;
    listen(address)
        .and_then(|listener| {
            Ok(Server { address: listener.local_addr()?, listener, engine, truth })
        })
        .map_err(|source| Error::Listen { address, source })
}

/// Runs a server on a runtime of its own, until the process is interrupted.
///
/// `ready` is called with the server once it listens. With [`Opts::exit_with_stdin`] the end of
/// the standard input also ends it. A key that is not among the options is taken from the
/// environment, which [`bind`] leaves alone.
///
/// # Errors
///
/// Those of [`bind`] and [`Server::serve`], or when threads cannot be started.
pub fn run(
    mut opts: Opts,
    vocabulary: Vocabulary,
    ready: impl FnOnce(&Server),
) -> Result<(), Error> {
    match std::env::var(API_KEY_VARIABLE) {
        Ok(key) => opts.api_key = opts.api_key.or(Some(ApiKey(key))),
        // Without its key the server would be open to everybody.
        Err(std::env::VarError::NotUnicode(_)) if opts.api_key.is_none() => return Err(Error::Key),
        Err(_) => {}
    }
    // A single thread also accepts connections, which saves waking another for each.
    let mut builder = match opts.threads.get() {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(opts.threads.get())
        .enable_all()
        .build()
        .map_err(|source| Error::Threads { source })?;
    let mut truth = None;
    let result = runtime.block_on(async {
        let end = opts.exit_with_stdin.then(watch_input).transpose()?;
        let server = bind(&opts, vocabulary).await?;
        truth.clone_from(&server.truth);
        ready(&server);
        tokio::select! {
            result = server.serve() => result,
            () = interrupted() => Ok(()),
            () = end_of_input(end) => Ok(()),
        }
    });
    // A prompt that is still being counted need not hold up the end.
    runtime.shutdown_background();
    result?;
    match (truth, &opts.truth) {
        (Some(log), Some(path)) => log.finish().map_err(truth_error(path)),
        _ => Ok(()),
    }
}

fn truth_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    |source| Error::Truth { path: path.to_owned(), source }
}

/// Waits for Ctrl-C, or for ever if that cannot be noticed and thus ends the process as usual.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        pending::<()>().await;
    }
}

/// Watches the standard input; the receiver learns of its end.
fn watch_input() -> Result<oneshot::Receiver<()>, Error> {
    let (ended, end) = oneshot::channel();
    // Not a task of the runtime: a read that cannot be cancelled would keep it from ending.
    let watch = move || {
        let copied = io::copy(&mut io::stdin().lock(), &mut io::sink());
        // An input that cannot be read counts as ended, and nobody may be left to tell.
        drop((copied, ended.send(())));
    };
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(watch)
        .map_err(|source| Error::Threads { source })?;
    Ok(end)
}

/// Waits for the end that [`watch_input`] reports, or for ever if it is not watched.
async fn end_of_input(end: Option<oneshot::Receiver<()>>) {
    match end {
        Some(end) => end.await.unwrap_or_default(),
        None => pending().await,
    }
}

/// Opens a listening socket.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that is started again need not wait for the connections of the last one to expire.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Puts the engine together.
fn engine(opts: &Opts, vocabulary: Vocabulary) -> Result<Engine, Error> {
    let open = |path: &PathBuf| {
        Bodies::open(path).map_err(|source| Error::Bodies { path: path.clone(), source })
    };
    let bundled = || "rbench-bundled".to_owned();
    Ok(Engine {
        model: opts.model.as_str().into(),
        tokenizer_path: opts
            .tokenizer
            .as_ref()
            .map_or_else(bundled, |path| path.display().to_string()),
        pace: Pace {
            ttft: opts.ttft,
            itl: opts.itl,
            tokens_per_event: opts.tokens_per_event.get(),
            seed: opts.seed,
        },
        slots: Slots::new(opts.max_batch.get()),
        reasoning_tokens: opts.reasoning_tokens,
        stop_after: opts.stop_after.map(NonZeroU64::get),
        accept_length: opts.accept_length,
        // An empty key is no key, as a variable is often unset by emptying it.
        api_key: opts.api_key.clone().filter(|ApiKey(key)| !key.is_empty()),
        bodies: opts.bodies.as_ref().map(open).transpose()?,
        vocabulary: Arc::new(vocabulary),
        created: routes::unix_time(),
    })
}
