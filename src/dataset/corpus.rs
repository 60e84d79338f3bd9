//! Conversations in the ShareGPT format, as `sharegpt`, `custom` and `random` read them.

use std::path::Path;

use serde::Deserialize;

use super::Context;
use super::records::{self, FirstTwo, Records};
use crate::bundled;
use crate::error::Error;
use crate::hub::Holds;

const REPO: &str = "anon8231489123/ShareGPT_Vicuna_unfiltered";
const FILE: &str = "ShareGPT_V3_unfiltered_cleaned_split.json";

const EXPECTED: &str =
    "a JSON array of {\"conversations\": [{\"value\": \"...\"}, ...]} with two turns or more";

/// The first two turns of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) question: String,
    pub(super) answer: String,
}

/// Conversations and where they come from.
pub(super) type Corpus = Records<Exchange>;

#[derive(Deserialize)]
struct Item {
    conversations: Option<FirstTwo<Turn>>,
    conversation: Option<FirstTwo<Turn>>,
}

/// A turn, whose text is called `content` in some files and `value` in others.
#[derive(Deserialize)]
struct Turn {
    content: Option<String>,
    value: Option<String>,
}

impl Corpus {
    /// All conversations with at least two turns, shuffled by the run's seed.
    ///
    /// # Errors
    /// If the file can not be had or is not in the format.
    pub(super) fn load(context: &Context<'_>, consumer: &str) -> Result<Self, Error> {
        let take = |item| Ok(exchange(item, |turn| turn.value));
        let corpus = match context.path {
            Some(path) if path == Path::new(bundled::NAME) => {
                records::of_array(bundled::NAME, bundled::CONVERSATIONS, context, EXPECTED, take)
            }
            Some(path) => records::read(path, context, EXPECTED, usize::MAX, take),
            None => {
                let path = context.hub.file(Holds::Dataset, REPO, FILE).map_err(|error| {
                    error.hint("pass --dataset-path with a file in the ShareGPT format").hint(
                        format!(
                            "or --dataset-path {} for the small file inside rbench",
                            bundled::NAME
                        ),
                    )
                })?;
                records::read(&path, context, EXPECTED, usize::MAX, take)
            }
        };
        Ok(corpus?.shuffled(context, consumer))
    }

    /// The same from a file whose turns may have their text as `content`.
    pub(super) fn load_custom(
        path: &Path,
        context: &Context<'_>,
        expected: &str,
        consumer: &str,
    ) -> Result<Self, Error> {
        let take = |item| Ok(exchange(item, |turn| turn.content.or(turn.value)));
        Ok(records::read(path, context, expected, usize::MAX, take)?.shuffled(context, consumer))
    }
}

/// The question and the answer, if there are two turns.
fn exchange(item: Item, text: impl Fn(Turn) -> Option<String>) -> Option<Exchange> {
    let (question, answer) = item.conversations.or(item.conversation)?.0?;
    let text = |turn| text(turn).unwrap_or_default();
    Some(Exchange { question: text(question), answer: text(answer) })
}
