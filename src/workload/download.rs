//! Downloads: one client for the Hub, ModelScope and plain URLs, with the trust and the proxies of the other calls.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use tokio::runtime::Runtime;

use crate::engine::transport::tls::Trust;
use crate::engine::transport::{Route, USER_AGENT, innermost};
use crate::error::{Error, Kind};

/// Longest wait for an answer, and longest silence within a file, where nothing else is asked for.
const PATIENT: Duration = Duration::from_secs(30);

/// Most redirects that one download follows.
const MAX_REDIRECTS: usize = 10;

/// Most bytes of an answer that is read as a text.
const LONGEST_TEXT: usize = 64 << 20;

/// Most bytes of a server's reason that are shown.
const REASON: usize = 400;

/// Fetches files over HTTP.
#[derive(Debug, Clone)]
pub struct Fetcher {
    route: Route,
}

impl Default for Fetcher {
    /// A fetcher that trusts the system's authorities and uses the proxies that the environment names.
    fn default() -> Self {
        Self::new(&Trust::default(), true)
    }
}

impl Fetcher {
    /// A fetcher that trusts whom `trust` trusts, without showing its certificate;
    /// `proxies` are those that the environment names.
    pub fn new(trust: &Trust, proxies: bool) -> Self {
        Self { route: Route { proxies, trust: trust.anonymous(), ..Route::default() } }
    }

    /// The file at `url`: from the cache, else downloaded into it under `name`.
    ///
    /// The cache is `rbench` in `XDG_CACHE_HOME`, or else in `~/.cache`.
    /// A file is there whole or not at all.
    ///
    /// # Errors
    /// If it is not in the cache and cannot be downloaded.
    pub fn cached(&self, url: &str, name: &str) -> Result<PathBuf, Error> {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
            .ok_or_else(|| {
                Error::new(Kind::System, "there is no home folder for a cache")
                    .hint("set XDG_CACHE_HOME, or HOME")
            })?
            .join("rbench");
        let path = cache.join(name);
        if !path.exists() {
            self.save(&Request::new(url), &path).map_err(|failure| match failure {
                Failure::Store(error) => error,
                failure => {
                    Error::new(Kind::Input, format!("cannot download {url}: {}", failure.why()))
                }
            })?;
        }
        Ok(path)
    }

    /// Downloads a file to `path`, where it is whole or not at all.
    ///
    /// # Errors
    /// If the server does not send it, or it cannot be stored.
    pub fn save(&self, request: &Request<'_>, path: &Path) -> Result<(), Failure> {
        let store = |error| Failure::store(path, error);
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(store)?;
        // A name of its own until it is whole, so that neither a broken download nor another process harms it.
        let part = path.with_extension(format!("part-{}", std::process::id()));
        let mut file = std::fs::File::create(&part).map_err(store)?;
        let result = self
            .open(request)
            .and_then(|mut answer| {
                answer.read(|chunk| file.write_all(chunk).map_err(store))?;
                file.sync_all().map_err(store)
            })
            .and_then(|()| std::fs::rename(&part, path).map_err(store));
        if result.is_err() {
            // It is of no use to anybody, and may be gone already.
            let _ = std::fs::remove_file(&part);
        }
        result
    }

    /// Downloads a text.
    ///
    /// # Errors
    /// If the server does not send it, or sends more than 64 MiB.
    pub fn text(&self, request: &Request<'_>) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        self.open(request)?.read(|chunk| {
            bytes.extend_from_slice(chunk);
            if bytes.len() > LONGEST_TEXT {
                let why = format!("its answer is longer than {} MiB", LONGEST_TEXT >> 20);
                return Err(Failure::Refused { status: None, why });
            }
            Ok(())
        })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Asks for a file and reads the heads of the answers, up to the one that is no redirect.
    ///
    /// # Errors
    /// If nobody answers in time, or the last answer is no success.
    pub fn open(&self, request: &Request<'_>) -> Result<Download, Failure> {
        let runtime = Running::start()?;
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            // The heads of redirects have fields that are needed.
            .redirect(Policy::none())
            .connect_timeout(request.answer)
            .read_timeout(request.silence);
        let client = self.route.lead(builder).map_err(Failure::Store)?.build();
        let client = client.map_err(|error| Failure::refused(innermost(&error)))?;
        let fields = request.fields()?;
        let (response, heads) = runtime.block_on(follow(&client, request, fields))?;
        Ok(Download { response, runtime, heads, silence: request.silence })
    }
}

