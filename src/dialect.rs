//! Outputs: how a report is written.
//!
//! A dialect is one tool's way to print and to store results: one file and one line of [`ALL`].

pub mod aisbench;
pub mod evalscope;
mod grid;
mod release;
pub mod results;
pub mod sglang;
pub mod vllm;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use self::release::Version;
pub use self::sglang::one_batch;
use crate::analysis::measure::Measure;
use crate::analysis::metric::SteadyState;
use crate::analysis::{Analysis, RunMetadata};
use crate::config::Layout;

/// Every dialect; the first is the default.
pub static ALL: &[&dyn Dialect] = &[&sglang::Sglang, &vllm::Vllm];

/// A part of a table that is there only if it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What `--goodput` asks for.
    Goodput,
    /// What `--cache-report` asks for.
    Cache,
}

/// The files that are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The result file.
    pub file: Option<&'a Path>,
    /// The file for the steady state.
    pub steady: Option<&'a Path>,
    /// Whether the result has arrays with one entry per request.
    pub details: bool,
}

/// A file of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultFile {
    /// What it holds, for messages.
    pub what: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// What is written.
    pub text: String,
    /// How.
    pub mode: Mode,
}

/// How a file takes a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// After what it holds, on a line of its own.
    Append,
    /// In the place of what it holds.
    Replace,
}

/// One tool's way to print and to store results, over its releases.
pub trait Dialect: Sync + fmt::Debug {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The releases whose layout is known, oldest first; the last is what the name alone stands for.
    fn versions(&self) -> &'static [Version];

    /// The measures that the tables and the lines of `version` name, in any order.
    fn measures(&self, version: Version) -> Vec<Measure>;

