//! How the server is reached: over the network or a Unix socket, and which flags apply to which.

use std::path::PathBuf;

use super::{ClockChoice, HttpVersion, RunSpec, Target, keys, profile, usage};
use crate::error::Error;

/// What a base URL that names a Unix socket begins with.
pub(super) const UNIX: &str = "unix:";

/// The URL that requests over a Unix socket are made for.
pub(super) const LOCALHOST: &str = "http://localhost";

/// The path of the Unix socket that `base` names, if it names one.
pub(super) fn socket(base: &str) -> Result<Option<PathBuf>, Error> {
    let Some(path) = base.strip_prefix(UNIX) else { return Ok(None) };
    // As in a URL with an empty host.
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err(usage(format!("--base-url {base} does not name a socket"))
            .hint("expected something like unix:/run/engine.sock"));
    }
    Ok(Some(path.into()))
}

/// Checks that the flags apply to the target, and returns notes on what has no effect.
pub(super) fn check(
    spec: &RunSpec,
    target: &Target,
    profile: Option<&profile::Profile>,
) -> Result<Vec<String>, Error> {
    let (connection, client) = (&spec.connection, &spec.client);
    let shown = &target.first().shown;
    let mut bases: Vec<&str> = target.servers.iter().map(|server| server.base.as_str()).collect();
    bases.extend(profile.into_iter().flat_map(|p| &p.workers).map(|worker| worker.base.as_str()));
    let given = [("--cacert", connection.cacert.is_some()), ("--insecure", connection.insecure)];
    let encrypted = bases.iter().any(|base| base.starts_with("https:"));
    if connection.cert.is_some() && !encrypted {
        return Err(usage(format!("--cert does not apply to {shown}, which has no TLS"))
            .hint("leave it out, or name an https URL with --base-url"));
    }
    if target.own && connection.http_version == Some(HttpVersion::Two) {
        return Err(usage(
            "--http-version 2 does not apply to --mock, whose engine speaks HTTP/1.1".to_owned(),
        )
        .hint("leave it out"));
    }
    let mut notes: Vec<String> =
        connection.api_key_file.as_deref().and_then(keys::note).into_iter().collect();
    if let Some((flag, _)) = given.iter().find(|(_, given)| *given && !encrypted) {
        notes.push(format!("{flag} applies to downloads alone: {shown} has no TLS"));
    }
    if target.servers.iter().all(|server| server.socket.is_none()) {
        return Ok(notes);
    }
    if client.clock == Some(ClockChoice::Kernel) {
        return Err(usage(
            "--clock kernel does not apply to a Unix socket, whose data the kernel does not stamp"
                .to_owned(),
        )
        .hint("leave it out, or let the server listen on 127.0.0.1"));
    }
    let elsewhere = [
        ("--profile-prefill-url", &spec.profiling.profile_prefill_url),
        ("--profile-decode-url", &spec.profiling.profile_decode_url),
    ];
    if let Some((flag, _)) = elsewhere.iter().find(|(_, urls)| !urls.is_empty()) {
        return Err(usage(format!("{flag} does not go together with a Unix socket"))
            .hint("name servers of the network with --base-url as well"));
    }
    if client.clock.is_none() {
        notes.push(
            "the kernel does not stamp data of Unix sockets: arrivals are the times at which this program reads"
                .to_owned(),
        );
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn sockets() {
        for (base, want) in [
            ("unix:/run/a.sock", Some("/run/a.sock")),
            ("unix:///run/a.sock", Some("/run/a.sock")),
            ("unix:a b.sock", Some("a b.sock")),
            ("http://unix:80", None),
        ] {
            assert_eq!(socket(base).unwrap().as_deref(), want.map(Path::new), "{base}");
        }
        for base in ["unix:", "unix://"] {
            assert!(socket(base).is_err(), "{base}");
        }
    }
}
