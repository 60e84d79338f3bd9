//! What `--prompt-suffix` and the chat template make of a text.

use serde_json::Value;

use super::Context;
use crate::error::Error;
use crate::model::user_message;
use crate::workload::tokenizer::{ChatTemplate, Tokenizer};

/// Where a prompt of a conversation ends and the answer begins.
const ANSWER: &str = "Assistant:";

/// Makes prompts of texts.
#[derive(Debug)]
pub struct Shaper<'a> {
    tokenizer: &'a Tokenizer,
    suffix: &'a str,
    template: Option<ChatTemplate>,
    /// The text of the token that the tokenizer puts before each text, if it does.
    bos: Option<String>,
}

impl<'a> Shaper<'a> {
    /// As the flags say.
    ///
    /// # Errors
    /// If the template is asked for and cannot be had.
    pub(super) fn of_flags(context: &Context<'a>) -> Result<Self, Error> {
        let reading = context.reading;
        let template =
            reading.template.then(|| context.tokenizer.chat_template(&reading.now)).transpose()?;
        Ok(Self::new(context, template))
    }

    /// With this template, or without one.
    pub fn new(context: &Context<'a>, template: Option<ChatTemplate>) -> Self {
        let tokenizer = context.tokenizer;
        let bos = template.as_ref().and_then(|template| tokenizer.bos_again(template));
        Self { tokenizer, suffix: &context.reading.suffix, template, bos }
    }

    /// The prompt, and its tokens as the server will count them.
    ///
    /// # Errors
    /// If the template refuses the text.
    pub fn prompt(&self, text: &str) -> Result<(String, usize), Error> {
        let prompt = if self.suffix.is_empty() {
            text.to_owned()
        } else {
            format!("{}{}{ANSWER}", text.strip_suffix(ANSWER).unwrap_or(text), self.suffix)
        };
        if self.template.is_some() {
            return self.message(user_message(&prompt));
        }
        let len = self.tokenizer.count_with_special(&prompt);
        Ok((prompt, len))
    }

    /// The prompt that the template makes of one message, and its tokens as the server will count them;
    /// nothing without a template.
    ///
    /// # Errors
    /// If the template refuses the message.
    pub(super) fn message(&self, message: Value) -> Result<(String, usize), Error> {
        let Some(template) = &self.template else { return Ok((String::new(), 0)) };
        let mut prompt = template.render(&[message], None, true)?;
        // The server's tokenizer puts it there again.
        if let Some(rest) = self.bos.as_ref().and_then(|bos| prompt.strip_prefix(bos)) {
            prompt = rest.to_owned();
        }
        let len = self.tokenizer.count_with_special(&prompt);
        Ok((prompt, len))
    }
}
