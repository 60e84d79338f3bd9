//! Random prompts.

use std::sync::Arc;

use rayon::prelude::*;
use serde_json::Value;

use super::{Prompts, overhead, usage};
use crate::error::Error;
use crate::model::{Prompt, Row, user_message};
use crate::rng;
use crate::workload::dataset::picture::{Content, Format, Size, data_uri};
use crate::workload::dataset::{Context, Rows, neighbours};

/// Texts of so many tokens, what goes wrong with their lengths as notes.
fn texts(
    context: &Context<'_>,
    lengths: &[usize],
    consumer: (&str, &str),
) -> Result<(Vec<String>, Vec<String>), Error> {
    let targets: Vec<(usize, usize)> = lengths.iter().map(|&length| (length, 0)).collect();
    let context = Context { n: targets.len(), ids: false, ..*context };
    let rows = neighbours(&context, &targets, consumer.0, consumer.1)?;
    let text = |row: Row| match row.prompt {
        Prompt::Text(text) => text,
        _ => String::new(),
    };
    Ok((rows.rows.into_iter().map(text).collect(), rows.notes))
}

/// The texts of random prompts whose own part has a length of `--min-prompt-length` to `--max-prompt-length`, after one
/// of the shared beginnings.
fn prompts(of: &Prompts, context: &Context<'_>) -> Result<(Vec<String>, Vec<String>), Error> {
    let (prefix_len, prefixes) = of.prefix;
    if of.lengths.most == 0 || of.lengths.least > of.lengths.most {
        return Err(usage(format!(
            "--min-prompt-length {} and --max-prompt-length {} leave no length for random prompts",
            of.lengths.least, of.lengths.most
        )));
    }
    // What the server puts around the text is part of its length.
    let around =
        if of.messages { overhead(context) } else { context.tokenizer.special_tokens_added() };
    let length = |i| {
        let drawn = of.lengths.draw(context.seed, "evalscope/prompt-length", i);
        drawn.saturating_sub(around).max(1)
    };
    let lengths: Vec<usize> = (0..context.n).map(length).collect();
    let (own, mut notes) = texts(context, &lengths, ("evalscope/opening", "evalscope/offset"))?;
    if prefix_len == 0 {
        return Ok((own, notes));
    }
    let (shared, more) = texts(
        context,
        &vec![prefix_len; prefixes],
        ("evalscope/prefix-opening", "evalscope/prefix-offset"),
    )?;
    notes.extend(more);
    let joined: Vec<String> = own
        .into_par_iter()
        .enumerate()
        .map(|(i, text)| {
            let space = if text.starts_with(char::is_whitespace) { "" } else { " " };
            format!("{}{space}{text}", shared[i % shared.len()])
        })
        .collect();
    let missed = joined
        .par_iter()
        .zip(&lengths)
        .filter(|(text, length)| context.tokenizer.count(text) != prefix_len + **length);
    let missed = missed.count();
    if missed > 0 {
        notes.push(format!(
            "{missed} prompts have another length than asked for: tokens merge where their shared \
             beginning meets their own text; the totals count the real lengths"
        ));
    }
    Ok((joined, notes))
}

pub(super) fn random(of: &Prompts, context: &Context<'_>) -> Result<Rows, Error> {
    let (texts, notes) = prompts(of, context)?;
    let row = |(i, text)| of.text_row(context, i, text);
    let rows = texts.into_par_iter().enumerate().map(row).collect();
    Ok(Rows { rows, notes, ..Rows::default() })
}

/// Random texts, each with images of noise.
pub(super) fn with_images(of: &Prompts, context: &Context<'_>) -> Result<Rows, Error> {
    if !of.messages {
        return Err(usage(
            "--dataset random_vl needs a --url that ends with chat/completions".to_owned(),
        ));
    }
    let (texts, notes) = prompts(of, context)?;
    let images = of.images;
    let size = Size { width: images.width, height: images.height };
    let patches = |side: u32| side.div_ceil(images.patch) as usize;
    let vision = patches(images.height) * patches(images.width) * usize::from(images.count);
    let row = |(i, text): (usize, String)| {
        let mut rng = rng::stream(context.seed, "evalscope/image", i as u64);
        let one = |_| data_uri(&Content::Random.pixels(size, &mut rng), size, Format::Png);
        let uris: Vec<Arc<str>> = (0..images.count).map(one).collect::<Result<_, Error>>()?;
        let mut row = of.text_row(context, i, text);
        row.prompt_len += vision;
        Ok(Row { images: uris, vision_len: vision, ..row })
    };
    let rows = texts.into_par_iter().enumerate().map(row).collect::<Result<_, Error>>()?;
    Ok(Rows { rows, notes, ..Rows::default() })
}

/// Conversations of random messages.
pub(super) fn conversations(of: &Prompts, context: &Context<'_>) -> Result<Rows, Error> {
    if of.most_turns.is_none() {
        return Err(usage("--dataset random_multi_turn needs --max-turns".to_owned()));
    }
    if of.turns.least > of.turns.most {
        return Err(usage(format!(
            "--min-turns {} is above --max-turns {}",
            of.turns.least, of.turns.most
        )));
    }
    let turns: Vec<usize> =
        (0..context.n).map(|i| of.turns.draw(context.seed, "evalscope/turns", i)).collect();
    let all = Context { n: turns.iter().sum(), ..*context };
    let (texts, notes) = prompts(of, &all)?;
    let mut texts = texts.into_iter();
    let row = |(i, turns): (usize, usize)| {
        let rounds: Vec<Vec<Value>> =
            texts.by_ref().take(turns).map(|text| vec![user_message(&text)]).collect();
        let first = rounds.first().and_then(|round| round[0]["content"].as_str()).unwrap_or("");
        let len = context.tokenizer.count(first);
        of.limited(Row::new(Prompt::Rounds(rounds), len, of.answer(context, i)))
    };
    let rows = turns.into_iter().enumerate().map(row).collect();
    Ok(Rows { rows, notes, ..Rows::default() })
}

/// Queries with documents, as the keys of a rerank request.
pub(super) fn rerank(of: &Prompts, context: &Context<'_>) -> Result<Rows, Error> {
    let (queries, mut notes) = prompts(of, context)?;
    let (count, ratio) = of.documents;
    let length = |i| of.lengths.draw(context.seed, "evalscope/prompt-length", i).max(1) * ratio;
    let lengths: Vec<usize> =
        (0..context.n).flat_map(|i| std::iter::repeat_n(length(i), count)).collect();
    let (documents, more) =
        texts(context, &lengths, ("evalscope/document-opening", "evalscope/document-offset"))?;
    notes.extend(more);
    let row = |(i, query): (usize, String)| {
        let documents = documents[i * count..(i + 1) * count].to_vec();
        super::read::rerank_row(context, &query, &documents)
    };
    let rows = queries.into_par_iter().enumerate().map(row).collect();
    Ok(Rows { rows, notes, ..Rows::default() })
}
