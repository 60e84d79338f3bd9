//! `generated-shared-prefix`: groups of prompts that begin with the same long system prompt.
//!
//! A prompt is the system prompt of its group, two line ends, and a question of its own.
//! Both have exactly the number of tokens that was drawn for them, where the tokenizer allows it.
//! What belongs to slot *s*, the question and the lengths and the group, depends on the seed and *s* alone;
//! the slots are then shuffled.

mod opts;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, FromArgMatches};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, Zipf};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::opts::Opts;
use super::distinct::{Openings, Places};
use super::exact::{self, Words};
use super::lengths::{Distributions, Draws, ranged};
use super::{Context, Dataset, Entry, Rows, Uses, effective, of, params, weight};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row, user_message};
use crate::rng;
use crate::workload::lengths::{Distribution, Drawn};
use crate::workload::tokenizer::Tokenizer;

pub(super) const ENTRY: Entry = Entry {
    name: "generated-shared-prefix",
    about: "groups of made-up prompts that share a long system prompt",
    flags: Opts::augment_args,
    reads: &[
        "gsp-num-groups",
        "gsp-prompts-per-group",
        "gsp-system-prompt-len",
        "gsp-question-len",
        "gsp-output-len",
        "gsp-range-ratio",
        "gsp-num-turns",
        "gsp-group-distribution",
        "gsp-zipf-alpha",
        "gsp-fast-prepare",
        "gsp-send-routing-key",
        "gsp-ordered",
        "input-len-dist",
        "output-len-dist",
    ],
    params: |matches| params(SharedPrefix::from_matches(matches)),
    build: |params| Ok(Box::new(of::<SharedPrefix>(params)?.checked()?)),
    effective: |matches| effective(Opts::from_arg_matches(matches)),
};

/// What stands between the system prompt and the question.
const SEPARATOR: &str = "\n\n";

/// Why several turns cannot be token ids.
const NO_IDS: &str =
    "--tokenize-prompt does not apply to --gsp-num-turns above 1: later turns are chat messages";

#[derive(Debug, Serialize, Deserialize)]
struct SharedPrefix {
    #[serde(flatten)]
    opts: Opts,
    /// Of the questions and of the answers.
    #[serde(flatten)]
    distributions: Distributions,
    /// `--num-prompts`, if the user gave it.
    #[serde(rename = "gsp_num_prompts")]
    limit: Option<usize>,
}

impl SharedPrefix {
    fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let opts = Opts::from_arg_matches(matches)?;
        if opts.gsp_num_turns > 1 && matches.get_flag("tokenize_prompt") {
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, format!("{NO_IDS}\n")));
        }
        let given = matches.value_source("num_prompts") == Some(ValueSource::CommandLine);
        let limit = matches.get_one::<usize>("num_prompts").copied().filter(|_| given);
        let distributions = Distributions::from_arg_matches(matches)?;
        Ok(Self { opts, distributions, limit })
    }

    /// Checks what parameters have to do with each other.
    ///
    /// # Errors
    /// If they do not go together, or one is out of its range.
    fn checked(self) -> Result<Self, String> {
        self.opts.check()?;
        Ok(self)
    }

    fn slots(&self) -> usize {
        self.opts.slots()
    }

    /// The distribution of the lengths of questions.
    fn question(&self) -> Distribution {
        let opts = &self.opts;
        let given = self.distributions.input_len_dist.clone();
        given.unwrap_or_else(|| ranged(opts.gsp_question_len, opts.gsp_range_ratio))
    }

    /// The distribution of the lengths of answers.
    fn output(&self) -> Distribution {
        let opts = &self.opts;
        let given = self.distributions.output_len_dist.clone();
        given.unwrap_or_else(|| ranged(opts.gsp_output_len, opts.gsp_range_ratio))
    }
}

impl Dataset for SharedPrefix {
    fn count(&self, _: usize) -> usize {
        self.limit.map_or(self.slots(), |limit| limit.min(self.slots()))
    }

    fn uses(&self) -> Uses {
        Uses { vocabulary: true, salt: true, ..Uses::default() }
    }

