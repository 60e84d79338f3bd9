//! The proxies that the environment names, and the way through one to a server that speaks TLS.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::{USER_AGENT, message};
use crate::error::{Error, Kind};

/// A proxy for the load.
#[derive(Clone)]
pub struct Proxy {
    /// Its URL without user and password.
    pub shown: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// What opens it.
    pub(super) authorization: Option<HeaderValue>,
}

impl fmt::Debug for Proxy {
    /// Leaves out what opens it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Proxy {
    /// The proxy that the environment names for `url`: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    ///
    /// # Errors
    /// If it is of a kind through which the load cannot go.
    pub fn from_env(url: &Url) -> Result<Option<Self>, Error> {
        Self::of(&Matcher::from_system(), url)
    }

    fn of(matcher: &Matcher, url: &Url) -> Result<Option<Self>, Error> {
        // Without user and password, which are not the proxy's business.
        let target = format!("{}://{}/", url.scheme(), authority(url));
        let Some(found) = target.parse::<Uri>().ok().and_then(|uri| matcher.intercept(&uri)) else {
            return Ok(None);
        };
        let uri = found.uri();
        let shown = uri.to_string().trim_end_matches('/').to_owned();
        if uri.scheme_str() != Some("http") {
            return Err(Error::new(
                Kind::Usage,
                format!("the environment names the proxy {shown}, and the load can go through http proxies only"),
            )
            .hint("--no-proxy ignores the proxies of the environment")
            .hint("NO_PROXY names the hosts that are reached without one"));
        }
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else { return Ok(None) };
        Ok(Some(Self {
            shown,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(80),
            authorization: found.basic_auth().cloned(),
        }))
    }

    /// The field that opens the proxy, if it needs one.
    pub(super) fn field(&self) -> Vec<u8> {
        let Some(value) = &self.authorization else { return Vec::new() };
        [b"proxy-authorization: ", value.as_bytes(), b"\r\n"].concat()
    }
}

