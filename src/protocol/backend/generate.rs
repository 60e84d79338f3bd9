//! SGLang's native endpoint: `POST /generate`.
//!
//! Each event repeats the whole text so far and carries a running count of output tokens, both of one completion.

use std::cell::RefCell;

use serde::de::{IgnoredAny, MapAccess, SeqAccess};
use serde_json::{Value, json};

use super::wire::lenient::{Count, First, Index, Lenient, Several, Text, objects};
use super::wire::told::Finish;
use super::wire::{self, CacheDetails};
use super::{
    Backend, CacheTelling, DecodeError, Decoder, Delta, Flush, Part, Protocol, Request, Step,
    Takes, TextMode,
};
use crate::model::{CachedTokens, Prompt};

pub(super) const BACKEND: Backend = Backend {
    name: "",
    protocol: &Generate,
    port: 30000,
    path: "/generate",
    accepts_ids: false,
    accepts_messages: false,
    lists_models: true,
    takes: Takes { sampling: true, logprobs: true, native: true, lora: true, images: true },
    cache: CacheTelling::Unasked,
    can_disable_stream: true,
    flush: Flush::Plain,
    splits_itl: false,
    batch: None,
    refused: None,
};

#[derive(Debug)]
struct Generate;

impl Protocol for Generate {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let sampling = &common.sampling;
        let key = match row.prompt {
            Prompt::Text(_) => "text",
            Prompt::Texts(_) | Prompt::Ids(_) | Prompt::Messages(_) | Prompt::Rounds(_) => {
                "input_ids"
            }
        };
        let mut body = wire::object([
            (key, wire::prompt_value(&row.prompt)),
            (
                "sampling_params",
                json!({
                    "temperature": sampling.temperature.unwrap_or(0.0),
                    "max_new_tokens": row.output_len,
                    "ignore_eos": common.ignore_eos,
                }),
            ),
            ("stream", common.stream.into()),
            ("lora_path", row.lora.as_deref().into()),
            ("return_logprob", sampling.return_logprob.into()),
            ("return_routed_experts", sampling.return_routed_experts.into()),
            ("logprob_start_len", sampling.logprob_start_len.into()),
        ]);
        if sampling.top_p < 1.0 {
            body["sampling_params"]["top_p"] = sampling.top_p.into();
        }
        wire::merge(&mut body, request);
        // Nothing but the sampling parameters can ask for several completions here.
        if let Some(n) = wire::several_completions(&request.extra())
            && let Some(Value::Object(sampling)) = body.get_mut("sampling_params")
        {
            sampling.entry("n").or_insert_with(|| n.into());
        }
        // These win over the user's keys, as in the reference.
        if sampling.top_logprobs_num > 0 {
            body.insert("top_logprobs_num".into(), sampling.top_logprobs_num.into());
        }
        if !sampling.token_ids_logprob.is_empty() {
            body.insert("token_ids_logprob".into(), sampling.token_ids_logprob.as_slice().into());
        }
        if !row.images.is_empty() {
            body.insert("image_data".into(), wire::images(row));
        }
        wire::bytes(&body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Reader::default())
    }
}

/// What errors call an answer.
const WHAT: &str = "an answer of /generate";

#[derive(Debug, Default)]
struct Reader {
    /// An event without its text.
    rest: Vec<u8>,
    /// The counts of the prompts of a batch.
    prompts: Option<RefCell<Prompts>>,
}

/// The counts of prompt tokens of a batch, of which each event tells those of one prompt.
#[derive(Debug)]
struct Prompts {
    tokens: Tally,
    cached: Tally,
}

impl Prompts {
    fn new(prompts: u16) -> Self {
        let tally = || Tally { each: vec![None; prompts.into()], told: 0, sum: 0 };
        Self { tokens: tally(), cached: tally() }
    }
}

/// A count of each prompt.
#[derive(Debug)]
struct Tally {
    each: Vec<Option<u64>>,
    /// Prompts whose count was told, and the sum of these.
    told: usize,
    sum: u128,
}

impl Tally {
    /// Takes the count of the prompt at `place`, if it is told, and returns the sum once each prompt has one.
    fn tell(&mut self, place: u16, count: Option<u64>) -> Option<u64> {
        // Of one prompt the index may be anything; other places that do not exist fail the request elsewhere.
        let place = if self.each.len() == 1 { 0 } else { usize::from(place) };
        if let Some((count, one)) = count.zip(self.each.get_mut(place)) {
            self.told += usize::from(one.is_none());
            self.sum += u128::from(count);
            self.sum -= u128::from(one.replace(count).unwrap_or(0));
        }
        (self.told == self.each.len()).then(|| u64::try_from(self.sum).unwrap_or(u64::MAX))
    }
}

