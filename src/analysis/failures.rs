//! Failures of a run by their reasons.

use crate::model::{Failure, FailureKind, Phase};

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
        let Failure { kind, phase, status, message, excerpt } = failure.clone();
        self.add_group(FailureGroup { kind, phase, status, message, excerpt, count: 1 });
    }

    /// Adds those of `other`.
    pub fn merge(&mut self, other: Self) {
        other.groups.into_iter().for_each(|group| self.add_group(group));
    }

    fn add_group(&mut self, new: FailureGroup) {
        let is_full = self.groups.len() >= REASONS;
        let known = self.groups.iter_mut().find(|group| {
            (group.kind, group.phase, group.status) == (new.kind, new.phase, new.status)
                && (is_full || group.message == new.message)
        });
        match known {
            Some(group) => {
                group.count += new.count;
                group.excerpt = group.excerpt.take().or(new.excerpt);
            }
            None => self.groups.push(new),
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
