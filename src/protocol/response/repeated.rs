//! Events that differ from one before in their text and their counts alone, which are most of a stream.
//!
//! Such an event need not be read as JSON again: the bytes around the text and the counts say what they said before.
//! That holds where the text stands between the quotes of one string, and a count after its key, which is there once.
//! A text that is added must stand in the bytes as it is: without escapes and control characters, and not empty, since
//! an empty text may mean something else. One that repeats all before it is handed on as it stands.
//!
//! What the counts mean is seen and not guessed: two events have to be read as JSON, and to say what is told of them here.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;

use crate::model::CachedTokens;
use crate::protocol::backend::{Delta, End, Part, Step, TextMode};
use crate::sys;

/// Longest event that is remembered, without its text, in bytes: what is longer is rare, and has more to say.
const LONGEST: usize = 1024;

/// Events that are remembered without one being told from another, before the last of them is kept for good: events that
/// come by turns, as those of several completions do, would make each other forgotten.
const IN_VAIN: u8 = 32;

/// What an event may have another of, by the key before it.
const KEYS: [(&[u8], Slot); 3] = [
    (b"\"completion_tokens\":", Slot::Count),
    (b"\"total_tokens\":", Slot::Sum),
    (b"\"output_ids\":", Slot::Ids),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// The count of output tokens.
    Count,
    /// The same with the tokens of the prompt, which says nothing new.
    Sum,
    /// Ids of tokens, which nobody asks for where there is text.
    Ids,
}

impl Slot {
    /// The length of what stands in it at the beginning of `data`; `None` if that is something else.
    fn len(self, data: &[u8]) -> Option<usize> {
        match self {
            Self::Count | Self::Sum => digits(data).map(<[u8]>::len),
            Self::Ids => ids(data),
        }
    }
}

/// The whole number that `data` begins with.
fn digits(data: &[u8]) -> Option<&[u8]> {
    let len = data.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(data.len());
    // More are no count of tokens, and JSON has no zeros before a number.
    let is_number = (1..=9).contains(&len) && (data[0] != b'0' || len == 1);
    is_number.then(|| &data[..len])
}

/// The length of the list of whole numbers that `data` begins with.
fn ids(data: &[u8]) -> Option<usize> {
    let mut rest = data.strip_prefix(b"[")?;
    if rest.first() != Some(&b']') {
        loop {
            rest = &rest[digits(rest)?.len()..];
            let Some(next) = rest.strip_prefix(b",") else { break };
            rest = next.strip_prefix(b" ").unwrap_or(next);
        }
    }
    let rest = rest.strip_prefix(b"]")?;
    Some(data.len() - rest.len())
}

/// What stood around the text and the counts of the last event of the common kind.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    /// The bytes before the text, then those after it without what stood in the slots. Empty if there is nothing to
    /// compare with.
    around: Vec<u8>,
    /// Where the first of these end. Places in `around` fit, since it has no more than [`LONGEST`] bytes.
    split: u16,
    /// Where in `around` the slots are, in their order.
    slots: [Option<(u16, Slot)>; KEYS.len()],
    /// Whether what is told from slots was seen to be what JSON says.
    is_sure: bool,
    /// Events that were remembered since one was told from another.
    in_vain: u8,
    /// The count of the event that was remembered.
    count: Option<u64>,
    completion: u16,
    end: End,
    /// Whether the text repeats all before it, and how the event counts.
    mode: TextMode,
    is_total: bool,
    prompt_tokens: Option<u64>,
    cached: Option<u64>,
}

