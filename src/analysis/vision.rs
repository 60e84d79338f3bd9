//! How many of the prompt tokens stand for images.
//!
//! Where the model's files tell no rule, only the server knows, and its count is there only after the run.

use crate::analysis::counts::{Counts, Ended};
use crate::model::{RequestRecord, Row, VisionSource};

/// Where the image tokens of `rows` come from as far as is known before the run; `None` if no row has an image.
pub fn planned(rows: &[Row]) -> Option<VisionSource> {
    let mut with_images = rows.iter().filter(|row| !row.images.is_empty()).peekable();
    with_images.peek()?;
    Some(if with_images.all(|row| row.vision_len > 0) {
        VisionSource::PatchRule
    } else {
        VisionSource::Unknown
    })
}

/// Whether the server told what no rule gave, while requests are added.
///
/// That holds for all completed requests or for none, so that totals have one meaning.
#[derive(Debug, Clone, Copy)]
pub struct Settling {
    planned: VisionSource,
    completed: u64,
    /// Whether every completed request has a count of the server's that can be.
    all_told: bool,
    /// Their tokens beyond those of the text.
    tokens: u64,
}

impl Settling {
    /// Nothing yet; `planned` is what was known before the run.
    pub fn new(planned: VisionSource) -> Self {
        Self { planned, completed: 0, all_told: true, tokens: 0 }
    }

    /// Adds `request`.
    pub fn add(&mut self, request: &Ended<'_>) {
        let Some(record) = request.completed() else { return };
        self.completed += 1;
        match told(record, request.counts.prompt) {
            Some(told) => self.tokens += (told - request.counts.prompt) as u64,
            None => self.all_told = false,
        }
    }

    /// Adds the requests of `other`.
    pub fn merge(&mut self, other: Self) {
        self.completed += other.completed;
        self.all_told &= other.all_told;
        self.tokens += other.tokens;
    }

    /// Where the image tokens come from, and how many of them only the server has told.
    pub fn settle(self) -> (VisionSource, u64) {
        if self.planned != VisionSource::Unknown {
            (self.planned, 0)
        } else if self.completed > 0 && self.all_told {
            (VisionSource::Server, self.tokens)
        } else {
            (VisionSource::Unknown, 0)
        }
    }

    /// The counts of each of `records` with the image tokens that only the server told: its count of the prompt
    /// without the tokens of the text.
    pub fn settle_counts(self, records: &[RequestRecord], counts: &mut [Counts]) {
        if self.planned != VisionSource::Unknown || self.settle().0 != VisionSource::Server {
            return;
        }
        for (record, counts) in records.iter().zip(counts) {
            if let Some(told) = told(record, counts.prompt) {
                (counts.vision, counts.prompt) = (told - counts.prompt, told);
            }
        }
    }
}

/// The server's count of the prompt, if it is one that can be for a text of `text` tokens.
fn told(record: &RequestRecord, text: usize) -> Option<usize> {
    let told = usize::try_from(record.server_prompt_tokens?).ok()?;
    (told >= text).then_some(told)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Outcome, PlannedRequest, Prompt};

    /// A record of 10 text tokens; `told` is what the server counted, if the request completed.
    fn record(completed: bool, told: Option<u64>) -> RequestRecord {
        let request = PlannedRequest {
            index: 0,
            due: Duration::ZERO,
            body: bytes::Bytes::new(),
            prompt_len: 10,
            vision_len: 0,
            routing_key: None,
            output_len: 1,
            conversation: None,
            asked: crate::model::Asked::default(),
        };
        let outcome = if completed { Outcome::Completed } else { Outcome::NotSent };
        RequestRecord { outcome, server_prompt_tokens: told, ..RequestRecord::unsent(&request) }
    }

    /// Where the image tokens of `records` come from, and the prompt and image tokens of each.
    fn settle(
        records: &[RequestRecord],
        planned: VisionSource,
    ) -> (VisionSource, Vec<(usize, usize)>) {
        let mut settling = Settling::new(planned);
        for record in records {
            settling.add(&Ended::of(record));
        }
        let mut counts: Vec<Counts> = records.iter().map(Counts::of).collect();
        settling.settle_counts(records, &mut counts);
        let lengths = counts.iter().map(|counts| (counts.prompt, counts.vision)).collect();
        (settling.settle().0, lengths)
    }

    #[test]
    fn rows_tell_whether_a_rule_gave_their_tokens() {
        let text = || Row::new(Prompt::Text(String::new()), 1, 1);
        let image = |vision_len| Row { images: vec!["x".into()], vision_len, ..text() };
        assert_eq!(planned(&[]), None);
        assert_eq!(planned(&[text()]), None);
        assert_eq!(planned(&[text(), image(3)]), Some(VisionSource::PatchRule));
        assert_eq!(planned(&[image(3), image(0)]), Some(VisionSource::Unknown));
    }

    #[test]
    fn the_server_tells_what_no_rule_gave() {
        let records = [record(true, Some(75)), record(false, None), record(true, Some(10))];
        let want = vec![(75, 65), (10, 0), (10, 0)];
        assert_eq!(settle(&records, VisionSource::Unknown), (VisionSource::Server, want));
    }

    #[test]
    fn a_server_that_tells_not_all_tells_nothing() {
        for other in [record(true, None), record(true, Some(9))] {
            let records = [record(true, Some(75)), other];
            let want = (VisionSource::Unknown, vec![(10, 0), (10, 0)]);
            assert_eq!(settle(&records, VisionSource::Unknown), want);
        }
        let none = [record(false, None)];
        assert_eq!(settle(&none, VisionSource::Unknown).0, VisionSource::Unknown);
    }

    #[test]
    fn a_rule_stands() {
        let records = [record(true, Some(75))];
        let want = (VisionSource::PatchRule, vec![(10, 0)]);
        assert_eq!(settle(&records, VisionSource::PatchRule), want);
    }
}
