//! What a run is to be held against when it is over.

use std::path::PathBuf;

use crate::analysis::comparison::{DecidedOn, Objective};

/// Objectives, and the files on them.
#[derive(Debug, Clone, Default)]
pub struct Gates {
    /// `--slo`.
    pub objectives: Vec<Objective>,
    /// `--slo-on`.
    pub on: DecidedOn,
    /// `--junit`.
    pub junit: Option<PathBuf>,
    /// `--summary`.
    pub summary: Option<PathBuf>,
    /// `--bencher`.
    pub bencher: Option<PathBuf>,
    /// `--benchmark-action`, a folder.
    pub action: Option<PathBuf>,
}

impl Gates {
    /// Whether anything is asked for.
    pub fn asks(&self) -> bool {
        let files = [&self.junit, &self.summary, &self.bencher, &self.action];
        !self.objectives.is_empty() || files.into_iter().any(Option::is_some)
    }
}
