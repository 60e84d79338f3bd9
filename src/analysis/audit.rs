//! What the figures of a run rest on: where every request went, whether the parts add up,
//! and whether the client or the server was the limit.

mod answers;
mod cached;
mod limits;

use std::fmt;
use std::time::Duration;

use self::answers::Answers;
pub use self::answers::{Asked, Lengths};
pub use self::cached::ServedCache;
use crate::analysis::counts::Ended;
use crate::analysis::measures::ms;
use crate::analysis::stats::Distribution;
use crate::health::Health;
use crate::model::{Impossible, Outcome, RequestRecord, TokenSource};

/// Two ways to compute one figure may differ by this share.
const CLOSE: f64 = 0.01;

/// What a request may take, in the mean, from when it is counted as in flight until it is sent.
const CLAIM: Duration = Duration::from_millis(1);

/// Where every request of the plan went; a round of a conversation is a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Requests of the plan.
    pub scheduled: u64,
    /// Those that were sent.
    pub sent: u64,
    /// Those that were not.
    pub never_sent: u64,
    /// Sent, and the whole response arrived.
    pub completed: u64,
    /// Sent, and failed.
    pub failed: u64,
    /// Sent, and given up by the client.
    pub cancelled: u64,
    /// Those that were sent once more, over a new connection, since the server had closed the kept one.
    pub resent: u64,
    /// Nothing is known of them: in flight when the program died, or not sent until then.
    pub unfinished: u64,
}

impl Ledger {
    /// Counts `record`.
    fn add(&mut self, record: &RequestRecord) {
        match &record.outcome {
            Outcome::NotSent => self.never_sent += 1,
            Outcome::Completed => self.completed += 1,
            Outcome::Failed(_) => self.failed += 1,
            Outcome::Cancelled(_) => self.cancelled += 1,
        }
        self.sent += u64::from(record.sent.is_some());
        self.resent += u64::from(record.resent.is_some());
    }

    /// Adds the requests of `other`.
    fn merge(&mut self, other: &Self) {
        let Self { scheduled, sent, never_sent, completed, failed, cancelled, resent, unfinished } =
            other;
        self.scheduled += scheduled;
        self.sent += sent;
        self.never_sent += never_sent;
        self.completed += completed;
        self.failed += failed;
        self.cancelled += cancelled;
        self.resent += resent;
        self.unfinished += unfinished;
    }

    /// Requests that something is known of.
    pub fn known(&self) -> u64 {
        self.sent + self.never_sent
    }

    /// Whether nothing is missing and nothing is counted twice.
    pub fn balances(&self) -> bool {
        self.scheduled == self.sent + self.never_sent + self.unfinished
            && self.sent == self.completed + self.failed + self.cancelled
    }
}

/// A law that must hold if the figures are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, one word.
    pub name: &'static str,
    /// What is wrong where it does not hold.
    pub violation: &'static str,
    /// Whether it holds.
    pub passed: bool,
    /// The figures that it was judged by.
    pub detail: String,
}

/// Why the client was the limit, or what else a reader of the figures has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was seen, with figures.
    pub evidence: String,
    /// What to do about it.
    pub advice: &'static str,
    /// The figures that are not to be trusted for it; none of a finding that only explains.
    pub affects: &'static [Affected],
}

/// Figures that a limit of the client affects together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Affected {
    /// Latencies from the scheduled time.
    Scheduled,
    /// Times to first token.
    Ttft,
    /// Times between tokens.
    Itl,
    /// Rates of requests and tokens.
    Throughput,
}

impl Affected {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "TTFT from scheduled time",
            Self::Ttft => "TTFT",
            Self::Itl => "ITL",
            Self::Throughput => "throughput",
        }
    }

    /// Its name for programs.
    pub fn key(self) -> &'static str {
        match self {
            Self::Scheduled => "ttft_from_schedule",
            Self::Ttft => "ttft",
            Self::Itl => "itl",
            Self::Throughput => "throughput",
        }
    }
}

/// The names of `affected`, one after the other.
pub fn figures(affected: &[Affected]) -> String {
    affected.iter().map(|figure| figure.name()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.affects.is_empty() {
            return write!(f, "{}: {}", self.evidence, self.advice);
        }
        write!(f, "{} (affects {}): {}", self.evidence, figures(self.affects), self.advice)
    }
}

