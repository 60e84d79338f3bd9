//! Prompts from files: `custom` and its kin, `sharegpt`, `sonnet`, `burstgpt`, `hf`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt as _;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::columns::{Asks, Columns};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row, user_message};
use crate::rng;
use crate::workload::dataset::records::{self, Records, Taken};
use crate::workload::dataset::{
    Cells, Context, Corpus, Dataset, InFlight, Rows, Shaper, Templates, Uses, of_file, table,
};

/// What all datasets of files have in common.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Whether rows are used again where there are fewer than requests.
    pub oversample: bool,
    /// Whether they stay in the order of the file.
    pub ordered: bool,
}

impl Reading {
    /// The rows that `make` makes of `items`, as many as are wanted.
    fn rows<T: Send>(
        self,
        items: Records<T>,
        context: &Context<'_>,
        make: impl Fn(T) -> Result<Result<Row, &'static str>, Error> + Sync,
    ) -> Result<Rows, Error> {
        let items = if self.ordered { items } else { items.shuffled(context, "vllm/file/shuffle") };
        let (mut rows, short) = items.some_rows(context, make)?;
        let Some(short) = short else { return Ok(rows) };
        let usable = rows.rows.len();
        let found = format!(
            "{usable} of the {} rows of {} are usable{}, fewer than --num-prompts {}",
            short.found, short.name, short.why, context.n
        );
        if !self.oversample {
            rows.notes.push(format!("{found}: the run has {usable} requests"));
            return Ok(rows);
        }
        rows.notes.push(format!("{found}: they are used again, which a prefix cache knows"));
        let mut rng = rng::stream(context.seed, "vllm/file/oversample", 0);
        for _ in usable..context.n {
            let again = rows.rows[rng.random_range(0..usable)].clone();
            rows.rows.push(again);
        }
        Ok(rows)
    }
}

/// Why a row is left out of the datasets of conversations; `fixed` is whether its output has a length of the user's.
fn unfit(prompt: usize, output: usize, fixed: bool) -> Option<&'static str> {
    if prompt < 4 {
        Some("with a prompt of fewer than 4 tokens")
    } else if output < 4 && !fixed {
        Some("with an answer of fewer than 4 tokens")
    } else if prompt > 1024 {
        Some("with a prompt of more than 1024 tokens")
    } else if prompt + output > 2048 {
        Some("of more than 2048 tokens with their answer")
    } else {
        None
    }
}

/// vLLM's `sharegpt`.
#[derive(Debug, Clone, Copy)]
pub struct ShareGpt {
    /// Output tokens in the place of the length of the answer.
    pub output: Option<usize>,
    /// How the file is read.
    pub reading: Reading,
}

impl Dataset for ShareGpt {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let corpus = Corpus::load(context, "vllm/sharegpt/shuffle")?;
        let make = |turns: InFlight| {
            let prompt = context.tokenizer.count_with_special(&turns.question);
            let answer = || context.tokenizer.count_with_special(&turns.answer);
            let output = self.output.unwrap_or_else(answer);
            Ok(match unfit(prompt, output, self.output.is_some()) {
                Some(reason) => Err(reason),
                None => Ok(Row::new(Prompt::Text(turns.question), prompt, output)),
            })
        };
        Reading { ordered: true, ..self.reading }.rows(corpus, context, make)
    }

    fn uses(&self) -> Uses {
        Uses { bad_rows: true, ..Uses::default() }
    }
}

/// Which file of prompts it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// `prompt`, and perhaps `output_tokens`.
    Custom,
    /// The same with `image_files`, or `content` with parts.
    Image {
        /// Whether files are sent with the request instead of named.
        inline: bool,
    },
    /// The same with `audio`.
    Audio {
        /// Whether the sound is part of a chat message.
        chat: bool,
    },
    /// `turns` and `category`.
    Turns(Option<String>),
    /// `messages` and `category`.
    Messages(Option<String>),
}

