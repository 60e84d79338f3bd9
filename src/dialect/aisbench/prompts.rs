//! The prompts of a dataset of a scenario.

use std::path::Path;
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use serde_json::{Map, Value};

use super::lengths;
use super::scenario::{Data, Model, Synthetic};
use super::traffic;
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::rng;
use crate::workload::dataset::records::{self, Taken};
use crate::workload::dataset::{Context, Dataset, Rows, neighbours};

/// The prompts of one run.
#[derive(Debug, Clone)]
pub(super) struct Prompts {
    pub(super) data: Data,
    pub(super) model: Model,
    /// `--num-prompts`.
    pub(super) most: Option<usize>,
    /// Whether the rows go around for a time, so that they have no times of their own.
    pub(super) around: bool,
}

/// The prompts of a warm-up: so many of a run's dataset, with their limits.
#[derive(Debug)]
pub(super) struct WarmUp(pub(super) Prompts, pub(super) usize);

impl Dataset for WarmUp {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let mut rows = self.0.load(&Context { n: self.1, ..*context })?;
        rows.rows.truncate(self.1);
        Ok(rows)
    }
}

const EXPECTED: &str = "{\"question\": \"...\"} on each line, with or without max_tokens";

const TRACED: &str = "{\"timestamp\": MS, \"input_length\": N or \"input_text\": \"...\", \"output_length\": N} on each line";

impl Dataset for Prompts {
    fn count(&self, asked: usize) -> usize {
        let count = self.data.synthetic_config.as_ref().map(|config| config.count);
        let count = count.or(self.data.meta.request_count).unwrap_or(asked);
        count.min(self.most.unwrap_or(usize::MAX))
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let mut rows = match (&self.data.synthetic_config, &self.data.path, &self.data.trace) {
            (Some(config), ..) => self.made(config, context)?,
            (None, Some(path), _) => self.read(path, context)?,
            (None, None, Some(path)) => self.traced(path, context)?,
            (None, None, None) => Rows::default(),
        };
        for row in &mut rows.rows {
            row.extra.insert("max_tokens".to_owned(), row.output_len.into());
        }
        if self.around {
            return Ok(rows);
        }
        if self.model.use_timestamp {
            if rows.rows.iter().any(|row| row.at.is_none()) {
                let message =
                    format!("use_timestamp: the rows of dataset {} have no times", self.data.abbr);
                return Err(Error::new(Kind::Usage, message)
                    .hint("a trace has them; request_rate paces other datasets"));
            }
            rows.replay = true;
        } else if let Some(due) = traffic::due(&self.model, rows.rows.len(), context.seed) {
            for (row, due) in rows.rows.iter_mut().zip(due) {
                row.at = Some(due);
            }
            rows.replay = true;
        }
        Ok(rows)
    }
}

impl Prompts {
    /// Rows of made up text whose lengths are those of the tokens.
    fn made(&self, config: &Synthetic, context: &Context<'_>) -> Result<Rows, Error> {
        let seed = context.seed;
        let wrong = |what: String| Error::new(Kind::Usage, what);
        if let (Some(strings), "string") = (&config.string, config.kind.as_str()) {
            let input = strings.input.lengths().map_err(wrong)?;
            let output = strings.output.lengths().map_err(wrong)?;
            let target = |i| {
                let draw = |lengths, consumer| lengths::draw(lengths, seed, consumer, i);
                (draw(&input, "aisbench/input"), draw(&output, "aisbench/output"))
            };
            let targets: Vec<(usize, usize)> = (0..context.n).map(target).collect();
            return neighbours(context, &targets, "aisbench/opening", "aisbench/offset");
        }
        let Some(ids) = &config.ids else { return Ok(Rows::default()) };
        let answer = self.model.max_out_len;
        let own = vec![(ids.size - ids.prefix, answer); context.n];
        let mut rows = neighbours(context, &own, "aisbench/opening", "aisbench/offset")?;
        if ids.prefix == 0 {
            return Ok(rows);
        }
        let one = Context { n: 1, ..*context };
        let shared =
            neighbours(&one, &[(ids.prefix, 0)], "aisbench/prefix-opening", "aisbench/prefix")?;
        let Some(Prompt::Text(prefix)) = shared.rows.into_iter().next().map(|row| row.prompt)
        else {
            return Ok(rows);
        };
        for row in &mut rows.rows {
            let Prompt::Text(text) = &mut row.prompt else { continue };
            let space = if text.starts_with(char::is_whitespace) { "" } else { " " };
            *text = format!("{prefix}{space}{text}");
            row.prompt_len = context.tokenizer.count(text);
        }
        let missed = rows.rows.iter().filter(|row| row.prompt_len != ids.size).count();
        if missed > 0 {
            rows.notes.push(format!(
                "{missed} prompts have another length than asked for: tokens merge where their shared beginning meets their own text; the totals count the real lengths"
            ));
        }
        Ok(rows)
    }

