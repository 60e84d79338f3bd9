//! Conversations in the ShareGPT format, as `sharegpt`, `custom` and `random` read them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Context;
use super::records::{self, FirstTwo, Records, Taken};
use crate::error::Error;
use crate::workload::bundled;
use crate::workload::hub::{Holds, Hub};

const REPO: &str = "anon8231489123/ShareGPT_Vicuna_unfiltered";
const FILE: &str = "ShareGPT_V3_unfiltered_cleaned_split.json";

const EXPECTED: &str =
    "a JSON array of {\"conversations\": [{\"value\": \"...\"}, ...]} with two turns or more";

/// The first two turns of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// What is asked.
    pub question: String,
    /// What was answered.
    pub answer: String,
}

/// Conversations and where they come from.
pub type Corpus = Records<InFlight>;

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
    /// Finds the file of conversations: `path`, or that of the Hub; `None` for those inside the program.
    ///
    /// # Errors
    /// If it cannot be downloaded.
    pub(super) fn file(hub: &Hub, path: Option<&Path>) -> Result<Option<PathBuf>, Error> {
        match path {
            Some(path) if path == Path::new(bundled::NAME) => Ok(None),
            Some(path) => Ok(Some(path.to_owned())),
            None => hub.file(Holds::Dataset, REPO, FILE).map(Some).map_err(|error| {
                error.hint("pass --dataset-path with a file in the ShareGPT format").hint(format!(
                    "or --dataset-path {} for the small file inside rbench",
                    bundled::NAME
                ))
            }),
        }
    }

    /// All conversations with at least two turns, shuffled by the run's seed.
    ///
    /// # Errors
    /// If the file cannot be had or is not in the format.
    pub fn load(context: &Context<'_>, consumer: &str) -> Result<Self, Error> {
        let take = |item| exchange(item, false);
        let corpus = match Self::file(context.hub, context.path)? {
            None => {
                records::of_array(bundled::NAME, bundled::CONVERSATIONS, context, EXPECTED, take)
            }
            Some(path) => records::read(&path, context, EXPECTED, usize::MAX, take),
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
        let take = |item| exchange(item, true);
        Ok(records::read(path, context, expected, usize::MAX, take)?.shuffled(context, consumer))
    }
}

/// The question and the answer, if there are two turns; `content` tells whether they may have their text as that.
fn exchange(item: Item, content: bool) -> Result<Taken<InFlight>, String> {
    let Some(turns) = item.conversations.or(item.conversation) else {
        return Ok(Taken::Strange("without `conversations`"));
    };
    let Some((question, answer)) = turns.0 else {
        return Ok(Taken::Unused("with fewer than two turns"));
    };
    let mut texts = Vec::with_capacity(2);
    for (number, turn) in (1..).zip([question, answer]) {
        let (first, second, other) = if content {
            (turn.content, turn.value, false)
        } else {
            (turn.value, None, turn.content.is_some())
        };
        match first.or(second) {
            Some(text) => texts.push(text),
            None if other => {
                return Err(format!(
                    "turn {number} has `content` in place of `value`, which --dataset-name custom reads"
                ));
            }
            None if content => {
                return Ok(Taken::Strange("with a turn without `content` or `value`"));
            }
            None => return Ok(Taken::Strange("with a turn without `value`")),
        }
    }
    let mut texts = texts.into_iter();
    let (question, answer) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    Ok(Taken::Row(InFlight { question, answer }))
}
