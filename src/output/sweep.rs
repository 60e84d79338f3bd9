//! The summary of a sweep: a table, and a file of comma-separated values.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::gates;
use crate::analysis::comparison::{Judged, Met};

/// What became of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It was not begun.
    Pending,
    /// It was measured.
    Done,
    /// It was ended before its plan was done.
    Partial,
    /// It was ended because it could not meet its objectives any more.
    Stopped,
    /// It failed.
    Failed,
}

impl State {
    /// Each state.
    const ALL: [Self; 5] = [Self::Pending, Self::Done, Self::Partial, Self::Stopped, Self::Failed];

    /// The name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// The state of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A run of a point.
#[derive(Debug, Clone)]
pub struct Row {
    /// The values of the flags that vary, in their order.
    pub values: Vec<String>,
    /// Which run of the point it is, from 1.
    pub repeat: usize,
    /// What became of it.
    pub state: State,
    /// Its figures by the names of results.
    pub figures: Map<String, Value>,
    /// The objectives of each tier, and what became of them; empty if the run was not judged.
    pub judged: Vec<Vec<Judged>>,
    /// Why it failed, or why its figures are not to be trusted.
    pub note: Option<String>,
}

/// A sweep.
#[derive(Debug)]
pub struct Summary {
    /// The flags that vary, without hyphens.
    pub flags: Vec<String>,
    /// The names of the tiers that runs are judged by.
    pub tiers: Vec<String>,
    /// Whether points have several runs, which are numbered.
    pub numbered: bool,
    /// In the order of the command line.
    pub rows: Vec<Row>,
    /// GPUs of the servers, if that is known.
    pub gpus: Option<usize>,
    /// Price of a GPU per hour.
    pub price: Option<f64>,
}

/// A figure of a run.
type Figure = fn(&Summary, &Row) -> Option<f64>;

/// The columns of the table with figures of runs: the two lines of their heading, and the figure.
const COLUMNS: [([&str; 2], Figure); 9] = [
    (["req/s", ""], |_, row| row.figure("request_throughput")),
    (["out tok/s", ""], |_, row| row.figure("output_throughput")),
    (["TTFT ms", "median"], |_, row| row.figure("median_ttft_ms")),
    (["TTFT ms", "p99"], |_, row| row.figure("p99_ttft_ms")),
    (["TPOT ms", "median"], |_, row| row.figure("median_tpot_ms")),
    (["TPOT ms", "p99"], |_, row| row.figure("p99_tpot_ms")),
    (["E2E ms", "p99"], |_, row| row.figure("p99_e2e_latency_ms")),
    (["good req/s", ""], |_, row| row.figure("request_goodput")),
    (["tok/s/user", ""], |_, row| row.interactivity()),
];

/// What is derived from the figures of a run, by the names of the file.
const DERIVED: [(&str, Figure); 5] = [
    ("interactivity", |_, row| row.interactivity()),
    ("output_throughput_per_gpu", |all, row| all.per_gpu(row, "output_throughput")),
    ("input_throughput_per_gpu", |all, row| all.per_gpu(row, "input_throughput")),
    ("total_throughput_per_gpu", |all, row| all.per_gpu(row, "total_throughput")),
    ("cost_per_million_output_tokens", |all, row| all.cost(row)),
];

impl Row {
    fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name)?.as_f64().filter(|value| value.is_finite())
    }

    /// Output tokens per second of one user, by the median time per output token.
    fn interactivity(&self) -> Option<f64> {
        self.figure("median_tpot_ms").filter(|&tpot| tpot > 0.0).map(|tpot| 1e3 / tpot)
    }

    /// What became of the objectives of a tier: not met if one is not.
    fn met(&self, tier: usize) -> Option<Met> {
        let judged = self.judged.get(tier)?;
        let any = |met| judged.iter().any(|one| one.met == met);
        Some(match (any(Met::No), any(Met::Open)) {
            (true, _) => Met::No,
            (false, true) => Met::Open,
            (false, false) => Met::Yes,
        })
    }
}

impl Summary {
    fn per_gpu(&self, row: &Row, name: &str) -> Option<f64> {
        Some(row.figure(name)? / self.gpus? as f64)
    }

    /// The cost of a million output tokens, in the unit of the price.
    fn cost(&self, row: &Row) -> Option<f64> {
        let per_second = row.figure("output_throughput").filter(|&tokens| tokens > 0.0)?;
        Some(self.price? * self.gpus? as f64 / 3600.0 / per_second * 1e6)
    }

    /// A point in words.
    pub fn label(&self, row: &Row) -> String {
        label(&self.flags, &row.values, self.numbered.then_some(row.repeat))
    }
}

/// A point in words: its values, and which of its runs it is.
pub fn label(flags: &[String], values: &[String], run: Option<usize>) -> String {
    let values = flags.iter().zip(values).map(|(flag, value)| format!("{flag} {value}"));
    let run = run.map(|run| format!("run {run}"));
    let all: Vec<String> = values.chain(run).collect();
    if all.is_empty() { "the only point".to_owned() } else { all.join(", ") }
}

