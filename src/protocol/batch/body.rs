//! The request that holds a batch of prompts.

use std::sync::Arc;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Wire;
use crate::model::{Asked, Batch, PlannedRequest, Prompt, Row};
use crate::protocol::backend::{Common, Request, Sampling, Style, merge_keys};

/// What all requests of a benchmark ask for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The form of the endpoint.
    pub wire: Wire,
    /// Name of the model, where the endpoint takes one.
    pub model: String,
    /// Temperature; 0 is greedy.
    pub temperature: f64,
    /// Whether generation goes on after an end-of-sequence token.
    pub ignore_eos: bool,
    /// Whether log probabilities are returned.
    pub logprobs: bool,
    /// Steps of the server for each event.
    pub stream_interval: usize,
    /// Whether SGLang is to handle the prompts of a batch side by side.
    pub parallel: bool,
    /// Keys to add, or to replace.
    pub extra: Map<String, Value>,
}

/// The request for `prompts`, of which each is to get `output_len` tokens, and has an adapter or none has.
pub fn request(
    ask: &Ask,
    prompts: &[Vec<u32>],
    output_len: usize,
    adapters: &[Arc<str>],
) -> PlannedRequest {
    let n = u16::try_from(prompts.len()).unwrap_or(u16::MAX);
    let asked = Asked {
        completions: Some(n),
        batch: Some(Batch { prompts: n, ignores_stops: ask.ignore_eos }),
        ..bounds(ask, output_len)
    };
    planned(body(ask, prompts, output_len, adapters), prompts, output_len, asked)
}

fn planned(body: Vec<u8>, prompts: &[Vec<u32>], each: usize, asked: Asked) -> PlannedRequest {
    PlannedRequest {
        index: 0,
        due: Duration::ZERO,
        body: Bytes::from(body),
        prompt_len: prompts.iter().map(Vec::len).sum(),
        vision_len: 0,
        routing_key: None,
        // Memory is had for the answers to all prompts.
        output_len: prompts.len().saturating_mul(each),
        asked,
        conversation: None,
    }
}

/// Returns what bounds the answer to one prompt, the user's keys included.
fn bounds(ask: &Ask, output_len: usize) -> Asked {
    let common = Common {
        model: String::new(),
        stream: true,
        ignore_eos: ask.ignore_eos,
        extra: ask.extra.clone(),
        sampling: Sampling { return_logprob: ask.logprobs, ..Sampling::default() },
        style: Style::default(),
    };
    let row = Row::new(Prompt::Ids(Vec::new()), 0, output_len);
    Request { row: &row, common: &common }.asked()
}

/// The body for `prompts`, and an adapter for each of them or none.
fn body(ask: &Ask, prompts: &[Vec<u32>], output_len: usize, adapters: &[Arc<str>]) -> Vec<u8> {
    let mut body = match ask.wire {
        Wire::Generate => json!({
            "sampling_params": {
                "temperature": ask.temperature,
                "max_new_tokens": output_len,
                "ignore_eos": ask.ignore_eos,
                "stream_interval": ask.stream_interval,
            },
            "return_logprob": ask.logprobs,
            "stream": true,
            "input_ids": prompts,
        }),
        Wire::Completions => json!({
            "model": ask.model,
            "prompt": prompts,
            "max_tokens": output_len,
            "temperature": ask.temperature,
            "stream": true,
            "stream_options": {"include_usage": true},
            "ignore_eos": ask.ignore_eos,
        }),
    };
    if ask.wire == Wire::Completions && ask.logprobs {
        body["logprobs"] = 1.into();
    }
    if ask.parallel {
        body["parallel_batch"] = true.into();
    }
    match adapters {
        [] => {}
        [first, rest @ ..] if rest.iter().all(|name| name == first) => {
            body["lora_path"] = (**first).into();
        }
        names => body["lora_path"] = names.iter().map(|name| Value::from(&**name)).collect(),
    }
    if let Value::Object(body) = &mut body {
        merge_keys(body, &ask.extra);
    }
    body.to_string().into_bytes()
}

