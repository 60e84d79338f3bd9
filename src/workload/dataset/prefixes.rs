//! Prompts of which a share is in the server's prefix cache: they begin with one of several prefixes, which are sent
//! once before the run.

use std::str::FromStr;

use clap::{ArgMatches, Args, FromArgMatches};
use rand::RngExt;
use rand_distr::{Distribution as _, Zipf};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::distinct::Openings;
use super::exact::{self, Words};
use super::lengths::Opts;
use super::{Context, Params, Rows, of};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::rng;

const HEADING: &str = "Dataset: random-ids, corpus";

/// The flags for cached prefixes.
pub(super) const FLAGS: [&str; 3] = ["cache-hit-rate", "cache-prefixes", "cache-popularity"];

/// How much of the prompts is cached, and what they share.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[group(skip)]
#[expect(clippy::struct_field_names, reason = "the names of the flags")]
pub(super) struct Prefixes {
    /// Share of each prompt that the server's prefix cache is to have; prefixes are sent before the run
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = HEADING)]
    cache_hit_rate: Option<f64>,
    /// Prefixes that prompts share, with --cache-hit-rate
    #[arg(long, value_name = "N", default_value_t = 16, requires = "cache_hit_rate", help_heading = HEADING)]
    cache_prefixes: usize,
    /// How prompts are shared among prefixes: uniform, or zipf(alpha=ALPHA), the first the most
    #[arg(long, value_name = "LAW", default_value = "uniform", requires = "cache_hit_rate", help_heading = HEADING)]
    cache_popularity: Popularity,
}

/// Drawn lengths, and the share of each prompt that is cached: the parameters of `random-ids` and `corpus`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Shape {
    #[serde(flatten)]
    pub(super) lengths: Opts,
    #[serde(flatten)]
    pub(super) prefixes: Prefixes,
}

impl Shape {
    /// The shape that the flags give.
    ///
    /// # Errors
    /// If a flag cannot be used.
    pub(super) fn of_flags(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let lengths = Opts::from_arg_matches(matches)?;
        Ok(Self { lengths, prefixes: Prefixes::from_arg_matches(matches)? })
    }

    /// The shape with these parameters.
    ///
    /// # Errors
    /// If one of them cannot be used.
    pub(super) fn of_params(params: Params) -> Result<Self, String> {
        let shape: Self = of(params)?;
        shape.prefixes.check()?;
        Ok(shape)
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

/// How often each prefix is used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
enum Popularity {
    /// As often as any other.
    Uniform,
    /// Prefix k with a weight of 1 / k^alpha.
    Zipf(f64),
}

impl FromStr for Popularity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "must be uniform or zipf(alpha=ALPHA), such as zipf(alpha=1.1)";
        if text.trim() == "uniform" {
            return Ok(Self::Uniform);
        }
        let args = text.trim().strip_prefix("zipf(").and_then(|rest| rest.strip_suffix(')'));
        let alpha = args.and_then(|args| args.trim().strip_prefix("alpha=")?.trim().parse().ok());
        match alpha.filter(|alpha: &f64| alpha.is_finite() && *alpha > 0.0) {
            Some(alpha) => Ok(Self::Zipf(alpha)),
            None => Err(EXPECTED.to_owned()),
        }
    }
}

impl TryFrom<String> for Popularity {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Popularity> for String {
    fn from(popularity: Popularity) -> Self {
        match popularity {
            Popularity::Uniform => "uniform".to_owned(),
            Popularity::Zipf(alpha) => format!("zipf(alpha={alpha})"),
        }
    }
}

impl Prefixes {
    /// Checks values that did not come through the flags.
    ///
    /// # Errors
    /// If one is out of its range.
    fn check(&self) -> Result<(), String> {
        if self.cache_prefixes == 0 {
            return Err("--cache-prefixes must be a whole number above 0".to_owned());
        }
        if self.cache_hit_rate.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("--cache-hit-rate must be a number from 0 to 1".to_owned());
        }
        Ok(())
    }

    /// Whether prompts share prefixes.
    pub(super) fn are_wanted(&self) -> bool {
        self.cache_hit_rate.is_some_and(|share| share > 0.0)
    }

    /// The prefix of prompt `i`.
    fn of(&self, seed: u64, i: usize) -> usize {
        let mut rng = rng::stream(seed, "cache/prefix", i as u64);
        match self.cache_popularity {
            Popularity::Uniform => rng.random_range(0..self.cache_prefixes),
            Popularity::Zipf(alpha) => {
                let rank = Zipf::new(self.cache_prefixes as f64, alpha)
                    .map_or(1.0, |law| law.sample(&mut rng));
                // Ranks are whole numbers from 1 to the number of prefixes.
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "bounded"
                )]
                let rank = rank as usize;
                rank.clamp(1, self.cache_prefixes) - 1
            }
        }
    }

    /// Tokens of a prompt of `len` that are its prefix; one is left to compute.
    fn len(&self, len: usize) -> usize {
        let share = self.cache_hit_rate.unwrap_or(0.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
        let tokens = (len as f64 * share).round() as usize;
        tokens.min(len.saturating_sub(1))
    }
}

/// A part of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What prompt `i` alone has.
    Own(usize),
    /// What the prompts with prefix `p` begin with.
    Prefix(usize),
}

/// Ids beyond those that are wanted, for texts that come out short.
const SPARE: usize = 64;

