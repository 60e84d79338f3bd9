//! Prompts from files.

use std::path::Path;

use rayon::prelude::*;
use serde_json::{Map, Value};

use super::{Prompts, usage};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row, user_message};
use crate::workload::conversation::text_len;
use crate::workload::dataset::records::{self, Taken};
use crate::workload::dataset::{Context, Rows};

/// What a row of a file holds.
enum Held {
    Text(String),
    Messages(Vec<Value>),
    /// A body with its own keys.
    Body(Map<String, Value>),
}

/// The rows of the file: those after the offset, again from the beginning where there are too few.
pub(super) fn rows(of: &Prompts, context: &Context<'_>) -> Result<Rows, Error> {
    let name = &of.name;
    let path = of.path.as_deref().ok_or_else(|| {
        usage(format!(
            "--dataset {name} needs --dataset-path: rbench downloads none of EvalScope's datasets"
        ))
        .hint("download the file once, and name it with --dataset-path")
    })?;
    let held = match name.as_str() {
        "line_by_line" | "embedding" => lines(path)?,
        "openqa" => field(path, context, "question")?,
        "longalpaca" => field(path, context, "instruction")?,
        "custom_multi_turn" => conversations(path)?,
        "rerank" => return pairs(of, path, context),
        _ => return Err(usage(format!("--dataset {name} is not known"))),
    };
    if of.multi_turn {
        return played(of, context, held);
    }
    let shaper = Shaper::new(of, context)?;
    let found = held.len();
    let made: Vec<Row> =
        held.into_par_iter().filter_map(|held| shaper.row(of, context, held)).collect();
    let left_out = found - made.len();
    cycled(of, context, &made, left_out)
}

/// As many of `made` as are wanted, from the offset on.
fn cycled(
    of: &Prompts,
    context: &Context<'_>,
    made: &[Row],
    left_out: usize,
) -> Result<Rows, Error> {
    if made.is_empty() {
        return Err(Error::new(
            Kind::Input,
            format!("--dataset {}: no row of the file can be used", of.name),
        )
        .hint("--min-prompt-length and --max-prompt-length leave rows out"));
    }
    let mut notes = Vec::new();
    if left_out > 0 {
        notes.push(format!("{left_out} rows are left out, since they are too short or too long"));
    }
    if of.offset + context.n > made.len() {
        notes.push(format!(
            "the {} rows are used more than once: a prefix cache may answer faster than it does for new text",
            made.len()
        ));
    }
    let pick = |i: usize| {
        let row = &made[(of.offset + i) % made.len()];
        let own = row.extra.get("max_tokens").and_then(Value::as_u64);
        let own = own.and_then(|n| usize::try_from(n).ok());
        let output_len = own.unwrap_or_else(|| of.answer(context, i));
        of.limited(Row { output_len, ..row.clone() })
    };
    Ok(Rows { rows: (0..context.n).map(pick).collect(), notes, ..Rows::default() })
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(Kind::Input, format!("cannot read --dataset-path {}", path.display())).because(error)
}

/// Each line: a list of messages, a body, or plain text.
fn lines(path: &Path) -> Result<Vec<Held>, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
    let held = |line: &str| match serde_json::from_str(line) {
        Ok(Value::Array(messages)) if are_messages(&messages) => Held::Messages(messages),
        Ok(Value::Object(body)) if body.contains_key("messages") || body.contains_key("prompt") => {
            Held::Body(body)
        }
        _ => Held::Text(line.to_owned()),
    };
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(held).collect())
}

fn are_messages(messages: &[Value]) -> bool {
    !messages.is_empty() && messages.iter().all(|one| one.get("role").is_some_and(Value::is_string))
}

/// The text under `key` of each record.
fn field(path: &Path, context: &Context<'_>, key: &'static str) -> Result<Vec<Held>, Error> {
    let expected = format!("{{\"{key}\": \"...\"}} on each line, or a list of such objects");
    let taken = |record: Map<String, Value>| match record.get(key).and_then(Value::as_str) {
        Some(text) if !text.trim().is_empty() => Ok(Taken::Row(Held::Text(text.trim().to_owned()))),
        Some(_) => Ok(Taken::Unused("without text")),
        None => Err(format!("there is no text `{key}`")),
    };
    Ok(records::read(path, context, &expected, usize::MAX, taken)?.items)
}

