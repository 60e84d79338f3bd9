//! `--duration`: the rows go around for as long as the run lasts, each time with a salt.
//!
//! The salt is the same for all rows of a round: it keeps the server's prefix cache from knowing a prompt from the
//! round before, and leaves alone what the prompts of a round have in common.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rayon::prelude::*;
use serde_json::Value;

use crate::config::Serve;
use crate::engine::progress::Progress;
use crate::engine::schedule::Schedule;
use crate::engine::source::Cycles;
use crate::engine::transport::Endpoint;
use crate::engine::{self, Options, Ran};
use crate::error::{Error, Kind};
use crate::model::{PlannedRequest, Prompt, Row};
use crate::rng;
use crate::workload::arrival;
use crate::workload::plan::{self, Encoder};
use crate::workload::tokenizer::Tokenizer;

/// Refuses rows that cannot go around.
///
/// # Errors
/// If they have times of their own, or are conversations.
pub(super) fn check(config: &Serve, rows: &[Row], has_times: bool) -> Result<(), Error> {
    let what = if has_times {
        "whose rows are sent at times of their own"
    } else if rows.iter().any(|row| matches!(row.prompt, Prompt::Rounds(_))) {
        "whose rows are conversations"
    } else {
        return Ok(());
    };
    let name = &config.dataset_name;
    let message = format!("--duration does not apply to --dataset-name {name}, {what}");
    Err(Error::new(Kind::Usage, message).hint("--num-prompts sets the length of such a run"))
}

/// What goes around.
pub(super) struct Around<'a> {
    /// The rows of a round.
    pub(super) rows: &'a [Row],
    /// The requests of the first round.
    pub(super) first: Arc<[PlannedRequest]>,
    /// How long requests are sent.
    pub(super) lasts: Duration,
    pub(super) encoder: &'a Encoder,
    pub(super) tokenizer: &'a Tokenizer,
}

/// Runs them.
///
/// # Errors
/// If a thread cannot be started.
pub(super) fn run(
    around: Around<'_>,
    config: &Serve,
    endpoints: &[Arc<Endpoint>],
    options: &Options,
    progress: &Arc<Progress>,
) -> io::Result<Ran> {
    let Around { rows, first, lasts, encoder, tokenizer } = around;
    let due = vec![Duration::ZERO; first.len()];
    let cycles = Arc::new(Cycles::new(first));
    let arrivals = arrival::endless(config.rate, config.pattern.burstiness, config.seed);
    let schedule = Schedule::until(arrivals, lasts, options.max_in_flight);
    let at_once = match config.rate {
        arrival::Rate::Unlimited => options.max_in_flight.unwrap_or(1),
        _ => 1,
    };
    let seed = config.seed;
    let make = |number: usize| {
        let salt = rng::stream(seed, "cycle", number as u64).next_u32();
        let salted = rows.par_iter().map(|row| salted(row, salt, tokenizer)).collect();
        Ok::<_, Infallible>(plan::build(salted, &due, encoder))
    };
    std::thread::scope(|scope| {
        let maker = std::thread::Builder::new()
            .name("rbench-cycles".into())
            .spawn_scoped(scope, || cycles.make(make))?;
        let ran =
            engine::run_source(cycles.clone(), schedule, at_once, endpoints, options, progress);
        cycles.end();
        // It panics only if the program has a defect, which the run has told then.
        let _ = maker.join();
        ran
    })
}

/// `row` with a salt before its text; token ids keep their number.
pub(super) fn salted(row: &Row, salt: u32, tokenizer: &Tokenizer) -> Row {
    let mut row = row.clone();
    let words = format!("{salt:08x} ");
    let mark = |text: &str| format!("{words}{text}");
    match &mut row.prompt {
        Prompt::Text(text) => {
            let before = tokenizer.count(text);
            *text = mark(text);
            row.prompt_len = (row.prompt_len + tokenizer.count(text)).saturating_sub(before);
        }
        Prompt::Texts(texts) => {
            for text in texts {
                let before = tokenizer.count(text);
                *text = mark(text);
                row.prompt_len = (row.prompt_len + tokenizer.count(text)).saturating_sub(before);
            }
        }
        Prompt::Ids(ids) => {
            // Ids of the prompt itself are all that is known to be fit for one: they change places.
            let shift = salt as usize % ids.len().max(1);
            ids.rotate_left(shift);
        }
        Prompt::Messages(messages) => {
            if let Some(text) = messages.first_mut().and_then(first_text) {
                let before = tokenizer.count(text);
                *text = mark(text);
                row.prompt_len = (row.prompt_len + tokenizer.count(text)).saturating_sub(before);
            }
        }
        Prompt::Rounds(_) => {}
    }
    row
}

/// The first text of a message's content, which is a string or a list of parts.
fn first_text(message: &mut Value) -> Option<&mut String> {
    match message.get_mut("content")? {
        Value::String(text) => Some(text),
        Value::Array(parts) => parts.iter_mut().find_map(|part| match part.get_mut("text") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::user_message;
    use crate::workload::bundled;
    use crate::workload::hub::Hub;

    #[test]
    fn salts_change_prompts_and_their_lengths() {
        let tokenizer =
            Tokenizer::load(&[bundled::NAME.to_owned()], &Hub::from_env(false)).unwrap();
        let len = tokenizer.count("What is new?");
        let row = |prompt| Row::new(prompt, len + 3, 5);
        let text = salted(&row(Prompt::Text("What is new?".into())), 0xab, &tokenizer);
        assert_eq!(text.prompt, Prompt::Text("000000ab What is new?".into()));
        assert_eq!(text.prompt_len, tokenizer.count("000000ab What is new?") + 3);
        let ids = salted(&row(Prompt::Ids(vec![1, 2, 3])), 4, &tokenizer);
        assert_eq!((ids.prompt, ids.prompt_len), (Prompt::Ids(vec![2, 3, 1]), len + 3));
        let messages = vec![
            json!({"role": "system", "content": [{"type": "text", "text": "Be."}]}),
            user_message("Hi"),
        ];
        let salted = salted(&row(Prompt::Messages(messages)), 1, &tokenizer);
        let Prompt::Messages(messages) = &salted.prompt else { panic!("{salted:?}") };
        assert_eq!(messages[0]["content"][0]["text"], "00000001 Be.");
        assert_eq!(messages[1], user_message("Hi"));
        assert!(salted.prompt_len > len + 3);
    }
}
