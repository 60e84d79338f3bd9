//! Sections of the table and keys of the line that are there if the user asks for them.

use serde_json::{Map, Value, json};

use super::rows::{heading, line, value};
use crate::analysis::Analysis;
use crate::analysis::measure::Measure;
use crate::analysis::metric::{Figure, Slo};
use crate::model::RequestRecord;
use crate::output::door::one_line;
use crate::output::object::number;

/// Figures of goodput over all objectives.
pub(super) const GOODPUT_FIGURES: &[Measure] = &[Measure::RequestGoodput, Measure::SloAttainment];

/// Figures that the keys of goodput tell, some under names of their own.
pub(super) fn goodput_figures(report: &Analysis<'_>) -> Vec<Measure> {
    let mut measures = GOODPUT_FIGURES.to_vec();
    measures.extend(report.metadata.slos.iter().map(Slo::measure));
    measures
}

/// Figures that the object `cache_report` tells, some under names of their own.
pub(super) const CACHE_FIGURES: &[Measure] = &[
    Measure::CachePromptTokens,
    Measure::CachedTokens,
    Measure::CacheHitRate,
    Measure::DeviceCachedTokens,
    Measure::HostCachedTokens,
    Measure::StorageCachedTokens,
];

/// The section "Goodput", if there are objectives.
pub(super) fn goodput(report: &Analysis<'_>) -> String {
    let slos = &report.metadata.slos;
    if slos.is_empty() {
        return String::new();
    }
    let shown: Vec<String> =
        slos.iter().map(|slo| format!("{}:{}", slo.latency.name(), general(slo.ms))).collect();
    let percent = |measure| value(report.figure(measure).number().map(|share| share * 1e2).into());
    let mut out = heading("Goodput");
    out += &line("SLOs (ms):", &shown.join(" "));
    out += &line("Request goodput (req/s):", &value(report.figure(Measure::RequestGoodput)));
    out += &line("SLO attainment (%):", &percent(Measure::SloAttainment));
    for slo in slos {
        let label = format!("{} SLO attainment (%):", slo.latency.name().to_uppercase());
        out += &line(&label, &percent(slo.measure()));
    }
    out
}

/// The section "Cache Hit Details", if it is asked for. Its percentages are not padded.
pub(super) fn cache(report: &Analysis<'_>) -> String {
    if !report.metadata.cache_report {
        return String::new();
    }
    let figure = |measure| report.figure(measure);
    let total = figure(Measure::CachedTokens).number().unwrap_or(0.0);
    let some = |measure| figure(measure).number().is_some_and(|n| n > 0.0);
    let mut tiers = Vec::new();
    if figure(Measure::DeviceCachedTokens) != Figure::Absent && total > 0.0 {
        tiers.push(("  Device:".to_owned(), figure(Measure::DeviceCachedTokens)));
        tiers.push(("  Host:".to_owned(), figure(Measure::HostCachedTokens)));
        if some(Measure::StorageCachedTokens) {
            let label = report.storage_backend.as_ref().map_or_else(
                || "  Storage:".to_owned(),
                |name| format!("  Storage ({}):", one_line(name)),
            );
            tiers.push((label, figure(Measure::StorageCachedTokens)));
        }
    }
    let percent = |label: &str, share: f64| format!("{label:<40} {share:.1}%\n");
    let mut out = heading("Cache Hit Details");
    out += &line("Total prompt tokens:", &value(figure(Measure::CachePromptTokens)));
    out += &line("Total cached tokens:", &value(figure(Measure::CachedTokens)));
    for (label, tokens) in &tiers {
        out += &line(label, &value(*tokens));
    }
    out += &percent("Cache hit rate:", figure(Measure::CacheHitRate).number().unwrap_or(0.0));
    for (label, tokens) in &tiers {
        out += &percent(label, tokens.number().unwrap_or(0.0) / total * 1e2);
    }
    out
}

/// The object `cache_report` of the line, if it is asked for.
pub(super) fn cache_report(report: &Analysis<'_>) -> Option<Value> {
    let figure = |measure| number(report.figure(measure));
    let stored = Some(figure(Measure::StorageCachedTokens)).filter(|n| n.as_u64() != Some(0));
    let rate = report.figure(Measure::CacheHitRate).number().unwrap_or(0.0);
    report.metadata.cache_report.then(|| {
        json!({
            "total_prompt_tokens": figure(Measure::CachePromptTokens),
            "total_cached_tokens": figure(Measure::CachedTokens),
            "cache_hit_rate_pct": (rate * 1e2).round() / 1e2,
            "device_cached_tokens": figure(Measure::DeviceCachedTokens),
            "host_cached_tokens": figure(Measure::HostCachedTokens),
            "storage_cached_tokens": stored,
            "storage_backend": report.storage_backend,
        })
    })
}

/// The arrays that details have of the cache, with one entry per request.
pub(super) fn cache_arrays(records: &[RequestRecord]) -> [(&'static str, Value); 2] {
    let details = |record: &RequestRecord| -> Value {
        let Some(tiers) = record.cached.as_ref().and_then(|cached| cached.tiers.as_ref()) else {
            return Value::Null;
        };
        let mut object = Map::new();
        object.insert("device".into(), tiers.device.into());
        object.insert("host".into(), tiers.host.into());
        if tiers.storage > 0 || tiers.storage_backend.is_some() {
            object.insert("storage".into(), tiers.storage.into());
            object.insert("storage_backend".into(), tiers.storage_backend.clone().into());
        }
        object.into()
    };
    let total = |record: &RequestRecord| record.cached.as_ref().map_or(0, |cached| cached.total);
    [
        ("cached_tokens", records.iter().map(total).collect()),
        ("cached_tokens_details", records.iter().map(details).collect()),
    ]
}

/// The keys of the line of goodput, if there are objectives.
pub(super) fn goodput_keys(report: &Analysis<'_>) -> Vec<(&'static str, Value)> {
    let slos = &report.metadata.slos;
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
        ("request_goodput", number(report.figure(Measure::RequestGoodput))),
        ("slo_attainment", number(report.figure(Measure::SloAttainment))),
        ("slo_attainment_by_metric", by_latency(&|slo| number(report.figure(slo.measure())))),
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
