//! How long the prompts of conversations were.
//!
//! The later rounds of a conversation are made from the answers, so their lengths are known only after the run.

use rayon::prelude::*;
use serde_json::Value;

use crate::model::{PlannedRequest, RequestRecord};
use crate::tokenizer::{ChatTemplate, Tokenizer};

/// Sets the prompt length of each round: what the server counted, or else the tokens of all that was said
/// until then, by the local tokenizer and without a chat template.
///
/// `records` are in the order of `plan`, the rounds of a request next to each other.
pub fn set_prompt_lengths(
    plan: &[PlannedRequest],
    records: &mut [RequestRecord],
    tokenizer: &Tokenizer,
) {
    records.par_chunk_by_mut(|a, b| a.index == b.index).for_each(|rounds| {
        let request = rounds.first().and_then(|first| plan.get(first.index));
        let Some(conversation) = request.and_then(|request| request.conversation.as_ref()) else {
            return;
        };
        let mut said = 0;
        for record in rounds {
            let new = conversation.rounds.get(record.round).map_or(&[][..], Vec::as_slice);
            said += new.iter().map(|message| text_len(message, tokenizer)).sum::<usize>();
            let told = record.server_prompt_tokens.and_then(|n| usize::try_from(n).ok());
            record.prompt_len = told.unwrap_or(said);
            if record.completed() {
                said += tokenizer.count(&record.text);
            }
        }
    });
}

/// Tokens of a message's content, which is a string or a list of parts with texts.
pub fn text_len(message: &Value, tokenizer: &Tokenizer) -> usize {
    match &message["content"] {
        Value::String(text) => tokenizer.count(text),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .map(|text| tokenizer.count(text))
            .sum(),
        _ => 0,
    }
}

/// Messages as text for a server that takes no messages: by the model's template, or, without one or where it
/// refuses them, a line for each with its role before it.
pub fn as_text(messages: &[Value], template: Option<&ChatTemplate>) -> String {
    if let Some(Ok(text)) = template.map(|template| template.render(messages, None, true)) {
        return text;
    }
    let line = |message: &Value| {
        let role = message["role"].as_str().unwrap_or("user");
        let content = match &message["content"] {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => String::new(),
        };
        format!("{role}: {content}")
    };
    messages.iter().map(line).collect::<Vec<_>>().join("\n")
}