/// vLLM's `custom`, and what it makes of other files in the same way.
#[derive(Debug, Clone)]
pub struct Custom {
    /// Which file.
    pub form: Form,
    /// Output tokens; without, those that each row names.
    pub output: Option<usize>,
    /// Whether the tokenizer's chat template is applied.
    pub template: bool,
    /// How the file is read.
    pub reading: Reading,
}

const PROMPTS: &str = "{\"prompt\": \"...\"} on each line";

impl Custom {
    /// The question of a row, or what is wrong with it.
    fn question(&self, cells: &Cells) -> Result<Taken<String>, String> {
        let (list, category) = match &self.form {
            Form::Turns(category) => ("turns", category),
            Form::Messages(category) => ("messages", category),
            Form::Image { .. } if cells.get("content").is_some_and(Value::is_array) => {
                return Ok(Taken::Row(String::new()));
            }
            _ => {
                let prompt = cells.get("prompt").and_then(Value::as_str);
                return prompt
                    .map(|text| Taken::Row(text.to_owned()))
                    .ok_or_else(|| "has no text `prompt`".to_owned());
            }
        };
        let found = cells.get("category").and_then(Value::as_str);
        if category.is_some() && found != category.as_deref() {
            return Ok(Taken::Unused("of another category"));
        }
        let first = cells.get(list).and_then(Value::as_array).and_then(|list| list.first());
        let text =
            first.and_then(|first| first.as_str().or_else(|| first.get("content")?.as_str()));
        text.map(|text| Taken::Row(text.to_owned()))
            .ok_or_else(|| format!("has no text in the first of its `{list}`"))
    }

    fn row(&self, shaper: &Shaper<'_>, cells: &Cells, question: &str) -> Result<Row, Error> {
        let named = cells.get("output_tokens").and_then(Value::as_u64);
        let named = named.and_then(|n| usize::try_from(n).ok());
        let output = self.output.or(named).ok_or_else(|| {
            Error::new(Kind::Input, "a row has no whole number `output_tokens`")
                .hint("--custom-output-len N gives all rows the same")
        })?;
        let (prompt, prompt_len) = shaper.prompt(question)?;
        let row = Row::new(Prompt::Text(prompt), prompt_len, output);
        match self.form {
            Form::Image { inline } => with_images(row, cells, inline),
            Form::Audio { chat } => with_audio(row, cells, chat),
            Form::Custom | Form::Turns(_) | Form::Messages(_) => Ok(row),
        }
    }
}

impl Dataset for Custom {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let path = records::path(context, "custom", PROMPTS)?;
        let take = |cells: Cells| {
            Ok(match self.question(&cells)? {
                Taken::Row(question) => Taken::Row((cells, question)),
                Taken::Strange(reason) => Taken::Strange(reason),
                Taken::Unused(reason) => Taken::Unused(reason),
            })
        };
        let items = records::read(path, context, PROMPTS, usize::MAX, take)?;
        let template = self
            .template
            .then(|| context.tokenizer.chat_template(&context.reading.now))
            .transpose()
            .map_err(|error| error.hint("--skip-chat-template sends the prompts as they are"))?;
        let shaper = Shaper::new(context, template);
        let make =
            |(cells, question): (Cells, String)| self.row(&shaper, &cells, &question).map(Ok);
        self.reading.rows(items, context, make)
    }

    fn uses(&self) -> Uses {
        let images = matches!(self.form, Form::Image { .. });
        Uses { bad_rows: true, template: Templates::Ignored, images, ..Uses::default() }
    }
}

/// The place of a file as a URL, or its content where `inline`.
fn source(text: &str, inline: bool) -> Result<String, Error> {
    if text.contains("://") || text.starts_with("data:") {
        if inline && text.starts_with("http") {
            let message = format!("{text} is not on this machine");
            return Err(Error::new(Kind::Input, message)
                .hint("rbench loads files of this machine alone: download it, or leave --custom-ensure-client-side-data out"));
        }
        return Ok(text.to_owned());
    }
    let unreadable = |error| Error::new(Kind::Input, format!("cannot read {text}")).because(error);
    if !inline {
        let path = std::fs::canonicalize(text).map_err(unreadable)?;
        return Ok(format!("file://{}", path.display()));
    }
    let bytes = std::fs::read(text).map_err(unreadable)?;
    of_file(&bytes)
        .ok_or_else(|| Error::new(Kind::Input, format!("{text} is not an image that rbench knows")))
}

