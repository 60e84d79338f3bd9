//! What a request asks for, read from the body of each protocol.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::refusal::Refusal;

/// The most tokens one request may ask for; it bounds the memory of an answer in one piece.
const MOST_TOKENS: u64 = 1 << 20;

/// The most completions one request may ask for.
const MOST_COMPLETIONS: u64 = 128;

/// The most completions of all prompts of one request.
const MOST_ANSWERS: u64 = 8192;

/// The wire protocol of a generation route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `/generate` of SGLang.
    Generate,
    /// `/v1/completions` of OpenAI.
    Completions,
    /// `/v1/chat/completions` of OpenAI.
    Chat,
    /// `generate_stream` of TensorRT-LLM behind Triton.
    Triton,
}

/// Which events of a stream carry token counts, for the protocols where that is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsageEvents {
    /// None does.
    None,
    /// One more event at the end does.
    Final,
    /// All do, and one more at the end.
    Each,
}

/// A prompt, or as much of it as is needed to count it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    /// Texts to be counted one by one.
    Texts(Vec<String>),
    /// A number of token ids.
    Tokens(usize),
}

/// A request to generate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// The prompts of the batch, at least one; the completions of each are next to each other.
    pub(super) prompts: Vec<Prompt>,
    pub(super) max_tokens: u64,
    pub(super) ignore_eos: bool,
    pub(super) stream: bool,
    pub(super) usage: UsageEvents,
    /// Completions to be made of each prompt, at least one.
    pub(super) completions: u16,
}

/// A request to embed; each input has one embedding.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EmbeddingAsk {
    pub(super) prompt: Prompt,
    pub(super) n_inputs: usize,
}

impl Ask {
    /// Reads the body of a generation request.
    pub(super) fn parse(protocol: Protocol, body: &[u8]) -> Result<Self, Refusal> {
        let ask = match protocol {
            Protocol::Generate => read::<GenerateBody>(body)?.ask(),
            Protocol::Completions | Protocol::Chat => {
                read::<OpenAiBody>(body)?.ask(protocol == Protocol::Chat)
            }
            Protocol::Triton => read::<TritonBody>(body)?.ask(),
        }?;
        let answers = (ask.prompts.len() as u64).saturating_mul(ask.completions.into());
        if !(1..=MOST_ANSWERS).contains(&answers) {
            return Err(Refusal::invalid(format!(
                "the batch must have from 1 to {MOST_ANSWERS} answers"
            )));
        }
        match ask.max_tokens.saturating_mul(answers) {
            0 => Err(Refusal::invalid("the maximum number of tokens must be at least 1")),
            1..=MOST_TOKENS => Ok(ask),
            _ => Err(Refusal::invalid(format!(
                "the maximum number of tokens must be at most {MOST_TOKENS}, over all completions"
            ))),
        }
    }
}

impl EmbeddingAsk {
    /// Reads the body of an embedding request.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let input = read::<EmbeddingBody>(body)?.input;
        let input = input.ok_or_else(|| Refusal::invalid("`input` is missing"))?;
        let (prompt, n_inputs) = match input {
            Field::Text(text) => (Prompt::Texts(vec![text]), 1),
            Field::Ids(ids) => (Prompt::Tokens(ids.len()), 1),
            Field::Texts(texts) => {
                let n_texts = texts.len();
                (Prompt::Texts(texts), n_texts)
            }
            Field::IdLists(lists) => {
                (Prompt::Tokens(lists.iter().map(Vec::len).sum()), lists.len())
            }
        };
        Ok(Self { prompt, n_inputs })
    }
}

/// A prompt field, in the forms that servers accept.
///
/// The order matters: an empty list counts as token ids.
#[derive(Deserialize)]
#[serde(untagged)]
enum Field {
    Text(String),
    Ids(Vec<u64>),
    Texts(Vec<String>),
    IdLists(Vec<Vec<u64>>),
}

impl Field {
    /// The prompts in the field: one, or one for each element of a list.
    fn prompts(self) -> Vec<Prompt> {
        match self {
            Self::Text(text) => vec![Prompt::Texts(vec![text])],
            Self::Ids(ids) => vec![Prompt::Tokens(ids.len())],
            Self::Texts(texts) => texts.into_iter().map(|text| Prompt::Texts(vec![text])).collect(),
            Self::IdLists(lists) => lists.iter().map(|ids| Prompt::Tokens(ids.len())).collect(),
        }
    }
}

#[derive(Deserialize)]
struct GenerateBody {
    text: Option<Field>,
    input_ids: Option<Field>,
    sampling_params: Option<SamplingParams>,
    stream: Option<bool>,
}

#[derive(Default, Deserialize)]
struct SamplingParams {
    max_new_tokens: Option<u64>,
    ignore_eos: Option<bool>,
    n: Option<u64>,
}