/// The text that an event begins with, as it stands between its quotes, and what comes after the comma behind it.
///
/// Events repeat all of the text, which in a long answer is nearly all of their bytes; finding its end is much cheaper
/// than reading it. `None` if the event is written in another way, which is then read as any JSON.
fn split_text(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let value = data.strip_prefix(b"{\"text\":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', &value[at..])?;
        if value[at] == b'"' {
            break;
        }
        // Whatever is escaped is part of the text.
        at += 2;
        if at > value.len() {
            return None;
        }
    }
    let rest = value[at + 1..].trim_ascii_start().strip_prefix(b",")?;
    Some((&value[..at], rest))
}

objects! {
    struct Chunk<'a> {
        index: Index,
        text: Text<'a>,
        output_ids: First<IgnoredAny>,
        meta_info: MetaInfo,
    } else complaint

    struct MetaInfo {
        prompt_tokens: Count,
        completion_tokens: Count,
        cached_tokens: Count,
        cached_tokens_details: Option<Box<CacheDetails>>,
        finish_reason: Finish,
    }
}

/// One completion, or a list of all, which is the answer in one piece to a request for several.
#[derive(Default)]
struct Answer<'a>(Several<Chunk<'a>>);

impl<'de> Lenient<'de> for Answer<'de> {
    fn list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        Several::list(list).map(Self)
    }

    fn object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        Several::object(object).map(Self)
    }
}

impl<'a> Chunk<'a> {
    /// Returns what it says; without an index it is at `position` of its list. `prompts` are those of a batch.
    fn delta(
        self,
        position: u16,
        prompts: Option<&RefCell<Prompts>>,
    ) -> Result<Delta<'a>, DecodeError> {
        // A server without a detokenizer sends ids instead of text.
        let ids_only = self.text.0.is_none() && self.output_ids.0.is_some();
        self.complaint.refuse(self.text.0.is_some() || ids_only)?;
        let meta = self.meta_info;
        let count = meta.completion_tokens.0;
        let text = self.text.or_empty();
        let step = step(!text.is_empty() || ids_only, count, prompts.is_some());
        let completion = self.index.0.unwrap_or(position);
        let told = meta.prompt_tokens.0;
        let (prompt_tokens, cached) = match prompts {
            // Completions share their prompt, which the first of them finds in the cache or not.
            None if completion == 0 => {
                (told, wire::cached(meta.cached_tokens.0, meta.cached_tokens_details))
            }
            None => (told, None),
            Some(prompts) => {
                let Prompts { tokens, cached } = &mut *prompts.borrow_mut();
                let total = cached.tell(completion, meta.cached_tokens.0);
                let cached = total.map(|total| CachedTokens { total, tiers: None });
                (tokens.tell(completion, told), cached)
            }
        };
        if prompts.is_some() && meta.finish_reason.is_nan() {
            let what = "it computed numbers that are none (NaN)";
            return Err(DecodeError::Server(what.to_owned()));
        }
        Ok(Delta {
            part: Part {
                completion,
                text,
                escaped: None,
                mode: TextMode::Replace,
                step,
                output_tokens: count,
                end: meta.finish_reason.end()?,
            },
            prompt_tokens,
            cached,
            ..Delta::default()
        })
    }
}

/// Returns how an event counts as output that has a text or ids or neither, beside a running count.
///
/// A batch goes by the counts alone, since a prompt whose tokens have no text would seem to have no answer.
fn step(has_output: bool, count: Option<u64>, is_batch: bool) -> Step {
    match count {
        // Nobody has counted what has output and a count of 0.
        Some(total @ 1..) if has_output || is_batch => Step::Total(total),
        _ if has_output => Step::One,
        _ => Step::None,
    }
}