fn with_images(row: Row, cells: &Cells, inline: bool) -> Result<Row, Error> {
    if let Some(Value::Array(parts)) = cells.get("content") {
        let part = |part: &Value| -> Result<Value, Error> {
            let mut part = part.clone();
            if let Some(Value::String(image)) = part.get("image").cloned() {
                return Ok(
                    json!({"type": "image_url", "image_url": {"url": source(&image, inline)?}}),
                );
            }
            if let Some(Value::String(url)) = part.pointer_mut("/image_url/url") {
                *url = source(url, inline)?;
            }
            Ok(part)
        };
        let parts: Vec<Value> = parts.iter().map(part).collect::<Result<_, _>>()?;
        let message = json!({"role": "user", "content": parts});
        return Ok(Row { prompt: Prompt::Messages(vec![message]), ..row });
    }
    let files = cells.get("image_files").and_then(Value::as_array);
    let names = files.into_iter().flatten().filter_map(Value::as_str);
    let images: Vec<Arc<str>> =
        names.map(|name| source(name, inline).map(Arc::from)).collect::<Result<_, _>>()?;
    Ok(Row { images, ..row })
}

fn with_audio(mut row: Row, cells: &Cells, chat: bool) -> Result<Row, Error> {
    let missing = || Error::new(Kind::Input, "a row has no text `audio` with the path of a file");
    let name = cells.get("audio").or_else(|| cells.get("audio_path"));
    let name = name.and_then(Value::as_str).ok_or_else(missing)?;
    if chat {
        let uri = source(name, true)?;
        let data = uri.split_once(',').map_or("", |(_, data)| data);
        let Prompt::Text(text) = &row.prompt else { return Ok(row) };
        let mut message = user_message("");
        message["content"] = json!([
            {"type": "text", "text": text},
            {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
        ]);
        return Ok(Row { prompt: Prompt::Messages(vec![message]), ..row });
    }
    let bytes = std::fs::read(name)
        .map_err(|error| Error::new(Kind::Input, format!("cannot read {name}")).because(error))?;
    row.audio = Some(bytes.into());
    Ok(row)
}

/// The `sonnet` of older releases: lines of a text, the first of which all prompts share.
#[derive(Debug, Clone, Copy)]
pub struct Sonnet {
    /// Prompt tokens.
    pub input: usize,
    /// Output tokens.
    pub output: usize,
    /// Tokens of the lines that all prompts share.
    pub prefix: usize,
}

/// What stands before the lines.
const LINES: &str = "Choose as many of these lines as you like:\n";

impl Dataset for Sonnet {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let path = records::path(context, "sonnet", "a text file of lines")?;
        let broken = |error| {
            Error::new(Kind::Input, format!("cannot read {}", path.display())).because(error)
        };
        let text = std::fs::read_to_string(path).map_err(broken)?;
        let lines: Vec<String> =
            text.lines().filter(|line| !line.trim().is_empty()).map(|l| format!("{l}\n")).collect();
        let count = |text: &str| context.tokenizer.count(text);
        let base = count(LINES);
        if lines.is_empty() || self.input <= base || self.prefix > self.input {
            let message = format!(
                "--dataset-name sonnet: {} lines make no prompts of {} tokens that share {}",
                lines.len(),
                self.input,
                self.prefix
            );
            return Err(Error::new(Kind::Usage, message));
        }
        let mean = lines.iter().map(|line| count(line)).sum::<usize>() as f64 / lines.len() as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not below 0")]
        let of = |tokens: usize| (tokens.saturating_sub(base) as f64 / mean).round() as usize;
        let shared = of(self.prefix).min(lines.len());
        let own = of(self.input).saturating_sub(shared);
        let row = |i: usize| {
            let mut rng = rng::stream(context.seed, "vllm/sonnet/lines", i as u64);
            let drawn = (0..own).map(|_| lines[rng.random_range(0..lines.len())].as_str());
            let text: String = std::iter::once(LINES)
                .chain(lines[..shared].iter().map(String::as_str))
                .chain(drawn)
                .collect();
            let len = context.tokenizer.count_with_special(&text);
            Row::new(Prompt::Text(text), len, self.output)
        };
        Ok(Rows { rows: (0..context.n).into_par_iter().map(row).collect(), ..Rows::default() })
    }
}