    /// The rows of a file of questions.
    fn read(&self, path: &Path, context: &Context<'_>) -> Result<Rows, Error> {
        let taken = |record: Map<String, Value>| {
            let question = record.get("question").and_then(Value::as_str);
            let question = question.ok_or("there is no text `question`")?.to_owned();
            let own = match record.get("max_tokens") {
                None | Some(Value::Null) => None,
                Some(value) => Some(
                    value
                        .as_u64()
                        .and_then(|n| usize::try_from(n).ok())
                        .filter(|n| *n > 0)
                        .ok_or("`max_tokens` is not a whole number above 0")?,
                ),
            };
            Ok(Taken::Row((question, own)))
        };
        let mut found = records::read(path, context, EXPECTED, usize::MAX, taken)?.items;
        let meta = &self.data.meta;
        let mut rng = rng::stream(context.seed, "aisbench/sampling", 0);
        let wanted = meta.request_count.unwrap_or(found.len()).min(context.n);
        let at: Vec<usize> = match meta.sampling_mode.as_deref() {
            Some("random") => (0..wanted).map(|_| rng.random_range(0..found.len())).collect(),
            mode => {
                if mode == Some("shuffle") {
                    found.shuffle(&mut rng);
                }
                (0..wanted).map(|i| i % found.len()).collect()
            }
        };
        let lengths = match &meta.output_config {
            None => None,
            Some(output) => Some(output.lengths().map_err(|what| Error::new(Kind::Usage, what))?),
        };
        let row = |(i, at): (usize, usize)| {
            let (question, own) = &found[at];
            let drawn =
                lengths.as_ref().map(|all| lengths::draw(all, context.seed, "aisbench/output", i));
            let len = context.tokenizer.count_with_special(question);
            let answer = own.or(drawn).unwrap_or(self.model.max_out_len);
            Row::new(Prompt::Text(question.clone()), len, answer)
        };
        Ok(Rows { rows: at.into_iter().enumerate().map(row).collect(), ..Rows::default() })
    }

    /// The rows of a trace, in the order of their times.
    fn traced(&self, path: &Path, context: &Context<'_>) -> Result<Rows, Error> {
        let taken = |record: Map<String, Value>| {
            let whole = |key: &str| {
                record.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
            };
            let at = record.get("timestamp").and_then(Value::as_f64).filter(|at| *at >= 0.0);
            let at = at.ok_or("`timestamp` is not a number of ms")?;
            let answer = whole("output_length").unwrap_or(1).max(1);
            let text = record.get("input_text").and_then(Value::as_str).map(str::to_owned);
            let length = whole("input_length").filter(|n| *n > 0);
            if text.is_none() && length.is_none() {
                return Err(
                    "there is neither `input_text` nor an `input_length` above 0".to_owned()
                );
            }
            if record.get("hash_ids").and_then(Value::as_array).is_some_and(|ids| !ids.is_empty())
                && text.is_none()
            {
                return Err("it has `hash_ids`, which rbench serve --dataset-name mooncake makes prompts of".to_owned());
            }
            Ok(Taken::Row((at, text, length.unwrap_or(1), answer)))
        };
        let mut found = records::read(path, context, TRACED, usize::MAX, taken)?.items;
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        found.truncate(context.n.min(self.data.meta.request_count.unwrap_or(usize::MAX)));
        let first = found.first().map_or(0.0, |one| one.0);
        let targets: Vec<(usize, usize)> =
            found.iter().map(|(_, _, length, answer)| (*length, *answer)).collect();
        let made = Context { n: targets.len(), ..*context };
        let mut rows = neighbours(&made, &targets, "aisbench/opening", "aisbench/offset")?;
        for (row, (at, text, ..)) in rows.rows.iter_mut().zip(found) {
            if let Some(text) = text {
                row.prompt_len = context.tokenizer.count_with_special(&text);
                row.prompt = Prompt::Text(text);
            }
            row.at = Some(Duration::try_from_secs_f64((at - first) / 1e3).unwrap_or_default());
        }
        Ok(rows)
    }
}
