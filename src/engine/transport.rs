//! Connections to a server, and the clock that stamps what comes over them.
//!
//! Knows neither datasets nor metrics; what bytes mean is the decoder's to say.

pub mod clock;
pub mod connection;
pub mod http1;
pub mod http2;
pub mod message;
pub mod proxy;
pub mod socket;
pub mod tls;

use std::error::Error as _;
use std::io::Write as _;
use std::net::ToSocketAddrs as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use http::request::Request;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderName, Method};
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, PROXY_AUTHORIZATION,
};
use rustls::pki_types::ServerName;

use self::connection::Tls;
use self::proxy::{Proxy, Tunnel};
use self::socket::Address;
use self::tls::Trust;
use crate::error::{Error, Kind};
use crate::model::PlannedRequest;
use crate::protocol::backend::Protocol;

pub use self::clock::Clock;

/// How this client names itself.
pub const USER_AGENT: &str = concat!("rbench/", env!("CARGO_PKG_VERSION"));

/// The header that tells a router which requests belong together.
const ROUTING_KEY: &str = "x-smg-routing-key";

/// The header that names a request in the logs of servers.
const REQUEST_ID: &str = "x-request-id";

/// Fields of a request that are about one connection of HTTP/1.1, and have no place in HTTP/2.
const OF_CONNECTIONS: &[&str] =
    &["connection", "host", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// Its name in the handshake of TLS.
    fn alpn(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// How servers are reached, by the load and by control calls alike.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// The Unix socket where the server listens, if it is not the network.
    pub socket: Option<PathBuf>,
    /// Whether the proxies that the environment names are used.
    pub proxies: bool,
    /// Whom TLS trusts.
    pub trust: Trust,
    /// The version of HTTP that is spoken whatever the server offers. If it is `None`, the load speaks HTTP/2 with servers
    /// alone that refuse HTTP/1.1 in the handshake of TLS, and control calls leave the choice to the server there.
    pub version: Option<Version>,
}

impl Route {
    /// Sends a client of control calls or downloads the same way.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn lead(
        &self,
        mut client: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, Error> {
        let offers: &[&str] = match self.version {
            None => &["h2", "http/1.1"],
            Some(version) => &[version.alpn()],
        };
        client = client.tls_backend_preconfigured(self.trust.config(offers)?);
        client = match self.version {
            None => client,
            Some(Version::Http1) => client.http1_only(),
            Some(Version::Http2) => client.http2_prior_knowledge(),
        };
        if !self.proxies {
            client = client.no_proxy();
        }
        if let Some(path) = &self.socket {
            client = client.unix_socket(path.as_path());
        }
        Ok(client)
    }

    /// The proxy that requests to `url` go through.
    ///
    /// # Errors
    /// If it is of a kind through which the load cannot go.
    pub fn proxy(&self, url: &reqwest::Url) -> Result<Option<Proxy>, Error> {
        if !self.proxies || self.socket.is_some() {
            return Ok(None);
        }
        let proxy = Proxy::from_env(url)?;
        match &proxy {
            Some(proxy) if self.version == Some(Version::Http2) && url.scheme() == "http" => {
                Err(Error::new(
                    Kind::Usage,
                    format!(
                        "--http-version 2 does not apply to requests without TLS that go through a proxy ({}), which speaks HTTP/1.1",
                        proxy.shown
                    ),
                )
                .hint("--no-proxy ignores the proxies of the environment")
                .hint("to an https URL a proxy opens a way, through which HTTP/2 goes"))
            }
            _ => Ok(proxy),
        }
    }
}

/// Where requests go, and what is common to their heads.
pub struct Endpoint {
    /// The addresses of the server, or of the proxy before it, in the order in which they are tried, or why there are none.
    pub addresses: Result<Vec<Address>, String>,
    /// The way through a proxy, if there is one that does not see the requests.
    pub tunnel: Option<Tunnel>,
    /// How to speak TLS with it, if it does.
    pub(crate) tls: Option<Tls>,
    /// The proxy that the requests go through.
    pub proxy: Option<Proxy>,
    /// The wire protocol.
    pub protocol: &'static dyn Protocol,
    /// Whether an answer is to be streamed.
    pub streams: bool,
    /// The head of each request of HTTP/1.1 up to the fields that differ.
    head: Vec<u8>,
    /// The same for HTTP/2.
    request: Request<()>,
    /// The version of HTTP that is spoken whatever the server offers.
    version: Option<Version>,
    /// What stands before the number of a request in its id, which it then has.
    request_ids: Option<Box<str>>,
    /// Whether the server has refused HTTP/1.1.
    refused: AtomicBool,
}

impl std::fmt::Debug for Endpoint {
    /// Leaves the head out: it holds keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The endpoint at `url`, reached by `route`, whose requests have `headers`.
    ///
    /// # Errors
    /// If it is no URL of HTTP, the TLS roots of the system cannot be read, or the load cannot go through the proxy.
    pub fn new(
        url: &str,
        headers: &HeaderMap,
        protocol: &'static dyn Protocol,
        streams: bool,
        route: &Route,
    ) -> Result<Self, Error> {
        let refuse = || Error::new(Kind::Usage, "--base-url does not give a URL");
        let url = reqwest::Url::parse(url).map_err(|_| refuse())?;
        let host = url.host_str().ok_or_else(refuse)?;
        let port = url.port_or_known_default().ok_or_else(refuse)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let proxy = route.proxy(&url)?;
        let addresses = match (&route.socket, &proxy) {
            (Some(path), _) => Ok(vec![Address::Unix(path.clone())]),
            (None, Some(proxy)) => resolve("the proxy ", &proxy.host, proxy.port),
            (None, None) => resolve("", bare, port),
        };
        let is_encrypted = url.scheme() == "https";
        let tls = is_encrypted.then(|| encrypted(bare, &route.trust)).transpose()?;
        Ok(Self {
            addresses,
            tunnel: proxy.as_ref().filter(|_| is_encrypted).map(|proxy| Tunnel::new(proxy, &url)),
            tls,
            protocol,
            streams,
            head: head(&url, headers, proxy.as_ref().filter(|_| !is_encrypted)),
            request: request(&url, headers).ok_or_else(refuse)?,
            version: route.version,
            request_ids: None,
            refused: AtomicBool::new(false),
            proxy,
        })
    }

    /// The same, naming each request by `prefix` and its position in the plan.
    #[must_use]
    pub fn naming_requests(mut self, prefix: Option<&str>) -> Self {
        self.request_ids = prefix.map(Into::into);
        self
    }

    /// The version of HTTP that new connections speak.
    pub fn version(&self) -> Version {
        self.version.unwrap_or_else(|| {
            if self.refused.load(Ordering::Relaxed) { Version::Http2 } else { Version::Http1 }
        })
    }

    /// Notes that the server refused `version` in the handshake of TLS; whether another one is left to try.
    pub fn refuses(&self, version: Version) -> bool {
        let other = self.version.is_none() && version == Version::Http1;
        if other {
            self.refused.store(true, Ordering::Relaxed);
        }
        other
    }

    /// Returns whether the kernel can say when data of this server arrived; it does so for TCP alone.
    pub fn can_have_stamps(&self) -> bool {
        self.addresses
            .as_ref()
            .is_ok_and(|all| all.iter().any(|address| matches!(address, Address::Tcp(_))))
    }

    /// The endpoint at `url` for streamed answers, without headers of the user's.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn bare(url: &str, protocol: &'static dyn Protocol) -> Result<Self, Error> {
        Self::new(url, &HeaderMap::new(), protocol, true, &Route::default())
    }

    /// The head of `request`, as HTTP/1.1 has it.
    pub fn head(&self, request: &PlannedRequest) -> Vec<u8> {
        let mut head = Vec::with_capacity(self.head.len() + 128);
        head.extend_from_slice(&self.head);
        if let Some(key) =
            request.routing_key.as_deref().filter(|k| HeaderValue::from_str(k).is_ok())
        {
            // Writing to memory does not fail.
            let _ = write!(head, "{ROUTING_KEY}: {key}\r\n");
        }
        if let Some(prefix) = &self.request_ids {
            let _ = write!(head, "{REQUEST_ID}: {prefix}{}\r\n", request.index);
        }
        let _ = write!(head, "content-length: {}\r\n\r\n", request.body.len());
        head
    }

    /// The head of `request`, as HTTP/2 has it.
    pub fn request(&self, request: &PlannedRequest) -> Request<()> {
        let mut head = self.request.clone();
        let key = request.routing_key.as_deref().and_then(|key| HeaderValue::from_str(key).ok());
        if let Some(key) = key {
            head.headers_mut().append(ROUTING_KEY, key);
        }
        if let Some(prefix) = &self.request_ids
            && let Ok(id) = HeaderValue::from_str(&format!("{prefix}{}", request.index))
        {
            head.headers_mut().append(REQUEST_ID, id);
        }
        head.headers_mut().insert(CONTENT_LENGTH, request.body.len().into());
        head
    }
}

