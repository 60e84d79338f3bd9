//! The flags of `rbench offline`: those of `serve` that make sense when everything is sent at once, and a few more.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command};

use super::job;
use super::shared::{BeforeArgs, DataArgs, LoadArgs, RecordArgs, RequestArgs, TargetArgs};
use crate::config::{Job, Load, Outputs, Profiling, Requests, RunSpec};
use crate::flags::connection::ConnectionArgs;
use crate::flags::launch::LaunchArgs;
use crate::flags::profile::ProfileArgs;
use crate::flags::{FLOW, OUTPUT};
use crate::protocol::backend::Backend;
use crate::workload::dataset;

/// The flags.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(args_override_self = true, after_help = super::after_help())]
pub struct OfflineArgs {
    /// The servers.
    #[command(flatten)]
    target: TargetArgs,
    /// A server that is started for the run.
    #[command(flatten)]
    launching: LaunchArgs,
    /// How many requests are sent.
    #[command(flatten)]
    load: LoadArgs,
    /// Where prompts come from.
    #[command(flatten)]
    data: DataArgs,
    /// What each request asks for.
    #[command(flatten)]
    requests: RequestArgs,
    /// What is done before the run.
    #[command(flatten)]
    before: BeforeArgs,
    /// Send no warm-up, which is up to 16 prompts of 256 tokens for 16 tokens each
    #[arg(long, help_heading = FLOW)]
    skip_warmup: bool,
    /// How the servers are reached.
    #[command(flatten)]
    connection: ConnectionArgs,
    /// The profiler.
    #[command(flatten)]
    profiling: ProfileArgs,
    /// What is recorded.
    #[command(flatten)]
    recording: RecordArgs,
    /// JSONL file to append the result to; --output-file is another name for it [default: none]
    #[arg(long, value_name = "FILE", conflicts_with = "output_file", help_heading = OUTPUT)]
    result_filename: Option<PathBuf>,
}

/// A run that is after throughput alone.
#[derive(Debug)]
pub struct Throughput {
    /// The run.
    pub job: Job,
    /// File for the result.
    pub result_file: Option<PathBuf>,
    /// Prompts of the warm-up, if there is to be one.
    pub warm_up: Option<dataset::Spec>,
}

/// The command with help texts of its own for flags that mean a little less than those of `serve`.
pub fn shape(command: Command) -> Command {
    command
        .mut_arg("num_prompts", |arg| arg.help("Number of requests, all sent at once"))
        .mut_arg("output_file", |arg| {
            arg.help("JSONL file to append the result to [default: none]")
        })
}

impl OfflineArgs {
    /// The run that the flags ask for.
    ///
    /// # Errors
    /// If the dataset, or that of the warm-up, cannot be used.
    pub fn throughput(
        self,
        matches: &ArgMatches,
        notes: Vec<String>,
    ) -> Result<Throughput, clap::Error> {
        let result_file = self.result_filename.or_else(|| self.recording.output_file.clone());
        let warm_up = (!self.skip_warmup).then(warm_up).transpose()?;
        let servers = self.target.servers();
        // When tokens arrive is of no interest, and streams cost both sides time.
        let stream = !Backend::find(&servers.backend).is_some_and(|one| one.can_disable_stream);
        let spec = RunSpec {
            servers,
            load: self.load.load(Load::default()),
            prompts: self.data.prompts(),
            requests: self.requests.requests(Requests { stream, ..Requests::default() }),
            before: self.before.before(1),
            connection: self.connection.into(),
            profiling: self.profiling.profiling(Profiling::default()),
            outputs: self.recording.outputs(Outputs::default()),
            ..RunSpec::default()
        };
        let job = job(spec, self.launching.launch(), matches, notes)?;
        Ok(Throughput { job, result_file, warm_up })
    }
}

/// Prompts of 256 tokens for answers of 16.
fn warm_up() -> Result<dataset::Spec, clap::Error> {
    let params = [("random_input_len", 256), ("random_output_len", 16), ("random_range_ratio", 1)];
    dataset::Spec::named("random-ids", params)
        .map_err(|error| clap::Error::raw(ErrorKind::Io, format!("{error}\n")))
}
