//! `timed_trace`: requests at the times of a trace.

use std::collections::HashMap;
use std::time::Duration;

use rand::RngExt as _;
use serde_json::Value;

use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::rng;
use crate::workload::dataset::records::{self, Taken};
use crate::workload::dataset::{Cells, Context, Dataset, Rows, Uses};

/// vLLM's `timed_trace`: requests at the times of a trace, whose prompts share blocks of tokens.
#[derive(Debug, Clone)]
pub struct TimedTrace {
    /// Tokens of a block.
    pub block: usize,
    /// Seconds of a unit of time.
    pub unit: f64,
    /// Names of the time, the prompt tokens, the output tokens and the blocks.
    pub labels: [String; 4],
    /// Whether the times are kept.
    pub timed: bool,
}

/// The time of a line, its prompt tokens, its output tokens and its blocks.
type Line = (Duration, usize, usize, Vec<i64>);

impl TimedTrace {
    /// The row of a line, whose blocks come from `block`.
    fn line(&self, cells: &Cells) -> Result<Taken<Line>, String> {
        let [at, input, output, blocks] = &self.labels;
        let number = |name: &str| {
            let value = cells.get(name).and_then(Value::as_f64);
            value.filter(|x| *x >= 0.0).ok_or_else(|| format!("has no number `{name}`"))
        };
        let at = Duration::try_from_secs_f64(number(at)? * self.unit)
            .map_err(|error| format!("has a time that is none: {error}"))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not below 0")]
        let (input, output) = (number(input)? as usize, number(output)? as usize);
        let list = cells.get(blocks).and_then(Value::as_array);
        let list = list.ok_or_else(|| format!("has no list `{blocks}`"))?;
        let ids: Option<Vec<i64>> = list.iter().map(Value::as_i64).collect();
        let ids = ids.ok_or_else(|| format!("has a `{blocks}` that are not whole numbers"))?;
        if ids.len().saturating_mul(self.block) < input {
            return Err(format!(
                "has {} blocks of {} tokens, too few for {input}: --timed-trace-chunk-hash-size sets their length",
                ids.len(),
                self.block
            ));
        }
        Ok(Taken::Row((at, input, output, ids)))
    }
}

impl Dataset for TimedTrace {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let [at, input, output, blocks] = &self.labels;
        let expected = format!(
            "{{\"{at}\": s, \"{input}\": n, \"{output}\": n, \"{blocks}\": [...]}} on each line"
        );
        let path = records::path(context, "timed_trace", &expected)?;
        let lines = records::read(path, context, &expected, context.n, |cells| self.line(&cells))?;
        let plain = context.tokenizer.plain_ids();
        if plain.is_empty() {
            return Err(Error::new(Kind::Input, "the tokenizer has no plain tokens"));
        }
        let mut made: HashMap<i64, Vec<u32>> = HashMap::new();
        for id in lines.items.iter().flat_map(|(.., ids)| ids) {
            made.entry(*id).or_insert_with(|| {
                // A block is the same in each run with the same seed.
                let mut rng = rng::stream(context.seed, "vllm/timed-trace", id.cast_unsigned());
                (0..self.block).map(|_| plain[rng.random_range(0..plain.len())]).collect()
            });
        }
        let rows = lines.items.iter().map(|(at, input, output, ids)| {
            let tokens = ids.iter().flat_map(|id| made.get(id).into_iter().flatten());
            let prompt: Vec<u32> = tokens.copied().take(*input).collect();
            let len = prompt.len();
            Row {
                at: self.timed.then_some(*at),
                ..Row::new(Prompt::Ids(prompt), len, (*output).max(1))
            }
        });
        let rows: Vec<Row> = rows.collect();
        let mut notes: Vec<String> = lines.note.into_iter().collect();
        if rows.len() < context.n {
            notes.push(format!(
                "the trace has {} lines, fewer than --num-prompts {}",
                rows.len(),
                context.n
            ));
        }
        Ok(Rows { rows, notes, replay: self.timed, ..Rows::default() })
    }

    fn uses(&self) -> Uses {
        Uses { bad_rows: true, ..Uses::default() }
    }
}