fn resolve(what: &str, host: &str, port: u16) -> Result<Vec<Address>, String> {
    match (host, port).to_socket_addrs() {
        Ok(found) => Ok(found.map(Address::Tcp).collect()),
        Err(error) => Err(format!("cannot find the address of {what}{host}: {error}")),
    }
}

/// The request line and the fields that all requests have; `proxy` is one that reads them.
fn head(url: &reqwest::Url, headers: &HeaderMap, proxy: Option<&Proxy>) -> Vec<u8> {
    let mut head = Vec::new();
    let mut line = |name: &str, between: &str, value: &[u8]| {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(between.as_bytes());
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    let host = authority(url);
    // A proxy is told the whole URL.
    let origin = proxy.map(|_| format!("{}://{host}", url.scheme())).unwrap_or_default();
    line("POST", " ", format!("{origin}{} HTTP/1.1", path(url)).as_bytes());
    if !headers.contains_key(HOST) {
        line("host", ": ", host.as_bytes());
    }
    if let Some(value) = proxy.and_then(|proxy| proxy.authorization.as_ref())
        && !headers.contains_key(PROXY_AUTHORIZATION)
    {
        line("proxy-authorization", ": ", value.as_bytes());
    }
    for (name, value) in fields(url, headers) {
        line(name, ": ", &value);
    }
    head
}

/// The same for HTTP/2, unless it cannot carry the URL.
fn request(url: &reqwest::Url, headers: &HeaderMap) -> Option<Request<()>> {
    let named = headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let uri = Uri::builder()
        .scheme(Scheme::try_from(url.scheme()).ok()?)
        .authority(named.or_else(|| Authority::try_from(authority(url)).ok())?)
        .path_and_query(PathAndQuery::try_from(path(url)).ok()?)
        .build()
        .ok()?;
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    for (name, value) in fields(url, headers) {
        if OF_CONNECTIONS.contains(&name) {
            continue;
        }
        let mut value = HeaderValue::from_bytes(&value).ok()?;
        // Not to be kept in the tables of those between.
        value.set_sensitive(headers.get(name).is_none_or(HeaderValue::is_sensitive));
        request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
    }
    Some(request)
}

/// Host and port of `url`, the port unless it is the usual one.
fn authority(url: &reqwest::Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or(""))
}

