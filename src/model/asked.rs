//! What a request asks for.

/// What a request asks for, as far as it bounds its answer; `None` is not known, or no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Completions of the prompt.
    pub completions: Option<u16>,
    /// Most output tokens of each completion.
    pub tokens: Option<u64>,
    /// Whether the answer is to hold text and no more: without log probabilities, hidden states and the like, of which
    /// nobody knows how long they are.
    pub is_text_alone: bool,
    /// The prompts of the request, if it is a batch; `None` for one prompt.
    pub batch: Option<Batch>,
}

/// Several prompts in one request, each of which is to get a completion of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Number of prompts.
    pub prompts: u16,
    /// Whether each completion is to be as long as was asked for, whatever it says.
    pub ignores_stops: bool,
}