impl Repeated {
    /// Returns what `data` says, if it is the event before with another text and other counts.
    pub(super) fn delta<'a>(&mut self, data: &'a [u8]) -> Option<Delta<'a>> {
        let told = if self.is_sure { self.told(data) } else { None };
        if told.is_some() && self.in_vain < IN_VAIN {
            self.in_vain = 0;
        }
        told
    }

    /// Prefetches what the next event is compared with.
    pub(super) fn prefetch(&self) {
        sys::prefetch_all(&self.around);
    }

    fn told<'a>(&self, data: &'a [u8]) -> Option<Delta<'a>> {
        let split = usize::from(self.split);
        let before = &self.around[..split];
        if before.is_empty() {
            return None;
        }
        let from_text = data.strip_prefix(before)?;
        let text = &from_text[..end_of_string(from_text)?];
        let mut rest = &from_text[text.len()..];
        let (mut at, mut count) = (split, None);
        for &(end, slot) in self.slots.iter().flatten() {
            let end = usize::from(end);
            rest = rest.strip_prefix(&self.around[at..end])?;
            let len = slot.len(rest)?;
            if slot == Slot::Count {
                count = Some(number(&rest[..len]));
            }
            rest = &rest[len..];
            at = end;
        }
        if rest != &self.around[at..] || text.is_empty() {
            return None;
        }
        let is_added = self.mode == TextMode::Append;
        // A count of 0 beside a text counts nothing.
        let step = if self.is_total { Step::Total(count.filter(|&n| n > 0)?) } else { Step::One };
        Some(Delta {
            part: Part {
                completion: self.completion,
                text: Cow::Borrowed(if is_added { plain(text)? } else { "" }),
                escaped: (!is_added).then_some(text),
                mode: self.mode,
                step,
                output_tokens: count,
                end: self.end,
            },
            prompt_tokens: self.prompt_tokens,
            cached: self.cached.map(|total| CachedTokens { total, tiers: None }),
            ..Delta::default()
        })
    }

    /// Remembers `data`, which said `delta`, if others may follow that differ in the text and the counts alone.
    pub(super) fn remember(&mut self, data: &[u8], delta: &Delta<'_>) {
        let told = self.told(data);
        if told.as_ref() == Some(delta) {
            // Only counts that move tell which they are.
            self.is_sure |= self.count != delta.part.output_tokens;
            return;
        }
        if told.is_some() {
            // It says otherwise.
            *self = Self { in_vain: self.in_vain, ..Self::default() };
        }
        if is_worth(delta) && self.in_vain < IN_VAIN {
            self.in_vain += 1;
            self.learn(data, delta);
        }
    }

    fn learn(&mut self, data: &[u8], delta: &Delta<'_>) {
        let part = &delta.part;
        let text = match (part.mode, part.escaped, &part.text) {
            (TextMode::Replace, Some(escaped), _) => escaped,
            (TextMode::Append, None, Cow::Borrowed(text)) => text.as_bytes(),
            _ => return,
        };
        // Borrowed texts lie in the event, unless they are constants.
        let start = text.as_ptr().addr().wrapping_sub(data.as_ptr().addr());
        let end = start.wrapping_add(text.len());
        let Some((before, after)) = data.get(..start).zip(data.get(end..)) else { return };
        let Ok(split) = u16::try_from(start) else { return };
        let is_string = before.ends_with(b"\"") && after.starts_with(b"\"");
        if text.is_empty() || !is_string || before.len() + after.len() > LONGEST {
            return;
        }
        let Some(slots) = slots(after) else { return };
        let has_count = slots.iter().flatten().any(|(_, slot)| *slot == Slot::Count);
        if has_count != part.output_tokens.is_some() {
            return;
        }
        self.around.clear();
        self.around.extend_from_slice(before);
        self.split = split;
        self.slots = Default::default();
        let mut at = 0;
        for (kept, (place, slot)) in self.slots.iter_mut().zip(slots.into_iter().flatten()) {
            self.around.extend_from_slice(&after[at..place.start]);
            *kept = u16::try_from(self.around.len()).ok().map(|end| (end, slot));
            at = place.end;
        }
        self.around.extend_from_slice(&after[at..]);
        self.is_sure = self.slots[0].is_none();
        self.count = part.output_tokens;
        (self.completion, self.end) = (part.completion, part.end);
        (self.mode, self.is_total) = (part.mode, matches!(part.step, Step::Total(_)));
        self.prompt_tokens = delta.prompt_tokens;
        self.cached = delta.cached.as_ref().map(|cached| cached.total);
    }
}

/// Returns whether events like one that said `delta` may follow each other.
fn is_worth(delta: &Delta<'_>) -> bool {
    let Delta { part, others, output_tokens, prompt_tokens: _, cached } = delta;
    let is_one_more = match part.step {
        // Another count may be a total.
        Step::One => part.output_tokens != Some(0),
        Step::Total(total) => part.output_tokens == Some(total),
        Step::None => false,
    };
    is_one_more
        && !part.end.is_over()
        && others.is_empty()
        && output_tokens.is_none()
        && cached.as_ref().is_none_or(|cached| cached.tiers.is_none())
}