/// The conversations of a file: one list of messages on each line, or a list of such lists.
fn conversations(path: &Path) -> Result<Vec<Held>, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
    let broken = |place: String| {
        let message =
            format!("{}, {place}: it is no list of messages with a role in each", path.display());
        Error::new(Kind::Input, message)
            .hint("expected [{\"role\": \"user\", \"content\": \"...\"}, ...] on each line")
    };
    let messages = |record: Value| match record {
        Value::Array(messages) if are_messages(&messages) => Some(Held::Messages(messages)),
        Value::Object(mut record) => match record.shift_remove("messages") {
            Some(Value::Array(messages)) if are_messages(&messages) => {
                Some(Held::Messages(messages))
            }
            _ => None,
        },
        _ => None,
    };
    if let Ok(Value::Array(all)) = serde_json::from_str(&text)
        && !are_messages(&all)
    {
        let item = |(i, record)| messages(record).ok_or_else(|| broken(format!("item {}", i + 1)));
        return all.into_iter().enumerate().map(item).collect();
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let line = |(i, line): (usize, &str)| {
        let record = serde_json::from_str(line).ok().and_then(messages);
        record.ok_or_else(|| broken(format!("line {}", i + 1)))
    };
    lines.map(line).collect()
}

/// Conversations whose answers are those of the server: stored ones are left out.
fn played(of: &Prompts, context: &Context<'_>, held: Vec<Held>) -> Result<Rows, Error> {
    let mut made = Vec::new();
    for held in held {
        let Held::Messages(messages) = held else { continue };
        let mut rounds: Vec<Vec<Value>> = vec![Vec::new()];
        for message in messages {
            let role = message["role"].as_str().unwrap_or_default().to_owned();
            if role == "assistant" {
                continue;
            }
            let ends = role == "user";
            if let Some(round) = rounds.last_mut() {
                round.push(message);
            }
            if ends {
                rounds.push(Vec::new());
            }
        }
        rounds.retain(|round| round.iter().any(|message| message["role"] == "user"));
        rounds.truncate(of.most_turns.unwrap_or(usize::MAX));
        let Some(first) = rounds.first() else { continue };
        let len = first.iter().map(|message| text_len(message, context.tokenizer)).sum();
        made.push(Row::new(Prompt::Rounds(rounds), len, 0));
    }
    cycled(of, context, &made, 0)
}

/// Brings texts to their lengths.
struct Shaper {
    target: Option<usize>,
    drops: bool,
    /// The text before each prompt, and whether it is a message of the system.
    prefix: Option<(String, bool)>,
}

impl Shaper {
    fn new(of: &Prompts, context: &Context<'_>) -> Result<Self, Error> {
        let text = |key: &str| of.args.get(key).and_then(Value::as_str);
        let target = match of.args.get("target_input_len") {
            None | Some(Value::Null) => None,
            Some(value) => Some(
                value
                    .as_u64()
                    .and_then(|n| usize::try_from(n).ok())
                    .filter(|n| *n > 0)
                    .ok_or_else(|| {
                        usage(
                            "--dataset-args: target_input_len must be a whole number above 0"
                                .to_owned(),
                        )
                    })?,
            ),
        };
        let drops = match text("input_len_mode") {
            None | Some("cap") => false,
            Some("drop") => true,
            Some(_) => {
                return Err(usage("--dataset-args: input_len_mode must be cap or drop".to_owned()));
            }
        };
        let system = match text("prefix_role") {
            None | Some("system") => true,
            Some("user") => false,
            Some(_) => {
                return Err(usage("--dataset-args: prefix_role must be system or user".to_owned()));
            }
        };
        let prefix = match text("prefix_file") {
            None => None,
            Some(path) => {
                let path = Path::new(path);
                let text =
                    std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
                let length = of.prefix.0;
                if length == 0 {
                    return Err(usage(
                        "--dataset-args: prefix_file needs --prefix-length".to_owned(),
                    ));
                }
                Some((tiled(context, &text, length)?, system))
            }
        };
        Ok(Self { target, drops, prefix })
    }

