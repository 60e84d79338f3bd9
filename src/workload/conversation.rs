//! How long the prompts of conversations were.
//!
//! The later rounds of a conversation are made from the answers, so their lengths are known only after the run.

use serde_json::Value;

use crate::model::{PlannedRequest, RequestRecord};
use crate::workload::tokenizer::{ChatTemplate, Tokenizer};

/// Tokens of all that was said so far in a conversation, by the local tokenizer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said(usize);

impl Said {
    /// Goes on by the round of `record`, which added the texts `new`, and returns its prompt length: what the server
    /// counted, or else the tokens of all that was said until then, without a chat template.
    pub fn round(&mut self, record: &RequestRecord, new: &[&str], tokenizer: &Tokenizer) -> usize {
        self.0 += new.iter().map(|text| tokenizer.count(text)).sum::<usize>();
        let told = record.server_prompt_tokens.and_then(|n| usize::try_from(n).ok());
        let prompt = told.unwrap_or(self.0);
        if record.completed() {
            self.0 += tokenizer.count(&record.text);
        }
        prompt
    }
}

/// The texts that the round of `record` adds to its conversation; `None` if it is part of none.
pub fn asked<'a>(plan: &'a [PlannedRequest], record: &RequestRecord) -> Option<Vec<&'a str>> {
    let conversation = plan.get(record.index)?.conversation.as_ref()?;
    let new = conversation.rounds.get(record.round).map_or(&[][..], Vec::as_slice);
    Some(new.iter().flat_map(texts).collect())
}

/// The texts of a message's content, which is a string or a list of parts with texts.
fn texts(message: &Value) -> Vec<&str> {
    match &message["content"] {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => Vec::new(),
    }
}

/// Tokens of a message's content, which is a string or a list of parts with texts.
pub fn text_len(message: &Value, tokenizer: &Tokenizer) -> usize {
    texts(message).into_iter().map(|text| tokenizer.count(text)).sum()
}

/// Messages as text for a server that takes no messages: by the model's template, or, without one or where it
/// refuses them, a line for each with its role before it.
///
/// `bos` is what the template puts before the text and the server puts there again.
pub fn as_text(messages: &[Value], template: Option<&ChatTemplate>, bos: Option<&str>) -> String {
    if let Some(Ok(text)) = template.map(|template| template.render(messages, None, true)) {
        let rest = bos.and_then(|bos| text.strip_prefix(bos));
        return rest.map(str::to_owned).unwrap_or(text);
    }
    let line = |message: &Value| {
        let role = message["role"].as_str().unwrap_or("user");
        format!("{role}: {}", texts(message).concat())
    };
    messages.iter().map(line).collect::<Vec<_>>().join("\n")
}
