//! Events that differ from one before in their text alone, which are most of a stream.
//!
//! Such an event need not be read as JSON again: the bytes before and after the text say what they said before.
//! That holds where the text stood in the bytes as it is, between the quotes of one string, and the new one does as well:
//! without quotes, escapes and control characters, and not empty, since an empty text may mean something else.

use std::borrow::Cow;

use crate::backend::{Delta, End, Part, Step, TextMode};

/// Longest event that is remembered without its text, in bytes: what is longer is rare, and has more than text to say.
const LONGEST: usize = 1024;

/// What stood around the text of the last event of the common kind.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    /// The bytes before the text, then those after it. Empty if there is nothing to compare with.
    around: Vec<u8>,
    /// Where the first of these end.
    split: usize,
    completion: u16,
    end: End,
}

impl Repeated {
    /// What `data` says, if it is the event before with another text.
    pub(super) fn part<'a>(&self, data: &'a [u8]) -> Option<Part<'a>> {
        let (before, after) = self.around.split_at_checked(self.split)?;
        if before.is_empty() {
            return None;
        }
        let text = data.strip_prefix(before)?.strip_suffix(after)?;
        let plain = |&byte: &u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        if text.is_empty() || !text.iter().all(plain) {
            return None;
        }
        Some(Part {
            completion: self.completion,
            text: Cow::Borrowed(std::str::from_utf8(text).ok()?),
            step: Step::One,
            end: self.end,
            ..Part::default()
        })
    }

    /// Remembers `data`, which said `delta`, if others may follow that differ in the text alone.
    pub(super) fn remember(&mut self, data: &[u8], delta: &Delta<'_>) {
        let Delta { part, others, output_tokens, prompt_tokens, cached } = delta;
        let counts = [output_tokens, prompt_tokens, &part.output_tokens];
        let says_more = !others.is_empty()
            || cached.is_some()
            || part.escaped.is_some()
            || counts.into_iter().any(Option::is_some);
        let is_one_more =
            part.step == Step::One && part.mode == TextMode::Append && part.end != End::Finished;
        let Cow::Borrowed(text) = part.text else { return };
        if says_more || !is_one_more || text.is_empty() || data.len() > LONGEST {
            return;
        }
        // Borrowed texts lie in the event, unless they are constants.
        let start = text.as_ptr().addr().wrapping_sub(data.as_ptr().addr());
        let end = start.wrapping_add(text.len());
        let Some((before, after)) = data.get(..start).zip(data.get(end..)) else { return };
        if before.ends_with(b"\"") && after.starts_with(b"\"") {
            self.around.clear();
            self.around.extend_from_slice(before);
            self.around.extend_from_slice(after);
            self.split = start;
            self.completion = part.completion;
            self.end = part.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::backend::Backend;

    /// A stream of the backend `name` whose `i`-th event has `text`.
    fn event(name: &str, text: &str) -> String {
        match name {
            "trt" => json!({"model_name": "m", "sequence_end": false, "text_output": text}),
            "vllm-chat" => json!({"id": "c", "choices": [{
                "index": 0, "delta": {"content": text, "reasoning_content": null}, "finish_reason": null,
            }]}),
            _ => json!({"id": "c", "choices": [{"index": 0, "text": text, "finish_reason": null}], "usage": null}),
        }
        .to_string()
    }

    /// How many of the events are told from the one before alone; each must say what the decoder reads in it.
    fn repeats(name: &str, events: &[String]) -> usize {
        let mut decoder = Backend::find(name).unwrap().protocol.decoder();
        let mut repeated = Repeated::default();
        let mut n = 0;
        for event in events {
            let data = event.as_bytes();
            let read = decoder.event(data);
            if let Some(part) = repeated.part(data) {
                n += 1;
                assert_eq!(read.unwrap(), Delta { part, ..Delta::default() }, "{event}");
            } else if let Ok(delta) = &read {
                repeated.remember(data, delta);
            }
        }
        n
    }

    #[test]
    fn only_texts_that_stand_as_they_are() {
        let streams: &[(&[&str], usize)] = &[
            (&["a", "b", "c"], 2),
            (&["a", "漢", "é b"], 2),
            (&["a", "\"", "c"], 1),
            (&["a", "\n", "c", "d"], 2),
            (&["\\", "b", "c"], 1),
            (&["a", "", "b"], 1),
            (&["", "b", "c"], 1),
        ];
        for name in ["vllm", "vllm-chat", "trt"] {
            for (texts, want) in streams {
                let events: Vec<String> = texts.iter().map(|text| event(name, text)).collect();
                assert_eq!(repeats(name, &events), *want, "{name} {texts:?}");
            }
        }
    }

    #[test]
    fn events_that_say_more_are_read() {
        for (more, want) in [
            (r#""usage":{"completion_tokens":1}"#, 0),
            (r#""sglext":{"cached_tokens_details":{"device":1}}"#, 0),
            (r#""system_fingerprint":"x""#, 1),
        ] {
            let event = |text| {
                format!(r#"{{"choices":[{{"text":"{text}","finish_reason":null}}],{more}}}"#)
            };
            assert_eq!(repeats("vllm", &[event("a"), event("b")]), want, "{more}");
        }
        let two = r#"{"choices":[{"index":0,"text":"a"},{"index":1,"text":"b"}]}"#.to_owned();
        assert_eq!(repeats("vllm", &[two.clone(), two]), 0);
        let last = r#"{"choices":[{"text":"a","finish_reason":"stop"}]}"#.to_owned();
        assert_eq!(repeats("vllm", &[last.clone(), last]), 0);
    }

    proptest! {
        /// Forall texts: what is told from the event before is what the decoder reads.
        #[test]
        fn as_the_decoder_reads(texts in prop::collection::vec("[ -~é漢\n\"\\\\]{0,4}", 1..12)) {
            for name in ["vllm", "vllm-chat", "trt"] {
                let events: Vec<String> = texts.iter().map(|text| event(name, text)).collect();
                repeats(name, &events);
            }
        }

        /// Forall bytes: no event is told from another that the decoder would refuse.
        #[test]
        fn broken_events_are_refused(cut in 0..80_usize, byte: u8) {
            let good = event("vllm", "some text");
            let mut broken = good.clone().into_bytes();
            let cut = cut % broken.len();
            broken[cut] = byte;
            let mut decoder = Backend::find("vllm").unwrap().protocol.decoder();
            let mut repeated = Repeated::default();
            repeated.remember(good.as_bytes(), &decoder.event(good.as_bytes()).unwrap());
            if let Some(part) = repeated.part(&broken) {
                prop_assert_eq!(decoder.event(&broken).unwrap(), Delta { part, ..Delta::default() });
            }
        }
    }
}
