//! How a server is reached: keys, certificates and proxies.

use std::path::PathBuf;

use clap::Args;

use super::TARGET;
use crate::config::{Connection, HttpVersion};

/// How files are downloaded, for commands that reach no server.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub struct DownloadArgs {
    /// Certificates in PEM form to trust beside those of the system when the tokenizer is downloaded
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub cacert: Option<PathBuf>,
    /// Download the tokenizer from any server, whatever its certificate
    #[arg(long)]
    pub insecure: bool,
    /// Ignore the proxies of the environment
    #[arg(long)]
    pub no_proxy: bool,
}

/// The flags.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub struct ConnectionArgs {
    /// File with the API key, sent as a bearer token; overrides the environment
    #[arg(long, value_name = "FILE", help_heading = TARGET)]
    pub api_key_file: Option<PathBuf>,
    /// Certificates in PEM form to trust in addition to the system's: of authorities, or the server's own
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = TARGET)]
    pub cacert: Option<PathBuf>,
    /// Client certificate in PEM form; with --key
    #[arg(long, value_name = "FILE", requires = "key", help_heading = TARGET)]
    pub cert: Option<PathBuf>,
    /// Key in PEM form of the certificate of --cert
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = TARGET)]
    pub key: Option<PathBuf>,
    /// Accept any certificate
    #[arg(long, help_heading = TARGET)]
    pub insecure: bool,
    /// Ignore the proxies of the environment
    #[arg(long, help_heading = TARGET)]
    pub no_proxy: bool,
    /// HTTP version: auto, 1.1, or 2 for servers that speak nothing else. auto negotiates over TLS, and is 1.1
    /// elsewhere [default: auto]
    #[arg(long, value_name = "VERSION", hide_possible_values = true, help_heading = TARGET)]
    pub http_version: Option<HttpVersion>,
}

impl From<ConnectionArgs> for Connection {
    fn from(args: ConnectionArgs) -> Self {
        let ConnectionArgs { api_key_file, cacert, cert, key, insecure, no_proxy, http_version } =
            args;
        Self { api_key_file, cacert, cert, key, insecure, no_proxy, http_version }
    }
}