    fn bytes(&self, n: usize) -> u64 {
        let opts = &self.opts;
        let questions = self.question().mean().saturating_mul(opts.gsp_num_turns);
        // Each turn is a message of its own, and what is drawn for the slots that are not sent is held as well.
        let turns = (opts.slots() as u64).saturating_mul(opts.gsp_num_turns as u64);
        weight(n, opts.system().mean().saturating_add(questions))
            .saturating_add(weight(opts.gsp_num_groups, 0))
            .saturating_add(turns.saturating_mul(8))
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let opts = &self.opts;
        let maker = Maker::new(self, context)?;
        let mut slots: Vec<usize> = (0..self.slots()).collect();
        if !opts.gsp_ordered {
            slots.shuffle(&mut rng::stream(context.seed, "generated-shared-prefix/shuffle", 0));
        }
        slots.truncate(context.n);
        let slots: Vec<(usize, usize)> =
            slots.into_iter().map(|slot| (slot, maker.group(slot))).collect();
        let mut used = vec![false; opts.gsp_num_groups];
        for &(_, group) in &slots {
            used[group] = true;
        }
        let systems: Vec<Option<Piece>> = used
            .par_iter()
            .enumerate()
            .map(|(group, &used)| used.then(|| maker.system(group)))
            .collect();
        let made: Vec<(Row, Vec<Length>)> = slots
            .par_iter()
            .filter_map(|&(slot, group)| {
                let (mut row, lengths) = maker.row(slot, systems[group].as_ref()?);
                row.routing_key = opts.gsp_send_routing_key.then(|| maker.routing_key(group));
                Some((row, lengths))
            })
            .collect();
        let lens: Vec<Option<usize>> =
            systems.iter().map(|system| Some(system.as_ref()?.length.made)).collect();
        let systems = systems.iter().flatten().map(|system| system.length);
        let lengths = || made.iter().flat_map(|(_, lengths)| lengths).copied();
        let mut notes: Vec<String> =
            exact::note(systems.clone().chain(lengths()).map(|length| (length.drawn, length.made)))
                .into_iter()
                .collect();
        let groups = used.iter().enumerate().filter(|(_, used)| **used).map(|(group, _)| group);
        let firsts = slots.iter().map(|(slot, _)| slot * opts.gsp_num_turns);
        notes.extend(maker.note(&maker.system, "system prompts", groups));
        notes.extend(maker.note(&maker.question, "questions", firsts));
        if let Some(limit) = self.limit.filter(|&limit| limit > self.slots()) {
            notes.push(format!(
                "{} groups of {} prompts are fewer than --num-prompts {limit}: the run has {} requests",
                opts.gsp_num_groups,
                opts.gsp_prompts_per_group,
                self.slots(),
            ));
        }
        let told = vec![format!(
            "{} groups{}, {} prompts, {} turns; mean system prompt {:.1} tokens, mean question {:.1} tokens{}",
            systems.clone().count(),
            opts.gsp_zipf_alpha.map_or_else(String::new, |alpha| format!(" by zipf {alpha}")),
            made.len(),
            opts.gsp_num_turns,
            mean(systems),
            mean(lengths()),
            if opts.gsp_fast_prepare { ", not counted" } else { "" },
        )];
        let drawn = Drawn {
            input: maker.question.draws.summary(lengths().map(|length| length.drawn)),
            output: maker.output.summary(made.iter().map(|(row, _)| row.output_len)),
        };
        // The first prompt of each group has its system prompt cached for the others.
        let mut seen = vec![false; opts.gsp_num_groups];
        let cached = slots.iter().map(|(_, group)| {
            let known = std::mem::replace(&mut seen[*group], true);
            lens[*group].filter(|_| known).unwrap_or(0)
        });
        let cached = Some(cached.collect()).filter(|_| opts.gsp_num_turns == 1);
        let rows = made.into_iter().map(|(row, _)| row).collect();
        Ok(Rows { rows, notes, told, cached, ..Rows::default() }.with(drawn))
    }
}

fn mean(lengths: impl Iterator<Item = Length>) -> f64 {
    let (n, sum) = lengths.fold((0_usize, 0_usize), |(n, sum), length| (n + 1, sum + length.made));
    sum as f64 / n.max(1) as f64
}

/// How many tokens something was to have, and how many it has.
#[derive(Debug, Clone, Copy)]
struct Length {
    drawn: usize,
    made: usize,
}

/// A system prompt.
struct Piece {
    /// Text or ids.
    prompt: Prompt,
    length: Length,
}

/// One of the two parts of prompts: how its lengths are drawn, and what makes each differ from the others.
struct Part {
    /// Consumers of the seed.
    name: &'static str,
    draws: Draws,
    openings: Openings,
    places: Places,
}

/// Makes what belongs to a slot or a group.
struct Maker<'a> {
    opts: &'a Opts,
    tokenizer: &'a Tokenizer,
    seed: u64,
    /// Of what prompts hold.
    content: u64,
    ids: bool,
    /// Ids to draw from. Special tokens are left out: servers act on some of them.
    vocabulary: Vec<u32>,
    words: Option<Words>,
    system: Part,
    question: Part,
    output: Draws,
    /// Tokens of the separator between words.
    separator: usize,
    zipf: Option<Zipf<f64>>,
    run: u32,
}

