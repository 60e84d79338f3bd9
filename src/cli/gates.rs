//! The flags that hold a run against objectives when it is over.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::analysis::comparison::{DecidedOn, Objective};
use crate::config::Gates;
use crate::dialect::sglang::ServeArgs;

const GATES: &str = "Gates";

const SLO: &str = "Objective, such as 'p99_ttft<500ms' or 'success>=99.9%'; exit code 3 if it is not met; may be repeated";

/// The flags of `rbench serve`.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct GatedArgs {
    /// Those of the run.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Those of what follows it.
    #[command(flatten)]
    pub gates: GateArgs,
}

/// The flags.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct GateArgs {
    /// Objectives.
    #[arg(long, value_name = "OBJECTIVE", help = SLO, action = ArgAction::Append, conflicts_with = "print_config", help_heading = GATES)]
    pub slo: Vec<Objective>,
    /// What decides: the measured figure (point), or the bound that the truth keeps with 95 % (bound)
    #[arg(long, value_name = "point|bound", default_value = "bound", value_parser = decided_on, requires = "slo", help_heading = GATES)]
    pub slo_on: DecidedOn,
    /// File for the objectives as `JUnit` XML
    #[arg(long, value_name = "FILE", requires = "slo", help = "File for the objectives as JUnit XML", help_heading = GATES)]
    pub junit: Option<PathBuf>,
    /// File to append the objectives to, as Markdown
    #[arg(long, value_name = "FILE", requires = "slo", help_heading = GATES)]
    pub summary: Option<PathBuf>,
    /// File for figures and bounds in the Bencher Metric Format
    #[arg(long, value_name = "FILE", conflicts_with = "print_config", help_heading = GATES)]
    pub bencher: Option<PathBuf>,
    /// Folder for figures in the custom formats of github-action-benchmark: smaller-is-better.json and
    /// bigger-is-better.json
    #[arg(long, value_name = "FOLDER", conflicts_with = "print_config", help_heading = GATES)]
    pub benchmark_action: Option<PathBuf>,
}

pub(super) fn decided_on(text: &str) -> Result<DecidedOn, &'static str> {
    match text {
        "point" => Ok(DecidedOn::Point),
        "bound" => Ok(DecidedOn::Bound),
        _ => Err("expected point or bound"),
    }
}

impl From<GateArgs> for Gates {
    fn from(args: GateArgs) -> Self {
        let GateArgs { slo, slo_on, junit, summary, bencher, benchmark_action } = args;
        Self { objectives: slo, on: slo_on, junit, summary, bencher, action: benchmark_action }
    }
}
