//! `embedding`: bodies of embedding requests, sent again in the order of the file.

use std::path::Path;

use serde_json::{Map, Value};

use super::records::{self, Taken};
use super::{Context, Dataset, Entry, Rows, Uses};
use crate::error::Error;
use crate::model::{Prompt, Row};
use crate::workload::hub::Hub;

pub(super) const ENTRY: Entry = Entry {
    name: "embedding",
    about: "bodies of embedding requests from a JSONL file",
    flags: |command| command,
    reads: &["dataset-path"],
    params: |_| Ok(Map::new()),
    build: |_| Ok(Box::new(Embedding)),
    effective: |_| Map::new(),
};

const EXPECTED: &str = "{\"input\": \"...\" or [\"...\", ...], ...} on each line";

#[derive(Debug)]
struct Embedding;

/// A body, taken apart.
struct Body {
    texts: Vec<String>,
    extra: Map<String, Value>,
}

impl Dataset for Embedding {
    fn fetch(&self, _: &Hub, path: Option<&Path>) -> Result<(), Error> {
        records::given(path, ENTRY.name, EXPECTED).map(drop)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        super::refuse_ids(context, ENTRY.name)?;
        let path = records::path(context, ENTRY.name, EXPECTED)?;
        let bodies = records::read(path, context, EXPECTED, context.n, Body::of)?;
        bodies.rows(context, |Body { texts, extra }| {
            let count = |text: &String| context.tokenizer.count_with_special(text);
            let prompt_len = texts.iter().map(count).sum();
            // A list stays in `extra`, and its first text is what a warm-up sends.
            let prompt = texts.into_iter().next().unwrap_or_default();
            Ok(Ok(Row { extra, ..Row::new(Prompt::Text(prompt), prompt_len, 0) }))
        })
    }

    fn uses(&self) -> Uses {
        Uses { bad_rows: true, embeds: true, ..Uses::default() }
    }
}

impl Body {
    fn of(mut body: Map<String, Value>) -> Result<Taken<Self>, String> {
        let wrong = || "`input` is neither a text nor a list of texts".to_owned();
        body.shift_remove("model");
        let texts = match body.get("input") {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) if !items.is_empty() => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(wrong()),
            None => return Err("there is no `input`".to_owned()),
        };
        if body.get("input").is_some_and(Value::is_string) {
            body.shift_remove("input");
        }
        Ok(Taken::Row(Self { texts, extra: body }))
    }
}
