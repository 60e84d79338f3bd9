//! Made-up prompts of lengths around a mean: `random`, `random-rerank`, and `random-mm` with images.
//!
//! A length lies in [⌊m(1 − r)⌋, ⌈m(1 + r)⌉] for a mean m and a half-width r.

use std::sync::Arc;

use rand::RngExt;
use rayon::prelude::*;

use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::rng;
use crate::workload::dataset::{
    Context, Dataset, Joined, Rows, Size, Uses, neighbours, noise, prefixed,
};

/// Lengths around a mean.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    /// Mean in tokens.
    pub mean: usize,
    /// How far lengths lie from it at most, as a share of it from 0 to below 1.
    pub half_width: f64,
}

impl Lengths {
    /// The shortest and the longest.
    fn bounds(self) -> (usize, usize) {
        let mean = self.mean as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not below 0")]
        let whole = |x: f64| x as usize;
        let Self { half_width, .. } = self;
        (whole((mean * (1.0 - half_width)).floor()), whole((mean * (1.0 + half_width)).ceil()))
    }

    /// The length of row `i`; `name` is the consumer of the seed.
    fn draw(self, seed: u64, name: &str, i: usize) -> usize {
        let (least, most) = self.bounds();
        rng::stream(seed, name, i as u64).random_range(least..=most)
    }
}

/// vLLM's `random`: neighbouring tokens from a random place of the vocabulary.
#[derive(Debug, Clone, Copy)]
pub struct Random {
    /// Lengths of prompts, without what all begin with.
    pub input: Lengths,
    /// Lengths of answers.
    pub output: Lengths,
    /// Tokens that all prompts begin with.
    pub prefix: usize,
    /// Number of prompts.
    pub prompts: usize,
    /// Prompts of one request.
    pub batch: usize,
}

impl Random {
    /// The lengths of prompts and answers.
    ///
    /// # Errors
    /// If the shortest prompt has no token.
    fn targets(&self, context: &Context<'_>, name: &str) -> Result<Vec<(usize, usize)>, Error> {
        // The server adds the tokenizer's special tokens to the text.
        let special = if context.ids { 0 } else { context.tokenizer.special_tokens_added() };
        let input = Lengths { mean: self.input.mean.saturating_sub(special), ..self.input };
        if input.bounds().0 + self.prefix == 0 {
            let message =
                format!("--random-input-len {} leaves prompts without a token", self.input.mean);
            return Err(Error::new(Kind::Usage, message).hint("give more tokens"));
        }
        let of_row = |i| {
            let output = self.output.draw(context.seed, &format!("{name}/output-len"), i).max(1);
            (input.draw(context.seed, &format!("{name}/input-len"), i), output)
        };
        Ok((0..self.prompts).into_par_iter().map(of_row).collect())
    }

    fn rows(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let targets = self.targets(context, "vllm/random")?;
        if self.prefix == 0 {
            return neighbours(context, &targets, "vllm/random/opening", "vllm/random/offset");
        }
        let joined = |&(own, output): &(usize, usize)| Joined { prefix: 0, own, output };
        let prompts: Vec<Joined> = targets.iter().map(joined).collect();
        prefixed(context, self.prefix, &prompts, "vllm/random")
    }
}

impl Dataset for Random {
    fn count(&self, _: usize) -> usize {
        self.prompts.div_ceil(self.batch)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let rows = self.rows(context)?;
        if self.batch == 1 {
            return Ok(rows);
        }
        let batch = |rows: &[Row]| {
            let len = rows.iter().map(|row| row.prompt_len).sum();
            Row::new(Prompt::Texts(rows.iter().map(text).collect()), len, 0)
        };
        Ok(Rows { rows: rows.rows.chunks(self.batch).map(batch).collect(), ..rows })
    }
}

/// The text of a row.
fn text(row: &Row) -> String {
    match &row.prompt {
        Prompt::Text(text) => text.clone(),
        _ => String::new(),
    }
}

/// vLLM's `random-rerank`: one query, and documents in each request.
#[derive(Debug, Clone, Copy)]
pub struct Rerank {
    /// Lengths of query and document together.
    pub input: Lengths,
    /// Number of documents, and of queries as well where the model is no reranker.
    pub prompts: usize,
    /// Of these in one request.
    pub batch: usize,
    /// Whether the model reads query and document together.
    pub is_reranker: bool,
}

impl Rerank {
    /// Documents of request `i`.
    pub fn documents(&self, i: usize) -> usize {
        let all = self.batch.min(self.prompts.saturating_sub(i.saturating_mul(self.batch)));
        if self.is_reranker { all } else { all.saturating_sub(1) }
    }

    /// Tokens of the query, and the lengths of documents.
    fn parts(&self) -> (usize, Lengths) {
        if !self.is_reranker {
            return (self.input.mean, self.input);
        }
        let query = (self.input.mean / 2).saturating_sub(1);
        let document = self.input.mean.saturating_sub(query + 1);
        (query, Lengths { mean: document, ..self.input })
    }
}

