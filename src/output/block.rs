//! The block on the measurement, before the table: one line when all is well, rows when something is not.

use std::fmt::Write as _;

use super::confidence;
use super::extras;
use crate::analysis::Analysis;
use crate::analysis::audit::{Audit, Finding, figures};
use crate::analysis::measure::{Measure, Series, Statistic};
use crate::analysis::metric::{Figure, PerEndpoint};
use crate::engine::system::Spent;
use crate::health::{ClockSource, Health};
use crate::model::TokenSource;

/// Width of the rules and of the labels, as in the table after it.
const WIDTH: usize = 50;
const LABEL: usize = 40;

/// The statistics of lines with three figures, and their names.
const MEAN_P50_P99: [(&str, Statistic); 3] =
    [("mean", Statistic::Mean), ("p50", Statistic::MEDIAN), ("p99", Statistic::P99)];
const P50_P99_MAX: [(&str, Statistic); 3] =
    [("p50", Statistic::MEDIAN), ("p99", Statistic::P99), ("max", Statistic::Max)];

/// The block, with a line end after each line: all rows if there is something to look at, or they are `wanted`.
pub fn block(report: &Analysis<'_>, wanted: bool) -> String {
    if wanted || !is_well(report) { rows(report) } else { summary(report) }
}

/// Whether there is nothing that a reader of the figures has to know.
fn is_well(report: &Analysis<'_>) -> bool {
    let audit = &report.audit;
    let ledger = &audit.ledger;
    let is_whole = ledger.scheduled == ledger.completed && ledger.resent == 0;
    let is_counted = report.token_sources.iter().all(|(source, _)| *source == TokenSource::Server);
    let is_kept = report.memory.is_none_or(|spent| spent.cut == 0 && spent.uncounted == 0);
    is_whole
        && audit.sound()
        && audit.notes.is_empty()
        && report.partial.is_none()
        && retried(report) == 0.0
        && is_counted
        && is_kept
        && report.endpoints.is_empty()
        && report.metadata.planned.cache.is_none_or(|planned| planned.cached_tokens == 0)
}

/// The line for a run in which all is well.
fn summary(report: &Analysis<'_>) -> String {
    let checks = report.audit.checks.len();
    let times = bound(&report.health);
    format!("Measurement: ok ({checks} self-checks passed, client not the bottleneck, {times})\n")
}

/// Where times come from, and how far off they may be.
fn bound(health: &Health) -> String {
    let error = health.workers.iter().map(|worker| worker.clock_error_ns + worker.clock_moved_ns);
    match (health.clock, error.max()) {
        (ClockSource::Kernel, Some(ns)) => {
            format!("kernel timestamps ± {:.2} ms", (ns as f64 / 1e6).max(0.01))
        }
        (ClockSource::Kernel, None) => "kernel timestamps".to_owned(),
        (ClockSource::User, _) => "timestamps of this program".to_owned(),
    }
}

/// Requests that were sent again.
fn retried(report: &Analysis<'_>) -> f64 {
    report.figure(Measure::RetriedRequests).number().unwrap_or(0.0)
}

/// Rows, one after the other.
#[derive(Default)]
struct Rows(String);

impl Rows {
    fn add(&mut self, label: &str, value: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{label:<LABEL$} {value:<10}");
    }

    /// Three statistics of a series, if there are any.
    fn three(
        &mut self,
        report: &Analysis<'_>,
        label: &str,
        statistics: [(&str, Statistic); 3],
        series: Series,
    ) {
        if report.figure(Measure::Of(statistics[0].1, series)) == Figure::Absent {
            return;
        }
        let shown = statistics.map(|(name, statistic)| {
            format!("{name} {}", confidence::shown(report, Measure::Of(statistic, series)))
        });
        self.add(label, &shown.join(", "));
    }

    /// A finding of the audit, under `label`.
    fn finding(&mut self, label: &str, found: &Finding) {
        self.add(label, &found.evidence);
        if !found.affects.is_empty() {
            self.add("", &format!("affects {}", figures(found.affects)));
        }
        self.add("", found.advice);
    }
}

