//! The summary of a sweep: a table, and a file of comma-separated values.

use std::fmt::Write as _;

use serde_json::{Map, Value};

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
    /// It failed.
    Failed,
}

impl State {
    /// Each state.
    const ALL: [Self; 4] = [Self::Pending, Self::Done, Self::Partial, Self::Failed];

    /// The name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Partial => "partial",
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
    /// The objectives, and what became of them.
    pub judged: Vec<Judged>,
    /// Why it failed, or why its figures are not to be trusted.
    pub note: Option<String>,
}

/// A sweep.
#[derive(Debug)]
pub struct Summary<'a> {
    /// The flags that vary, without hyphens.
    pub flags: Vec<&'a str>,
    /// Runs of each point.
    pub runs: usize,
    /// In the order of the command line.
    pub rows: Vec<Row>,
    /// GPUs of the servers, if that is known.
    pub gpus: Option<usize>,
    /// Price of a GPU per hour.
    pub price: Option<f64>,
}

/// A figure of a run.
type Figure = fn(&Summary<'_>, &Row) -> Option<f64>;

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

    /// The objectives in a word: not met if one is not.
    fn met(&self) -> Option<Met> {
        let any = |met| self.judged.iter().any(|one| one.met == met);
        match self.judged.len() {
            0 => None,
            _ if any(Met::No) => Some(Met::No),
            _ if any(Met::Open) => Some(Met::Open),
            _ => Some(Met::Yes),
        }
    }
}

impl Summary<'_> {
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
        label(&self.flags, &row.values, if self.runs > 1 { Some(row.repeat) } else { None })
    }
}

/// A point in words: its values, and which of its runs it is.
pub fn label(flags: &[&str], values: &[String], run: Option<usize>) -> String {
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
pub fn table(all: &Summary<'_>) -> String {
    let mut columns: Vec<Vec<String>> = Vec::new();
    let mut put = |head: [&str; 2], cell: &dyn Fn(&Row) -> String| {
        let head = head.map(str::to_owned);
        columns.push(head.into_iter().chain(all.rows.iter().map(cell)).collect());
    };
    for (i, flag) in all.flags.iter().enumerate() {
        put([flag, ""], &|row| row.values.get(i).cloned().unwrap_or_default());
    }
    if all.runs > 1 {
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
    if all.rows.iter().any(|row| !row.judged.is_empty()) {
        put(["objectives", ""], &|row| row.met().map_or("-", gates::word).to_owned());
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
    let counts = [State::Done, State::Failed, State::Partial, State::Pending];
    let counts = counts.into_iter().filter(|&state| of(state) > 0);
    let all: Vec<String> = counts.map(|state| format!("{} {}", of(state), state.name())).collect();
    all.join(", ")
}

/// The runs as comma-separated values, with a heading: all of their figures by the names of results.
///
/// # Errors
/// If memory cannot hold it.
pub fn csv(all: &Summary<'_>) -> Result<String, String> {
    let mut keys: Vec<&str> = Vec::new();
    for key in all.rows.iter().flat_map(|row| row.figures.keys()) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let mut out = csv::Writer::from_writer(Vec::new());
    let objectives: Vec<String> = all
        .rows
        .iter()
        .map(|row| &row.judged)
        .find(|judged| !judged.is_empty())
        .map(|judged| judged.iter().map(|one| one.objective.to_string()).collect())
        .unwrap_or_default();
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
        let met = |i: usize| row.judged.get(i).map_or("", |one| gates::word(one.met)).to_owned();
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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
            flags: vec!["max-concurrency"],
            runs: 1,
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