impl<'a> Maker<'a> {
    fn new(asked: &'a SharedPrefix, context: &'a Context<'_>) -> Result<Self, Error> {
        let (opts, tokenizer) = (&asked.opts, context.tokenizer);
        let vocabulary = tokenizer.plain_ids();
        if vocabulary.is_empty() {
            return Err(Error::new(
                Kind::Input,
                format!("the tokenizer {} has no plain tokens", tokenizer.name()),
            ));
        }
        let words = if context.ids { None } else { Words::of(tokenizer) };
        let separator = words.as_ref().map_or(0, |words| {
            let (first, second) = (words.text(0, 1), words.following(1));
            let whole = tokenizer.count(&format!("{first}{SEPARATOR}{second}"));
            whole.saturating_sub(2)
        });
        let part = |name, n: usize, draws: Draws| {
            let openings = if context.ids {
                Openings::new(vocabulary.clone(), context.content(), name)
            } else {
                Openings::of_text(tokenizer, words.as_ref(), &vocabulary, context.content(), name)
            };
            let (shortest, longest) = draws.lengths.ends();
            let places = openings.places(n, shortest, longest, |i| draws.at(context.seed, i));
            Part { name, draws, openings, places }
        };
        let turns = opts.slots().saturating_mul(opts.gsp_num_turns);
        let system = part(
            "generated-shared-prefix/system",
            opts.gsp_num_groups,
            Draws::of(opts.system(), "generated-shared-prefix/system-len")?,
        );
        let question = part(
            "generated-shared-prefix/question",
            turns,
            Draws::of(asked.question(), "generated-shared-prefix/question-len")?,
        );
        let zipf = opts
            .gsp_zipf_alpha
            .map(|alpha| Zipf::new(opts.gsp_num_groups as f64, alpha))
            .transpose()
            .map_err(|error| Error::new(Kind::Usage, "--gsp-zipf-alpha").because(error))?;
        Ok(Self {
            opts,
            tokenizer,
            seed: context.seed,
            content: context.content(),
            ids: context.ids,
            vocabulary,
            words,
            system,
            question,
            output: Draws::of(asked.output(), "generated-shared-prefix/output-len")?,
            separator,
            zipf,
            run: rng::stream(context.seed, "generated-shared-prefix/routing-key", 0).next_u32(),
        })
    }

    /// The group of a slot.
    fn group(&self, slot: usize) -> usize {
        let Some(zipf) = &self.zipf else { return slot / self.opts.gsp_prompts_per_group };
        let mut rng = rng::stream(self.seed, "generated-shared-prefix/group", slot as u64);
        // Ranks are whole numbers from 1 to the number of groups.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
        let rank = zipf.sample(&mut rng) as usize;
        rank.clamp(1, self.opts.gsp_num_groups) - 1
    }

    /// One key per group, the same in each run with the same seed.
    fn routing_key(&self, group: usize) -> std::sync::Arc<str> {
        format!("{:08x}_{group}", self.run).into()
    }

    fn length_of(&self, part: &Part, index: usize) -> usize {
        part.draws.at(self.seed, index)
    }

    fn id(&self, rng: &mut impl Rng) -> u32 {
        self.vocabulary[rng.random_range(0..self.vocabulary.len())]
    }

    /// What to tell the user where the parts at the indices `used` cannot all differ.
    fn note(
        &self,
        part: &Part,
        what: &str,
        used: impl Iterator<Item = usize> + Clone,
    ) -> Option<String> {
        let used = used.map(|index| (part.places.of(index), self.length_of(part, index)));
        let note = part.openings.note(used.filter(|(_, len)| *len > 0))?;
        Some(format!("{what}: {note}"))
    }

    /// The ids of a part: its opening, and `n` of them in all.
    fn part_ids(&self, part: &Part, index: usize, rng: &mut impl Rng, n: usize) -> Vec<u32> {
        let mut ids = part.openings.ids(part.places.of(index), n);
        ids.extend((ids.len()..n).map(|_| self.id(rng)));
        ids
    }

    /// The words of a part in the same way; none where the vocabulary has none, or they do not keep their number.
    /// `counted` counts the text that it is given.
    fn part_words(
        &self,
        (part, index): (&Part, usize),
        rng: &mut impl Rng,
        n: usize,
        opens: bool,
        counted: impl FnOnce(&str) -> usize,
    ) -> Option<String> {
        let opening = part.openings.digits(part.places.of(index), n);
        let text = self.words.as_ref()?.draw(&opening, rng, n, opens);
        (self.opts.gsp_fast_prepare || counted(&text) == n).then_some(text)
    }

    /// Text of arbitrary tokens, and its length.
    fn gibberish(
        &self,
        part: &Part,
        index: usize,
        rng: &mut impl Rng,
        n: usize,
    ) -> (String, usize) {
        let ids = self.part_ids(part, index, rng, n);
        if self.opts.gsp_fast_prepare {
            return (self.tokenizer.decode(&ids), n);
        }
        exact::text(self.tokenizer, &ids, |_| self.id(rng))
    }

