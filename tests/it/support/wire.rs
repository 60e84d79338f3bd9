//! What well-behaved engines answer.

use serde_json::{Value, json};

use super::server::{Answer, Request};

/// One event of a stream.
pub(crate) fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// The mark that ends streams of OpenAI's protocols and SGLang's.
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// A protocol as engines speak it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Completions,
    Chat,
    Native,
    Trt,
    Truss,
    Embeddings,
}

impl Wire {
    /// The protocol of a path.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/v1/completions" => Self::Completions,
            "/v1/chat/completions" => Self::Chat,
            "/generate" => Self::Native,
            "/v2/models/ensemble/generate_stream" => Self::Trt,
            "/v1/models/model:predict" => Self::Truss,
            "/v1/embeddings" | "/embeddings" | "/pooling" => Self::Embeddings,
            other => panic!("no engine has {other}"),
        }
    }

    /// Event number `n` with one more token, `words[n]`, and no end in sight.
    pub(crate) fn token(self, words: &[&str], n: usize) -> Value {
        let (word, count) = (words[n], n + 1);
        match self {
            Self::Completions | Self::Truss => {
                json!({"id": "c", "object": "text_completion", "choices":
                    [{"index": 0, "text": word, "logprobs": null, "finish_reason": null}]})
            }
            Self::Chat => json!({"id": "c", "object": "chat.completion.chunk", "choices":
                [{"index": 0, "delta": {"content": word}, "finish_reason": null}]}),
            Self::Native => json!({"text": words[..count].concat(), "output_ids": [7], "meta_info":
                {"id": "g", "finish_reason": null, "prompt_tokens": 8, "completion_tokens": count}}),
            Self::Trt => json!({"model_name": "ensemble", "text_output": word}),
            Self::Embeddings => panic!("embeddings do not stream"),
        }
    }

    /// What closes a stream of `words`: the finish reason, then the count of tokens, where the protocol has them.
    pub(crate) fn closing(self, words: &[&str]) -> Vec<Value> {
        let n = words.len();
        let usage = json!({"prompt_tokens": 8, "total_tokens": 8 + n, "completion_tokens": n});
        match self {
            Self::Completions | Self::Truss => vec![
                json!({"id": "c", "choices": [{"index": 0, "text": "", "finish_reason": "length"}]}),
                json!({"id": "c", "choices": [], "usage": usage}),
            ],
            Self::Chat => vec![
                json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}),
                json!({"id": "c", "choices": [], "usage": usage}),
            ],
            Self::Native => vec![json!({"text": words.concat(), "output_ids": [], "meta_info":
                {"id": "g", "finish_reason": {"type": "length", "length": n}, "prompt_tokens": 8, "completion_tokens": n}})],
            Self::Trt | Self::Embeddings => vec![],
        }
    }

    /// A stream of `words`, event by event, up to its end.
    pub(crate) fn events(self, words: &[&str]) -> Vec<String> {
        let tokens = (0..words.len()).map(|n| self.token(words, n));
        let mut events: Vec<String> =
            tokens.chain(self.closing(words)).map(|data| event(&data)).collect();
        if self != Self::Trt {
            events.push(DONE.to_owned());
        }
        events
    }

    /// An answer in one piece that holds `text`.
    pub(crate) fn whole(self, text: &str, usage: Option<u64>) -> Value {
        let counts = usage
            .map(|n| json!({"prompt_tokens": 8, "total_tokens": 8 + n, "completion_tokens": n}));
        match self {
            Self::Completions | Self::Truss => json!({"object": "text_completion", "choices":
                [{"index": 0, "text": text, "finish_reason": "length"}], "usage": counts}),
            Self::Chat => json!({"object": "chat.completion", "choices": [{"index": 0, "message":
                {"role": "assistant", "content": text}, "finish_reason": "length"}], "usage": counts}),
            Self::Native => {
                let mut meta = json!({"id": "g", "finish_reason": {"type": "length"}});
                if let Some(n) = usage {
                    meta["prompt_tokens"] = 8.into();
                    meta["completion_tokens"] = n.into();
                }
                json!({"text": text, "meta_info": meta})
            }
            Self::Trt => json!({"text_output": text}),
            Self::Embeddings => json!({"object": "list", "data":
                [{"index": 0, "embedding": [0.5, -0.5]}], "usage": {"prompt_tokens": 8, "total_tokens": 8}}),
        }
    }
}

/// Four words that a good engine generates.
pub(crate) const WORDS: &[&str] = &["one", " two", " three", " four"];

/// A good answer of any protocol: [`WORDS`], in a stream if the request asks for one.
pub(crate) fn good(request: &Request) -> Answer {
    match request.path.as_str() {
        "/v1/rerank" => {
            let results = json!([{"index": 0, "relevance_score": 0.5}]);
            return Answer::json(&json!({"results": results, "usage": {"total_tokens": 8}}));
        }
        "/v1/responses" => return response(),
        _ => {}
    }
    let wire = Wire::of(&request.path);
    if request.json()["stream"] == true {
        Answer::stream(wire.events(WORDS))
    } else {
        Answer::json(&wire.whole(&WORDS.concat(), Some(WORDS.len() as u64)))
    }
}

/// A good answer of the Responses API: [`WORDS`] in a stream.
fn response() -> Answer {
    let event = |kind: &str, key: &str, value: Value| {
        format!("event: {kind}\ndata: {}\n\n", json!({"type": kind, key: value}))
    };
    let n = WORDS.len();
    let usage = json!({"input_tokens": 8, "output_tokens": n, "total_tokens": 8 + n});
    let words =
        WORDS.iter().map(|word| event("response.output_text.delta", "delta", (*word).into()));
    let begun = event("response.created", "response", json!({"status": "in_progress"}));
    let ended = json!({"status": "completed", "usage": usage});
    let ended = event("response.completed", "response", ended);
    Answer::stream(std::iter::once(begun).chain(words).chain([ended]))
}