/// What a run's figures rest on.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    /// Where every request went.
    pub ledger: Ledger,
    /// Requests per second of the schedule; `None` if all are due at once.
    pub offered_rate: Option<f64>,
    /// Requests per second that were sent; `None` with fewer than two.
    pub achieved_rate: Option<f64>,
    /// From the first send to the last, of first rounds; `None` with fewer than two.
    pub sent_within: Option<Duration>,
    /// Laws that must hold.
    pub checks: Vec<Check>,
    /// Why the client was the limit; empty if it was not.
    pub limits: Vec<Finding>,
    /// What is true of the answers and not the client's doing, and changes what the figures mean.
    pub notes: Vec<Finding>,
    /// What the server took from its prefix cache.
    pub cache: ServedCache,
}

/// What is found out of requests, one after the other, for a run to be judged by.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Requests that were added.
    records: u64,
    ledger: Ledger,
    /// When first rounds were due.
    due: Span,
    /// When they were sent.
    sent: Span,
    /// Time that requests were in flight, in s.
    spent: f64,
    /// Requests that could go only when another had ended.
    followers: u64,
    /// How late they were sent, in ms.
    late: Distribution,
    /// In ms.
    ttft: Distribution,
    /// E2E latency of completed requests without a TTFT, in ms.
    whole: Distribution,
    /// What came in the place of what was asked for.
    answers: Answers,
    /// Events with output.
    events: u64,
    /// Records with one event alone.
    single: u64,
    /// Bytes of text.
    text: u64,
    /// Records with instants out of order.
    disordered: u64,
    /// Completed records with counts of the server that cannot be.
    doubtful: u64,
    /// The first of them: its place, and what was counted.
    doubt: Option<((usize, usize), String)>,
}

impl Evidence {
    /// None yet; `keeps` is that of [`Distribution::new`].
    pub fn new(keeps: bool) -> Self {
        Self {
            records: 0,
            ledger: Ledger::default(),
            due: Span::default(),
            sent: Span::default(),
            spent: 0.0,
            followers: 0,
            late: Distribution::new(keeps),
            ttft: Distribution::new(keeps),
            whole: Distribution::new(keeps),
            answers: Answers::default(),
            events: 0,
            single: 0,
            text: 0,
            disordered: 0,
            doubtful: 0,
            doubt: None,
        }
    }

    /// Adds that of `request`, whose record has its events and texts.
    pub fn add(&mut self, request: &Ended<'_>) {
        let record = request.record;
        self.records += 1;
        self.ledger.add(record);
        if record.round == 0 {
            self.due.add(Some(record.due));
            self.sent.add(record.first_sent.or(record.sent));
        }
        self.followers += u64::from(record.round > 0 || record.released > record.due);
        self.spent += record.in_flight().unwrap_or_default().as_secs_f64();
        let add = |samples: &mut Distribution, time: Option<Duration>| {
            if let Some(time) = time {
                samples.add(ms(time));
            }
        };
        add(&mut self.late, record.lateness());
        add(&mut self.ttft, record.ttft());
        if record.completed() && record.events.is_empty() {
            add(&mut self.whole, record.e2e());
        }
        self.answers.add(request);
        let events = record.events.len() as u64;
        self.events += events;
        self.single += u64::from(events == 1);
        self.text += record.texts().map(|text| text.len() as u64).sum::<u64>();
        self.disordered += u64::from(!ordered(record));
        if let Some(doubt) = doubt(record) {
            self.doubtful += 1;
            self.add_doubt((record.index, record.round), doubt);
        }
    }

    fn add_doubt(&mut self, place: (usize, usize), doubt: String) {
        if self.doubt.as_ref().is_none_or(|(first, _)| place < *first) {
            self.doubt = Some((place, doubt));
        }
    }