/// Returns what an event says that is `rest` without its text; `None` if it has another text.
fn told<'a>(
    rest: &[u8],
    text: &'a [u8],
    prompts: Option<&RefCell<Prompts>>,
) -> Result<Option<Delta<'a>>, DecodeError> {
    let mut chunk: Chunk<'_> = wire::parse(rest, WHAT)?;
    if chunk.text.0.is_some() {
        return Ok(None);
    }
    // There is one, whatever it says.
    chunk.text = Text::default();
    let step = step(!text.is_empty(), chunk.meta_info.completion_tokens.0, prompts.is_some());
    let Delta { part, prompt_tokens, cached, output_tokens, .. } = chunk.delta(0, prompts)?;
    let Part { completion, mode, output_tokens: counted, end, .. } = part;
    let escaped = Some(text);
    let text = std::borrow::Cow::Borrowed("");
    let part = Part { completion, text, escaped, mode, step, output_tokens: counted, end };
    Ok(Some(Delta { part, others: Vec::new(), output_tokens, prompt_tokens, cached }))
}

/// Returns what any JSON of an answer says.
fn read<'a>(data: &'a [u8], prompts: Option<&RefCell<Prompts>>) -> Result<Delta<'a>, DecodeError> {
    wire::repairing(data, |data| {
        let Answer(chunks) = wire::parse(data, WHAT)?;
        let Some(first) = chunks.first else { return Ok(Delta::default()) };
        let mut delta = first.delta(0, prompts)?;
        for (chunk, position) in chunks.others.into_iter().zip(1..=u16::MAX) {
            let Delta { part, prompt_tokens, cached, .. } = chunk.delta(position, prompts)?;
            delta.others.push(part);
            if prompts.is_some() {
                // Those of all prompts come with the last.
                (delta.prompt_tokens, delta.cached) = (prompt_tokens, cached);
            }
        }
        Ok(delta)
    })
}

