//! What a run found: metadata, figures and failures, ready for any output.

use serde_json::{Map, Value};

use crate::analysis::audit::Audit;
use crate::analysis::ceiling::Headroom;
use crate::analysis::measure::{Measure, Percent};
use crate::analysis::metric::{Figure, PerEndpoint, Slo, Stat};
use crate::engine::system::Spent;
use crate::health::Health;
use crate::model::{Failure, FailureKind, Phase, RequestRecord, TokenSource, VisionSource};
use crate::workload::arrival::Rate;

/// Everything that outputs may know.
#[derive(Debug)]
pub struct Report<'a> {
    /// What the run was.
    pub metadata: RunMetadata,
    /// Figures in the order of the metrics.
    pub stats: Vec<Stat>,
    /// Failures by reason, the most frequent first.
    pub failures: Vec<FailureGroup>,
    /// Completed requests by the source of their output token count.
    pub token_sources: Vec<(TokenSource, u64)>,
    /// The server's own account of itself after the run.
    pub server_info: Option<Value>,
    /// Calls around the load that failed, and how.
    pub failed_calls: Vec<String>,
    /// Why the run did not do all of its plan, if it did not.
    pub partial: Option<String>,
    /// What the memory for answers cost requests, if it did.
    pub memory: Option<Spent>,
    /// Figures of each server; empty for one alone.
    pub endpoints: Vec<PerEndpoint>,
    /// What the figures rest on.
    pub audit: Audit,
    /// How the client kept up.
    pub health: Health,
    /// How far it stayed below what it can do.
    pub headroom: Headroom,
    /// What the server calls its storage of cached tokens, if tokens were taken from there.
    pub storage_backend: Option<String>,
    /// One record per request, in the order of the plan; of a run that died, per request that ended.
    /// None if they were not kept.
    pub records: &'a [RequestRecord],
}

/// What a run was.
#[derive(Debug, Clone)]
pub struct RunMetadata {
    /// `--backend`.
    pub backend: &'static str,
    /// Whether its requests generate tokens.
    pub generates: bool,
    /// `--dataset-name`.
    pub dataset_name: String,
    /// Arrivals.
    pub rate: Rate,
    /// Requests in flight at most.
    pub max_concurrency: Option<usize>,
    /// `--goodput`: latencies that requests were to keep within.
    pub slos: Vec<Slo>,
    /// Whether the server's prefix cache is reported on.
    pub cache_report: bool,
    /// `--tag`.
    pub tag: Option<String>,
    /// Model name that was sent.
    pub model: String,
    /// Tokenizer that counted.
    pub tokenizer: String,
    /// Where the image tokens come from, if there are images.
    pub vision_source: Option<VisionSource>,
    /// Seed of every draw.
    pub seed: u64,
    /// When the run started, in RFC 3339.
    pub date: String,
    /// Flags as they took effect.
    pub config: Map<String, Value>,
}

impl RunMetadata {
    /// The percentiles that were asked for beside the usual ones, each once.
    pub fn percentiles(&self) -> Vec<Percent> {
        let asked = self.config.get(PERCENTILES).and_then(Value::as_array);
        let numbers = asked.into_iter().flatten().filter_map(Value::as_f64);
        let mut percentiles: Vec<Percent> = numbers.filter_map(Percent::new).collect();
        percentiles.sort_unstable();
        percentiles.dedup();
        percentiles
    }
}

/// The key of [`RunMetadata::config`] for percentiles that are asked for, a list of numbers from 0 to 100.
pub const PERCENTILES: &str = "metric_percentiles";

/// Failures with one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureGroup {
    /// Why.
    pub kind: FailureKind,
    /// When.
    pub phase: Phase,
    /// HTTP status, if any.
    pub status: Option<u16>,
    /// What happened, as the first of them says it.
    pub message: String,
    /// The beginning of the first body that came with it.
    pub excerpt: Option<String>,
    /// How many.
    pub count: u64,
}

impl Report<'_> {
    /// The figure of `measure`; absent if no metric gave it.
    pub fn figure(&self, measure: Measure) -> Figure {
        let given = self.stats.iter().find(|stat| stat.measure == measure);
        given.map_or(Figure::Absent, |stat| stat.value)
    }
}

/// Reasons that are told apart by their messages; further ones are told apart by kind, phase and status alone.
const REASONS: usize = 100;

/// Failures, while they are grouped by kind, phase, status and message.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    groups: Vec<FailureGroup>,
}

impl Failures {
    /// Adds one.
    pub fn add(&mut self, failure: &Failure) {
        let Failure { kind, phase, status, message, excerpt } = failure;
        let is_full = self.groups.len() >= REASONS;
        let known = self.groups.iter_mut().find(|group| {
            (group.kind, group.phase, group.status) == (*kind, *phase, *status)
                && (is_full || group.message == *message)
        });
        match known {
            Some(group) => {
                group.count += 1;
                if group.excerpt.is_none() {
                    group.excerpt.clone_from(excerpt);
                }
            }
            None => self.groups.push(FailureGroup {
                kind: *kind,
                phase: *phase,
                status: *status,
                message: message.clone(),
                excerpt: excerpt.clone(),
                count: 1,
            }),
        }
    }

    /// The groups, the largest first.
    pub fn groups(mut self) -> Vec<FailureGroup> {
        self.groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        self.groups
    }
}

/// Lines of a table of failures for people.
pub fn failure_lines(groups: &[FailureGroup], total: u64) -> Vec<String> {
    const SHOWN: usize = 8;
    let failed: u64 = groups.iter().map(|group| group.count).sum();
    let cancelled = groups.iter().any(|group| group.kind == FailureKind::Cancelled);
    let what = if cancelled { "failed or were cancelled" } else { "failed" };
    let mut lines = vec![format!("{failed} of {total} requests {what}:")];
    lines.push(format!("{:>7}  {:<19} {:<12} reason", "count", "kind", "phase"));
    for group in groups.iter().take(SHOWN) {
        lines.push(format!(
            "{:>7}  {:<19} {:<12} {}",
            group.count,
            group.kind.name(),
            group.phase.name(),
            shorten(&group.message, 200),
        ));
        if let Some(excerpt) = &group.excerpt {
            lines.push(format!("{:42}first body: {}", "", shorten(excerpt, 200)));
        }
    }
    if groups.len() > SHOWN {
        let rest: u64 = groups[SHOWN..].iter().map(|group| group.count).sum();
        lines.push(format!("{rest:>7}  for {} other reasons", groups.len() - SHOWN));
    }
    lines
}

/// One line of at most `most` characters.
fn shorten(text: &str, most: usize) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    line.chars().take(most).chain("...".chars()).collect()
}
