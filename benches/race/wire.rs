//! The routes that are raced on: what is asked for, and what the server sends.

use std::fmt::Write as _;

/// The pieces of text that events bring, in turns; all of one length.
const PIECES: [&str; 8] = [" some", " word", " then", " more", " text", " that", " goes", " past"];

/// The length of each, in bytes.
const PIECE: usize = PIECES[0].len();

/// The k-th piece of an answer, counted from 1.
fn piece(k: usize) -> &'static str {
    PIECES[(k - 1) % PIECES.len()]
}

/// Head of a streamed answer.
pub(crate) const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

/// What ends a streamed answer.
pub(crate) const END: &[u8] = b"\r\n0\r\n\r\n";

/// An inference route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Completions,
    Chat,
    Generate,
}

impl Route {
    pub(crate) const ALL: [Self; 3] = [Self::Completions, Self::Chat, Self::Generate];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Completions => "/v1/completions",
            Self::Chat => "/v1/chat/completions",
            Self::Generate => "/generate",
        }
    }

    /// The word for it in clients that follow SGLang's.
    pub(crate) fn backend(self) -> &'static str {
        match self {
            Self::Completions => "sglang-oai",
            Self::Chat => "sglang-oai-chat",
            Self::Generate => "sglang",
        }
    }

    /// The word for it in clients that follow vLLM's; they have none for `/generate`.
    pub(crate) fn vllm_backend(self) -> Option<&'static str> {
        match self {
            Self::Completions => Some("openai"),
            Self::Chat => Some("openai-chat"),
            Self::Generate => None,
        }
    }

    /// A request for `out` tokens, from its first line to its last byte.
    pub(crate) fn request(self, out: usize) -> Vec<u8> {
        let prompt =
            "a prompt of sixteen words or so that stands for the random one of other clients";
        let body = match self {
            Self::Completions => format!(
                r#"{{"model":"mock","prompt":"{prompt}","best_of":1,"max_tokens":{out},"stream":true,"temperature":0.0,"ignore_eos":true,"stream_options":{{"include_usage":true}}}}"#
            ),
            Self::Chat => format!(
                r#"{{"model":"mock","messages":[{{"role":"user","content":"{prompt}"}}],"max_completion_tokens":{out},"stream":true,"temperature":0.0,"ignore_eos":true,"stream_options":{{"include_usage":true}}}}"#
            ),
            Self::Generate => format!(
                r#"{{"text":"{prompt}","sampling_params":{{"temperature":0.0,"max_new_tokens":{out},"ignore_eos":true}},"stream":true}}"#
            ),
        };
        let (path, length) = (self.path(), body.len());
        format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// Writes the answers of one route; keeps what they have in common.
#[derive(Debug)]
pub(crate) struct Writer {
    route: Route,
    /// The text of the longest answer so far, of which `/generate` repeats the beginning in each event.
    text: String,
    event: String,
}

impl Writer {
    pub(crate) fn new(route: Route) -> Self {
        Self { route, text: String::new(), event: String::new() }
    }

    /// Adds what comes before the first token.
    pub(crate) fn begin(&mut self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(HEAD.as_bytes());
        if self.route == Route::Chat {
            self.event.clear();
            self.event.push_str(r#"{"id":"chatcmpl-5f0c2d9e7a1b4c38","object":"chat.completion.chunk","created":1700000000,"model":"mock","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}"#);
            chunk(&self.event, bytes);
        }
    }

    /// Adds the `k`-th token of `total`, counted from 1, and the end of the answer after the last.
    pub(crate) fn token(&mut self, k: usize, total: usize, usage: bool, bytes: &mut Vec<u8>) {
        let Self { route, text, event } = self;
        let last = k >= total;
        let reason = if last { r#""length""# } else { "null" };
        event.clear();
        // Writing to a string does not fail.
        let _ = match route {
            Route::Completions => write!(
                event,
                r#"{{"id":"cmpl-5f0c2d9e7a1b4c38","object":"text_completion","created":1700000000,"model":"mock","choices":[{{"index":0,"text":"{}","logprobs":null,"finish_reason":{reason}}}],"usage":null}}"#,
                piece(k)
            ),
            Route::Chat => write!(
                event,
                r#"{{"id":"chatcmpl-5f0c2d9e7a1b4c38","object":"chat.completion.chunk","created":1700000000,"model":"mock","choices":[{{"index":0,"delta":{{"content":"{}"}},"logprobs":null,"finish_reason":{reason}}}],"usage":null}}"#,
                piece(k)
            ),
            Route::Generate => {
                let reason = if last { r#"{"type":"length"}"# } else { "null" };
                let end = k * PIECE;
                while text.len() < end {
                    text.push_str(piece(text.len() / PIECE + 1));
                }
                let text = &text[..end];
                write!(
                    event,
                    r#"{{"text":"{text}","output_ids":[17],"meta_info":{{"id":"5f0c2d9e7a1b4c38","finish_reason":{reason},"prompt_tokens":16,"completion_tokens":{k},"cached_tokens":0}}}}"#
                )
            }
        };
        chunk(event, bytes);
        if !last {
            return;
        }
        if usage && *route != Route::Generate {
            event.clear();
            let _ = write!(
                event,
                r#"{{"id":"5f0c2d9e7a1b4c38","created":1700000000,"model":"mock","choices":[],"usage":{{"prompt_tokens":16,"completion_tokens":{k},"total_tokens":{}}}}}"#,
                16 + k
            );
            chunk(event, bytes);
        }
        chunk("[DONE]", bytes);
        bytes.extend_from_slice(&END[2..]);
    }
}

/// Adds an event with this data, as one chunk of the body.
fn chunk(data: &str, bytes: &mut Vec<u8>) {
    let around = "data: ".len() + "\n\n".len();
    bytes.extend_from_slice(format!("{:x}\r\ndata: ", data.len() + around).as_bytes());
    bytes.extend_from_slice(data.as_bytes());
    bytes.extend_from_slice(b"\n\n\r\n");
}