impl GenerateBody {
    fn ask(self) -> Result<Ask, Refusal> {
        let prompts = match (self.text, self.input_ids) {
            (Some(text), _) => text.prompts(),
            (None, Some(ids)) => ids.prompts(),
            (None, None) => {
                return Err(Refusal::invalid("`text` or `input_ids` is missing"));
            }
        };
        let sampling = self.sampling_params.unwrap_or_default();
        Ok(Ask {
            prompts,
            completions: completions(sampling.n)?,
            max_tokens: sampling.max_new_tokens.unwrap_or(128),
            ignore_eos: sampling.ignore_eos.unwrap_or(false),
            stream: self.stream.unwrap_or(false),
            usage: UsageEvents::None,
        })
    }
}

#[derive(Deserialize)]
struct OpenAiBody {
    prompt: Option<Field>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u64>,
    best_of: Option<u64>,
    ignore_eos: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a message; parts without text, such as images, count no tokens.
#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

impl OpenAiBody {
    fn ask(self, chat: bool) -> Result<Ask, Refusal> {
        let completions = completions(self.n)?;
        if self.best_of.is_some_and(|best_of| best_of < completions.into()) {
            return Err(Refusal::invalid("`best_of` must be at least `n`"));
        }
        let prompts = if chat {
            let messages = self.messages.filter(|messages| !messages.is_empty());
            vec![texts(messages.ok_or_else(|| Refusal::invalid("`messages` is missing"))?)]
        } else {
            self.prompt.ok_or_else(|| Refusal::invalid("`prompt` is missing"))?.prompts()
        };
        let (limit, default) = if chat { (self.max_completion_tokens, 128) } else { (None, 16) };
        let usage = self.stream_options.map_or(UsageEvents::None, |options| {
            if options.continuous_usage_stats == Some(true) {
                UsageEvents::Each
            } else if options.include_usage == Some(true) {
                UsageEvents::Final
            } else {
                UsageEvents::None
            }
        });
        Ok(Ask {
            prompts,
            max_tokens: limit.or(self.max_tokens).unwrap_or(default),
            ignore_eos: self.ignore_eos.unwrap_or(false),
            stream: self.stream.unwrap_or(false),
            usage,
            completions,
        })
    }
}

/// The texts of a conversation.
fn texts(messages: Vec<Message>) -> Prompt {
    let mut texts = Vec::new();
    for content in messages.into_iter().filter_map(|message| message.content) {
        match content {
            Content::Text(text) => texts.push(text),
            Content::Parts(parts) => texts.extend(parts.into_iter().filter_map(|part| part.text)),
        }
    }
    Prompt::Texts(texts)
}

#[derive(Deserialize)]
struct TritonBody {
    text_input: Option<String>,
    max_tokens: Option<u64>,
    ignore_eos: Option<bool>,
}

impl TritonBody {
    fn ask(self) -> Result<Ask, Refusal> {
        let text = self.text_input.ok_or_else(|| Refusal::invalid("`text_input` is missing"))?;
        Ok(Ask {
            prompts: vec![Prompt::Texts(vec![text])],
            max_tokens: self.max_tokens.unwrap_or(16),
            ignore_eos: self.ignore_eos.unwrap_or(false),
            stream: true,
            usage: UsageEvents::None,
            completions: 1,
        })
    }
}

#[derive(Deserialize)]
struct EmbeddingBody {
    input: Option<Field>,
}

/// The number of completions that `n` asks for.
fn completions(n: Option<u64>) -> Result<u16, Refusal> {
    u16::try_from(n.unwrap_or(1))
        .ok()
        .filter(|&n| (1..=MOST_COMPLETIONS).contains(&n.into()))
        .ok_or_else(|| Refusal::invalid(format!("`n` must be from 1 to {MOST_COMPLETIONS}")))
}

/// Reads JSON, telling text that is not JSON from JSON of the wrong shape.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| match serde_json::from_slice::<IgnoredAny>(body) {
        Err(_) => Refusal::invalid(format!("the body is not JSON: {error}")),
        Ok(_) => Refusal::invalid(format!("the body has an unexpected form: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(prompt: Prompt, max_tokens: u64) -> Ask {
        Ask {
            prompts: vec![prompt],
            max_tokens,
            ignore_eos: false,
            stream: false,
            usage: UsageEvents::None,
            completions: 1,
        }
    }

    fn texts(texts: &[&str]) -> Prompt {
        Prompt::Texts(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn each_protocol_is_read() {
        let cases = [
            (Protocol::Generate, r#"{"text":"a"}"#, ask(texts(&["a"]), 128)),
            (
                Protocol::Generate,
                r#"{"input_ids":[1,2,3],"sampling_params":{"max_new_tokens":7,"ignore_eos":true},
                    "stream":true,"lora_path":"x"}"#,
                Ask { ignore_eos: true, stream: true, ..ask(Prompt::Tokens(3), 7) },
            ),
            (Protocol::Completions, r#"{"prompt":"a"}"#, ask(texts(&["a"]), 16)),
            (Protocol::Completions, r#"{"prompt":["a"],"n":1}"#, ask(texts(&["a"]), 16)),
            (
                Protocol::Completions,
                r#"{"prompt":"a","n":3,"best_of":3}"#,
                Ask { completions: 3, ..ask(texts(&["a"]), 16) },
            ),
            (
                Protocol::Generate,
                r#"{"text":"a","n":9,"sampling_params":{"n":2}}"#,
                Ask { completions: 2, ..ask(texts(&["a"]), 128) },
            ),
            (Protocol::Completions, r#"{"prompt":[[5,6]]}"#, ask(Prompt::Tokens(2), 16)),
            (
                Protocol::Completions,
                r#"{"prompt":[[5,6],[7]],"n":2}"#,
                Ask {
                    prompts: vec![Prompt::Tokens(2), Prompt::Tokens(1)],
                    completions: 2,
                    ..ask(Prompt::Tokens(0), 16)
                },
            ),
            (
                Protocol::Generate,
                r#"{"text":["a","b"]}"#,
                Ask { prompts: vec![texts(&["a"]), texts(&["b"])], ..ask(Prompt::Tokens(0), 128) },
            ),
            (
                Protocol::Completions,
                r#"{"prompt":[5],"max_tokens":3,"ignore_eos":true,"stream":true,
                    "stream_options":{"include_usage":true}}"#,
                Ask {
                    ignore_eos: true,
                    stream: true,
                    usage: UsageEvents::Final,
                    ..ask(Prompt::Tokens(1), 3)
                },
            ),
            (
                Protocol::Chat,
                r#"{"messages":[{"role":"system","content":"a"},{"role":"user","content":
                    [{"type":"text","text":"b"},{"type":"image_url","image_url":{"url":"u"}}]},
                    {"role":"assistant","content":null}],
                    "max_tokens":5,"max_completion_tokens":6,
                    "stream_options":{"continuous_usage_stats":true}}"#,
                Ask { usage: UsageEvents::Each, ..ask(texts(&["a", "b"]), 6) },
            ),
            (
                Protocol::Triton,
                r#"{"text_input":"a","max_tokens":9}"#,
                Ask { stream: true, ..ask(texts(&["a"]), 9) },
            ),
        ];
        for (protocol, body, expected) in cases {
            assert_eq!(Ask::parse(protocol, body.as_bytes()).ok(), Some(expected), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        let cases = [
            (Protocol::Generate, "{", "the body is not JSON"),
            (Protocol::Generate, "[1]", "the body has an unexpected form"),
            (Protocol::Generate, "{}", "`text` or `input_ids` is missing"),
            (Protocol::Completions, r#"{"prompt":["a"],"n":128,"max_tokens":9999}"#, "the maximum"),
            (Protocol::Completions, "{}", "`prompt` is missing"),
            (Protocol::Completions, r#"{"prompt":"a","n":0}"#, "`n` must be from 1 to 128"),
            (Protocol::Chat, r#"{"messages":[{}],"n":129}"#, "`n` must be from 1 to 128"),
            (Protocol::Completions, r#"{"prompt":"a","n":2,"best_of":1}"#, "`best_of` must be"),
            (Protocol::Completions, r#"{"prompt":"a","n":9,"max_tokens":999999}"#, "the maximum"),
            (Protocol::Completions, r#"{"prompt":"a","max_tokens":0}"#, "the maximum number"),
            (Protocol::Completions, r#"{"prompt":"a","max_tokens":9999999}"#, "the maximum number"),
            (Protocol::Completions, r#"{"prompt":"a","max_tokens":-1}"#, "the body has an"),
            (Protocol::Chat, r#"{"messages":[]}"#, "`messages` is missing"),
            (Protocol::Triton, r#"{"text":"a"}"#, "`text_input` is missing"),
        ];
        for (protocol, body, start) in cases {
            let message = Ask::parse(protocol, body.as_bytes()).unwrap_err().to_string();
            assert!(message.starts_with(start), "{body}: {message}");
        }
    }

    #[test]
    fn embeddings_count_their_inputs() {
        let cases = [
            (r#"{"input":"a"}"#, texts(&["a"]), 1),
            (r#"{"input":["a","b"]}"#, texts(&["a", "b"]), 2),
            (r#"{"input":[1,2,3]}"#, Prompt::Tokens(3), 1),
            (r#"{"input":[[1,2],[3]]}"#, Prompt::Tokens(3), 2),
        ];
        for (body, prompt, n_inputs) in cases {
            let expected = EmbeddingAsk { prompt, n_inputs };
            assert_eq!(EmbeddingAsk::parse(body.as_bytes()).ok(), Some(expected), "{body}");
        }
        assert!(EmbeddingAsk::parse(b"{}").is_err());
    }
}
