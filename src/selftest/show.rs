//! What a self-test found as a table and as a line of JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::compare::{Errors, Spread};
use super::{Case, Findings, Limit, Purpose};

impl Findings {
    /// The tables for people, with a line end after each line.
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to memory does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let host = &self.host;
        writeln!(
            out,
            "rbench {} ({}) on {}: {}, {} in the client, {} in the server",
            host.version,
            host.build,
            host.host,
            count(host.cpus, "core"),
            count(self.client_threads, "thread"),
            count(self.server_threads, "thread"),
        )?;
        writeln!(out, "\nClient's time minus the server's own log, without sign, in us")?;
        writeln!(
            out,
            "{:>7} {:>4} {:>6} {:>8} |{:^21}|{:^21}|{:^21}| {:>6} {:>7} {:>7}",
            "", "busy", "", "", "TTFT", "ITL", "E2E", "write", "outside", "read"
        )?;
        let three = format!("{:>6} {:>6} {:>7}", "p50", "p99", "max");
        writeln!(
            out,
            "{:>7} {:>4} {:>6} {:>8} |{three}|{three}|{three}| {:>6} {:>7} {:>7}",
            "streams", "loop", "clock", "events/s", "p99", "write", "merged"
        )?;
        for case in &self.cases {
            let purpose = case.setup.purpose;
            if let (Purpose::Errors | Purpose::BusyErrors, Some(errors)) =
                (purpose, &case.compared.errors)
            {
                errors_row(out, case, errors)?;
            }
        }
        writeln!(out, "\nUp to what this host can do")?;
        writeln!(
            out,
            "{:>7} {:>9} {:>9} {:>10} {:>10} {:>11} {:>7} limit",
            "streams", "offered/s", "events/s", "client CPU", "server CPU", "lag p99, us", "failed"
        )?;
        for case in &self.cases {
            if case.setup.busy == 0 && case.clock == self.clock() {
                ceiling_row(out, case)?;
            }
        }
        match (self.ceiling(), self.fastest()) {
            (Some(ceiling), Some(fastest)) => {
                writeln!(
                    out,
                    "\nCeiling: {:.0} events/s, at {} streams; {}",
                    ceiling.events_per_s,
                    ceiling.events_at_streams,
                    sentence(self.limit(), fastest)
                )?;
                writeln!(out, "Streams: {} at once, none failed", ceiling.streams)
            }
            _ => writeln!(out, "\nNo ceiling: in every run something failed"),
        }
    }

    /// Everything as one line of JSON with its line end.
    pub fn line(&self) -> String {
        let cases: Vec<Value> = self.cases.iter().map(case).collect();
        let line = json!({
            "date": self.date,
            "host": self.host,
            "client_threads": self.client_threads,
            "server_threads": self.server_threads,
            "cases": cases,
            "ceiling": self.ceiling(),
        });
        format!("{line}\n")
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn errors_row(out: &mut String, case: &Case, errors: &Errors) -> std::fmt::Result {
    let three =
        |spread: &Spread| format!("{:>6.0} {:>6.0} {:>7.0}", spread.p50, spread.p99, spread.max);
    writeln!(
        out,
        "{:>7} {:>4} {:>6} {:>8.0} |{}|{}|{}| {:>6.0} {:>7} {:>7}",
        case.setup.streams,
        case.setup.busy,
        case.clock.name(),
        case.events_per_s,
        three(&errors.ttft),
        three(&errors.itl),
        three(&errors.e2e),
        errors.write.p99,
        format!("{:.1} %", errors.outside * 100.0),
        format!("{:.1} %", case.merged as f64 / case.events.max(1) as f64 * 100.0),
    )
}

fn ceiling_row(out: &mut String, case: &Case) -> std::fmt::Result {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    writeln!(
        out,
        "{:>7} {:>9.0} {:>9.0} {:>10} {:>10} {:>11} {:>7} {}",
        case.setup.streams,
        case.setup.offered_per_s(),
        case.events_per_s,
        percent(case.client_cpu),
        case.server_cpu.map_or_else(|| "unknown".to_owned(), percent),
        case.lag.map_or_else(|| "unknown".to_owned(), |lag| format!("{:.0}", lag.p99)),
        case.compared.failed + case.compared.unmatched,
        case.limit().name(),
    )
}

/// What held the events back, and what they cost the client in the fastest run.
fn sentence(limit: Limit, case: &Case) -> String {
    let limit = match limit {
        Limit::Load => "no larger load was tried",
        Limit::Client => "the client was the limit",
        Limit::Server => "the server was the limit",
        Limit::Cores => "both were waiting for cores",
    };
    let alone = case.client_us_per_event.filter(|us| *us > 0.0).map_or_else(String::new, |us| {
        format!(", and a thread of the client used {us:.1} us of CPU time per event")
    });
    format!("{limit}{alone}")
}

fn spread(spread: &Spread) -> Value {
    let Spread { n, bias, p50, p99, max } = spread;
    json!({"n": n, "bias": bias, "p50": p50, "p99": p99, "max": max})
}

fn case(case: &Case) -> Value {
    let setup = &case.setup;
    json!({
        "purpose": setup.purpose.name(),
        "streams": setup.streams,
        "events_per_stream": setup.events,
        "itl_ms": setup.itl.as_secs_f64() * 1e3,
        "busy_loops": setup.busy,
        "clock": case.clock.name(),
        "offered_events_per_s": setup.offered_per_s(),
        "events_per_s": case.events_per_s,
        "events": case.events,
        "matched": case.compared.matched,
        "failed": case.compared.failed,
        "unmatched": case.compared.unmatched,
        "error_us": case.compared.errors.as_ref().map(|errors| json!({
            "ttft": spread(&errors.ttft),
            "itl": spread(&errors.itl),
            "e2e": spread(&errors.e2e),
        })),
        "outside_write_share": case.compared.errors.as_ref().map(|errors| errors.outside),
        "write_us": case.compared.errors.as_ref().map(|errors| spread(&errors.write)),
        "client_cpu_share": case.client_cpu,
        "client_us_per_event": case.client_us_per_event,
        "client_run_delay_share": case.client_run_delay,
        "server_cpu_share": case.server_cpu,
        "lag_us": case.lag.map(|lag| json!({"p50": lag.p50, "p99": lag.p99, "max": lag.max})),
        "merged_events": case.merged,
        "unstamped_reads": case.unstamped,
        "limit": case.limit().name(),
    })
}
