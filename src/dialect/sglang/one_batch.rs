//! What SGLang's benchmark of one batch prints and stores: plain lines, a line of JSON, a table in Markdown.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::output::json;
use crate::protocol::batch::Case;

/// What all batches of a run have in common.
#[derive(Debug, Clone)]
pub struct RunMetadata {
    /// `--run-name`.
    pub run_name: String,
    /// `--backend`.
    pub backend: &'static str,
    /// Model name that was sent.
    pub model: String,
    /// Tokenizer that counted.
    pub tokenizer: String,
    /// Where the prompts come from.
    pub dataset: String,
    /// Seed of every draw.
    pub seed: u64,
    /// Whether answers were to be as long as was asked for.
    pub ignore_eos: bool,
    /// What share of each prompt was to be cached.
    pub cache_share: f64,
    /// When the run started, in RFC 3339.
    pub date: String,
}

/// A number with two decimals, or `n/a`.
fn real(value: Option<f64>) -> String {
    value.map_or_else(|| "n/a".to_owned(), |x| format!("{x:.2}"))
}

/// `name: value` lines of one batch.
pub fn lines(case: &Case, metadata: &RunMetadata) -> String {
    let (shape, answer) = (case.shape, &case.answer);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "batch size: {}", shape.batch_size);
    let _ = writeln!(out, "input_len: {}", shape.input_len);
    let _ = writeln!(out, "output_len: {}", shape.output_len);
    let _ = writeln!(out, "latency: {:.2} s", answer.latency.as_secs_f64());
    let _ = writeln!(out, "input throughput: {} tok/s", real(case.input_throughput()));
    if shape.output_len != 1 {
        let _ = writeln!(out, "output throughput: {} tok/s", real(case.output_throughput()));
    }
    let _ = writeln!(out, "last_ttft: {:.2} s", answer.last_ttft.as_secs_f64());
    let last = real(case.last_generation_throughput);
    let _ = writeln!(out, "last generation throughput: {last} tok/s");
    if let Some(length) = case.accept_length.filter(|&length| length > 0.0) {
        let _ = writeln!(out, "acc_length: {length:.2} ");
    }
    if let Some(rate) = case.cache_hit_rate() {
        let _ = writeln!(out, "cache hit rate: {rate:.4}");
    }
    if let Some(stops) = answer.early_stops.filter(|_| !metadata.ignore_eos) {
        let (tokens, requested) = (answer.output_tokens, case.requested());
        let _ = writeln!(out, "total output tokens: {tokens} (requested {requested})");
        let _ = writeln!(out, "early-stopped requests: {stops}/{}", shape.batch_size);
        if let Some(window) = answer.window {
            let _ = writeln!(
                out,
                "steady-state output throughput: {:.2} tok/s over a {:.2} s full-batch window",
                window.throughput(),
                window.duration.as_secs_f64(),
            );
        }
    }
    out
}

/// The result of one batch as a line of JSON, with its line end.
pub fn line(case: &Case, metadata: &RunMetadata) -> String {
    let (shape, answer) = (case.shape, &case.answer);
    let value = json!({
        "run_name": metadata.run_name,
        "batch_size": shape.batch_size,
        "input_len": shape.input_len,
        "output_len": shape.output_len,
        "latency": rounded(Some(answer.latency.as_secs_f64()), 4),
        "input_throughput": rounded(case.input_throughput(), 2),
        "output_throughput": rounded(case.output_throughput(), 2),
        "overall_throughput": rounded(case.overall_throughput(), 2),
        "last_ttft": rounded(Some(answer.last_ttft.as_secs_f64()), 4),
        "last_gen_throughput": rounded(case.last_generation_throughput, 2),
        "acc_length": rounded(case.accept_length, 2),
        "total_output_tokens": answer.output_tokens,
        "num_early_stopped": answer.early_stops,
        "steady_state_output_throughput": rounded(answer.window.map(|window| window.throughput()), 2),
        "steady_state_window_s": rounded(answer.window.map(|window| window.duration.as_secs_f64()), 4),
        "cache_hit_rate": rounded(case.cache_hit_rate(), 4),
        "rbench": own(case, metadata),
    });
    json::line(&value) + "\n"
}

