//! `agentic-trace`: conversations of several rounds, as agents hold them.
//!
//! A JSON file `{"conversations": [[{"messages": [...], "prompt_tokens": n}, ...], ...]}`, whose rounds hold the
//! new messages only: the answers are the server's own. Conversations keep the order of the file.

use std::path::Path;

use clap::{Args, FromArgMatches};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::records::LeftOut;
use super::{Context, Dataset, Entry, Rows, effective, of, params};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::workload::conversation::text_len;
use crate::workload::filetype;
use crate::workload::hub::Hub;

pub(super) const ENTRY: Entry = Entry {
    name: "agentic-trace",
    about: "conversations of several rounds from a trace of agents",
    flags: Opts::augment_args,
    reads: &["dataset-path", "dataset-offset", "agentic-max-turns", "sharegpt-output-len"],
    params: |matches| {
        let opts = Opts::from_arg_matches(matches)?;
        let sharegpt_output_len = matches.get_one::<u32>("sharegpt_output_len").copied();
        params(Ok(Params { opts, sharegpt_output_len }))
    },
    build: |params| {
        let Params { opts, sharegpt_output_len: len } = of(params)?;
        Ok(Box::new(AgenticTrace { opts, output_len: len.unwrap_or(OUTPUT_LEN) as usize }))
    },
    effective: |matches| effective(Opts::from_arg_matches(matches)),
};

const HEADING: &str = "Dataset: agentic-trace";

/// Output tokens of each round unless the user says otherwise.
const OUTPUT_LEN: u32 = 220;

#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[group(skip)]
struct Opts {
    /// Begin with this conversation, and go around
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = HEADING)]
    dataset_offset: usize,
    /// Rounds of a conversation, at most; 0 takes all
    #[arg(long, value_name = "N", help_heading = HEADING)]
    agentic_max_turns: Option<usize>,
}

/// The flags that this dataset reads.
#[derive(Serialize, Deserialize)]
struct Params {
    #[serde(flatten)]
    opts: Opts,
    sharegpt_output_len: Option<u32>,
}

#[derive(Debug)]
struct AgenticTrace {
    opts: Opts,
    output_len: usize,
}

#[derive(Deserialize)]
struct Trace {
    conversations: Vec<Vec<Round>>,
}

#[derive(Deserialize)]
struct Round {
    #[serde(default)]
    messages: Vec<Value>,
    prompt_tokens: Option<usize>,
}

/// The path, which there is no default for.
fn given(path: Option<&Path>) -> Result<&Path, Error> {
    path.ok_or_else(|| {
        Error::new(Kind::Usage, "--dataset-name agentic-trace needs --dataset-path").hint(FORMAT)
    })
}

impl Dataset for AgenticTrace {
    fn fetch(&self, _: &Hub, path: Option<&Path>) -> Result<(), Error> {
        given(path).map(drop)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        super::refuse_ids(context, ENTRY.name)?;
        let path = given(context.path)?;
        let mut conversations = read(path)?;
        let found = conversations.len();
        conversations.rotate_left(self.opts.dataset_offset % found);
        let mut left_out = LeftOut::default();
        let mut seen = 0;
        let most = self.opts.agentic_max_turns.filter(|&n| n > 0).unwrap_or(usize::MAX);
        let rows: Vec<Row> = conversations
            .into_iter()
            .filter_map(|rounds| {
                let rounds: Vec<Round> = rounds
                    .into_iter()
                    .filter(|round| !round.messages.is_empty())
                    .take(most)
                    .collect();
                seen += 1;
                let Some(first) = rounds.first() else {
                    left_out.add("without a message", None);
                    return None;
                };
                let counted =
                    || first.messages.iter().map(|m| text_len(m, context.tokenizer)).sum();
                let prompt_len = first.prompt_tokens.unwrap_or_else(counted);
                let rounds = rounds.into_iter().map(|round| round.messages).collect();
                Some(Row::new(Prompt::Rounds(rounds), prompt_len, self.output_len))
            })
            .take(context.n)
            .collect();
        if rows.is_empty() {
            return Err(unusable(path, "holds no conversation with a message"));
        }
        let note = (rows.len() < context.n).then(|| {
            format!(
                "the trace has {} usable conversations, fewer than --num-prompts {}",
                rows.len(),
                context.n
            )
        });
        let told = left_out.told(seen, &path.display().to_string()).into_iter().collect();
        Ok(Rows { rows, notes: note.into_iter().collect(), told, ..Rows::default() })
    }
}

const FORMAT: &str = "expected a JSON object {\"conversations\": [[{\"messages\": [{\"role\": ..., \"content\": ...}]}, ...], ...]}";

fn read(path: &Path) -> Result<Vec<Vec<Round>>, Error> {
    let text = std::fs::read(path).map_err(|error| {
        Error::new(Kind::Input, format!("cannot read --dataset-path {}", path.display()))
            .because(error)
    })?;
    if let Some(what) = filetype::of(&text[..text.len().min(filetype::HEAD)]) {
        return Err(unusable(path, &format!("is {what}")));
    }
    let trace: Trace = serde_json::from_slice(&text)
        .map_err(|error| unusable(path, "is not a trace of conversations").because(error))?;
    if trace.conversations.is_empty() {
        return Err(unusable(path, "holds no conversations"));
    }
    for (i, rounds) in (1..).zip(&trace.conversations) {
        for (j, round) in (1..).zip(rounds) {
            if let Some(k) = round.messages.iter().position(|message| !message.is_object()) {
                let place = format!("conversation {i}, round {j}, message {}", k + 1);
                return Err(unusable(path, &format!("has no object as {place}")));
            }
        }
    }
    Ok(trace.conversations)
}

fn unusable(path: &Path, what: &str) -> Error {
    Error::new(Kind::Input, format!("--dataset-path {} {what}", path.display())).hint(FORMAT)
}