/// Slots by where they are, in their order.
type Slots = [Option<(Range<usize>, Slot)>; KEYS.len()];

/// Where the slots of `after` are; `None` if it has a key twice, or something else behind one.
fn slots(after: &[u8]) -> Option<Slots> {
    let mut slots = [const { None }; KEYS.len()];
    for (found, (key, slot)) in slots.iter_mut().zip(KEYS) {
        let mut places = memmem::find_iter(after, key);
        let Some(place) = places.next() else { continue };
        if places.next().is_some() {
            return None;
        }
        let mut start = place + key.len();
        start += usize::from(after.get(start) == Some(&b' '));
        let len = slot.len(after.get(start..)?)?;
        *found = Some((start..start + len, slot));
    }
    // Those that are not there come last.
    slots.sort_by_key(|found| found.as_ref().map_or(usize::MAX, |(place, _)| place.start));
    Some(slots)
}

/// Where the string ends whose first character `text` begins with.
fn end_of_string(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        // Whatever is escaped is part of the text.
        at += 2;
    }
}

/// A text that stands in JSON as it is.
fn plain(text: &[u8]) -> Option<&str> {
    let is_plain = |&byte: &u8| byte >= b' ' && byte != b'\\';
    text.iter().all(is_plain).then(|| std::str::from_utf8(text).ok()).flatten()
}

