//! How a server is reached: keys, certificates and proxies.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::TARGET;

/// The flags.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[group(skip)]
pub struct ReachArgs {
    /// File with the key that opens the server, sent as a bearer token, instead of that of the environment
    #[arg(long, value_name = "FILE", help_heading = TARGET)]
    pub api_key_file: Option<PathBuf>,
    /// Certificates in PEM form to trust beside those of the system: of authorities, or the server's own
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = TARGET)]
    pub cacert: Option<PathBuf>,
    /// Certificate in PEM form that shows servers who this client is; with --key
    #[arg(long, value_name = "FILE", requires = "key", help_heading = TARGET)]
    pub cert: Option<PathBuf>,
    /// Key in PEM form of the certificate of --cert
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = TARGET)]
    pub key: Option<PathBuf>,
    /// Trust any server, whatever its certificate
    #[arg(long, help_heading = TARGET)]
    pub insecure: bool,
    /// Ignore the proxies that the environment names
    #[arg(long, help_heading = TARGET)]
    pub no_proxy: bool,
}