/// Host and port of `url`, as proxies want them.
fn authority(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// The way through a proxy: what is asked, and how far that has come.
#[derive(Clone)]
pub struct Tunnel {
    request: Arc<[u8]>,
    sent: usize,
    answer: Vec<u8>,
}

impl fmt::Debug for Tunnel {
    /// Leaves out what opens the proxy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl Tunnel {
    /// The way to the server of `url` through `proxy`.
    pub(super) fn new(proxy: &Proxy, url: &Url) -> Self {
        let to = authority(url);
        let head = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\nuser-agent: {USER_AGENT}\r\n");
        let request = [head.as_bytes(), &proxy.field(), b"\r\n"].concat();
        Self { request: request.into(), sent: 0, answer: Vec::new() }
    }

    /// Goes on asking, and returns whether the way is free.
    pub(super) fn go_on(&mut self, wire: &mut (impl Read + Write)) -> io::Result<bool> {
        while self.sent < self.request.len() {
            match wire.write(&self.request[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let mut buffer = [0; 1024];
        loop {
            match wire.read(&mut buffer) {
                Ok(0) => return Err(refusal("it closed the connection")),
                Ok(n) => self.answer.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            if opens(&self.answer)? {
                return Ok(true);
            }
        }
    }
}

/// Returns whether the proxy's `answer` to a request for a way opens it; it may not be whole.
///
/// # Errors
/// If it refuses, is not HTTP, is too long, or more follows it.
pub fn opens(answer: &[u8]) -> io::Result<bool> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut response = httparse::Response::new(&mut fields);
    let len = match response.parse(answer) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if answer.len() <= message::MAX_HEAD => return Ok(false),
        _ => return Err(refusal("its answer is not HTTP")),
    };
    let status = response.code.unwrap_or_default();
    if !(200..300).contains(&status) {
        let reason: String =
            response.reason.unwrap_or_default().chars().take(message::MAX_REASON).collect();
        let advice = if status == 407 {
            ": put its user and password into its URL, as in http://user:password@host:port"
        } else {
            ""
        };
        let why = format!("HTTP status {status} {reason}");
        return Err(refusal(&format!("{}{advice}", why.trim_end())));
    }
    // A server with TLS is silent until it is spoken to.
    if answer.len() > len { Err(refusal("bytes follow its answer")) } else { Ok(true) }
}

fn refusal(why: &str) -> io::Error {
    io::Error::other(format!("the proxy does not open a way to the server: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy that takes and gives little at a time.
    struct Slow {
        answer: Vec<u8>,
        got: Vec<u8>,
        turn: bool,
    }

    impl Slow {
        fn wait(&mut self) -> io::Result<()> {
            self.turn = !self.turn;
            if self.turn { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        }
    }

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.wait()?;
            let n = buffer.len().min(7).min(self.answer.len());
            buffer[..n].copy_from_slice(&self.answer[..n]);
            self.answer.drain(..n);
            Ok(n)
        }
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.wait()?;
            let n = bytes.len().min(5);
            self.got.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn proxy(all: &str, no: &str, url: &str) -> Result<Option<Proxy>, Error> {
        Proxy::of(&Matcher::builder().all(all).no(no).build(), &url.parse().unwrap())
    }

    #[test]
    fn which_proxy() {
        let https = "https://engine.example/v1";
        for (all, no, url, want) in [
            ("http://p:3128", "", https, Some(("http://p:3128", "p", 3128))),
            ("p:3128", "", https, Some(("http://p:3128", "p", 3128))),
            ("http://p", "", "http://10.0.0.1:30000", Some(("http://p", "p", 80))),
            ("http://[::1]:9", "", https, Some(("http://[::1]:9", "::1", 9))),
            ("http://p", "example", https, None),
            ("http://p", "xample", https, Some(("http://p", "p", 80))),
            ("http://p", "10.0.0.0/8", "http://10.0.0.1:30000", None),
            ("http://p", "::1", "http://[::1]:30000", None),
            ("", "", https, None),
        ] {
            let found = proxy(all, no, url).unwrap();
            let found = found.as_ref().map(|p| (p.shown.as_str(), p.host.as_str(), p.port));
            assert_eq!(found, want, "{all} {no} {url}");
        }
    }

    #[test]
    fn passwords_are_sent_and_not_shown() {
        let proxy =
            proxy("http://me:s3cret@p:3128", "", "https://x:y@engine.example").unwrap().unwrap();
        assert_eq!(proxy.field(), b"proxy-authorization: Basic bWU6czNjcmV0\r\n");
        let tunnel = Tunnel::new(&proxy, &"https://x:y@engine.example/v1".parse().unwrap());
        let shown = format!("{proxy:?} {tunnel:?} {}", proxy.shown);
        assert!(!shown.contains("s3cret") && !shown.contains("bWU6"), "{shown}");
        let head = String::from_utf8(tunnel.request.to_vec()).unwrap();
        assert!(
            head.starts_with("CONNECT engine.example:443 HTTP/1.1\r\nhost: engine.example:443\r\n")
        );
        assert!(head.ends_with("proxy-authorization: Basic bWU6czNjcmV0\r\n\r\n"), "{head}");
    }

    #[test]
    fn other_kinds_of_proxies_are_refused() {
        for all in ["socks5://me:s3cret@p:1080", "https://me:s3cret@p"] {
            let error = proxy(all, "", "https://engine.example").unwrap_err();
            assert!(error.message.contains("http proxies only"), "{error}");
            assert!(!error.message.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn answers_to_connect() {
        for (answer, want) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Ok(())),
            ("HTTP/1.0 200 OK\r\nvia: x\r\n\r\n", Ok(())),
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Err("status 407")),
            ("HTTP/1.1 502 \r\n\r\n", Err("status 502")),
            ("HTTP/1.1 200 OK\r\n\r\n!", Err("bytes follow")),
            ("SSH-2.0-OpenSSH_9.9\r\n", Err("not HTTP")),
            ("HTTP/1.1 200", Err("closed the connection")),
        ] {
            let proxy = proxy("http://p", "", "https://h").unwrap().unwrap();
            let mut tunnel = Tunnel::new(&proxy, &"https://h".parse().unwrap());
            let mut wire = Slow { answer: answer.into(), got: Vec::new(), turn: false };
            let result = loop {
                match tunnel.go_on(&mut wire) {
                    Ok(false) => {}
                    Ok(true) => break Ok(()),
                    Err(error) => break Err(error.to_string()),
                }
            };
            assert_eq!(wire.got, *tunnel.request);
            match (result, want) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(want)) => assert!(error.contains(want), "{answer}: {error}"),
                (result, want) => panic!("{answer}: {result:?}, not {want:?}"),
            }
        }
    }
}
