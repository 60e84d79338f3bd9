//! What clients of the same protocol do differently in their bodies: data that a dialect hands to a protocol.

/// Optional keys and shapes of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether bodies ask for greedy answers, and completions for the best of one, where the user does not say otherwise.
    pub greedy: bool,
    /// Whether completions name `logprobs` also where none are asked for.
    pub names_logprobs: bool,
    /// Whether the content of a chat message is a list of parts, with the text before the images.
    pub parts: bool,
    /// Whether an adapter is named as `lora_path` too.
    pub lora_path: bool,
}

impl Style {
    /// The bodies of SGLang's client.
    pub const SGLANG: Self =
        Self { greedy: true, names_logprobs: false, parts: false, lora_path: true };

    /// The bodies of vLLM's client.
    pub const VLLM: Self =
        Self { greedy: false, names_logprobs: true, parts: true, lora_path: false };
}

impl Default for Style {
    fn default() -> Self {
        Self::SGLANG
    }
}
