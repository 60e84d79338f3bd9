//! How many of the prompt tokens stand for images.
//!
//! Where the model's files tell no rule, only the server knows, and its count is there only after the run.

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

/// Sets the image tokens of completed requests that no rule gave: the server's count of the prompt without the
/// tokens of the text. That holds for all of them or for none, so that totals have one meaning.
pub fn settle(records: &mut [RequestRecord], planned: VisionSource) -> VisionSource {
    if planned != VisionSource::Unknown {
        return planned;
    }
    let told = |record: &RequestRecord| {
        let told = usize::try_from(record.server_prompt_tokens?).ok()?;
        (told >= record.prompt_len).then_some(told)
    };
    let mut completed = records.iter().filter(|record| record.completed()).peekable();
    if completed.peek().is_none() || !completed.all(|record| told(record).is_some()) {
        return VisionSource::Unknown;
    }
    for record in records {
        if let Some(told) = told(record) {
            record.vision_len = told - record.prompt_len;
            record.prompt_len = told;
        }
    }
    VisionSource::Server
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
        };
        let outcome = if completed { Outcome::Completed } else { Outcome::NotSent };
        RequestRecord { outcome, server_prompt_tokens: told, ..RequestRecord::unsent(&request) }
    }

    fn lengths(records: &[RequestRecord]) -> Vec<(usize, usize)> {
        records.iter().map(|record| (record.prompt_len, record.vision_len)).collect()
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
        let mut records = [record(true, Some(75)), record(false, None), record(true, Some(10))];
        assert_eq!(settle(&mut records, VisionSource::Unknown), VisionSource::Server);
        assert_eq!(lengths(&records), [(75, 65), (10, 0), (10, 0)]);
    }

    #[test]
    fn a_server_that_tells_not_all_tells_nothing() {
        for other in [record(true, None), record(true, Some(9))] {
            let mut records = [record(true, Some(75)), other];
            assert_eq!(settle(&mut records, VisionSource::Unknown), VisionSource::Unknown);
            assert_eq!(lengths(&records), [(10, 0), (10, 0)]);
        }
        assert_eq!(
            settle(&mut [record(false, None)], VisionSource::Unknown),
            VisionSource::Unknown
        );
    }

    #[test]
    fn a_rule_stands() {
        let mut records = [record(true, Some(75))];
        assert_eq!(settle(&mut records, VisionSource::PatchRule), VisionSource::PatchRule);
        assert_eq!(lengths(&records), [(10, 0)]);
    }
}