/// vLLM's `burstgpt`: the lengths of a trace of requests.
#[derive(Debug, Clone, Copy)]
pub struct BurstGpt;

impl Dataset for BurstGpt {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let expected = "CSV with the columns Model, Request tokens, Response tokens";
        let path = records::path(context, "burstgpt", expected)?;
        let rows = table(path, context, usize::MAX)?;
        let lengths: Vec<(usize, usize)> = rows
            .iter()
            .filter(|cells| cells.get("Model").and_then(Value::as_str) == Some("GPT-4"))
            .filter_map(|cells| {
                let tokens = |name: &str| cells.get(name)?.as_str()?.trim().parse::<f64>().ok();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a count of tokens that is checked to be above 0"
                )]
                let whole = |x: f64| x as usize;
                let (input, output) = (tokens("Request tokens")?, tokens("Response tokens")?);
                (input >= 1.0 && output >= 1.0).then(|| (whole(input), whole(output)))
            })
            .collect();
        if lengths.is_empty() {
            let message = format!("{} has no row of GPT-4 with an answer", path.display());
            return Err(Error::new(Kind::Input, message).hint(format!("expected {expected}")));
        }
        let mut rng = rng::stream(context.seed, "vllm/burstgpt/rows", 0);
        let targets: Vec<(usize, usize)> = if context.n <= lengths.len() {
            let drawn = rand::seq::index::sample(&mut rng, lengths.len(), context.n);
            drawn.into_iter().map(|i| lengths[i]).collect()
        } else {
            (0..context.n).map(|_| lengths[rng.random_range(0..lengths.len())]).collect()
        };
        crate::workload::dataset::neighbours(
            context,
            &targets,
            "vllm/burstgpt/opening",
            "vllm/burstgpt/offset",
        )
    }
}

/// A data set of the Hub, or a file of the same kind.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The data set on the Hub; without, the file of `--dataset-path`.
    pub id: Option<String>,
    /// Its name, whose rules apply, where it is a file.
    pub name: Option<String>,
    /// The part of the data set.
    pub subset: Option<String>,
    /// The split.
    pub split: Option<String>,
    /// The column of prompts, where the rules do not find it.
    pub column: Option<String>,
    /// Output tokens in the place of what the rows or the rules say.
    pub output: Option<usize>,
    /// Whether the tokenizer's chat template is applied.
    pub template: bool,
    /// How rows are drawn.
    pub reading: Reading,
}

/// Rows of a data set that are read at most for each that is wanted: they are drawn from among these.
const FROM: usize = 16;

impl Dataset for Hub {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let name = self.name.as_deref().or(self.id.as_deref()).unwrap_or_default();
        let columns = Columns::of(name, self.column.clone());
        let most = context.n.saturating_mul(FROM);
        let mut items = Vec::new();
        for path in self.files(context, &columns)? {
            items.extend(table(&path, context, most - items.len())?);
            if items.len() >= most {
                break;
            }
        }
        let shown = self.id.clone().unwrap_or_else(|| {
            context.path.map(|path| path.display().to_string()).unwrap_or_default()
        });
        let items = Records { items, name: shown, note: None, told: None };
        let template = self.template.then(|| context.tokenizer.chat_template(&context.reading.now));
        // Rows of a base model are sent as they are.
        let shaper = Shaper::new(context, template.and_then(Result::ok));
        let count = |text: &str| context.tokenizer.count_with_special(text);
        let make = |cells: Cells| {
            let Some(Asks { prompt, images, answer }) = columns.asks(&cells) else {
                return Ok(Err("without a column that rbench knows as a prompt"));
            };
            let (text, prompt_len) = if images.is_empty() {
                shaper.prompt(&prompt)?
            } else {
                (prompt.clone(), count(&prompt))
            };
            let answered = answer.as_deref().map(count).filter(|&n| n > 0);
            let output = self.output.or(columns.output).or(answered);
            let Some(output) = output else {
                return Ok(Err("without an answer: --hf-output-len gives all rows a length"));
            };
            let images = images.into_iter().map(Arc::from).collect();
            Ok(Ok(Row { images, ..Row::new(Prompt::Text(text), prompt_len, output) }))
        };
        self.reading.rows(items, context, make)
    }
}