    /// Adds that of the requests of `other`.
    pub fn merge(&mut self, other: Self) {
        self.records += other.records;
        self.ledger.merge(&other.ledger);
        self.due.merge(other.due);
        self.sent.merge(other.sent);
        self.spent += other.spent;
        self.followers += other.followers;
        self.late.merge(other.late);
        self.ttft.merge(other.ttft);
        self.whole.merge(other.whole);
        self.answers.merge(&other.answers);
        self.events += other.events;
        self.single += other.single;
        self.text += other.text;
        self.disordered += other.disordered;
        self.doubtful += other.doubtful;
        if let Some((place, doubt)) = other.doubt {
            self.add_doubt(place, doubt);
        }
    }

    /// Requests that were added.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Requests that were not sent, or given up.
    pub fn unfinished(&self) -> u64 {
        self.ledger.never_sent + self.ledger.cancelled
    }
}

/// Which counts of the server cannot be those of `record`, if it completed.
fn doubt(record: &RequestRecord) -> Option<String> {
    if !record.completed() {
        return None;
    }
    let impossible = record.impossible.as_deref().copied();
    let Impossible { output, prompt, cached } = impossible.unwrap_or_default();
    let counts = [(output, "output"), (prompt, "prompt"), (cached, "cached")];
    let told: Vec<String> = counts
        .into_iter()
        .filter_map(|(count, what)| Some(format!("{} {what} tokens", count?)))
        .collect();
    if !told.is_empty() {
        return Some(told.join(", "));
    }
    // As records of older versions have it.
    let shown: u64 = record.events.tokens.iter().map(|&k| u64::from(k)).sum();
    let server = record.output_tokens.filter(|tokens| tokens.source == TokenSource::Server)?;
    (server.count < shown).then(|| format!("{} output tokens", server.count))
}

/// How many instants there were, and the first and the last of them.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    n: u64,
    ends: Option<(Duration, Duration)>,
}

impl Span {
    fn add(&mut self, at: Option<Duration>) {
        let Some(at) = at else { return };
        self.n += 1;
        let (first, last) = self.ends.unwrap_or((at, at));
        self.ends = Some((first.min(at), last.max(at)));
    }

    fn merge(&mut self, other: Self) {
        let Some((first, last)) = other.ends else { return };
        self.n += other.n;
        let (ours, till) = self.ends.unwrap_or((first, last));
        self.ends = Some((first.min(ours), last.max(till)));
    }

    /// From the first to the last, if there are two.
    fn length(self) -> Option<Duration> {
        let (first, last) = self.ends?;
        (self.n > 1).then(|| last.saturating_sub(first))
    }

    /// Per second: their number without the first, over the time from the first to the last.
    fn rate(self) -> Option<f64> {
        let (first, last) = self.ends?;
        let span = last.saturating_sub(first).as_secs_f64();
        (self.n > 1 && span > 0.0).then(|| (self.n - 1) as f64 / span)
    }
}

/// Whether every instant of `record` comes after those before it.
fn ordered(record: &RequestRecord) -> bool {
    let Some(sent) = record.sent else { return true };
    let instants = [
        Some(record.due),
        Some(record.released),
        record.taken_up(),
        Some(sent.saturating_sub(record.connect.unwrap_or_default())),
        Some(sent),
        record.headers,
        record.first_token(),
        record.done,
    ];
    instants.into_iter().flatten().is_sorted() && record.events.at_ns.is_sorted()
}

impl Audit {
    /// Judges a run of `scheduled` requests (rounds included), of which this was `asked`, by `evidence` and by what
    /// `health` says of its client; `unfinished` of them have no record because the program died.
    pub fn new(
        evidence: Evidence,
        asked: Asked,
        scheduled: u64,
        unfinished: u64,
        health: &Health,
    ) -> Self {
        let ledger = Ledger { scheduled, unfinished, ..evidence.ledger };
        Self {
            ledger,
            offered_rate: evidence.due.rate(),
            achieved_rate: evidence.sent.rate(),
            sent_within: evidence.sent.length(),
            checks: checks(&evidence, &ledger, health),
            cache: evidence.answers.cache,
            notes: (evidence.answers.notes(asked, health).into_iter())
                .chain(limits::stop(health))
                .chain(limits::held(health))
                .collect(),
            limits: if ledger.completed > 0 {
                limits::limits(evidence, health)
            } else {
                // Nothing was measured that the client could have held back.
                Vec::new()
            },
        }
    }

