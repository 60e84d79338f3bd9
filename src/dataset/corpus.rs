//! Conversations in the ShareGPT format, as `sharegpt` and `random` read them.

use std::borrow::Cow;
use std::path::Path;

use rand::seq::SliceRandom;
use serde::Deserialize;

use super::Context;
use crate::bundled;
use crate::error::{Error, Kind};
use crate::hub::{Holds, Hub};
use crate::rng;

const REPO: &str = "anon8231489123/ShareGPT_Vicuna_unfiltered";
const FILE: &str = "ShareGPT_V3_unfiltered_cleaned_split.json";

/// The first two turns of a conversation.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) question: String,
    pub(super) answer: String,
}

#[derive(Deserialize)]
struct Item {
    #[serde(alias = "conversation")]
    conversations: Option<Vec<Turn>>,
}

#[derive(Deserialize)]
struct Turn {
    #[serde(default)]
    value: String,
}

/// All conversations with at least two turns, shuffled by the run's seed.
///
/// # Errors
/// If the file can not be had or is not in the format.
pub(super) fn load(context: &Context<'_>, consumer: &str) -> Result<Vec<Exchange>, Error> {
    let (name, text) = read(context.path, context.hub)?;
    let items: Vec<Item> = serde_json::from_slice(&text).map_err(|error| {
        Error::new(Kind::Input, format!("{name} is not a ShareGPT file"))
            .because(error)
            .hint("expected a JSON array of {\"conversations\": [{\"value\": \"...\"}, ...]}")
    })?;
    let mut exchanges: Vec<Exchange> = items
        .into_iter()
        .filter_map(|item| {
            let mut turns = item.conversations?.into_iter();
            let (question, answer) = (turns.next()?, turns.next()?);
            Some(Exchange { question: question.value, answer: answer.value })
        })
        .collect();
    if exchanges.is_empty() {
        return Err(Error::new(Kind::Input, format!("{name} has no conversation with two turns")));
    }
    exchanges.shuffle(&mut rng::stream(context.seed, consumer, 0));
    Ok(exchanges)
}

/// Where the conversations come from, and their text.
fn read(path: Option<&Path>, hub: &Hub) -> Result<(String, Cow<'static, [u8]>), Error> {
    let path = match path {
        Some(path) if path == Path::new(bundled::NAME) => {
            return Ok((bundled::NAME.to_owned(), Cow::Borrowed(bundled::CONVERSATIONS)));
        }
        Some(path) => path.to_owned(),
        None => hub.file(Holds::Dataset, REPO, FILE).map_err(|error| {
            error.hint("pass --dataset-path with a file in the ShareGPT format").hint(format!(
                "or --dataset-path {} for the small file inside rbench",
                bundled::NAME
            ))
        })?,
    };
    let name = path.display().to_string();
    let text = std::fs::read(&path).map_err(|error| {
        Error::new(Kind::Input, format!("can not read --dataset-path {name}")).because(error)
    })?;
    Ok((name, Cow::Owned(text)))
}