    /// The table for people as `version` prints it, with a line end after each line.
    fn table(&self, report: &Analysis<'_>, version: Version) -> String;

    /// Whether the table of `version` has a part.
    fn has(&self, section: Section, version: Version) -> bool;

    /// The result as one line of JSON with the keys of `version`, and its line end;
    /// `details` adds arrays with one entry per request.
    fn line(&self, report: &Analysis<'_>, version: Version, details: bool) -> String;

    /// The files that hold `analyses` with the keys of `version`, of those that are `wanted`.
    fn files(
        &self,
        analyses: &[&Analysis<'_>],
        version: Version,
        wanted: &Wanted<'_>,
    ) -> Vec<ResultFile>;

    /// The table of a run's steady state; empty if the tool has none.
    fn steady_state_table(&self, steady: &SteadyState) -> String {
        let _ = steady;
        String::new()
    }

    /// The table of a run that is after throughput alone;
    /// `last` is the throughput that the server measured last, in tokens/s.
    fn offline_table(&self, report: &Analysis<'_>, last: Option<f64>) -> String {
        let _ = last;
        self.versions().last().map(|&version| self.table(report, version)).unwrap_or_default()
    }

    /// The result of such a run as one line of JSON, with its line end.
    fn offline_line(&self, report: &Analysis<'_>, last: Option<f64>) -> String {
        let _ = last;
        let newest = self.versions().last();
        newest.map(|&version| self.line(report, version, false)).unwrap_or_default()
    }

    /// The name that `version` gives to the result file when the user gives none;
    /// `date` is the local month and day.
    fn file_name(&self, metadata: &RunMetadata, version: Version, date: &str) -> PathBuf;
}

/// A dialect and one of its releases, as in `sglang@0.5.6` or `sglang`.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    dialect: &'static dyn Dialect,
    version: Version,
}

impl Choice {
    /// The dialect and release that `layout` names.
    ///
    /// # Errors
    /// If there is none; the message says which there are.
    pub fn of(layout: &Layout) -> Result<Self, String> {
        layout.0.parse()
    }

    /// Its name, as a configuration has it.
    pub fn layout(&self) -> Layout {
        Layout(self.to_string())
    }

    /// The notes on parts of the table that are asked for and that it does not print.
    pub fn unprinted(&self, goodput: bool, cache: bool) -> Vec<String> {
        let asked =
            [("--goodput", goodput, Section::Goodput), ("--cache-report", cache, Section::Cache)];
        let missing = asked.into_iter().filter(|(_, asked, part)| *asked && !self.has(*part));
        let note = |(flag, ..): (&str, bool, Section)| {
            format!(
                "{flag}: the table of {self} has no rows for it, the JSONL line has the figures"
            )
        };
        missing.map(note).collect()
    }

    /// The table; see [`Dialect::table`].
    pub fn table(&self, report: &Analysis<'_>) -> String {
        self.dialect.table(report, self.version)
    }

    /// Whether its table has a part; see [`Dialect::has`].
    pub fn has(&self, section: Section) -> bool {
        self.dialect.has(section, self.version)
    }

    /// The line of JSON; see [`Dialect::line`].
    pub fn line(&self, report: &Analysis<'_>, details: bool) -> String {
        self.dialect.line(report, self.version, details)
    }

    /// The table of the steady state; see [`Dialect::steady_state_table`].
    pub fn steady_state_table(&self, steady: &SteadyState) -> String {
        self.dialect.steady_state_table(steady)
    }

    /// The files of results; see [`Dialect::files`].
    pub fn files(&self, analyses: &[&Analysis<'_>], wanted: &Wanted<'_>) -> Vec<ResultFile> {
        self.dialect.files(analyses, self.version, wanted)
    }

    /// The table of throughput; see [`Dialect::offline_table`].
    pub fn offline_table(&self, report: &Analysis<'_>, last: Option<f64>) -> String {
        self.dialect.offline_table(report, last)
    }

    /// The line of throughput; see [`Dialect::offline_line`].
    pub fn offline_line(&self, report: &Analysis<'_>, last: Option<f64>) -> String {
        self.dialect.offline_line(report, last)
    }

    /// The name of the result file; see [`Dialect::file_name`].
    pub fn file_name(&self, metadata: &RunMetadata, date: &str) -> PathBuf {
        self.dialect.file_name(metadata, self.version, date)
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let Some(&dialect) = ALL.iter().find(|dialect| dialect.name() == name) else {
            return Err(format!("must be one of {}", known()));
        };
        let versions = dialect.versions();
        let version = match version {
            None => versions.last().copied(),
            Some(text) => Version::parse(text).and_then(|version| version.nearest(versions)),
        };
        let version = version.ok_or_else(|| format!("must be one of {}", known()))?;
        Ok(Self { dialect, version })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.dialect.name(), self.version)
    }
}

/// What may be chosen, for messages.
fn known() -> String {
    let each = ALL.iter().map(|dialect| {
        let versions: Vec<String> = dialect.versions().iter().map(ToString::to_string).collect();
        format!("{0} or {0}@VERSION with VERSION {1}", dialect.name(), versions.join(", "))
    });
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::analysis::aggregate::compute;
    use crate::analysis::metric::{Close, Slo, Terms};
    use crate::analysis::testing::{ended, record};

    /// The measures that an analysis gives of a run in which everything happened that has one.
    fn given() -> HashSet<Measure> {
        let mut eventful = record(500, &[700, 900], &["a", "b"]);
        eventful.due = Duration::from_millis(100);
        eventful.attempts = 2;
        eventful.connect = Some(Duration::from_millis(1));
        eventful.resent = Some(Duration::from_millis(1));
        let slos: [Slo; 3] = ["ttft:1", "tpot:1", "e2el:1"].map(|slo| slo.parse().unwrap());
        let terms = Terms { slos: &slos, cache_report: true, ..Terms::default() };
        let requests = ended(std::slice::from_ref(&eventful));
        let measures = compute(&requests, &terms, &Close::default());
        measures.stats.into_iter().map(|stat| stat.measure).collect()
    }

    #[test]
    fn every_key_and_row_is_backed_by_a_measure() {
        let given = given();
        for dialect in ALL {
            for &version in dialect.versions() {
                let named = dialect.measures(version);
                assert!(named.len() > 10, "{}@{version}", dialect.name());
                for measure in named {
                    assert!(given.contains(&measure), "{}@{version}: {measure:?}", dialect.name());
                }
            }
        }
    }

    #[test]
    fn releases_are_ordered() {
        for dialect in ALL {
            assert!(dialect.versions().is_sorted(), "{}", dialect.name());
            assert!(!dialect.versions().is_empty(), "{}", dialect.name());
        }
    }

    #[test]
    fn choices() {
        for (text, shown) in [
            ("sglang", "sglang@0.5.23"),
            ("sglang@0.5.6.post2", "sglang@0.5.6"),
            ("sglang@0.5.7", "sglang@0.5.6"),
            ("sglang@0.5.10.post1", "sglang@0.5.10"),
            ("sglang@0.2.15", "sglang@0.2.15"),
            ("vllm", "vllm@0.33.0"),
        ] {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), shown);
        }
        for text in
            ["", "guidellm", "vllm@0.32.0", "sglang@", "sglang@0.5", "sglang@0.3.0", "sglang@9.9.9"]
        {
            let error = text.parse::<Choice>().unwrap_err();
            assert_eq!(
                error,
                "must be one of sglang or sglang@VERSION with VERSION \
                 0.2.15, 0.4.1, 0.4.6, 0.5.1, 0.5.6, 0.5.8, 0.5.10, 0.5.15, 0.5.23; \
                 vllm or vllm@VERSION with VERSION 0.33.0"
            );
        }
    }
}