/// The object `rbench`.
fn own(case: &Case, metadata: &RunMetadata) -> Value {
    let answer = &case.answer;
    let mut own = Map::new();
    for (key, value) in [
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("date", metadata.date.clone().into()),
        ("backend", metadata.backend.into()),
        ("model", metadata.model.clone().into()),
        ("tokenizer", metadata.tokenizer.clone().into()),
        ("dataset_name", metadata.dataset.clone().into()),
        ("seed", metadata.seed.into()),
        ("ignore_eos", metadata.ignore_eos.into()),
        ("cache_share", metadata.cache_share.into()),
        ("input_tokens", case.input_tokens.into()),
        ("server_input_tokens", answer.prompt_tokens.into()),
        ("server_cached_tokens", answer.cached_tokens.into()),
        ("output_token_source", answer.source.name().into()),
        ("reference", json!({"output_throughput": case.reference_output_throughput()})),
    ] {
        own.insert(key.to_owned(), value);
    }
    own.into()
}

/// A number with at most so many decimals.
fn rounded(value: Option<f64>, decimals: i32) -> Value {
    let unit = 10_f64.powi(decimals);
    value.map(|x| (x * unit).round() / unit).into()
}

/// The traces of a batch that was profiled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces {
    /// Folder on the server with the traces.
    pub folder: String,
    /// The trace of the prompts, if it was found.
    pub extend: Option<String>,
    /// The trace of the generated tokens, likewise.
    pub decode: Option<String>,
}

impl Traces {
    /// The traces of `folder`; those of the first worker where there are several.
    ///
    /// # Errors
    /// If the folder cannot be listed here, as that of a server on another machine.
    pub fn of(folder: &str) -> std::io::Result<Self> {
        let (mut extend, mut decode) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let lower = name.to_lowercase();
            if !lower.ends_with(".trace.json") && !lower.ends_with(".trace.json.gz") {
                continue;
            }
            if lower.contains("extend") || lower.contains("prefill") {
                extend.push(name);
            } else if lower.contains("decode") {
                decode.push(name);
            }
        }
        let first = |names: Vec<String>| {
            names.into_iter().min().map(|name| Path::new(folder).join(name).display().to_string())
        };
        Ok(Self { folder: folder.to_owned(), extend: first(extend), decode: first(decode) })
    }
}

/// A batch, and its traces if it was profiled.
pub type Reported = (Case, Option<Traces>);

/// What stands for a figure that is not known where a number has to stand.
const UNKNOWN: f64 = -1.0;

/// The list of all batches that SGLang's nightly runs read, one object each; `server_args` as they were given.
pub fn list(cases: &[Reported], metadata: &RunMetadata, server_args: Option<&[String]>) -> String {
    let number = |figure: Option<f64>| figure.filter(|x| x.is_finite()).unwrap_or(UNKNOWN);
    let one = |(case, traces): &Reported| {
        let (shape, answer) = (case.shape, &case.answer);
        json!({
            "model_path": metadata.model,
            "run_name": metadata.run_name,
            "batch_size": shape.batch_size,
            "input_len": shape.input_len,
            "output_len": shape.output_len,
            "latency": answer.latency.as_secs_f64(),
            "input_throughput": number(case.input_throughput()),
            "output_throughput": number(case.output_throughput()),
            "overall_throughput": number(case.overall_throughput()),
            "last_ttft": answer.last_ttft.as_secs_f64(),
            "last_gen_throughput": number(case.last_generation_throughput),
            "acc_length": number(case.accept_length),
            "profile_link_extend": traces.as_ref().and_then(|traces| traces.extend.clone()),
            "profile_link_decode": traces.as_ref().and_then(|traces| traces.decode.clone()),
            "server_args": server_args,
        })
    };
    let objects: Vec<Value> = cases.iter().map(one).collect();
    // A list of plain values is always written.
    serde_json::to_string_pretty(&objects).unwrap_or_default()
}

/// Share of a GPU's time that is paid for prompts while a server is busy.
const INPUT_UTILISATION: f64 = 0.7;

