//! What the answer to a batch has to hold beyond that to one prompt: a completion for each, as long as was asked for.

use super::seen::Seen;
use crate::model::{Failure, FailureKind};

/// Most prompts that a message names.
const NAMED: usize = 5;

impl Seen {
    /// Prompts of a batch whose completions stopped before their length; `None` for one prompt.
    pub(super) fn early_stops(&self) -> Option<u16> {
        self.asked.batch?;
        let stopped = self.completions.iter().filter(|completion| completion.stopped).count();
        u16::try_from(stopped).ok()
    }

    /// The failure of a batch whose prompt `place` has a completion that stopped, though that was to be ignored.
    #[cold]
    pub(super) fn stopped(&self, place: u16) -> Failure {
        let message =
            format!("the answer to prompt {place} stopped, though ignore_eos was asked for");
        self.incomplete(FailureKind::EarlyEnd, message)
    }

    /// Judges the answer to a batch whose stream ended as it should.
    ///
    /// # Errors
    /// If a prompt has no token, or one has a completion that stopped, though that was to be ignored.
    pub(super) fn end_batch(&self) -> Result<(), Failure> {
        let prompts = self.asked.batch.map_or(0, |batch| usize::from(batch.prompts));
        let mut begun: Vec<bool> = self.completions.iter().map(|one| one.begun).collect();
        begun.resize(prompts, false);
        let silent: Vec<usize> = (0..prompts).filter(|&place| !begun[place]).collect();
        if silent.len() == prompts {
            let message = "the response held no generated token".to_owned();
            return Err(self.incomplete(FailureKind::NoTokens, message));
        }
        if !silent.is_empty() {
            let message = format!("the response held no generated token of {}", named(&silent));
            return Err(self.incomplete(FailureKind::NoTokens, message));
        }
        let ignores_stops = self.asked.batch.is_some_and(|batch| batch.ignores_stops);
        let mut completions = self.completions.iter().zip(0..);
        match completions.find(|(one, _)| one.stopped).filter(|_| ignores_stops) {
            Some((_, place)) => Err(self.stopped(place)),
            None => Ok(()),
        }
    }

    fn incomplete(&self, kind: FailureKind, message: String) -> Failure {
        Failure { status: Some(200), ..Failure::new(kind, self.phase(), message) }
    }
}

/// Some of the prompts at `places`, for messages.
fn named(places: &[usize]) -> String {
    let shown: Vec<String> = places.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if places.len() > shown.len() { ", ..." } else { "" };
    format!("{} of the prompts: {}{more}", places.len(), shown.join(", "))
}
