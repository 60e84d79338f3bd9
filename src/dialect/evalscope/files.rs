//! The files of one run: objects with the labels of the tables as keys.

use serde_json::{Map, Value, json};

use super::conversation::ROWS;
use super::figures::Figures;
use super::series::{PERCENTS, Series, Values};
use super::table;
use super::workload::{DROPPED, LAST_S};

/// `value` with at most four decimals; null where there is none.
pub(super) fn rounded(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| ((value * 1e4).round() / 1e4).into())
}

/// The object of `benchmark_summary.json`, with `own` as its key `rbench`.
pub fn summary(run: &Figures, handoff: bool, own: Value) -> Value {
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    let mean = |series| rounded(run.of_series(series).mean);
    put("Test Duration (s)", rounded(run.duration));
    put("Concurrency", run.load.parallel.into());
    put("Request Rate (req/s)", run.load.rate.unwrap_or(-1.0).into());
    put("Total Requests", run.total.into());
    put("Success Requests", run.succeeded.into());
    put("Failed Requests", run.failed().into());
    put("Stream Requests", run.streamed.into());
    put("Non-Stream Requests", (run.succeeded - run.streamed).into());
    put("Req Throughput (req/s)", rounded(run.request_throughput()));
    put("Avg Latency (s)", mean(Series::Latency));
    put("Avg Input Tokens", mean(Series::Input));
    put("Input Throughput (tok/s)", rounded(run.input_throughput()));
    if run.generates {
        put("Output Throughput (tok/s)", rounded(run.output_throughput()));
        put("Total Throughput (tok/s)", rounded(run.total_throughput()));
        put("Avg TTFT (ms)", mean(Series::Ttft));
        put("Avg TPOT (ms)", mean(Series::Tpot));
        put("Avg ITL (ms)", mean(Series::Itl));
        put("Avg Output Tokens", mean(Series::Output));
    }
    if handoff {
        put("Avg Steady ITL (ms)", mean(Series::SteadyItl));
        put("Avg PD Handoff Latency (ms)", mean(Series::Handoff));
        put("Avg PD Handoff Overhead (ms)", mean(Series::Overhead));
    }
    if let Some(traces) = &run.traces {
        put("Avg Turns/Request", rounded(traces.turns));
        put("KV Cache Hit Rate (%)", rounded(traces.cache_hit));
        put("Avg First-Turn TTFT (ms)", rounded(traces.first_ttft));
        put("Avg Subsequent-Turn TTFT (ms)", rounded(traces.later_ttft));
    }
    if let Some(speculation) = run.speculation {
        put("Avg Decoded Tok/Iter", rounded(Some(speculation.tokens_per_step)));
        let accepted = speculation.accepted.map(|share| share * 100.0);
        put("Spec. Accept Rate", rounded(accepted));
    }
    put("rbench", own);
    all.into()
}

/// The list of `benchmark_percentile.json`.
pub fn percentiles(run: &Figures, handoff: bool) -> Value {
    let at = |name: String, pick: &dyn Fn(&Values) -> Option<f64>| {
        let mut row = Map::from_iter([("Percentiles".to_owned(), name.into())]);
        for (label, series, _) in table::rows(run.generates, handoff) {
            row.insert((*label).to_owned(), rounded(pick(run.of_series(*series))));
        }
        Value::from(row)
    };
    let mut rows = vec![at("min".to_owned(), &|values| values.min)];
    rows.extend(PERCENTS.iter().enumerate().map(|(i, percent)| {
        at(format!("{percent}%"), &move |values: &Values| values.percentiles[i])
    }));
    rows.push(at("max".to_owned(), &|values| values.max));
    rows.into()
}

/// The object of `workload_throughput.json`.
pub fn throughput(run: &Figures) -> Value {
    let row = |(label, [overall, last, steady]): (&str, [f64; 3])| {
        json!({
            "metric": label,
            "overall": overall,
            "last_window": last,
            "steady_state": steady,
        })
    };
    json!({
        "n_samples": run.workload.points.len(),
        "wall_time_s": rounded(Some(run.workload.wall())),
        "last_window_s": LAST_S,
        "warmup_frac": DROPPED,
        "rows": run.workload.rows().map(row),
    })
}

/// The object of `workload_timeline.json`. Its start is that of the load, in s from the start of the run.
pub fn timeline(run: &Figures) -> Value {
    let points = run.workload.points.iter().map(|point| {
        json!({
            "t": (point.at * 1e6).round() / 1e6,
            "cum_completion": point.output,
            "cum_new_prompt": point.new,
            "cum_cached_prompt": point.cached,
        })
    });
    json!({"wall_start": run.workload.start, "points": points.collect::<Vec<_>>()})
}

/// The object of `trace_summary.json`; `None` where there are no conversations.
pub fn traces(run: &Figures) -> Option<Value> {
    let traces = run.traces.as_ref()?;
    let row = |((label, _), values): (&(&str, usize), &Values)| {
        let [.., p90, p95, p99] = values.percentiles;
        json!({
            "metric": label,
            "mean": rounded(values.mean),
            "min": rounded(values.min),
            "p50": rounded(values.median()),
            "p90": rounded(p90),
            "p95": rounded(p95),
            "p99": rounded(p99),
            "max": rounded(values.max),
        })
    };
    let rows: Vec<Value> = ROWS.iter().zip(&traces.rows).map(row).collect();
    Some(json!({"n_traces": traces.count, "rows": rows}))
}
