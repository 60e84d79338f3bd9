//! Connections to a server, and the clock that stamps what comes over them.
//!
//! Knows neither datasets nor metrics; what bytes mean is the decoder's to say.

pub mod clock;
pub mod connection;
pub mod http1;
pub mod socket;

use std::error::Error as _;
use std::io::Write as _;
use std::net::ToSocketAddrs as _;
use std::sync::Arc;

use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt as _;

use self::connection::Tls;
use self::socket::Address;
use crate::backend::Protocol;
use crate::error::{Error, Kind};
use crate::model::PlannedRequest;

pub use self::clock::Clock;

/// How this client names itself.
pub const USER_AGENT: &str = concat!("rbench/", env!("CARGO_PKG_VERSION"));

/// The header that tells a router which requests belong together.
const ROUTING_KEY: &str = "x-smg-routing-key";

/// Where requests go, and what is common to their heads.
pub struct Endpoint {
    /// The addresses of the server in the order in which they are tried, or why there are none.
    pub addresses: Result<Vec<Address>, String>,
    /// How to speak TLS with it, if it does.
    pub tls: Option<Tls>,
    /// The wire protocol.
    pub protocol: &'static dyn Protocol,
    /// Whether an answer is to be streamed.
    pub streams: bool,
    /// The head of each request up to the fields that differ.
    head: Vec<u8>,
}

impl std::fmt::Debug for Endpoint {
    /// Leaves the head out: it holds keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The endpoint at `url`, whose requests have `headers`.
    ///
    /// # Errors
    /// If it is no URL of HTTP, or the TLS roots of the system can not be read.
    pub fn new(
        url: &str,
        headers: &HeaderMap,
        protocol: &'static dyn Protocol,
        streams: bool,
    ) -> Result<Self, Error> {
        let refuse = || Error::new(Kind::Usage, "--base-url does not give a URL");
        let url = reqwest::Url::parse(url).map_err(|_| refuse())?;
        let host = url.host_str().ok_or_else(refuse)?;
        let port = url.port_or_known_default().ok_or_else(refuse)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = match (bare, port).to_socket_addrs() {
            Ok(found) => Ok(found.map(Address::Tcp).collect()),
            Err(error) => Err(format!("can not find the address of {host}: {error}")),
        };
        let tls = (url.scheme() == "https").then(|| tls(bare)).transpose()?;
        Ok(Self { addresses, tls, protocol, streams, head: head(&url, headers) })
    }

    /// The endpoint at `url` for streamed answers, without headers of the user's.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn bare(url: &str, protocol: &'static dyn Protocol) -> Result<Self, Error> {
        Self::new(url, &HeaderMap::new(), protocol, true)
    }

    /// The head of `request`.
    pub fn head(&self, request: &PlannedRequest) -> Vec<u8> {
        let mut head = Vec::with_capacity(self.head.len() + 128);
        head.extend_from_slice(&self.head);
        if let Some(key) =
            request.routing_key.as_deref().filter(|k| HeaderValue::from_str(k).is_ok())
        {
            // Writing to memory does not fail.
            let _ = write!(head, "{ROUTING_KEY}: {key}\r\n");
        }
        let _ = write!(head, "content-length: {}\r\n\r\n", request.body.len());
        head
    }
}

/// The request line and the fields that all requests have.
fn head(url: &reqwest::Url, headers: &HeaderMap) -> Vec<u8> {
    let mut head = Vec::new();
    let mut line = |name: &str, value: &[u8]| {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    line("POST ", format!("{}{query} HTTP/1.1", url.path()).as_bytes());
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    if !headers.contains_key("host") {
        line("host: ", format!("{}{port}", url.host_str().unwrap_or("")).as_bytes());
    }
    if !headers.contains_key("user-agent") {
        line("user-agent: ", USER_AGENT.as_bytes());
    }
    if !headers.contains_key("accept") {
        line("accept: ", b"*/*");
    }
    if !url.username().is_empty() && !headers.contains_key(AUTHORIZATION) {
        let plain = |text: &str| {
            percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
        };
        let pair = format!("{}:{}", plain(url.username()), plain(url.password().unwrap_or("")));
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        line("authorization: Basic ", pair.as_bytes());
    }
    for (name, value) in headers {
        // How long the body is, and how it comes, is not the user's to say.
        if !matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection") {
            line(&format!("{name}: "), value.as_bytes());
        }
    }
    head
}

fn tls(host: &str) -> Result<Tls, Error> {
    let fail = |what: &str| Error::new(Kind::System, format!("can not speak TLS: {what}"));
    let mut config = ClientConfig::with_platform_verifier()
        .map_err(|error| fail("no certificates of authorities").because(error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| fail("the host can not have a certificate").because(error))?;
    Ok(Tls { config: Arc::new(config), name })
}

/// The cause chain without its URLs, which may hold user names and keys.
pub fn innermost(error: &reqwest::Error) -> String {
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
            "the exchange failed".to_owned()
        };
    }
    messages.join(": ")
}
