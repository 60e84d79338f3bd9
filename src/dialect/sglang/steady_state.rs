//! The table and the JSONL line of the steady state.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::analysis::metric::SteadyState;
use crate::output::json;

/// Tokens per second of the window.
fn rate(steady: &SteadyState, tokens: f64) -> f64 {
    tokens / steady.duration_s()
}

/// The table, beginning with an empty line.
pub(super) fn table(steady: &SteadyState) -> String {
    let real = |x: f64| format!("{x:.2}");
    let rows = [
        ("Concurrency ratio:", real(steady.ratio)),
        ("Measurement duration (s):", real(steady.duration_s())),
        ("Minimum concurrency:", steady.threshold.to_string()),
        ("Completed requests:", steady.completed.to_string()),
        ("Input tokens:", steady.input_tokens.to_string()),
        ("Input token throughput (tok/s):", real(rate(steady, steady.input_tokens as f64))),
        ("Generated tokens:", real(steady.output_tokens)),
        ("Output token throughput (tok/s):", real(rate(steady, steady.output_tokens))),
        (
            "Output throughput, retokenized (tok/s):",
            real(rate(steady, steady.output_tokens_retokenized)),
        ),
        ("Average concurrency:", real(steady.average_concurrency)),
        ("Peak concurrency:", steady.peak_concurrency.to_string()),
        ("Peak output throughput (tok/s):", real(steady.peak_output_throughput)),
    ];
    let mut out = format!("\n{:=^50}\n", " Steady-State Result ");
    for (label, value) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{label:<40} {value:<10}");
    }
    out + &"=".repeat(50) + "\n"
}

/// The line, with its line end.
pub(super) fn line(steady: &SteadyState) -> String {
    let value: Value = json!({
        "concurrency_ratio": steady.ratio,
        "window_start": steady.start_s,
        "window_end": steady.end_s,
        "duration": steady.duration_s(),
        "concurrency_threshold": steady.threshold,
        "completed": steady.completed,
        "total_input": steady.input_tokens,
        "input_throughput": rate(steady, steady.input_tokens as f64),
        "total_output": steady.output_tokens,
        "total_output_retokenized": steady.output_tokens_retokenized,
        "output_throughput": rate(steady, steady.output_tokens),
        "output_throughput_retokenized": rate(steady, steady.output_tokens_retokenized),
        "average_concurrency": steady.average_concurrency,
        "peak_concurrency": steady.peak_concurrency,
        "peak_output_throughput": steady.peak_output_throughput,
    });
    json::line(&value) + "\n"
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const STEADY: SteadyState = SteadyState {
        ratio: 0.8,
        start_s: 1.5,
        end_s: 4.0,
        threshold: 7,
        completed: 12,
        input_tokens: 1000,
        output_tokens: 250.5,
        output_tokens_retokenized: 245.0,
        average_concurrency: 7.75,
        peak_concurrency: 8,
        peak_output_throughput: 120.25,
    };

    #[test]
    fn tables() {
        let shown: String = table(&STEADY).lines().map(|l| l.to_owned() + "|\n").collect();
        expect![[r"
            |
            ============== Steady-State Result ===============|
            Concurrency ratio:                       0.80      |
            Measurement duration (s):                2.50      |
            Minimum concurrency:                     7         |
            Completed requests:                      12        |
            Input tokens:                            1000      |
            Input token throughput (tok/s):          400.00    |
            Generated tokens:                        250.50    |
            Output token throughput (tok/s):         100.20    |
            Output throughput, retokenized (tok/s):  98.00     |
            Average concurrency:                     7.75      |
            Peak concurrency:                        8         |
            Peak output throughput (tok/s):          120.25    |
            ==================================================|
        "]]
        .assert_eq(&shown);
    }

    #[test]
    fn lines() {
        expect![[r#"
            {"concurrency_ratio": 0.8, "window_start": 1.5, "window_end": 4.0, "duration": 2.5, "concurrency_threshold": 7, "completed": 12, "total_input": 1000, "input_throughput": 400.0, "total_output": 250.5, "total_output_retokenized": 245.0, "output_throughput": 100.2, "output_throughput_retokenized": 98.0, "average_concurrency": 7.75, "peak_concurrency": 8, "peak_output_throughput": 120.25}
        "#]].assert_eq(&line(&STEADY));
    }
}
