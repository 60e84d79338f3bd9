//! Sections of the table and keys of the line that are there if the user asks for them.

use serde_json::{Map, Value};

use super::line::number;
use super::table::{heading, line, value};
use crate::metric::Slo;
use crate::report::Report;

/// Figures that the keys of goodput tell, some under names of their own.
pub(super) fn goodput_figures(report: &Report<'_>) -> Vec<&'static str> {
    let mut keys = vec!["request_goodput", "slo_attainment"];
    keys.extend(report.facts.slos.iter().map(Slo::key));
    keys
}

/// The section "Goodput", if there are objectives.
pub(super) fn goodput(report: &Report<'_>) -> String {
    let slos = &report.facts.slos;
    if slos.is_empty() {
        return String::new();
    }
    let shown: Vec<String> =
        slos.iter().map(|slo| format!("{}:{}", slo.latency.name(), general(slo.ms))).collect();
    let percent = |key: &str| value(report.figure(key).number().map(|share| share * 1e2).into());
    let mut out = heading("Goodput");
    out += &line("SLOs (ms):", &shown.join(" "));
    out += &line("Request goodput (req/s):", &value(report.figure("request_goodput")));
    out += &line("SLO attainment (%):", &percent("slo_attainment"));
    for slo in slos {
        let label = format!("{} SLO attainment (%):", slo.latency.name().to_uppercase());
        out += &line(&label, &percent(slo.key()));
    }
    out
}

/// The keys of the line that tell of goodput, if there are objectives.
pub(super) fn goodput_keys(report: &Report<'_>) -> Vec<(&'static str, Value)> {
    let slos = &report.facts.slos;
    if slos.is_empty() {
        return Vec::new();
    }
    let by_latency = |value: &dyn Fn(&Slo) -> Value| -> Value {
        slos.iter()
            .map(|slo| (slo.latency.name().to_owned(), value(slo)))
            .collect::<Map<_, _>>()
            .into()
    };
    vec![
        ("goodput_slos_ms", by_latency(&|slo| slo.ms.into())),
        ("request_goodput", number(report.figure("request_goodput"))),
        ("slo_attainment", number(report.figure("slo_attainment"))),
        ("slo_attainment_by_metric", by_latency(&|slo| number(report.figure(slo.key())))),
    ]
}

/// A number as C's `%g` gives it: six significant digits without zeros at the end.
fn general(x: f64) -> String {
    let scientific = format!("{x:.5e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let short = |text: &str| {
        let digits = if text.contains('.') { text.trim_end_matches('0') } else { text };
        digits.trim_end_matches('.').to_owned()
    };
    match usize::try_from(5 - exponent) {
        Ok(decimals) if exponent >= -4 => short(&format!("{x:.decimals$}")),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{}e{sign}{:02}", short(digits), exponent.abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_c_writes_them() {
        for (x, text) in [
            (500.0, "500"),
            (25.5, "25.5"),
            (0.1, "0.1"),
            (1_234_567.0, "1.23457e+06"),
            (999_999.5, "1e+06"),
            (123_456.0, "123456"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (1e20, "1e+20"),
            (2.0 / 3.0, "0.666667"),
        ] {
            assert_eq!(general(x), text);
        }
    }
}
