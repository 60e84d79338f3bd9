//! Which servers are measured, and the headers that they are sent.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::urls::checked_url;
use super::values::Header;
use super::{Keys, RunSpec, Servers, connection, keys, spec, usage};
use crate::error::Error;
use crate::protocol::backend::Backend;
use crate::secrets::{Collected, Secrets};

/// Where the servers are, and what opens their doors.
#[derive(Clone)]
pub struct Target {
    /// The servers over which the load is spread, at least one.
    pub servers: Vec<Server>,
    /// Whether it is the engine of `--mock`.
    pub own: bool,
    /// Headers of control calls.
    pub control: HeaderMap,
    /// Headers of the load.
    pub load: HeaderMap,
    /// What of all this must not be shown.
    pub secrets: Secrets,
    /// What is said of URLs that are not used as they stand.
    pub notes: Vec<String>,
}

/// Where a server is.
#[derive(Clone)]
pub struct Server {
    /// Its URL without a slash at the end; that of the local host if it listens on a Unix socket.
    pub base: String,
    /// The Unix socket where it listens, if it is not the network.
    pub socket: Option<PathBuf>,
    /// The URL without a password, or the name of the socket.
    pub shown: String,
}

impl std::fmt::Debug for Server {
    /// Leaves out what may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Target {
    /// The first server, which is asked for its model, its figures and a profile.
    pub fn first(&self) -> &Server {
        &self.servers[0]
    }
}

impl std::fmt::Debug for Target {
    /// Leaves out what may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// Why an argument of `--header` is not repeated.
const UNSHOWN: &str = "the argument is not shown, as it may be a key";

/// Fields of a request that are not the user's to set, and what to do instead.
const OF_CONNECTIONS: &[(&str, &str)] = &[
    ("connection", "--connection-per-request closes each connection after its request"),
    ("content-length", "leave it out: the length of each body is sent"),
    ("keep-alive", "leave it out: connections are kept unless --connection-per-request is given"),
    (
        "proxy-connection",
        "leave it out: connections are kept unless --connection-per-request is given",
    ),
    ("te", "leave it out: no trailers are read"),
    ("transfer-encoding", "leave it out: bodies are sent with their length"),
    ("upgrade", "--http-version 2 speaks HTTP/2"),
];

/// The variable of the environment that names a server where no flag does.
const URL: &str = "OPENAI_BASE_URL";

/// Whether a server is started for the run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Started<'a> {
    /// None is.
    No,
    /// The user's own.
    Launched,
    /// The simulated engine, at this URL.
    Mock(&'a str),
}

/// The servers that `spec` names, or the one that is started.
pub(super) fn resolve(
    spec: &RunSpec,
    backend: &Backend,
    keys: &Keys,
    started: Started<'_>,
) -> Result<Target, Error> {
    let servers = &spec.servers;
    let mut notes = Vec::new();
    let environment = match started {
        Started::No => environment(servers, backend)?,
        Started::Launched | Started::Mock(_) => None,
    };
    let mock = match started {
        Started::Mock(url) => Some(url),
        Started::No | Started::Launched => None,
    };
    let (flag, base) = match (mock, servers.base_url.first(), &environment) {
        (Some(url), ..) => ("--mock", url.to_owned()),
        (None, Some(url), _) => ("--base-url", url.trim().to_owned()),
        (None, None, Some(url)) => (URL, url.trim().to_owned()),
        (None, None, None) => {
            let host = servers.host.trim().trim_start_matches('[').trim_end_matches(']');
            let port = servers.port.unwrap_or(backend.port);
            let url = if host.parse::<Ipv6Addr>().is_ok() {
                format!("http://[{host}]:{port}")
            } else {
                format!("http://{host}:{port}")
            };
            ("--host", url)
        }
    };
    let mut placed = |flag, base: &str| {
        let base = connected(&with_scheme(base));
        let (base, path) = without_route(base.trim_end_matches('/'), backend.path);
        let server = server(flag, base.to_owned())?;
        if !path.is_empty() {
            notes.push(format!(
                "{flag} ends with {path}, which rbench adds itself: the server is {}",
                server.shown
            ));
        }
        if flag == URL {
            notes.push(format!("{URL} names the server: {}", server.shown));
        }
        Ok(server)
    };
    let more = servers.base_url.iter().skip(1);
    let mut all = vec![placed(flag, &base)?];
    for url in more {
        all.push(placed("--base-url", url.trim())?);
    }
    let mut control = HeaderMap::new();
    if let Some(key) = keys.authorization() {
        let mut value = HeaderValue::from_str(key.trim()).map_err(|_| {
            usage("OPENAI_API_KEY or API_KEY holds characters that no header can hold".to_owned())
        })?;
        value.set_sensitive(true);
        control.insert(AUTHORIZATION, value);
    }
    let mut load = control.clone();
    load.insert(CONTENT_TYPE, HeaderValue::from_static(backend.protocol.content_type()));
    let headers = spec::headers(servers)?;
    for (i, header) in headers.iter().enumerate() {
        let Header::Pair { name, value } = header else {
            return Err(usage(format!(
                "--header takes arguments of the form KEY=VALUE or 'KEY: VALUE' with neither side empty, and argument {} is not one",
                i + 1
            ))
            .hint(UNSHOWN));
        };
        let name = HeaderName::try_from(name).map_err(|_| {
            usage(format!("--header: argument {} has a name that cannot be sent", i + 1))
                .hint("write KEY=VALUE or 'KEY: VALUE', such as Authorization=...")
                .hint(UNSHOWN)
        })?;
        if let Some((_, instead)) = OF_CONNECTIONS.iter().find(|(own, _)| name == *own) {
            let message =
                format!("--header {name}: it is about the connection, which rbench manages itself");
            return Err(usage(message).hint(*instead));
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| usage(format!("--header {name}: the value cannot be sent")))?;
        value.set_sensitive(true);
        load.insert(name, value);
    }
    let mut secrets = secrets(spec, &headers, keys);
    if let Some(url) = &environment {
        secrets.url(url);
    }
    let secrets = secrets.done();
    Ok(Target { servers: all, own: mock.is_some(), control, load, secrets, notes })
}

/// What the environment has for the server, if no flag names one and the backend is of the API that the variable is for.
fn environment(servers: &Servers, backend: &Backend) -> Result<Option<String>, Error> {
    let is_named = !servers.base_url.is_empty()
        || servers.port.is_some()
        || servers.host != Servers::default().host;
    if is_named || !backend.path.starts_with("/v1/") { Ok(None) } else { keys::variable(URL) }
}

/// `base` with the scheme that is meant where there is none, as in `localhost:8000`.
fn with_scheme(base: &str) -> String {
    let place = base.split('/').next().unwrap_or_default();
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    };
    let is_host = host == "localhost" || host.contains('.') || port.is_some();
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let is_plain = host.chars().all(|c| c.is_ascii_alphanumeric() || "-._[]:".contains(c));
    if !base.contains("://") && !host.is_empty() && is_host && is_port && is_plain {
        format!("http://{base}")
    } else {
        base.to_owned()
    }
}