    /// The system prompt of a group.
    fn system(&self, group: usize) -> Piece {
        let drawn = self.length_of(&self.system, group);
        let mut rng = rng::stream(self.content, self.system.name, group as u64);
        if self.ids {
            let ids = self.part_ids(&self.system, group, &mut rng, drawn);
            return Piece { prompt: Prompt::Ids(ids), length: Length { drawn, made: drawn } };
        }
        let counted = |text: &str| self.tokenizer.count(text);
        if let Some(text) = self.part_words((&self.system, group), &mut rng, drawn, true, counted) {
            return Piece { prompt: Prompt::Text(text), length: Length { drawn, made: drawn } };
        }
        let (text, made) = self.gibberish(&self.system, group, &mut rng, drawn);
        Piece { prompt: Prompt::Text(text), length: Length { drawn, made } }
    }

    /// The row of a slot, and the lengths of its questions.
    fn row(&self, slot: usize, system: &Piece) -> (Row, Vec<Length>) {
        let output_len = self.output.at(self.seed, slot);
        let first = slot * self.opts.gsp_num_turns;
        let question = |index: usize| {
            (
                self.length_of(&self.question, index),
                rng::stream(self.content, self.question.name, index as u64),
            )
        };
        let (drawn, mut rng) = question(first);
        let system_text = match &system.prompt {
            Prompt::Text(text) => text.as_str(),
            Prompt::Ids(ids) => {
                let more = self.part_ids(&self.question, first, &mut rng, drawn);
                let ids = [ids.as_slice(), &more].concat();
                let len = ids.len();
                let lengths = vec![Length { drawn, made: drawn }];
                return (Row::new(Prompt::Ids(ids), len, output_len), lengths);
            }
            Prompt::Texts(_) | Prompt::Messages(_) | Prompt::Rounds(_) => "",
        };
        let system_part = (system_text, system.length.made);
        let (text, prompt_len, made) = self.first(system_part, first, drawn, &mut rng);
        let mut lengths = vec![Length { drawn, made }];
        let prompt = if self.opts.gsp_num_turns == 1 {
            Prompt::Text(text)
        } else {
            let later = (first + 1..first + self.opts.gsp_num_turns).map(|index| {
                let (drawn, mut rng) = question(index);
                let (text, made) = self.later(index, drawn, &mut rng);
                lengths.push(Length { drawn, made });
                vec![user_message(&text)]
            });
            Prompt::Rounds([vec![user_message(&text)]].into_iter().chain(later).collect())
        };
        (Row::new(prompt, prompt_len, output_len), lengths)
    }

    /// The system prompt with a question behind it, the tokens of both, and those of the question.
    ///
    /// Tokenizers look at a text locally, so the end of the system prompt is counted with the question, not all of it.
    fn first(
        &self,
        (system, system_len): (&str, usize),
        index: usize,
        drawn: usize,
        rng: &mut impl Rng,
    ) -> (String, usize, usize) {
        let special = self.tokenizer.special_tokens_added();
        let end = last_words(system);
        let counted = |question: &str| {
            let both = self.tokenizer.count(&format!("{end}{SEPARATOR}{question}"));
            both.saturating_sub(self.tokenizer.count(end)).saturating_sub(self.separator)
        };
        let part = (&self.question, index);
        if let Some(question) = self.part_words(part, rng, drawn, false, counted) {
            let text = [system, SEPARATOR, &question].concat();
            return (text, special + system_len + self.separator + drawn, drawn);
        }
        let (question, made) = self.gibberish(&self.question, index, rng, drawn);
        let text = [system, SEPARATOR, &question].concat();
        let len = if self.opts.gsp_fast_prepare {
            special + system_len + made
        } else {
            self.tokenizer.count_with_special(&text)
        };
        (text, len, made)
    }

    /// The question of a later turn, a message of its own, and its tokens.
    fn later(&self, index: usize, drawn: usize, rng: &mut impl Rng) -> (String, usize) {
        let counted = |text: &str| self.tokenizer.count(text);
        match self.part_words((&self.question, index), rng, drawn, true, counted) {
            Some(text) => (text, drawn),
            None => self.gibberish(&self.question, index, rng, drawn),
        }
    }
}

/// The last few words of a text, with the space before them.
fn last_words(text: &str) -> &str {
    const WORDS: usize = 4;
    let start = text.rmatch_indices(' ').nth(WORDS - 1).map_or(0, |(at, _)| at);
    text.get(start..).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text() {
        assert_eq!(last_words(" a b c d e f"), " c d e f");
        assert_eq!(last_words("a b"), "a b");
        assert_eq!(last_words(""), "");
    }
}