/// Rows of these lengths, whose prompts begin with the prefixes that are asked for; `ids` gives the first `n` tokens of
/// a part or more, and `name` the consumers of the seed.
///
/// # Errors
/// If the tokenizer has no plain tokens.
pub(super) fn rows(
    context: &Context<'_>,
    targets: &[(usize, usize)],
    prefixes: &Prefixes,
    name: &str,
    ids: impl Fn(Part, usize) -> Vec<u32> + Sync,
) -> Result<Rows, Error> {
    let tokenizer = context.tokenizer;
    let wanted = prefixes.are_wanted();
    let salt = context.reading.salt.map(|_| Salt::new(context, name)).transpose()?;
    // The place of a salt: that of the prefix, so that those who share it share the salt as well.
    let salted = |part: Part, n: usize| {
        let place = match part {
            Part::Own(i) => i,
            Part::Prefix(p) => p,
        };
        let mut all = salt.as_ref().map_or_else(Vec::new, |salt| salt.ids(place, n));
        all.extend(ids(part, n.saturating_sub(all.len())));
        all
    };
    let made = |first: Option<(usize, usize)>, own: Option<(usize, usize)>, output: usize| {
        let mut all = Vec::new();
        if let Some((p, n)) = first {
            all = salted(Part::Prefix(p), n);
            all.truncate(n);
        }
        let mut more = Vec::new();
        if let Some((i, n)) = own {
            let part = Part::Own(i);
            more = if first.is_some() { ids(part, n + SPARE) } else { salted(part, n + SPARE) };
            let rest = more.split_off(n.min(more.len()));
            all.append(&mut more);
            more = rest;
        }
        let len = all.len();
        if context.ids {
            return (Row::new(Prompt::Ids(all), len, output), len);
        }
        let spare = |k: usize| *more.get(k % more.len().max(1)).unwrap_or(&all[k % len.max(1)]);
        let (text, made) = exact::text(tokenizer, &all, spare);
        (Row::new(Prompt::Text(text), made, output), len)
    };
    let parts: Vec<(usize, usize)> = targets
        .iter()
        .enumerate()
        .map(|(i, (len, _))| {
            (if wanted { prefixes.of(context.seed, i) } else { 0 }, prefixes.len(*len))
        })
        .collect();
    let row = |i: usize| {
        let ((len, output), (p, shared)) = (targets[i], parts[i]);
        made((shared > 0).then_some((p, shared)), Some((i, len - shared)), output)
    };
    let all = (0..targets.len()).into_par_iter().map(row).collect();
    let mut rows = exact::checked(tokenizer, all);
    let mut longest: Vec<usize> = vec![0; if wanted { prefixes.cache_prefixes } else { 0 }];
    for (p, shared) in parts {
        if let Some(most) = longest.get_mut(p) {
            *most = (*most).max(shared);
        }
    }
    let used = longest.iter().enumerate().filter(|(_, most)| **most > 0);
    // The longest that a prompt begins with has all that shorter ones do; one token more is what a server computes.
    let first: Vec<Row> = used.map(|(p, most)| made(Some((p, *most)), None, 1).0).collect();
    if wanted {
        let mean = longest.iter().sum::<usize>() as f64 / first.len().max(1) as f64;
        rows.told.push(format!(
            "{} of {} prefixes, used by {}, of {mean:.1} tokens on average are sent before the run",
            first.len(),
            prefixes.cache_prefixes,
            String::from(prefixes.cache_popularity),
        ));
    }
    rows.cached = Some(targets.iter().map(|(len, _)| prefixes.len(*len)).collect());
    rows.first = first;
    Ok(rows)
}

/// What real text begins with, so that no server has seen it: tokens of its own for each prompt of each run.
pub(super) struct Salt(Openings);

impl Salt {
    /// The salts of a run; `name` is the consumer of the seed.
    ///
    /// # Errors
    /// If the tokenizer has no plain tokens.
    pub(super) fn new(context: &Context<'_>, name: &str) -> Result<Self, Error> {
        let tokenizer = context.tokenizer;
        let vocabulary = tokenizer.plain_ids();
        if vocabulary.is_empty() {
            let message = format!("the tokenizer {} has no plain tokens", tokenizer.name());
            return Err(Error::new(Kind::Input, message));
        }
        let (seed, name) = (context.content(), format!("{name}/salt"));
        if context.ids {
            return Ok(Self(Openings::new(vocabulary, seed, &name)));
        }
        let words = Words::of(tokenizer);
        Ok(Self(Openings::of_text(tokenizer, words.as_ref(), &vocabulary, seed, &name)))
    }

    /// The salt of place `at` in a prompt of `len` tokens.
    pub(super) fn ids(&self, at: usize, len: usize) -> Vec<u32> {
        self.0.ids(at as u64, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popularities_are_parsed_and_written_back() {
        for text in ["uniform", "zipf(alpha=1.1)"] {
            let popularity: Popularity = text.parse().unwrap();
            assert_eq!(String::from(popularity), text);
        }
        for text in ["", "zipf", "zipf()", "zipf(alpha=0)", "zipf(alpha=nan)", "zipf(beta=1)"] {
            assert!(text.parse::<Popularity>().is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_have_the_weights_of_their_law() {
        let of = |popularity| {
            let prefixes = Prefixes {
                cache_hit_rate: Some(0.5),
                cache_prefixes: 4,
                cache_popularity: popularity,
            };
            let mut seen = [0.0_f64; 4];
            for i in 0..20_000 {
                seen[prefixes.of(1, i)] += 1.0 / 20_000.0;
            }
            seen
        };
        assert!(of(Popularity::Uniform).iter().all(|share| (share - 0.25).abs() < 0.02));
        for (k, share) in (1..).zip(of(Popularity::Zipf(1.0))) {
            let wanted = 12.0 / 25.0 / f64::from(k);
            assert!((share - wanted).abs() < 0.02, "{k}: {share}");
        }
    }
}