/// All rows.
fn rows(report: &Analysis<'_>) -> String {
    let audit = &report.audit;
    let mut rows = Rows::default();
    ledger(report, &mut rows);
    rates(report, &mut rows);
    if let Some((planned, served)) = extras::cache(report) {
        let served = served.map_or("n/a".to_owned(), |rate| format!("{:.1}", rate * 1e2));
        let both = format!("{:.1} / {served}", planned * 1e2);
        rows.add("Prefix cache, planned / served (%):", &both);
    }
    rows.three(report, "TTFT from scheduled time (ms):", MEAN_P50_P99, Series::TtftFromDue);
    rows.three(report, "E2E from scheduled time (ms):", MEAN_P50_P99, Series::E2eFromDue);
    rows.three(report, "Wait for --max-concurrency slot (ms):", P50_P99_MAX, Series::QueueTime);
    rows.three(report, "Sent after schedule (ms):", P50_P99_MAX, Series::SendLateness);
    rows.three(report, "Wait for a connection (ms):", P50_P99_MAX, Series::ConnectTime);
    if report.metadata.generates {
        if differs(report) {
            rows.three(report, "ITL per token (ms):", MEAN_P50_P99, Series::TokenItl);
        }
        rows.three(report, "Longest stall per request (ms):", P50_P99_MAX, Series::WorstGap);
    }
    for (label, value) in confidence::rows(report) {
        rows.add(&label, &value);
    }
    for one in &report.endpoints {
        let ms = |ms: Option<f64>| ms.map_or("n/a".to_owned(), |ms| format!("{ms:.2}"));
        let PerEndpoint { name, sent, completed, failed, ttft_ms, e2e_ms, .. } = one;
        rows.add("Server:", name);
        rows.add("  Requests sent:", &format!("{sent} ({completed} ok, {failed} failed)"));
        let two = |[p50, p99]: [Option<f64>; 2]| format!("p50 {}, p99 {}", ms(p50), ms(p99));
        if report.metadata.generates {
            rows.add("  TTFT (ms):", &two(*ttft_ms));
        }
        rows.add("  E2E latency (ms):", &two(*e2e_ms));
    }
    client(report, &mut rows);
    verdict(audit, &mut rows);
    let title = " Measurement ";
    format!("{title:=^WIDTH$}\n{}{:=<WIDTH$}\n", rows.0, "")
}

/// What became of the requests.
fn ledger(report: &Analysis<'_>, rows: &mut Rows) {
    let ledger = &report.audit.ledger;
    if ledger.failed > 0 {
        let share = ledger.failed as f64 / ledger.sent.max(1) as f64 * 100.0;
        rows.add("Failed requests:", &format!("{} ({share:.1} %)", ledger.failed));
    }
    let unknown = match ledger.unfinished {
        0 => String::new(),
        n => format!(", {n} unknown"),
    };
    rows.add(
        "Requests planned:",
        &format!(
            "{} ({} sent, {} not sent{unknown})",
            ledger.scheduled, ledger.sent, ledger.never_sent
        ),
    );
    rows.add(
        "Requests sent:",
        &format!(
            "{} ({} ok, {} failed, {} cancelled)",
            ledger.sent, ledger.completed, ledger.failed, ledger.cancelled
        ),
    );
    let again = retried(report);
    if again > 0.0 {
        let times = report.figure(Measure::RetryAttempts).number().unwrap_or(0.0);
        rows.add("Requests retried:", &format!("{again} ({times} attempts more)"));
    }
    if ledger.resent > 0 {
        let most =
            report.figure(Measure::Of(Statistic::Max, Series::ResendCost)).number().unwrap_or(0.0);
        rows.add(
            "Resent after a lost connection:",
            &format!("{} (cost up to {most:.2} ms)", ledger.resent),
        );
    }
    if report.token_sources.iter().any(|(source, _)| *source != TokenSource::Server) {
        let sources = report.token_sources.iter();
        let sources: Vec<String> =
            sources.map(|(source, n)| format!("{n} {}", source.name())).collect();
        rows.add("Output tokens counted by:", &sources.join(", "));
    }
    if let Some(Spent { most, cut, uncounted }) = report.memory {
        rows.add("Memory for answers spent (MiB):", &(most >> 20).to_string());
        rows.add("  Answers cut, not counted:", &format!("{cut}, {uncounted}"));
    }
}