    /// The figures that the client's limits affect, each once.
    pub fn affected(&self) -> Vec<Affected> {
        let mut affected: Vec<Affected> =
            self.limits.iter().flat_map(|limit| limit.affects).copied().collect();
        affected.sort_unstable();
        affected.dedup();
        affected
    }

    /// Why it is not sound.
    pub fn reasons(&self) -> impl Iterator<Item = String> + '_ {
        let broken = self.checks.iter().filter(|check| !check.passed);
        let broken = broken.map(|check| format!("check `{}` failed: {}", check.name, check.detail));
        broken.chain(self.limits.iter().map(ToString::to_string))
    }

    /// Whether the client was not the limit and all laws hold.
    pub fn sound(&self) -> bool {
        self.limits.is_empty() && self.checks.iter().all(|check| check.passed)
    }
}

fn checks(evidence: &Evidence, ledger: &Ledger, health: &Health) -> Vec<Check> {
    let Ledger { scheduled, sent, never_sent, completed, failed, cancelled, resent: _, unfinished } =
        ledger;
    let lost = if *unfinished > 0 { format!(" + {unfinished} unfinished") } else { String::new() };
    let mut checks = vec![
        Check {
            name: "ledger",
            violation: "requests are missing or counted twice",
            passed: ledger.balances(),
            detail: format!(
                "{scheduled} scheduled = {sent} sent + {never_sent} never sent{lost}; {sent} sent = {completed} completed + {failed} failed + {cancelled} cancelled"
            ),
        },
        order(evidence),
    ];
    if health.workers.is_empty() {
        return checks;
    }
    checks.push(little(evidence, health));
    checks.push(events(evidence, health));
    checks.push(tokens(evidence));
    checks
}

/// Every instant of a record comes after those before it.
fn order(evidence: &Evidence) -> Check {
    let (wrong, records) = (evidence.disordered, evidence.records);
    Check {
        name: "order",
        violation: "instants of requests are out of order",
        passed: wrong == 0,
        detail: format!("{wrong} of {records} requests have instants out of order"),
    }
}

/// Little's law: the mean number in flight that the threads saw is what rate and durations give.
fn little(evidence: &Evidence, health: &Health) -> Check {
    let seen: f64 = health.workers.iter().map(|worker| worker.in_flight.as_secs_f64()).sum();
    let told = evidence.spent;
    // A thread sees an end when it reads it, and a record has it when it arrived.
    let unseen: f64 = health.workers.iter().map(|worker| worker.unseen.as_secs_f64()).sum();
    let slack = told * CLOSE + evidence.records as f64 * CLAIM.as_secs_f64();
    Check {
        name: "little",
        violation: "time in flight and request records differ",
        passed: (seen - unseen - told).abs() <= slack,
        detail: format!(
            "{seen:.3} request seconds seen in flight, {unseen:.3} of them past the ends, {told:.3} by the records"
        ),
    }
}

/// No event was lost between the sockets and the records.
fn events(evidence: &Evidence, health: &Health) -> Check {
    // Answers that are not streamed, or tell their tokens by the counter alone, are made events at their end.
    let Evidence { events: kept, single: ends, text, .. } = evidence;
    let read = health.sum(|worker| worker.events);
    let bytes = health.sum(|worker| worker.bytes);
    Check {
        name: "events",
        violation: "events were lost on the way to the records",
        passed: (read..=read + ends).contains(kept) && *text <= bytes,
        detail: format!(
            "{read} events read, {kept} in the records; {bytes} bytes read, {text} of text"
        ),
    }
}

/// The server's counts lie between what was seen and what can be.
fn tokens(evidence: &Evidence) -> Check {
    let (wrong, records) = (evidence.doubtful, evidence.records);
    let mut detail = format!(
        "{wrong} of {records} requests have counts of the server that cannot be, and that are used nowhere"
    );
    if let Some(((index, _), doubt)) = &evidence.doubt {
        detail += &format!(", such as {doubt} of request {index}");
    }
    Check {
        name: "tokens",
        violation: "the server reports impossible token counts",
        passed: wrong == 0,
        detail,
    }
}

#[cfg(test)]
mod tests;