/// A file to ask for.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Its URL.
    pub url: &'a str,
    /// What opens a private repository; sent as a bearer token, never shown.
    pub token: Option<&'a str>,
    /// Whether the token is sent as the cookie of a session as well.
    pub session: bool,
    /// How long the server may take to answer.
    pub answer: Duration,
    /// Longest silence within the file.
    pub silence: Duration,
    /// Bytes that are there already.
    pub from: u64,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("url", &self.url).finish_non_exhaustive()
    }
}

impl<'a> Request<'a> {
    /// A request for the whole file at `url`, without a token.
    pub fn new(url: &'a str) -> Self {
        Self { url, token: None, session: false, answer: PATIENT, silence: PATIENT, from: 0 }
    }

    fn fields(&self) -> Result<HeaderMap, Failure> {
        let mut fields = HeaderMap::new();
        if self.from > 0 {
            fields.insert(
                RANGE,
                HeaderValue::from_str(&format!("bytes={}-", self.from)).map_err(unsendable)?,
            );
        }
        let Some(token) = self.token else { return Ok(fields) };
        let cookie = self.session.then(|| (COOKIE, format!("m_session_id={token}")));
        for (name, value) in [(AUTHORIZATION, format!("Bearer {token}"))].into_iter().chain(cookie)
        {
            let mut value = HeaderValue::from_str(&value).map_err(unsendable)?;
            value.set_sensitive(true);
            fields.insert(name, value);
        }
        Ok(fields)
    }
}

fn unsendable(_: reqwest::header::InvalidHeaderValue) -> Failure {
    Failure::refused("the token is no text that a header can hold".to_owned())
}

/// Why there is no file.
#[derive(Debug)]
pub enum Failure {
    /// Nobody answers, for this reason.
    Unreachable(String),
    /// Nobody answered within this time.
    Silent(Duration),
    /// The answer is not the file.
    Refused {
        /// The status of HTTP, if that is why.
        status: Option<u16>,
        /// The reason, with the status.
        why: String,
    },
    /// The file cannot be stored.
    Store(Error),
}

impl Failure {
    /// A failure that has no status.
    pub fn refused(why: String) -> Self {
        Self::Refused { status: None, why }
    }

    /// A file that cannot be stored at `path`.
    pub fn store(path: &Path, error: std::io::Error) -> Self {
        let message = format!("cannot store {}", path.display());
        Self::Store(Error::new(Kind::System, message).because(error))
    }

    /// The reason.
    pub fn why(&self) -> String {
        match self {
            Self::Unreachable(why) | Self::Refused { why, .. } => why.clone(),
            Self::Silent(time) => format!("no answer within {} s", time.as_secs_f64()),
            Self::Store(error) => error.to_string(),
        }
    }
}

/// A runtime that does not wait for what is left when it is dropped, such as a slow look-up of a name.
struct Running(Option<Runtime>);