/// The request that has the server cache the first `share` of each prompt; `None` if that is less than a token of each.
pub fn prefixes(ask: &Ask, prompts: &[Vec<u32>], share: f64) -> Option<PlannedRequest> {
    // A share of a length is a length.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to the length"
    )]
    let cut = |ids: &Vec<u32>| ids[..((ids.len() as f64 * share) as usize).min(ids.len())].to_vec();
    let prompts: Vec<Vec<u32>> = prompts.iter().map(cut).filter(|ids| !ids.is_empty()).collect();
    if prompts.is_empty() {
        return None;
    }
    let mut body = match ask.wire {
        Wire::Generate => json!({
            "input_ids": prompts,
            "sampling_params": {"temperature": 0.0, "max_new_tokens": 1, "ignore_eos": true},
        }),
        Wire::Completions => json!({
            "model": ask.model, "prompt": prompts, "max_tokens": 1, "temperature": 0.0,
        }),
    };
    body["stream"] = false.into();
    let completions = Some(u16::try_from(prompts.len()).unwrap_or(u16::MAX));
    let asked = Asked { completions, tokens: Some(1), ..Asked::default() };
    Some(planned(body.to_string().into_bytes(), &prompts, 1, asked))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn ask(wire: Wire) -> Ask {
        Ask {
            wire,
            model: "m".to_owned(),
            temperature: 0.0,
            ignore_eos: true,
            logprobs: true,
            stream_interval: 1,
            parallel: wire == Wire::Generate,
            extra: Map::new(),
        }
    }

    fn text(body: Vec<u8>) -> String {
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn bodies() {
        let prompts = [vec![1, 2, 3, 4], vec![5, 6]];
        let names: [Arc<str>; 2] = ["a".into(), "b".into()];
        expect![[r#"{"sampling_params":{"temperature":0.0,"max_new_tokens":8,"ignore_eos":true,"stream_interval":1},"return_logprob":true,"stream":true,"input_ids":[[1,2,3,4],[5,6]],"parallel_batch":true,"lora_path":["a","b"]}"#]]
        .assert_eq(&text(body(&ask(Wire::Generate), &prompts, 8, &names)));
        expect![[r#"{"model":"m","prompt":[[1,2,3,4],[5,6]],"max_tokens":8,"temperature":0.0,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true,"logprobs":1}"#]]
        .assert_eq(&text(body(&ask(Wire::Completions), &prompts, 8, &[])));
        let one =
            text(body(&ask(Wire::Generate), &prompts, 8, &[names[0].clone(), names[0].clone()]));
        assert!(one.contains(r#""lora_path":"a""#), "{one}");
    }

    #[test]
    fn a_batch_asks_for_the_answers_of_all_prompts() {
        let prompts = [vec![1, 2, 3, 4], vec![5, 6]];
        let ask = Ask { logprobs: false, ..ask(Wire::Generate) };
        let asked = |ask: &Ask| request(ask, &prompts, 8, &[]);
        let PlannedRequest { prompt_len, output_len, asked: bounds, .. } = asked(&ask);
        assert_eq!((prompt_len, output_len), (6, 16));
        let batch = Some(Batch { prompts: 2, ignores_stops: true });
        let want = Asked { completions: Some(2), tokens: Some(8), is_text_alone: true, batch };
        assert_eq!(bounds, want);
        let extra = json!({"sampling_params": {"max_new_tokens": 20}, "return_logprob": true});
        let more = Ask { extra: extra.as_object().unwrap().clone(), ..ask };
        let want = Asked { tokens: Some(20), is_text_alone: false, ..want };
        assert_eq!(asked(&more).asked, want);
    }

    #[test]
    fn prefixes_to_be_cached() {
        let prompts = [vec![1, 2, 3, 4], vec![5]];
        let text = |request: PlannedRequest| text(request.body.to_vec());
        let body = prefixes(&ask(Wire::Generate), &prompts, 0.5).map(text);
        expect![[r#"{"input_ids":[[1,2]],"sampling_params":{"temperature":0.0,"max_new_tokens":1,"ignore_eos":true},"stream":false}"#]]
        .assert_eq(&body.unwrap());
        assert!(prefixes(&ask(Wire::Completions), &prompts, 0.1).is_none());
        let all = prefixes(&ask(Wire::Completions), &prompts, 1.0).map(text).unwrap();
        assert!(all.contains("[[1,2,3,4],[5]]"), "{all}");
    }
}