/// All batches in Markdown, in the order of their input lengths; an hour of all GPUs costs `hour` $.
pub fn report(
    cases: &[Reported],
    metadata: &RunMetadata,
    input_lens: &[usize],
    output_lens: &[usize],
    hour: f64,
) -> String {
    let listed =
        |lens: &[usize]| lens.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut out =
        format!("\nInput lens: {}. Output lens: {}.", listed(input_lens), listed(output_lens));
    if metadata.cache_share > 0.0 {
        let _ = write!(out, " Cache hit rate: {:.1}%.", metadata.cache_share * 1e2);
    }
    out.push('\n');
    let mut headers = vec![
        "batch size",
        "input len",
        "latency (s)",
        "input throughput (tok/s)",
        "output throughput (tok/s)",
        "acc length",
        "ITL (ms)",
        "input cost ($/1M)",
        "output cost ($/1M)",
        "cache hit rate",
    ];
    if !metadata.ignore_eos {
        headers.extend(["steady output throughput (tok/s)", "steady ITL (ms)", "early stops"]);
    }
    let profiled = cases.iter().any(|(_, traces)| traces.is_some());
    if profiled {
        headers.push("profile");
    }
    let mut cases: Vec<&Reported> = cases.iter().collect();
    cases.sort_by_key(|(case, _)| case.shape.input_len);
    let row = |(case, traces): &&Reported| {
        let mut row = row(case, metadata, hour);
        if profiled {
            let link = traces.as_ref().map(|traces| format!("[Profile]({})", traces.folder));
            row.push(link.unwrap_or_else(|| "n/a".to_owned()));
        }
        row
    };
    let rows: Vec<Vec<String>> = cases.iter().map(row).collect();
    let widths: Vec<usize> = (0..headers.len())
        .map(|i| rows.iter().map(|row| row[i].len()).chain([headers[i].len()]).max().unwrap_or(0))
        .collect();
    let mut write = |cells: &[&str]| {
        for (cell, &width) in cells.iter().zip(&widths) {
            let _ = write!(out, "| {cell:>width$} ");
        }
        out += "|\n";
    };
    write(&headers);
    let rules: Vec<String> = widths.iter().map(|&width| "-".repeat(width - 1) + ":").collect();
    write(&rules.iter().map(String::as_str).collect::<Vec<_>>());
    for row in &rows {
        write(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    out
}

fn row(case: &Case, metadata: &RunMetadata, hour: f64) -> Vec<String> {
    let (shape, answer) = (case.shape, &case.answer);
    let output = case.output_throughput().filter(|&x| x > 0.0);
    let itl_ms = |throughput: f64| 1e3 * shape.batch_size as f64 / throughput;
    let cost = |throughput: f64| 1e6 / throughput / 3600.0 * hour;
    let mut row = vec![
        shape.batch_size.to_string(),
        shape.input_len.to_string(),
        real(Some(answer.latency.as_secs_f64())),
        real(case.input_throughput()),
        real(case.output_throughput()),
        real(case.accept_length.filter(|&length| length > 0.0)),
        real(output.map(itl_ms)),
        real(case.input_throughput().map(|x| cost(x * INPUT_UTILISATION))),
        real(output.map(cost)),
        case.cache_hit_rate().map_or_else(|| "n/a".to_owned(), |rate| format!("{rate:.4}")),
    ];
    if !metadata.ignore_eos {
        let steady = answer.window.map(|window| window.throughput());
        row.push(real(steady));
        row.push(real(steady.map(itl_ms)));
        row.push(
            answer
                .early_stops
                .map_or_else(|| "n/a".to_owned(), |stops| format!("{stops}/{}", shape.batch_size)),
        );
    }
    row
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;

    use super::*;
    use crate::model::TokenSource;
    use crate::protocol::batch::{Answer, Shape, Window};

    fn case() -> Case {
        Case {
            shape: Shape { batch_size: 4, input_len: 100, output_len: 11 },
            input_tokens: 400,
            answer: Answer {
                last_ttft: Duration::from_millis(500),
                latency: Duration::from_millis(2500),
                output_tokens: 44,
                source: TokenSource::Server,
                output_tokens_before: 4.0,
                early_stops: Some(1),
                later_arrivals: 10,
                window: Some(Window { duration: Duration::from_millis(1250), tokens: 30.0 }),
                prompt_tokens: Some(400),
                cached_tokens: Some(100),
            },
            last_generation_throughput: Some(21.5),
            accept_length: Some(2.5),
        }
    }

    fn metadata(ignore_eos: bool) -> RunMetadata {
        RunMetadata {
            run_name: "default".to_owned(),
            backend: "sglang",
            model: "m".to_owned(),
            tokenizer: "t".to_owned(),
            dataset: "random".to_owned(),
            seed: 42,
            ignore_eos,
            cache_share: 0.25,
            date: "2026-01-02T03:04:05+00:00".to_owned(),
        }
    }

    #[test]
    fn plain_lines() {
        expect![[r"
            batch size: 4
            input_len: 100
            output_len: 11
            latency: 2.50 s
            input throughput: 800.00 tok/s
            output throughput: 20.00 tok/s
            last_ttft: 0.50 s
            last generation throughput: 21.50 tok/s
            acc_length: 2.50 
            cache hit rate: 0.2500
            total output tokens: 44 (requested 44)
            early-stopped requests: 1/4
            steady-state output throughput: 24.00 tok/s over a 1.25 s full-batch window
        "]]
        .assert_eq(&lines(&case(), &metadata(false)));
        let mut bare = case();
        bare.shape.output_len = 1;
        bare.last_generation_throughput = None;
        bare.accept_length = None;
        bare.answer.cached_tokens = None;
        expect![[r"
            batch size: 4
            input_len: 100
            output_len: 1
            latency: 2.50 s
            input throughput: 800.00 tok/s
            last_ttft: 0.50 s
            last generation throughput: n/a tok/s
        "]]
        .assert_eq(&lines(&bare, &metadata(true)));
    }

    #[test]
    fn json_lines() {
        expect![[r#"
            {"run_name": "default", "batch_size": 4, "input_len": 100, "output_len": 11, "latency": 2.5, "input_throughput": 800.0, "output_throughput": 20.0, "overall_throughput": 177.6, "last_ttft": 0.5, "last_gen_throughput": 21.5, "acc_length": 2.5, "total_output_tokens": 44, "num_early_stopped": 1, "steady_state_output_throughput": 24.0, "steady_state_window_s": 1.25, "cache_hit_rate": 0.25, "rbench": {"version": "0.1.0", "date": "2026-01-02T03:04:05+00:00", "backend": "sglang", "model": "m", "tokenizer": "t", "dataset_name": "random", "seed": 42, "ignore_eos": true, "cache_share": 0.25, "input_tokens": 400, "server_input_tokens": 400, "server_cached_tokens": 100, "output_token_source": "server", "reference": {"output_throughput": 22.0}}}
        "#]].assert_eq(&line(&case(), &metadata(true)));
    }

    #[test]
    fn reports() {
        let mut long = case();
        long.shape.input_len = 1000;
        long.answer.latency = long.answer.last_ttft;
        expect![[r"

            Input lens: 1000, 100. Output lens: 11. Cache hit rate: 25.0%.
            | batch size | input len | latency (s) | input throughput (tok/s) | output throughput (tok/s) | acc length | ITL (ms) | input cost ($/1M) | output cost ($/1M) | cache hit rate | steady output throughput (tok/s) | steady ITL (ms) | early stops |
            | ---------: | --------: | ----------: | -----------------------: | ------------------------: | ---------: | -------: | ----------------: | -----------------: | -------------: | -------------------------------: | --------------: | ----------: |
            |          4 |       100 |        2.50 |                   800.00 |                     20.00 |       2.50 |   200.00 |              0.99 |              27.78 |         0.2500 |                            24.00 |          166.67 |         1/4 |
            |          4 |      1000 |        0.50 |                   800.00 |                       n/a |       2.50 |      n/a |              0.99 |                n/a |         0.2500 |                            24.00 |          166.67 |         1/4 |
        "]].assert_eq(&report(&[(long, None), (case(), None)], &metadata(false), &[1000, 100], &[11], 2.0));
    }

    #[test]
    fn traces_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "x-TP-1-EXTEND.trace.json.gz",
            "x-TP-0-EXTEND.trace.json.gz",
            "x-TP-0-DECODE.trace.json",
            "server_args.json",
            "x-TP-0.trace.json",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let path = folder.path().to_str().unwrap();
        let traces = Traces::of(path).unwrap();
        assert_eq!(traces.extend, Some(format!("{path}/x-TP-0-EXTEND.trace.json.gz")));
        assert_eq!(traces.decode, Some(format!("{path}/x-TP-0-DECODE.trace.json")));
        let table = report(&[(case(), Some(traces))], &metadata(true), &[100], &[11], 2.0);
        assert!(table.contains(&format!("| [Profile]({path}) |")), "{table}");
        assert!(Traces::of("/nowhere/at/all").is_err());
    }
}