impl Decoder for Reader {
    fn event<'a>(&mut self, data: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        if let Some((text, rest)) = split_text(data) {
            self.rest.clear();
            self.rest.push(b'{');
            self.rest.extend_from_slice(rest);
            match told(&self.rest, text, self.prompts.as_ref()) {
                Ok(None) | Err(DecodeError::Malformed(_)) => {}
                Ok(Some(delta)) => return Ok(delta),
                Err(error) => return Err(error),
            }
        }
        read(data, self.prompts.as_ref())
    }

    fn body<'a>(&mut self, body: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        read(body, self.prompts.as_ref())
    }

    fn batch(&mut self, prompts: u16) {
        self.prompts = Some(RefCell::new(Prompts::new(prompts)));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::model::{CacheTiers, Row};
    use crate::protocol::backend::testing::{common, row};
    use crate::protocol::backend::{Common, End};

    #[test]
    fn bodies() {
        let common = common(true);
        let body = |prompt| {
            let row = Row { prompt, ..row() };
            String::from_utf8(Generate.encode(&Request { row: &row, common: &common })).unwrap()
        };
        expect![[r#"{"text":"hi","sampling_params":{"temperature":0.0,"max_new_tokens":8,"ignore_eos":true},"stream":true,"lora_path":null,"return_logprob":false,"return_routed_experts":false,"logprob_start_len":-1}"#]]
        .assert_eq(&body(Prompt::Text("hi".into())));
        expect![[r#"{"input_ids":[1,2],"sampling_params":{"temperature":0.0,"max_new_tokens":8,"ignore_eos":true},"stream":true,"lora_path":null,"return_logprob":false,"return_routed_experts":false,"logprob_start_len":-1}"#]]
        .assert_eq(&body(Prompt::Ids(vec![1, 2])));
    }

    #[test]
    fn an_adapter_is_a_path() {
        let row = Row { lora: Some("sql".into()), ..row() };
        let body = Generate.encode(&Request { row: &row, common: &common(true) });
        assert!(String::from_utf8(body).unwrap().contains(r#","lora_path":"sql","#));
    }

    #[test]
    fn the_text_is_split_off_unread() {
        let split = |data: &'static str| {
            split_text(data.as_bytes()).map(|(text, rest)| {
                (std::str::from_utf8(text).unwrap(), std::str::from_utf8(rest).unwrap())
            })
        };
        assert_eq!(split(r#"{"text":"a","x":1}"#), Some(("a", r#""x":1}"#)));
        assert_eq!(split(r#"{"text": "a\\\"b\\" , "x":1}"#), Some((r#"a\\\"b\\"#, r#" "x":1}"#)));
        assert_eq!(split(r#"{"text":"","x":1}"#), Some(("", r#""x":1}"#)));
        for other in [
            r#"{"text":"a"}"#,
            r#"{"text":null,"x":1}"#,
            r#"{"text":"a\\"#,
            r#"{"text":"a\\""#,
            r#"{"x":1}"#,
            "",
        ] {
            assert_eq!(split(other), None, "{other}");
        }
    }

    #[test]
    fn events() {
        let data = br#"{"text":"a b","output_ids":[],"meta_info":{"id":"x","finish_reason":null,"prompt_tokens":7,"completion_tokens":2}}"#;
        let delta = Reader::default().event(data).unwrap();
        assert_eq!(delta.part.escaped, Some(b"a b".as_slice()));
        assert_eq!(delta.part.mode, TextMode::Replace);
        assert_eq!((delta.part.step, delta.prompt_tokens), (Step::Total(2), Some(7)));
        assert_eq!(delta.part.end, End::Open);
        let data = br#"{"output_ids":[5,6],"meta_info":{"finish_reason":{"type":"length","length":2},"completion_tokens":2}}"#;
        let delta = Reader::default().event(data).unwrap();
        assert_eq!((delta.part.step, delta.part.end), (Step::Total(2), End::Finished));
    }

    #[test]
    fn cached_prompt_tokens() {
        let read = |meta: &str| {
            let data = format!(r#"{{"text":"a","meta_info":{{"completion_tokens":1{meta}}}}}"#);
            Reader::default().event(data.as_bytes()).unwrap().cached
        };
        assert_eq!(read(""), None);
        let plain = Some(CachedTokens { total: 3, tiers: None });
        assert_eq!(read(r#","cached_tokens":3,"cached_tokens_details":null"#), plain);
        let tiers = CacheTiers { device: 2, host: 1, storage: 0, storage_backend: None };
        assert_eq!(
            read(r#","cached_tokens":3,"cached_tokens_details":{"device":2,"host":1}"#),
            Some(CachedTokens { total: 3, tiers: Some(Box::new(tiers)) })
        );
    }

    #[test]
    fn an_abort_is_an_error() {
        let data = br#"{"text":"","meta_info":{"finish_reason":{"type":"abort","message":"out of memory"},"completion_tokens":0}}"#;
        assert_eq!(Reader::default().event(data), Err(DecodeError::Server("out of memory".into())));
    }

    #[test]
    fn several_completions() {
        let data =
            br#"{"text":"a","meta_info":{"completion_tokens":2,"cached_tokens":5},"index":3}"#;
        let delta = Reader::default().event(data).unwrap();
        assert_eq!((delta.part.completion, delta.part.output_tokens), (3, Some(2)));
        assert_eq!((delta.cached, delta.others.capacity()), (None, 0));
        let data = br#"[{"text":"a","meta_info":{"completion_tokens":2,"cached_tokens":5}},
            {"text":"b","meta_info":{"completion_tokens":3,"cached_tokens":6}}]"#;
        let delta = Reader::default().body(data).unwrap();
        assert_eq!((&*delta.part.text, delta.part.step), ("a", Step::Total(2)));
        assert_eq!(delta.cached.as_ref().map(|cached| cached.total), Some(5));
        let [other] = &delta.others[..] else { panic!("{delta:?}") };
        assert_eq!((other.completion, &*other.text, other.output_tokens), (1, "b", Some(3)));
        assert_eq!(Reader::default().body(b"[]"), Ok(Delta::default()));
        let aborted = br#"[{"text":"a"},{"text":"","meta_info":{"finish_reason":{"type":"abort","message":"no"}}}]"#;
        assert_eq!(Reader::default().body(aborted), Err(DecodeError::Server("no".into())));
        assert!(matches!(Reader::default().event(b"7"), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn several_completions_are_asked_for_among_the_sampling_parameters() {
        for (extra, n) in [
            (json!({}), json!(null)),
            (json!({"n": 1}), json!(null)),
            (json!({"n": 3}), json!(3)),
            (json!({"n": 3, "sampling_params": {"max_new_tokens": 2}}), json!(3)),
            (json!({"n": 3, "sampling_params": {"n": 2}}), json!(2)),
        ] {
            let common = Common { extra: extra.as_object().unwrap().clone(), ..common(true) };
            let body = Generate.encode(&Request { row: &row(), common: &common });
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["sampling_params"]["n"], n, "{extra}");
            assert_eq!(body.get("n"), extra.get("n"), "what the user sets is sent");
        }
    }
}