/// The number that has these digits, of which there are at most nine.
fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::protocol::backend::Backend;

    const NAMES: [&str; 5] = ["vllm", "vllm-chat", "trt", "sglang-oai", "sglang"];

    /// An event of the backend `name` with `text`, and the counters that the server tells beside it.
    fn event(name: &str, text: &str, count: Option<u64>) -> String {
        let usage = count
            .map(|n| json!({"prompt_tokens": 7, "total_tokens": n + 7, "completion_tokens": n}));
        match name {
            "trt" => json!({"model_name": "m", "sequence_end": false, "text_output": text}),
            "vllm-chat" => json!({"id": "c", "choices": [{
                "index": 0, "delta": {"content": text, "reasoning_content": null}, "finish_reason": null,
            }], "usage": usage}),
            "sglang" => json!({"text": text, "output_ids": vec![5; text.len()], "meta_info": {
                "id": "x", "finish_reason": null, "prompt_tokens": 7, "completion_tokens": count, "cached_tokens": 1,
            }}),
            _ => json!({"id": "c", "choices": [{"index": 0, "text": text, "finish_reason": null}], "usage": usage}),
        }
        .to_string()
    }

    /// Returns how many of the events are told from the ones before alone; each must say what the decoder reads in it.
    fn repeats(name: &str, events: &[String]) -> usize {
        let mut decoder = Backend::find(name).unwrap().protocol.decoder();
        let mut repeated = Repeated::default();
        let mut n = 0;
        for event in events {
            let data = event.as_bytes();
            let read = decoder.event(data);
            if let Some(told) = repeated.delta(data) {
                n += 1;
                assert_eq!(read.unwrap(), told, "{event}");
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
                let events: Vec<String> =
                    texts.iter().map(|text| event(name, text, None)).collect();
                assert_eq!(repeats(name, &events), *want, "{name} {texts:?}");
            }
        }
    }

    #[test]
    fn counts_are_told_once_they_have_moved() {
        for name in ["vllm", "vllm-chat", "sglang-oai", "sglang"] {
            let stream = |counts: &[u64]| -> Vec<String> {
                counts.iter().map(|&n| event(name, "aaa", Some(n))).collect()
            };
            assert_eq!(repeats(name, &stream(&[1, 2, 3, 5, 10])), 3, "{name}");
            assert_eq!(repeats(name, &stream(&[1, 1, 2, 2, 3])), 2, "{name}");
            // A total of 0 is no total.
            let want = if name == "sglang" { 1 } else { 2 };
            let counts = [9, 10, 123_456_789, 1_234_567_890, 0];
            assert_eq!(repeats(name, &stream(&counts)), want, "{name}");
        }
    }

    #[test]
    fn texts_that_repeat_all_before_are_handed_on_as_they_stand() {
        let texts = ["a", "a \"b\"", "a \"b\" \n", "a \"b\" \n \\", "a \"b\" \n \\ 漢"];
        let events: Vec<String> =
            texts.iter().zip(1..).map(|(text, n)| event("sglang", text, Some(n))).collect();
        assert_eq!(repeats("sglang", &events), 3);
        let spaced: Vec<String> = events.iter().map(|event| event.replace("\":", "\": ")).collect();
        assert_eq!(repeats("sglang", &spaced), 3);
    }

    #[test]
    fn events_that_say_more_are_read() {
        for (more, want) in [
            (r#""usage":{"completion_tokens":1}"#, 0),
            (r#""sglext":{"cached_tokens_details":{"device":1}}"#, 0),
            (r#""system_fingerprint":"x""#, 2),
        ] {
            let event = |text| {
                format!(r#"{{"choices":[{{"text":"{text}","finish_reason":null}}],{more}}}"#)
            };
            assert_eq!(repeats("vllm", &[event("a"), event("b"), event("c")]), want, "{more}");
        }
        let two = r#"{"choices":[{"index":0,"text":"a"},{"index":1,"text":"b"}]}"#.to_owned();
        assert_eq!(repeats("vllm", &[two.clone(), two]), 0);
        let last = r#"{"choices":[{"text":"a","finish_reason":"stop"}]}"#.to_owned();
        assert_eq!(repeats("vllm", &[last.clone(), last]), 0);
    }

    #[test]
    fn counts_that_may_be_others_are_read() {
        // Two of them, one before the text, and one that is no number.
        for stream in [
            r#"{"choices":[{"text":"a"}],"usage":{"completion_tokens":N},"x":{"completion_tokens":N}}"#,
            r#"{"usage":{"completion_tokens":N},"choices":[{"text":"a"}]}"#,
            r#"{"choices":[{"text":"a"}],"usage":{"completion_tokens":N.5}}"#,
        ] {
            let events: Vec<String> =
                (1..9).map(|n: u32| stream.replace('N', &n.to_string())).collect();
            assert_eq!(repeats("vllm", &events), 0, "{stream}");
        }
    }

    #[test]
    fn events_by_turns_do_not_make_each_other_forgotten_for_ever() {
        let one = |n: usize| format!(r#"{{"choices":[{{"index":{},"text":"a"}}]}}"#, n % 2);
        let stream = |by_turns: usize| -> Vec<String> {
            let same = std::iter::repeat_n(one(0), 5);
            (0..by_turns).map(one).chain(same).collect()
        };
        assert_eq!(repeats("vllm", &stream(10)), 4);
        // The last that was remembered is the 32nd, of the second completion.
        assert_eq!(repeats("vllm", &stream(100)), 34);
    }

    fn counted() -> impl Strategy<Value = Vec<(String, Option<u64>)>> {
        let text = "[ -~é漢\n\"\\\\]{0,4}";
        let count = prop_oneof![4 => (0_u64..40).prop_map(Some), 1 => Just(None), 1 => any::<u64>().prop_map(|n| Some(n >> 1))];
        prop::collection::vec((text, count), 1..16)
    }

    proptest! {
        /// Forall texts and counts: what is told from the events before is what the decoder reads.
        #[test]
        fn as_the_decoder_reads(stream in counted(), repeats_all: bool) {
            for name in NAMES {
                let mut all = String::new();
                let events: Vec<String> = stream.iter().map(|(text, count)| {
                    all = if repeats_all { format!("{all}{text}") } else { text.clone() };
                    event(name, &all, *count)
                }).collect();
                repeats(name, &events);
            }
        }

        /// Forall bytes: no event is told from others that the decoder would refuse, or read otherwise.
        #[test]
        fn broken_events_are_refused(cut in 0..200_usize, byte: u8, name in prop::sample::select(&NAMES[..])) {
            let good: Vec<String> = (1..3).map(|n| event(name, "some text", Some(n))).collect();
            let mut broken = event(name, "some text", Some(3)).into_bytes();
            let cut = cut % broken.len();
            broken[cut] = byte;
            let mut decoder = Backend::find(name).unwrap().protocol.decoder();
            let mut repeated = Repeated::default();
            for event in &good {
                repeated.remember(event.as_bytes(), &decoder.event(event.as_bytes()).unwrap());
            }
            if let Some(told) = repeated.delta(&broken) {
                prop_assert_eq!(decoder.event(&broken).unwrap(), told);
            }
        }
    }
}