impl Dataset for Rerank {
    fn count(&self, _: usize) -> usize {
        self.prompts.div_ceil(self.batch)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let (query, documents) = self.parts();
        if query == 0 || documents.bounds().0 == 0 || self.documents(0) == 0 {
            let message = format!(
                "--random-input-len {} and --random-batch-size {} leave a query or a document without a token",
                self.input.mean, self.batch
            );
            return Err(Error::new(Kind::Usage, message).hint("give more of both"));
        }
        let requests: Vec<usize> =
            (0..self.count(0)).map(|i| self.documents(i)).filter(|&n| n > 0).collect();
        let length = |i| documents.draw(context.seed, "vllm/rerank/document-len", i);
        let all = requests.iter().sum::<usize>();
        let targets: Vec<(usize, usize)> =
            std::iter::once(query).chain((0..all).map(length)).map(|len| (len, 0)).collect();
        let made = neighbours(context, &targets, "vllm/rerank/opening", "vllm/rerank/offset")?;
        let (query, mut rest) =
            made.rows.split_first().map_or((None, &[][..]), |(query, rest)| (Some(query), rest));
        let Some(query) = query else { return Ok(Rows::default()) };
        let row = |n: usize| {
            let (documents, after) = rest.split_at(n.min(rest.len()));
            rest = after;
            let each = |document: &Row| {
                // The model reads the query before each document, with a token between them.
                if self.is_reranker {
                    query.prompt_len + 1 + document.prompt_len
                } else {
                    document.prompt_len
                }
            };
            let alone = if self.is_reranker { 0 } else { query.prompt_len };
            let len = alone + documents.iter().map(each).sum::<usize>();
            let texts = std::iter::once(query).chain(documents).map(text).collect();
            Row::new(Prompt::Texts(texts), len, 0)
        };
        Ok(Rows { rows: requests.into_iter().map(row).collect(), ..made })
    }

    fn uses(&self) -> Uses {
        Uses { embeds: true, ..Uses::default() }
    }
}

/// vLLM's `random-mm`: text with images of noise.
#[derive(Debug, Clone)]
pub struct Multimodal {
    /// The text.
    pub text: Random,
    /// Mean number of images, and how far it varies.
    pub items: Lengths,
    /// Images of a request at most.
    pub most: usize,
    /// Sizes with their weights.
    pub buckets: Vec<(Size, f64)>,
}

impl Multimodal {
    fn images(&self, seed: u64, i: usize) -> Result<Vec<Arc<str>>, Error> {
        let (least, most) = self.items.bounds();
        let (least, most) = (least.min(self.most), most.min(self.most));
        let mut rng = rng::stream(seed, "vllm/random-mm/images", i as u64);
        let total: f64 = self.buckets.iter().map(|(_, weight)| weight).sum();
        let image = |_| {
            let mut at = rng.random_range(0.0..total);
            let bucket = self.buckets.iter().find(|(_, weight)| {
                at -= weight;
                at < 0.0
            });
            let size = bucket.or(self.buckets.last()).map(|(size, _)| *size);
            size.map(|size| noise(size, &mut rng)).transpose()
        };
        let n = rng::stream(seed, "vllm/random-mm/items", i as u64).random_range(least..=most);
        Ok((0..n).map(image).collect::<Result<Vec<_>, Error>>()?.into_iter().flatten().collect())
    }
}

impl Dataset for Multimodal {
    fn count(&self, _: usize) -> usize {
        self.text.prompts
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let mut rows = self.text.rows(context)?;
        let images: Vec<Vec<Arc<str>>> = (0..rows.rows.len())
            .into_par_iter()
            .map(|i| self.images(context.seed, i))
            .collect::<Result<_, _>>()?;
        for (row, images) in rows.rows.iter_mut().zip(images) {
            row.images = images;
        }
        Ok(rows)
    }

    fn uses(&self) -> Uses {
        Uses { images: true, ..Uses::default() }
    }
}

/// vLLM's `prefix_repetition`: texts that several prompts begin with, and fresh ones behind them, in random order.
#[derive(Debug, Clone, Copy)]
pub struct Repetition {
    /// Tokens of what is repeated.
    pub prefix: usize,
    /// Tokens of what is not.
    pub suffix: usize,
    /// Number of texts that are repeated.
    pub prefixes: usize,
    /// Output tokens.
    pub output: usize,
    /// Number of prompts that are asked for.
    pub prompts: usize,
}

impl Dataset for Repetition {
    fn count(&self, _: usize) -> usize {
        self.prefixes * (self.prompts / self.prefixes)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        use rand::seq::SliceRandom as _;
        let Self { prefix, suffix: own, prefixes, output, .. } = *self;
        let each = self.prompts / prefixes;
        let mut prompts: Vec<Joined> =
            (0..self.count(0)).map(|i| Joined { prefix: i / each.max(1), own, output }).collect();
        prompts.shuffle(&mut rng::stream(context.seed, "vllm/prefix-repetition/shuffle", 0));
        prefixed(context, prefix, &prompts, "vllm/prefix-repetition")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_a_half_width() {
        for (mean, half_width, want) in
            [(1024, 0.0, (1024, 1024)), (100, 0.5, (50, 150)), (7, 0.1, (6, 8)), (0, 0.5, (0, 0))]
        {
            assert_eq!(Lengths { mean, half_width }.bounds(), want);
        }
    }

    #[test]
    fn a_query_takes_the_place_of_a_document_where_the_model_is_no_reranker() {
        let input = Lengths { mean: 20, half_width: 0.0 };
        let rerank = |is_reranker| Rerank { input, prompts: 5, batch: 2, is_reranker };
        let documents = |rerank: Rerank| [0, 1, 2].map(|i| rerank.documents(i));
        assert_eq!(documents(rerank(true)), [2, 2, 1]);
        assert_eq!(documents(rerank(false)), [1, 1, 0]);
        assert_eq!(rerank(true).parts().0, 9);
        assert_eq!(rerank(true).parts().1.mean, 10);
    }
}
