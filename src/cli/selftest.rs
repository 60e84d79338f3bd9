//! The flags of `rbench selftest`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::flags::client::duration;
use crate::flags::values::count;

/// The flags.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 it failed or --max-error was exceeded, 2 the command line is not usable."
)]
pub struct SelftestArgs {
    /// Shorter and smaller runs: about 15 seconds in all
    #[arg(long)]
    pub quick: bool,
    /// Numbers of streams at which errors are measured [default: 50,500,2000; with --quick 50,500]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = count)]
    pub streams: Vec<usize>,
    /// Streams at once at most, in the search for the ceilings [default: 16384; with --quick 4096; at most what the descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = count)]
    pub max_streams: Option<usize>,
    /// Threads that send and read
    #[arg(long, value_name = "N", default_value = "1", value_parser = count)]
    pub worker_threads: usize,
    /// Exit with 1 if the 99th percentile of an error with the clock that serve takes by default is above this, such as 500us; the search for the ceilings does not count
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub max_error: Option<Duration>,
    /// File to append the result to as a line of JSON
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
}
