//! `mooncake`: traces of a chat service, replayed at their own times.
//!
//! A trace is a JSONL file of `{"timestamp": ms, "hash_ids": [...], "output_length": n}`.
//! Requests that share leading hash ids share the beginning of their prompts, so a prefix cache sees the trace's pattern.
//! The text of a block is made up: its id and a run of short words; it does not have the trace's length.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, FromArgMatches};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::records::{self, Taken};
use super::{Context, Dataset, Entry, Rows, Uses, effective, of, params, weight};
use crate::error::Error;
use crate::model::{Prompt, Row, user_message};
use crate::workload::hub::Hub;

pub(super) const ENTRY: Entry = Entry {
    name: "mooncake",
    about: "conversations and times of a trace of a chat service",
    flags: Opts::augment_args,
    reads: &[
        "dataset-path",
        "mooncake-workload",
        "mooncake-slowdown-factor",
        "mooncake-num-rounds",
    ],
    params: |matches| params(Opts::from_arg_matches(matches)),
    build: |params| {
        let opts: Opts = of(params)?;
        if !WORKLOADS.iter().any(|(name, _)| *name == opts.mooncake_workload) {
            return Err(format!(
                "--mooncake-workload: there is none named {}",
                opts.mooncake_workload
            ));
        }
        check_factor(opts.mooncake_slowdown_factor)
            .map_err(|what| format!("--mooncake-slowdown-factor {what}"))?;
        if opts.mooncake_num_rounds == 0 {
            return Err("--mooncake-num-rounds must be above 0".to_owned());
        }
        Ok(Box::new(opts))
    },
    effective: |matches| effective(Opts::from_arg_matches(matches)),
};

const HEADING: &str = "Dataset: mooncake";

/// Where the traces are published, by workload.
const BASE: &str = "https://raw.githubusercontent.com/kvcache-ai/Mooncake/main/FAST25-release/";
const WORKLOADS: [(&str, &str); 4] = [
    ("mooncake", "arxiv-trace/mooncake_trace.jsonl"),
    ("conversation", "traces/conversation_trace.jsonl"),
    ("synthetic", "traces/synthetic_trace.jsonl"),
    ("toolagent", "traces/toolagent_trace.jsonl"),
];

/// Words of a block after its id.
const BLOCK: usize = 128;

/// Output tokens of a request whose line does not say.
const OUTPUT_LEN: usize = 256;

#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[group(skip)]
#[expect(clippy::struct_field_names, reason = "the names of the flags and of the result keys")]
struct Opts {
    /// Trace to download, unless --dataset-path is given
    #[arg(long, value_name = "NAME", default_value = "conversation", value_parser = PossibleValuesParser::new(WORKLOADS.map(|(name, _)| name)), help_heading = HEADING)]
    mooncake_workload: String,
    /// Stretch the trace's times by this factor
    #[arg(long, value_name = "X", default_value = "1", value_parser = factor, allow_negative_numbers = true, help_heading = HEADING)]
    mooncake_slowdown_factor: f64,
    /// Rounds of the conversation that each line begins
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..), help_heading = HEADING)]
    mooncake_num_rounds: u32,
}

fn factor(text: &str) -> Result<f64, String> {
    check_factor(text.trim().parse().unwrap_or(f64::NAN))
}

fn check_factor(x: f64) -> Result<f64, String> {
    if x.is_finite() && x > 0.0 { Ok(x) } else { Err("must be a number above 0".to_owned()) }
}

const EXPECTED: &str =
    "{\"timestamp\": ms, \"hash_ids\": [...], \"output_length\": n} on each line";

#[derive(Deserialize)]
struct Line {
    timestamp: f64,
    #[serde(default)]
    hash_ids: Vec<u64>,
    output_length: Option<usize>,
}

impl Dataset for Opts {
    fn fetch(&self, hub: &Hub, path: Option<&Path>) -> Result<(), Error> {
        self.file(hub, path).map(drop)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        super::refuse_ids(context, ENTRY.name)?;
        let trace = records::read(
            &self.file(context.hub, context.path)?,
            context,
            EXPECTED,
            context.n,
            usable,
        )?;
        let mut lines = trace.items;
        lines.sort_by(|a, b| a.timestamp.total_cmp(&b.timestamp));
        let start = lines.first().map_or(0.0, |line| line.timestamp);
        let rows: Vec<Row> = lines
            .par_iter()
            .map(|line| {
                let base = base(&line.hash_ids);
                let round = |i| vec![user_message(&format!("Round {i}: {base}"))];
                let rounds: Vec<_> = (1..=self.mooncake_num_rounds).map(round).collect();
                let first = rounds[0][0]["content"].as_str().unwrap_or("");
                let len = context.tokenizer.count(first);
                let seconds = (line.timestamp - start) / 1e3 * self.mooncake_slowdown_factor;
                Row {
                    at: Duration::try_from_secs_f64(seconds).ok(),
                    ..Row::new(
                        Prompt::Rounds(rounds),
                        len,
                        line.output_length.unwrap_or(OUTPUT_LEN),
                    )
                }
            })
            .collect();
        let mut notes: Vec<String> = trace.note.into_iter().collect();
        if rows.len() < context.n {
            notes.push(format!(
                "the trace has {} lines, fewer than --num-prompts {}",
                rows.len(),
                context.n
            ));
        }
        Ok(Rows { rows, notes, replay: true, ..Rows::default() })
    }

    fn bytes(&self, _: usize) -> u64 {
        // There is one line at least.
        weight(1, 0).saturating_mul(u64::from(self.mooncake_num_rounds))
    }

    fn uses(&self) -> Uses {
        Uses { bad_rows: true, vocabulary: true, ..Uses::default() }
    }
}

impl Opts {
    fn file(&self, hub: &Hub, path: Option<&Path>) -> Result<PathBuf, Error> {
        if let Some(path) = path {
            return Ok(path.to_owned());
        }
        let workload = &self.mooncake_workload;
        let path = WORKLOADS.iter().find(|(name, _)| name == workload).map_or("", |(_, path)| path);
        let file = format!("mooncake/{workload}_trace.jsonl");
        hub.fetcher()
            .cached(&format!("{BASE}{path}"), &file)
            .map_err(|error| error.hint("pass --dataset-path with a trace in this format"))
    }
}

/// What all rounds of a line ask about.
fn base(hash_ids: &[u64]) -> String {
    let words = vec!["hi"; BLOCK].join(" ");
    let mut text = String::new();
    for id in hash_ids {
        text += &format!("{id}{words}");
    }
    text + "Tell me a story based on this context."
}

/// Refuses times that cannot be compared.
fn usable(line: Line) -> Result<Taken<Line>, String> {
    if line.timestamp.is_finite() {
        Ok(Taken::Row(line))
    } else {
        Err("`timestamp` is no number".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_ids_share_a_prefix() {
        let (a, b) = (base(&[1, 2]), base(&[1, 3]));
        let shared = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
        assert!(shared > 3 * (BLOCK - 1), "{shared}");
        assert!(a.starts_with("1hi hi") && a.contains("hi2hi hi") && a.ends_with("context."));
    }
}