impl Hub {
    /// The files to read, the first first.
    fn files(&self, context: &Context<'_>, columns: &Columns) -> Result<Vec<PathBuf>, Error> {
        use crate::workload::hub::Holds;
        let Some(id) = &self.id else {
            let path = records::path(context, "hf", "a data set of the Hub, or a file of rows")?;
            return Ok(if path.is_dir() { within(path) } else { vec![path.to_owned()] });
        };
        let names = context.hub.files(Holds::Dataset, id)?;
        let split = self.split.as_deref().or(columns.split);
        let wanted = chosen(&names, self.subset.as_deref(), split);
        if wanted.is_empty() {
            let message = format!(
                "{id} has no file of rows{}{}",
                self.subset.as_ref().map(|s| format!(" of the subset {s}")).unwrap_or_default(),
                split.map(|s| format!(" of the split {s}")).unwrap_or_default(),
            );
            return Err(Error::new(Kind::Input, message).hint(
                "rbench reads JSON, JSON lines, CSV and Parquet; --hf-subset and --hf-split name others",
            ));
        }
        // Files beyond the first are downloaded only where they are needed, which their sizes do not say.
        wanted.iter().take(1).map(|name| context.hub.file(Holds::Dataset, id, name)).collect()
    }
}

/// The files of rows in a folder.
fn within(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.to_str().is_some_and(is_rows));
    files.sort();
    files
}

fn is_rows(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ["parquet", "jsonl", "json", "csv", "tsv"].contains(&ending)
}

/// Of the files `names` of a data set those with rows of a subset and a split, the best first.
fn chosen(names: &[String], subset: Option<&str>, split: Option<&str>) -> Vec<String> {
    let of = |name: &str, part: &str| {
        name.split(['/', '-', '.', '_']).any(|word| word == part) || name.contains(part)
    };
    let mut files: Vec<String> = names.iter().filter(|name| is_rows(name)).cloned().collect();
    files.retain(|name| !["dataset_infos.json", "package.json"].contains(&name.as_str()));
    files.retain(|name| subset.is_none_or(|subset| of(name, subset)));
    if let Some(split) = split
        && files.iter().any(|name| of(name, split))
    {
        files.retain(|name| of(name, split));
    }
    files.sort_by_key(|name| (!name.ends_with("parquet"), name.clone()));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_subset_and_a_split() {
        let names = ["README.md", "main/test-00000.parquet", "main/train-00000.parquet", "a.json"];
        let names = names.map(str::to_owned);
        assert_eq!(chosen(&names, Some("main"), Some("test")), ["main/test-00000.parquet"]);
        assert_eq!(chosen(&names, None, Some("train")), ["main/train-00000.parquet"]);
        assert_eq!(chosen(&names, None, None).len(), 3);
        assert!(chosen(&names, Some("other"), None).is_empty());
    }

    #[test]
    fn conversations_that_are_too_short_or_too_long_are_left_out() {
        for (prompt, output, fixed, fits) in [
            (3, 9, false, false),
            (4, 3, false, false),
            (4, 3, true, true),
            (1024, 1024, false, true),
            (1025, 4, false, false),
            (1024, 1025, false, false),
        ] {
            assert_eq!(unfit(prompt, output, fixed).is_none(), fits, "{prompt} {output}");
        }
    }
}