/// `base` with the address that is connected to in the place of one that servers listen on.
fn connected(base: &str) -> String {
    let Some((scheme, rest)) = base.split_once("://") else { return base.to_owned() };
    for (any, here) in [("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]")] {
        let after = rest.strip_prefix(any);
        if let Some(after) = after.filter(|after| after.is_empty() || after.starts_with([':', '/']))
        {
            return format!("{scheme}://{here}{after}");
        }
    }
    base.to_owned()
}

/// What must not be shown of the words and the environment.
fn secrets(spec: &RunSpec, headers: &[Header], keys: &Keys) -> Collected {
    let mut secrets = Collected::default();
    keys.collect(&mut secrets);
    for header in headers {
        if let Header::Pair { value, .. } = header {
            secrets.value(value);
        }
    }
    let profiling = &spec.profiling;
    let profiled = profiling.profile_prefill_url.iter().chain(&profiling.profile_decode_url);
    for url in spec.servers.base_url.iter().chain(profiled) {
        secrets.url(url);
    }
    secrets
}

/// `base` without the beginning or the whole of the path that requests go to, which is the second part then.
fn without_route<'a>(base: &'a str, path: &str) -> (&'a str, &'a str) {
    // A socket's path is no path of a request, and a host may be called as the path is.
    let after_host = match base.split_once("://") {
        Some((_, rest)) if !base.starts_with(connection::UNIX) => {
            rest.find('/').map(|at| &rest[at..])
        }
        _ => None,
    };
    let asked = after_host.unwrap_or_default();
    let ending = [path, "/v1"].into_iter().find(|ending| asked.ends_with(ending));
    base.split_at(base.len() - ending.map_or(0, str::len))
}

/// The server that `base` of `flag` names.
fn server(flag: &str, base: String) -> Result<Server, Error> {
    let socket = connection::socket(&base)?;
    if socket.is_some() {
        return Ok(Server { base: connection::LOCALHOST.to_owned(), socket, shown: base });
    }
    let shown = checked_url(flag, &base)?;
    Ok(Server { base, socket, shown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_base_urls() {
        for (typed, want) in [
            ("127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("host:1/v1", "http://host:1/v1"),
            ("localhost", "http://localhost"),
            ("gpu.example", "http://gpu.example"),
            ("[::1]:8000", "http://[::1]:8000"),
            ("0.0.0.0:8000", "http://127.0.0.1:8000"),
            ("http://0.0.0.0", "http://127.0.0.1"),
            ("https://[::]:8000/v1", "https://[::1]:8000/v1"),
            ("http://0.0.0.0.example", "http://0.0.0.0.example"),
            ("unix:/run/v1", "unix:/run/v1"),
            ("nonsense", "nonsense"),
            ("htp:/h", "htp:/h"),
            ("me:pw@h:1", "me:pw@h:1"),
        ] {
            assert_eq!(connected(&with_scheme(typed)), want, "{typed}");
        }
    }

    #[test]
    fn routes_in_base_urls() {
        for (base, want) in [
            ("http://h:1", ("http://h:1", "")),
            ("http://h:1/v1", ("http://h:1", "/v1")),
            ("http://h:1/a/v1", ("http://h:1/a", "/v1")),
            ("http://h/v1/completions", ("http://h", "/v1/completions")),
            ("http://h/v1/chat/completions", ("http://h/v1/chat/completions", "")),
            ("http://v1", ("http://v1", "")),
            ("http://h/av1", ("http://h/av1", "")),
            ("unix:/run/v1", ("unix:/run/v1", "")),
            ("unix:///run/v1", ("unix:///run/v1", "")),
            ("h/v1", ("h/v1", "")),
        ] {
            assert_eq!(without_route(base, "/v1/completions"), want, "{base}");
        }
    }
}