    /// The row of what was held; `None` if it is to be left out.
    fn row(&self, of: &Prompts, context: &Context<'_>, held: Held) -> Option<Row> {
        let tokenizer = context.tokenizer;
        match held {
            Held::Text(text) => {
                let ids = tokenizer.encode(&text);
                let text = match self.target {
                    Some(target) if self.drops && ids.len() < target => return None,
                    Some(target) if ids.len() > target => tokenizer.decode(&ids[..target]),
                    _ => text,
                };
                let len = tokenizer.count(&text);
                if !(of.lengths.least..=of.lengths.most).contains(&len) {
                    return None;
                }
                let row = match &self.prefix {
                    None => of.text_row(context, 0, text),
                    Some((prefix, true)) if of.messages => {
                        let system = serde_json::json!({"role": "system", "content": prefix});
                        messages_row(context, vec![system, user_message(&text)])
                    }
                    Some((prefix, _)) => of.text_row(context, 0, format!("{prefix}\n{text}")),
                };
                // How long its answer may be depends on its place in the run.
                Some(unlimited(row))
            }
            Held::Messages(messages) => {
                let row = messages_row(context, messages);
                (of.lengths.least..=of.lengths.most).contains(&row.prompt_len).then_some(row)
            }
            Held::Body(mut body) => {
                body.shift_remove("stream");
                let model = body.shift_remove("model");
                let mut row = match (body.shift_remove("messages"), body.shift_remove("prompt")) {
                    (Some(Value::Array(messages)), _) => messages_row(context, messages),
                    (_, Some(Value::String(text))) => unlimited(of.text_row(context, 0, text)),
                    _ => return None,
                };
                row.extra.extend(body);
                row.extra.extend(model.map(|model| ("model".to_owned(), model)));
                Some(row)
            }
        }
    }
}

fn unlimited(mut row: Row) -> Row {
    row.extra.shift_remove("max_tokens");
    row
}

fn messages_row(context: &Context<'_>, messages: Vec<Value>) -> Row {
    let len = messages.iter().map(|message| text_len(message, context.tokenizer)).sum();
    Row::new(Prompt::Messages(messages), len, 0)
}

/// `text` repeated and cut to `length` tokens.
fn tiled(context: &Context<'_>, text: &str, length: usize) -> Result<String, Error> {
    let tokenizer = context.tokenizer;
    let ids = tokenizer.encode(text);
    if ids.is_empty() {
        return Err(usage("--dataset-args: prefix_file holds no text".to_owned()));
    }
    let ids: Vec<u32> = ids.iter().copied().cycle().take(length).collect();
    Ok(tokenizer.decode(&ids))
}

/// Queries with their documents.
fn pairs(of: &Prompts, path: &Path, context: &Context<'_>) -> Result<Rows, Error> {
    let expected = "{\"query\": \"...\", \"documents\": [\"...\", ...]} on each line";
    let taken = |record: Map<String, Value>| {
        let query =
            record.get("query").and_then(Value::as_str).ok_or("there is no text `query`")?;
        let documents = record.get("documents").and_then(Value::as_array);
        let documents: Option<Vec<String>> = documents
            .map(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect())
            .ok_or("there is no list `documents`")?;
        let documents = documents.ok_or("a document is no text")?;
        Ok(Taken::Row(rerank_row(context, query, &documents)))
    };
    let made = records::read(path, context, expected, usize::MAX, taken)?.items;
    cycled(of, context, &made, 0)
}

/// The row of a rerank request, whose documents are a key of its body.
pub(super) fn rerank_row(context: &Context<'_>, query: &str, documents: &[String]) -> Row {
    let count = |text: &str| context.tokenizer.count(text);
    let tokens =
        count(query) * documents.len() + documents.iter().map(|one| count(one)).sum::<usize>();
    let mut row = Row::new(Prompt::Text(query.to_owned()), tokens, 0);
    row.extra.insert("documents".to_owned(), documents.into());
    row
}