/// How fast requests were to go, and went.
fn rates(report: &Analysis<'_>, rows: &mut Rows) {
    let audit = &report.audit;
    let shown = |rate: Option<f64>| rate.map_or("n/a".to_owned(), |rate| format!("{rate:.2}"));
    match (report.metadata.asked_rate(), audit.offered_rate) {
        // The sends of a burst follow each other as fast as they can, which is no rate.
        (_, None) if report.metadata.max_concurrency.is_none() => {
            if let Some(time) = audit.sent_within {
                rows.add("Burst sent within (ms):", &format!("{:.2}", time.as_secs_f64() * 1e3));
            }
        }
        (_, None) => rows.add("Request rate, sent (req/s):", &shown(audit.achieved_rate)),
        (Some(asked), drawn) => rows.add(
            "Request rate, asked/drawn/sent (req/s):",
            &format!("{asked:.2} / {} / {}", shown(drawn), shown(audit.achieved_rate)),
        ),
        (None, drawn) => rows.add(
            "Request rate, planned/sent (req/s):",
            &format!("{} / {}", shown(drawn), shown(audit.achieved_rate)),
        ),
    }
}

/// Whether the gaps between tokens are other than those of the table: events may hold several.
fn differs(report: &Analysis<'_>) -> bool {
    let figure = |statistic, series| report.figure(Measure::Of(statistic, series)).number();
    MEAN_P50_P99.iter().any(|&(_, statistic)| {
        match (figure(statistic, Series::TokenItl), figure(statistic, Series::Itl)) {
            (Some(ours), Some(theirs)) => (ours - theirs).abs() >= 0.005,
            (ours, theirs) => ours.is_some() != theirs.is_some(),
        }
    })
}

/// How the client took the times, and how it kept up.
fn client(report: &Analysis<'_>, rows: &mut Rows) {
    let health = &report.health;
    rows.add(
        "Timestamps:",
        match health.clock {
            ClockSource::Kernel => "kernel (socket receive)",
            ClockSource::User => "this program (when it reads)",
        },
    );
    let http2 = health.sum(|worker| worker.http2_connections);
    if http2 > 0 {
        rows.add("Connections over HTTP/2:", &http2.to_string());
    }
    let lag = health.lag();
    if !lag.is_empty() {
        let ms = |ns: u64| ns as f64 / 1e6;
        let [p50, p99, max] = [lag.quantile_ns(0.5), lag.quantile_ns(0.99), lag.max_ns()].map(ms);
        rows.add(
            "Client read delay (already excluded):",
            &format!("p50 {p50:.2}, p99 {p99:.2}, max {max:.2} ms"),
        );
    }
    if let Some(events_per_s) = report.headroom.events_per_s {
        let ceiling = report.headroom.ceiling.as_ref().zip(report.headroom.factor());
        let ceiling = ceiling.map_or(
            "limit not known: run \"rbench selftest\" once".to_owned(),
            |(ceiling, factor)| {
                format!("this machine's limit {:.0}, headroom {factor:.1}", ceiling.events_per_s)
            },
        );
        rows.add("Peak event rate (events/s):", &format!("{events_per_s:.0} ({ceiling})"));
    }
}

/// Whether the figures are sound, and which are not.
fn verdict(audit: &Audit, rows: &mut Rows) {
    let broken = || audit.checks.iter().filter(|check| !check.passed);
    let all = audit.checks.len();
    rows.add("Self-checks:", &format!("{} of {all} passed", all - broken().count()));
    for check in broken() {
        rows.add("  Failed:", &format!("{} ({})", check.violation, check.name));
        rows.add("", &check.detail);
    }
    if audit.ledger.completed > 0 {
        let affected = audit.affected();
        let value = if affected.is_empty() {
            "not the bottleneck".to_owned()
        } else {
            format!("LIMITED THE RUN, affects {}", figures(&affected))
        };
        rows.add("Client:", &value);
    }
    for limit in &audit.limits {
        rows.finding("  Reason:", limit);
    }
    for note in &audit.notes {
        rows.finding("Note:", note);
    }
}