impl Running {
    fn start() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map(|runtime| Self(Some(runtime))).map_err(|error| {
            Failure::Store(Error::new(Kind::System, "cannot start a runtime").because(error))
        })
    }

    fn block_on<T>(&self, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        match &self.0 {
            Some(runtime) => runtime.block_on(future),
            None => Err(Failure::refused("the download has ended".to_owned())),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A download whose head has come.
pub struct Download {
    // Goes before the runtime that its connection runs on.
    response: Response,
    runtime: Running,
    /// The heads of all answers on the way.
    heads: Vec<HeaderMap>,
    silence: Duration,
}

impl fmt::Debug for Download {
    /// Leaves the URL out, which may hold a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("status", &self.response.status()).finish_non_exhaustive()
    }
}

impl Download {
    /// The fields `names` of the first answer on the way that has the first of them.
    pub fn fields<const N: usize>(&self, names: [&str; N]) -> [Option<&str>; N] {
        let head = self.heads.iter().find(|head| head.contains_key(names[0]));
        names.map(|name| head?.get(name)?.to_str().ok())
    }

    /// Bytes of the answer's body, if it says so.
    pub fn size(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Whether the answer begins at byte `at` of the file.
    pub fn begins_at(&self, at: u64) -> bool {
        let range = self.response.headers().get("content-range");
        let range = range.and_then(|range| range.to_str().ok()).unwrap_or_default();
        self.response.status() == StatusCode::PARTIAL_CONTENT
            && range.strip_prefix("bytes ").and_then(|range| range.split('-').next())
                == Some(&at.to_string())
    }

    /// Hands over what comes, piece by piece.
    ///
    /// # Errors
    /// If the download breaks off, or `take` fails.
    pub fn read(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (response, silence) = (&mut self.response, self.silence);
        let mut next = async || {
            response.chunk().await.map_err(|error| {
                let why = if error.is_timeout() {
                    format!("no more of it came within {} s", silence.as_secs_f64())
                } else {
                    innermost(&error)
                };
                Failure::refused(why)
            })
        };
        while let Some(chunk) = self.runtime.block_on(next())? {
            take(&chunk)?;
        }
        Ok(())
    }
}

/// Sends the request and follows redirects; other servers get no token.
async fn follow(
    client: &Client,
    request: &Request<'_>,
    mut fields: HeaderMap,
) -> Result<(Response, Vec<HeaderMap>), Failure> {
    let mut url = Url::parse(request.url)
        .map_err(|error| Failure::refused(format!("it is no URL: {error}")))?;
    let mut heads = Vec::new();
    loop {
        let asked = client.get(url.clone()).headers(fields.clone()).send();
        let response = tokio::time::timeout(request.answer, asked)
            .await
            .map_err(|_| Failure::Silent(request.answer))?
            .map_err(|error| {
                if error.is_timeout() {
                    Failure::Silent(request.answer)
                } else {
                    Failure::Unreachable(innermost(&error))
                }
            })?;
        heads.push(response.headers().clone());
        let status = response.status();
        if status.is_success() {
            return Ok((response, heads));
        }
        let to = response.headers().get(LOCATION).filter(|_| status.is_redirection());
        let Some(to) = to else { return Err(refused(request, response).await) };
        if heads.len() > MAX_REDIRECTS {
            return Err(Failure::refused(format!("it leads over {MAX_REDIRECTS} redirects")));
        }
        let next = to.to_str().ok().and_then(|to| url.join(to).ok());
        let next = next.ok_or_else(|| Failure::refused("it leads to what is no URL".to_owned()))?;
        if next.origin() != url.origin() {
            for name in [AUTHORIZATION, COOKIE] {
                fields.remove(name);
            }
        }
        url = next;
    }
}

/// Why a server refuses: the header that the Hub has for it, or else a short text.
async fn refused(request: &Request<'_>, mut response: Response) -> Failure {
    let status = response.status();
    let said = response.headers().get("x-error-message").cloned();
    let mut text = said.map_or_else(Vec::new, |said| said.as_bytes().to_vec());
    if text.is_empty() {
        while text.len() <= REASON
            && let Ok(Some(chunk)) = response.chunk().await
        {
            text.extend_from_slice(&chunk);
        }
    }
    let text = String::from_utf8_lossy(&text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = request.token.map_or_else(|| text.clone(), |token| text.replace(token, "***"));
    let mut why = format!("HTTP status {status}");
    // A page for browsers says nothing in its first lines.
    if !text.is_empty() && !text.starts_with('<') {
        why = format!("{why}: {}", text.chars().take(REASON).collect::<String>());
    }
    Failure::Refused { status: Some(status.as_u16()), why }
}