/// A figure with about four digits.
fn digits(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 1000.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// The table, with a line end after each line: a row for each run, and below it why runs failed.
pub fn table(all: &Summary) -> String {
    let mut columns: Vec<Vec<String>> = Vec::new();
    let mut put = |head: [&str; 2], cell: &dyn Fn(&Row) -> String| {
        let head = head.map(str::to_owned);
        columns.push(head.into_iter().chain(all.rows.iter().map(cell)).collect());
    };
    for (i, flag) in all.flags.iter().enumerate() {
        put([flag, ""], &|row| row.values.get(i).cloned().unwrap_or_default());
    }
    if all.numbered {
        put(["run", ""], &|row| row.repeat.to_string());
    }
    put(["state", ""], &|row| row.state.name().to_owned());
    for (head, figure) in COLUMNS {
        if all.rows.iter().any(|row| figure(all, row).is_some()) {
            put(head, &|row| digits(figure(all, row)));
        }
    }
    if all.gpus.is_some() {
        put(["tok/s/GPU", ""], &|row| digits(all.per_gpu(row, "output_throughput")));
    }
    if all.price.is_some() {
        put(["cost/M out", ""], &|row| digits(all.cost(row)));
    }
    for (i, tier) in all.tiers.iter().enumerate() {
        put([tier, ""], &|row| row.met(i).map_or("-", gates::word).to_owned());
    }
    let mut text = String::new();
    let lines = all.rows.len() + 2;
    let is_empty = |line: usize| columns.iter().all(|column| column[line].is_empty());
    for line in (0..lines).filter(|&line| line != 1 || !is_empty(line)) {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| {
                let width = column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
                format!("{:>width$}", column[line])
            })
            .collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    for row in &all.rows {
        if let Some(note) = &row.note {
            let _ = writeln!(text, "{}: {note}", all.label(row));
        }
    }
    text
}

/// How many points are in which state.
pub fn counts(rows: &[Row]) -> String {
    let of = |state: State| rows.iter().filter(|row| row.state == state).count();
    let counts = [State::Done, State::Stopped, State::Failed, State::Partial, State::Pending];
    let counts = counts.into_iter().filter(|&state| of(state) > 0);
    let all: Vec<String> = counts.map(|state| format!("{} {}", of(state), state.name())).collect();
    all.join(", ")
}

/// The runs as comma-separated values, with a heading: all of their figures by the names of results.
///
/// # Errors
/// If memory cannot hold it.
pub fn csv(all: &Summary) -> Result<String, String> {
    let mut keys: Vec<&str> = Vec::new();
    for key in all.rows.iter().flat_map(|row| row.figures.keys()) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let mut out = csv::Writer::from_writer(Vec::new());
    let judged = all.rows.iter().map(|row| &row.judged).find(|judged| !judged.is_empty());
    let objectives: Vec<String> = judged
        .into_iter()
        .flat_map(|judged| all.tiers.iter().zip(judged))
        .flat_map(|(tier, judged)| {
            judged.iter().map(move |one| format!("{tier}: {}", one.objective))
        })
        .collect();
    let head = all.flags.iter().map(|flag| flag.replace('-', "_"));
    let derived = DERIVED.map(|(name, _)| name.to_owned());
    let head = head
        .chain(["run", "state"].map(str::to_owned))
        .chain(keys.iter().map(|&key| key.to_owned()))
        .chain(derived)
        .chain(objectives.iter().cloned())
        .chain(["note".to_owned()]);
    out.write_record(head).map_err(|error| failed(&error))?;
    for row in &all.rows {
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let figure = |key: &&str| match row.figures.get(*key) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        let judged: Vec<&Judged> = row.judged.iter().flatten().collect();
        let met = |i: usize| judged.get(i).map_or("", |one| gates::word(one.met)).to_owned();
        let cells = row
            .values
            .iter()
            .cloned()
            .chain([row.repeat.to_string(), row.state.name().to_owned()])
            .chain(keys.iter().map(figure))
            .chain(DERIVED.iter().map(|(_, derived)| number(derived(all, row))))
            .chain((0..objectives.len()).map(met))
            .chain([row.note.clone().unwrap_or_default()]);
        out.write_record(cells).map_err(|error| failed(&error))?;
    }
    let bytes = out.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

/// The load above an answer, which does not meet the objectives.
#[derive(Debug, Clone, PartialEq)]
pub struct Above {
    /// The load, as its flag takes it.
    pub load: String,
    /// Whether bounds decide, or the measured figures alone.
    pub sure: bool,
    /// What is missed.
    pub why: String,
}

/// What a search has found for a tier, at one combination of the other flags.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The values of the other flags.
    pub values: Vec<String>,
    /// The name of the tier.
    pub tier: String,
    /// The highest load that meets the objectives, as its flag takes it; `None` if there is none.
    pub load: Option<String>,
    /// Whether bounds decide that, or the measured figures alone.
    pub sure: bool,
    /// The load that was tried above it; `None` if it is the highest of all.
    pub above: Option<Above>,
    /// Why there may be another answer.
    pub odd: Option<String>,
    /// Loads that were tried until then, for this tier and those before it.
    pub probes: usize,
    /// Their runs.
    pub runs: usize,
}

/// The tier of an answer, and where it was looked for.
pub fn tier(flags: &[String], answer: &Answer) -> String {
    if answer.values.is_empty() {
        return answer.tier.clone();
    }
    format!("{} at {}", answer.tier, label(flags, &answer.values, None))
}

/// The answers of a search for the highest value of `flag`, with a line end after each line.
pub fn answers(flags: &[String], flag: &str, answers: &[Answer]) -> String {
    const BY: [&str; 2] = ["by the measured figures", "by the bounds"];
    let mut text = String::new();
    for answer in answers {
        let tier = tier(flags, answer);
        let _ = match &answer.load {
            Some(load) => {
                writeln!(text, "\n{tier}: {flag} {load} ({})", BY[usize::from(answer.sure)])
            }
            None => writeln!(text, "\n{tier}: no {flag} meets the objectives"),
        };
        let _ = match &answer.above {
            Some(Above { load, sure, why }) => {
                writeln!(text, "  {load} does not ({}): {why}", BY[usize::from(*sure)])
            }
            None => writeln!(text, "  it is the highest that was to be tried"),
        };
        if let Some(odd) = &answer.odd {
            let _ = writeln!(text, "  {odd}");
        }
        let _ = writeln!(text, "  {} loads in {} runs", answer.probes, answer.runs);
    }
    text
}

/// The answers as JSON.
pub fn answers_json(flags: &[String], flag: &str, answers: &[Answer]) -> Value {
    let number = |load: &String| load.parse::<f64>().map_or(Value::Null, Value::from);
    let above = |above: &Above| json!({"load": number(&above.load), "decided_by_bounds": above.sure, "why": above.why});
    let one = |answer: &Answer| {
        let values = flags.iter().zip(&answer.values);
        let values: Map<String, Value> =
            values.map(|(flag, value)| (flag.clone(), value.clone().into())).collect();
        json!({
            "values": values,
            "tier": answer.tier,
            "load": answer.load.as_ref().map(number),
            "decided_by_bounds": answer.sure,
            "above": answer.above.as_ref().map(above),
            "not_monotonic": answer.odd,
            "probes": answer.probes,
            "runs": answer.runs,
        })
    };
    json!({"find": flag, "answers": answers.iter().map(one).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cap: &str, state: State, tokens: f64, tpot: f64) -> Row {
        let figures = json!({"output_throughput": tokens, "median_tpot_ms": tpot, "completed": 4});
        let figures = figures.as_object().unwrap().clone();
        let figures = if state == State::Done { figures } else { Map::new() };
        let note = (state == State::Failed).then(|| "it broke, \"twice\"".to_owned());
        Row { values: vec![cap.to_owned()], repeat: 1, state, figures, judged: Vec::new(), note }
    }

    #[test]
    fn what_is_derived_of_figures() {
        let rows = vec![
            row("1", State::Done, 100.0, 20.0),
            row("16", State::Failed, 0.0, 0.0),
            row("2", State::Done, 1800.0, 40.0),
        ];
        let all = Summary {
            flags: vec!["max-concurrency".to_owned()],
            tiers: Vec::new(),
            numbered: false,
            rows,
            gpus: Some(2),
            price: Some(9.0),
        };
        // 1000/20 tokens/s of a user, 100/2 tokens/s of a GPU; 2 GPUs at 9 an hour cost 0.005 a second.
        assert_eq!(
            table(&all),
            "max-concurrency   state  out tok/s  TPOT ms  tok/s/user  tok/s/GPU  cost/M out\n\
             \u{20}                                    median\n\
             \u{20}             1    done      100.0    20.00       50.00      50.00       50.00\n\
             \u{20}            16  failed          -        -           -          -           -\n\
             \u{20}             2    done       1800    40.00       25.00      900.0        2.78\n\
             max-concurrency 16: it broke, \"twice\"\n"
        );
        let text = csv(&all).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "max_concurrency,run,state,output_throughput,median_tpot_ms,completed,interactivity,\
                 output_throughput_per_gpu,input_throughput_per_gpu,total_throughput_per_gpu,\
                 cost_per_million_output_tokens,note",
                "1,1,done,100.0,20.0,4,50,50,,,50,",
                "16,1,failed,,,,,,,,,\"it broke, \"\"twice\"\"\"",
            ]
        );
        assert_eq!(counts(&all.rows), "2 done, 1 failed");
    }
}
