//! Flags of what a request asks for.

#![allow(clippy::doc_markdown, reason = "these are texts for terminals")]

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::values::object;

const HEADING: &str = "Requests";

/// Flags of what a request asks for.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Body {
    /// Temperature; 0 is greedy [default: that of the server]
    #[arg(long, value_name = "T", help_heading = HEADING)]
    pub temperature: Option<f64>,
    /// Draw from the smallest set of tokens with this probability
    #[arg(long, value_name = "P", help_heading = HEADING)]
    pub top_p: Option<f64>,
    /// Draw from this many of the likeliest tokens
    #[arg(long, value_name = "K", allow_negative_numbers = true, help_heading = HEADING)]
    pub top_k: Option<i64>,
    /// Draw from tokens with at least this share of the likeliest one's probability
    #[arg(long, value_name = "P", help_heading = HEADING)]
    pub min_p: Option<f64>,
    /// Penalty on tokens by how often the answer has them
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = HEADING)]
    pub frequency_penalty: Option<f64>,
    /// Penalty on tokens that the answer has
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = HEADING)]
    pub presence_penalty: Option<f64>,
    /// Factor on tokens that prompt or answer have
    #[arg(long, value_name = "X", help_heading = HEADING)]
    pub repetition_penalty: Option<f64>,
    /// Log probabilities of this many tokens (completions)
    #[arg(long, value_name = "N", help_heading = HEADING)]
    pub logprobs: Option<u32>,
    /// Cannot be asked for: vLLM's client reads it and sends nothing
    #[arg(long, hide = true)]
    pub use_beam_search: bool,
    /// Keep generating after an end-of-sequence token, as random prompts and traces do anyway
    #[arg(long, help_heading = HEADING)]
    pub ignore_eos: bool,
    /// Keys to add to each body, or to replace in it; --extra-body.KEY VALUE sets one
    #[arg(long, value_name = "JSON", value_parser = object, help_heading = HEADING)]
    pub extra_body: Option<Value>,
    /// Send the prompts of files as they are, without the tokenizer's chat template
    #[arg(long, help_heading = HEADING)]
    pub skip_chat_template: bool,
    /// Cannot be set: --extra-body.chat_template_kwargs.KEY VALUE has the server use it
    #[arg(long, hide = true, value_name = "JSON")]
    pub chat_template_kwargs: Option<String>,
    /// Make chat messages of text and media (random-mm, custom_audio)
    #[arg(long, help_heading = HEADING)]
    pub enable_multimodal_chat: bool,
    /// Send prompts as token ids
    #[arg(long, help_heading = HEADING)]
    pub prompt_token_ids: bool,
    /// LoRA adapters, one of which each request asks for
    #[arg(long, value_name = "NAME", num_args = 1.., help_heading = HEADING)]
    pub lora_modules: Vec<String>,
    /// How adapters are given to requests
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Assignment::Random, help_heading = HEADING)]
    pub lora_assignment: Assignment,
}

/// How adapters are given to requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Assignment {
    /// At random.
    Random,
    /// In turn.
    RoundRobin,
}

impl Body {
    /// The sampling parameters that are given, by their keys.
    pub fn sampling(&self) -> Map<String, Value> {
        let given = [
            ("temperature", self.temperature.map(Value::from)),
            ("top_p", self.top_p.map(Value::from)),
            ("top_k", self.top_k.map(Value::from)),
            ("min_p", self.min_p.map(Value::from)),
            ("frequency_penalty", self.frequency_penalty.map(Value::from)),
            ("presence_penalty", self.presence_penalty.map(Value::from)),
            ("repetition_penalty", self.repetition_penalty.map(Value::from)),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    /// The keys of each body: the user's, over sampling parameters.
    pub fn keys(&self) -> Map<String, Value> {
        let mut body = self.sampling();
        if let Some(logprobs) = self.logprobs {
            body.insert("logprobs".to_owned(), logprobs.into());
        }
        if let Some(Value::Object(extra)) = &self.extra_body {
            body.extend(extra.clone());
        }
        body
    }
}
