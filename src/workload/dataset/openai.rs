//! `openai`: bodies of chat requests, sent again in the order of the file.
//!
//! A row's own keys win over those of the run. Its model and its limits of tokens are not sent as they are:
//! the model is that of the run, and the limit is the output length of the row.

use std::path::Path;

use clap::FromArgMatches;
use serde_json::{Map, Value};

use super::records::{self, Taken};
use super::sharegpt::Opts;
use super::{Context, Dataset, Entry, Rows, Uses, effective, of, params};
use crate::error::Error;
use crate::model::{Prompt, Row};
use crate::workload::conversation::text_len;
use crate::workload::hub::Hub;
use crate::workload::tokenizer::{ChatTemplate, Tokenizer};

pub(super) const ENTRY: Entry = Entry {
    name: "openai",
    about: "bodies of chat requests from a JSONL file, with their own parameters",
    // The flags are those of `sharegpt`, which adds them.
    flags: |command| command,
    reads: &["dataset-path", "sharegpt-output-len"],
    params: |matches| params(Opts::from_arg_matches(matches)),
    build: |params| Ok(Box::new(OpenAi(of(params)?))),
    effective: |matches| effective(Opts::from_arg_matches(matches)),
};

const EXPECTED: &str =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"...\"}, ...], ...} on each line";

/// Output tokens of a row that does not say.
const OUTPUT_LEN: usize = 256;

#[derive(Debug)]
struct OpenAi(Opts);

/// A body, taken apart.
struct Body {
    messages: Vec<Value>,
    output_len: Option<usize>,
    extra: Map<String, Value>,
}

impl Dataset for OpenAi {
    fn fetch(&self, _: &Hub, path: Option<&Path>) -> Result<(), Error> {
        records::given(path, ENTRY.name, EXPECTED).map(drop)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        super::refuse_ids(context, ENTRY.name)?;
        let path = records::path(context, ENTRY.name, EXPECTED)?;
        let bodies = records::read(path, context, EXPECTED, context.n, Body::of)?;
        let mut notes = Vec::new();
        let template = match context.tokenizer.chat_template(&context.reading.now) {
            Ok(template) => Some(template),
            Err(error) => {
                notes.push(format!("input tokens are those of the messages' text: {error}"));
                None
            }
        };
        let uncounted = std::sync::Mutex::new(Vec::new());
        let mut rows = bodies.rows(context, |body| {
            let counted = template.as_ref().map(|template| body.count(template, context.tokenizer));
            let prompt_len = match counted {
                Some(Ok(len)) => len,
                other => {
                    if let (Some(Err(error)), Ok(mut uncounted)) = (other, uncounted.lock()) {
                        uncounted.push(error.message);
                    }
                    body.messages.iter().map(|m| text_len(m, context.tokenizer)).sum()
                }
            };
            let output_len = match self.0.sharegpt_output_len {
                Some(len) => len as usize,
                None => body.output_len.unwrap_or(OUTPUT_LEN),
            };
            Ok(Ok(Row {
                extra: body.extra,
                ..Row::new(Prompt::Messages(body.messages), prompt_len, output_len)
            }))
        })?;
        let mut uncounted = uncounted.into_inner().unwrap_or_default();
        uncounted.sort_unstable();
        if let Some(first) = uncounted.first() {
            notes.push(format!(
                "input tokens of {} rows are those of the messages' text: {first}",
                uncounted.len()
            ));
        }
        rows.notes.extend(notes);
        Ok(rows)
    }

    fn uses(&self) -> Uses {
        Uses { bad_rows: true, ..Uses::default() }
    }
}

impl Body {
    /// The body of a row; it is left out if there is nothing to say.
    fn of(mut body: Map<String, Value>) -> Result<Taken<Self>, String> {
        let messages = match body.shift_remove("messages") {
            Some(Value::Array(messages)) => messages,
            Some(_) => return Err("`messages` is not a list".to_owned()),
            None => return Err("there is no `messages`".to_owned()),
        };
        if let Some(at) = messages.iter().position(|m| m.get("role").is_none_or(|r| !r.is_string()))
        {
            return Err(format!("message {} is not an object with a `role`", at + 1));
        }
        let mut limit = |key: &str| match body.shift_remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|&n| n > 0)
                .map(Some)
                .ok_or_else(|| format!("`{key}` is not a whole number above 0")),
        };
        let (old, new) = (limit("max_tokens")?, limit("max_completion_tokens")?);
        body.shift_remove("model");
        if messages.is_empty() {
            return Ok(Taken::Unused("with no message"));
        }
        Ok(Taken::Row(Self { messages, output_len: old.or(new), extra: body }))
    }

    /// Tokens of the messages and the tools as the chat template puts them.
    fn count(&self, template: &ChatTemplate, tokenizer: &Tokenizer) -> Result<usize, Error> {
        let tools = self.extra.get("tools").filter(|tools| tools.is_array());
        let shown: Vec<Value> = self.messages.iter().map(for_template).collect();
        let text = template
            .render(&shown, tools, true)
            // Some templates take arguments of calls as the text that they are in the body.
            .or_else(|error| template.render(&self.messages, tools, true).map_err(|_| error))?;
        Ok(tokenizer.count(&text))
    }
}

/// A message as servers hand it to the template: parts with text as one text, arguments of calls as values.
fn for_template(message: &Value) -> Value {
    let mut message = message.clone();
    let parts = message.get("content").and_then(Value::as_array);
    let texts = parts.map(|parts| parts.iter().filter_map(|part| part["text"].as_str()));
    if let Some(text) = texts.map(|texts| texts.collect::<Vec<_>>().join("\n")) {
        message["content"] = text.into();
    }
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        if let Some(Ok(value @ Value::Object(_))) = arguments.as_str().map(serde_json::from_str) {
            *arguments = value;
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_that_are_none() {
        for (body, want) in [
            (json!({}), "there is no `messages`"),
            (json!({"messages": "hi"}), "`messages` is not a list"),
            (json!({"messages": ["hi"]}), "message 1 is not an object with a `role`"),
            (
                json!({"messages": [{"role": "user"}, {}]}),
                "message 2 is not an object with a `role`",
            ),
            (
                json!({"messages": [], "max_tokens": "9"}),
                "`max_tokens` is not a whole number above 0",
            ),
        ] {
            let error = Body::of(body.as_object().unwrap().clone()).err();
            assert_eq!(error.as_deref(), Some(want), "{body}");
        }
        let empty = json!({"messages": []});
        let taken = Body::of(empty.as_object().unwrap().clone()).unwrap();
        assert!(matches!(taken, Taken::Unused("with no message")));
    }

    #[test]
    fn messages_as_templates_take_them() {
        let message = json!({"role": "user", "content": [
            {"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"},
        ]});
        assert_eq!(for_template(&message)["content"], "a\nb");
        let call = json!({"role": "assistant", "content": null, "tool_calls": [
            {"function": {"name": "f", "arguments": "{\"x\": 1}"}},
            {"function": {"name": "f", "arguments": "none"}},
        ]});
        let shown = for_template(&call);
        assert_eq!(shown["tool_calls"][0]["function"]["arguments"], json!({"x": 1}));
        assert_eq!(shown["tool_calls"][1]["function"]["arguments"], "none");
        assert_eq!(shown["content"], Value::Null);
    }
}