/// Path and query of `url`.
fn path(url: &reqwest::Url) -> String {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", url.path())
}

/// The fields that all requests have, whichever version of HTTP they are sent in.
fn fields<'a>(url: &reqwest::Url, headers: &'a HeaderMap) -> Vec<(&'a str, Vec<u8>)> {
    let mut fields: Vec<(&str, Vec<u8>)> = Vec::new();
    if !headers.contains_key("user-agent") {
        fields.push(("user-agent", USER_AGENT.into()));
    }
    if !headers.contains_key("accept") {
        fields.push(("accept", b"*/*".into()));
    }
    if !url.username().is_empty() && !headers.contains_key(AUTHORIZATION) {
        let plain = |text: &str| {
            percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
        };
        let pair = format!("{}:{}", plain(url.username()), plain(url.password().unwrap_or("")));
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        fields.push(("authorization", format!("Basic {pair}").into()));
    }
    // How long the body is, and how it comes, is not the user's to say.
    let ours = |name: &str| matches!(name, "content-length" | "transfer-encoding" | "connection");
    let given = headers.iter().filter(|(name, _)| !ours(name.as_str()));
    fields.extend(given.map(|(name, value)| (name.as_str(), value.as_bytes().to_vec())));
    fields
}

fn encrypted(host: &str, trust: &Trust) -> Result<Tls, Error> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| {
        Error::new(Kind::System, "cannot speak TLS: the host cannot have a certificate")
            .because(error)
    })?;
    trust.read_authorities()?;
    let one = trust.config(&[Version::Http1.alpn()])?;
    let mut two = one.clone();
    two.alpn_protocols = vec![Version::Http2.alpn().into()];
    Ok(Tls { configs: [Arc::new(one), Arc::new(two)], name })
}

/// The cause chain without its URLs, which may hold user names and keys.
pub fn innermost(error: &reqwest::Error) -> String {
    if let Some(trouble) = tls::trouble(error) {
        return trouble.message;
    }
    let mut messages: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        // A layer that only says that it is a client.
        if messages.last() != Some(&message) && !message.starts_with("client error (") {
            messages.push(message);
        }
        source = cause.source();
    }
    if messages.is_empty() {
        return if error.is_timeout() {
            "the time limit passed".to_owned()
        } else {
            "the request failed".to_owned()
        };
    }
    messages.join(": ")
}

/// Returns whether `error` is that what came back is not HTTP of the version that was spoken.
pub fn is_another_protocol(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        let parse = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
        // What the other side sends as HTTP/2 is that, whatever it says.
        let frames = cause
            .downcast_ref::<h2::Error>()
            .is_some_and(|error| error.is_go_away() && error.is_library());
        if parse || frames {
            return true;
        }
        source = cause.source();
    }
    false
}
