//! Everything that is done before the first request: rows, bodies, due times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cycles;
use super::session::Session;
use crate::analysis::vision;
use crate::config::Serve;
use crate::engine::system;
use crate::error::{Error, Kind};
use crate::model::{PlannedRequest, Prompt, Row, VisionSource};
use crate::protocol::backend::{self, Common};
use crate::workload::arrival::{self, Rate};
use crate::workload::conversation;
use crate::workload::dataset::{Context, Dataset, Reading, Rows};
use crate::workload::plan::{self, Encoder, Planned, PlannedCache, Render};

/// What is ready before the first request.
pub(super) struct Prepared {
    pub(super) plan: Arc<[PlannedRequest]>,
    /// How the requests arrive.
    pub(super) rate: Rate,
    /// The gap that would follow the last of them.
    pub(super) last_gap: Duration,
    pub(super) encoder: Encoder,
    /// The rows, if they go around.
    pub(super) rows: Vec<Row>,
    /// The first row, which warm-ups repeat.
    pub(super) first: Option<Row>,
    /// Where the image tokens come from, if there are images.
    pub(super) vision: Option<VisionSource>,
    /// What the requests were made to be.
    pub(super) planned: Planned,
    /// The rows that are sent before the run, so that the server has them in its cache.
    pub(super) before: Vec<Row>,
}

/// Makes the rows and the plan.
pub(super) fn prepare(config: &Serve, session: &Session) -> Result<Prepared, Error> {
    let Session { served, hub, tokenizer, ui, .. } = session;
    let started = Instant::now();
    check_room(config, config.dataset.as_ref(), config.num_prompts)?;
    let mut rows = config.dataset.load(&Context {
        tokenizer,
        hub,
        path: session.dataset_path.as_deref().or(config.dataset_path.as_deref()),
        n: config.num_prompts,
        seed: config.seed,
        ids: config.tokenize_prompt,
        reading: &Reading { now: jiff::Zoned::now(), ..config.reading.clone() },
    })?;
    for note in &rows.notes {
        ui.warn(note);
    }
    for line in &rows.told {
        ui.status(line);
    }
    let encoder = Encoder {
        protocol: config.backend.protocol,
        common: Arc::new(Common {
            model: served.model.clone(),
            stream: config.stream,
            ignore_eos: config.ignore_eos,
            extra: config.extra.clone(),
            sampling: config.sampling.clone(),
            style: config.manner.style,
        }),
        render: (!config.backend.accepts_messages
            && rows.rows.iter().any(|row| matches!(row.prompt, Prompt::Rounds(_))))
        .then(|| {
            // A tokenizer without a template is no error here: there is another way to write a conversation.
            let template = tokenizer.chat_template(&jiff::Zoned::now()).ok();
            let bos = template.as_ref().and_then(|template| tokenizer.bos_again(template));
            let render = move |messages: &[Value]| {
                conversation::as_text(messages, template.as_ref(), bos.as_deref())
            };
            Arc::new(render) as Render
        }),
    };
    if let Some(adapters) = &config.adapters {
        for (i, row) in rows.rows.iter_mut().enumerate() {
            row.lora = Some(adapters.of(config.seed, i));
        }
    }
    check_messages(config, &rows)?;
    let (rate, due, last_gap) = arrivals(config, &rows)?;
    if rate == Rate::Trace && config.rate != Rate::Unlimited {
        ui.status("--request-rate does nothing here: the trace says when requests are sent");
    }
    if config.duration.is_some() {
        cycles::check(config, &rows.rows, rate == Rate::Trace)?;
    }
    let kept = if config.duration.is_some() { rows.rows.clone() } else { Vec::new() };
    let (first, vision) = (rows.rows.first().cloned(), vision::planned(&rows.rows));
    let images = image_totals(&rows.rows);
    let cache = rows.cached.take().map(|cached| planned_cache(config, &rows.rows, cached));
    if config.duration.is_some() && !rows.first.is_empty() {
        return Err(Error::new(
            Kind::Usage,
            "--duration does not apply to --cache-hit-rate: its prompts go around with a salt in front, and share no prefix then",
        )
        .hint("--num-prompts sets the length of such a run"));
    }
    let planned = Planned { lengths: rows.drawn, cache };
    let before = std::mem::take(&mut rows.first);
    let plan = plan::build(rows.rows, &due, &encoder);
    let total =
        |len: fn(&PlannedRequest) -> usize| plan.iter().map(len).fold(0, usize::saturating_add);
    let about = if tokenizer.counts() { "" } else { "about " };
    let asked = if config.backend.protocol.generates() {
        format!("{} output tokens asked for, ", total(|request| request.output_len))
    } else {
        String::new()
    };
    ui.status(&format!(
        "{} requests of {}: {about}{} input tokens, {asked}prepared in {:.2} s",
        plan.len(),
        config.dataset_name,
        total(|request| request.prompt_len),
        started.elapsed().as_secs_f64(),
    ));
    if let Some(line) = images {
        ui.status(&line);
    }
    Ok(Prepared { plan, rate, last_gap, encoder, rows: kept, first, vision, planned, before })
}

/// What the server is to have cached of `rows`, of each of which it has so many tokens, and of the warm-up.
fn planned_cache(config: &Serve, rows: &[Row], cached: Vec<usize>) -> PlannedCache {
    let sum = |lens: &mut dyn Iterator<Item = usize>| lens.fold(0, |sum, len| sum + len as u64);
    let warm = config.warmup > 0 && config.flush.is_none() && !config.manner.salts;
    let first = rows.iter().zip(&cached).next().filter(|_| warm);
    let left = |(row, cached): (&Row, &usize)| row.prompt_len.saturating_sub(*cached) as u64;
    PlannedCache {
        prompt_tokens: sum(&mut rows.iter().map(|row| row.prompt_len)),
        warm_up_tokens: first.map_or(0, left),
        cached_tokens: sum(&mut cached.into_iter()),
    }
}

/// Refuses `n` prompts of `dataset` that do not fit into memory, before they are made.
///
/// # Errors
/// If they do not.
pub(super) fn check_room(config: &Serve, dataset: &dyn Dataset, n: usize) -> Result<(), Error> {
    let what = format!("{n} prompts of --dataset-name {}", config.dataset_name);
    system::check_room(&what, dataset.bytes(n), system::free_memory())
        .map_err(|error| error.hint("ask for fewer or shorter prompts, or fewer or smaller images"))
}

/// Refuses messages that are no conversation where only text can be sent, and both for embeddings.
fn check_messages(config: &Serve, rows: &Rows) -> Result<(), Error> {
    if config.backend.accepts_messages {
        return Ok(());
    }
    let refused = |prompt: &Prompt| match prompt {
        Prompt::Messages(_) => true,
        Prompt::Rounds(_) => !config.backend.protocol.generates(),
        Prompt::Text(_) | Prompt::Texts(_) | Prompt::Ids(_) => false,
    };
    if !rows.rows.iter().any(|row| refused(&row.prompt)) {
        return Ok(());
    }
    let chat = backend::ALL.iter().filter(|backend| backend.accepts_messages);
    Err(Error::new(
        Kind::Usage,
        format!(
            "--dataset-name {} gives chat messages, which --backend {} does not take",
            config.dataset_name, config.backend.name
        ),
    )
    .hint(format!(
        "use --backend {}",
        chat.map(|backend| backend.name).collect::<Vec<_>>().join(", ")
    )))
}

/// When requests are due, by the dataset's own times if it always has them or the user asks for them, else by the rate.
fn arrivals(config: &Serve, rows: &Rows) -> Result<(Rate, Vec<Duration>, Duration), Error> {
    if rows.replay && !config.sweep.is_empty() {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "--multi does not apply to --dataset-name {}, whose rows are sent at times of their own",
                config.dataset_name
            ),
        )
        .hint("leave --multi out, or use a dataset without times such as random"));
    }
    if rows.replay || config.trace {
        let times: Option<Vec<Duration>> = rows.rows.iter().map(|row| row.at).collect();
        let times = times.ok_or_else(|| {
            Error::new(
                Kind::Usage,
                format!(
                    "--use-trace-timestamps does not apply to --dataset-name {}, whose rows have no times",
                    config.dataset_name
                ),
            )
            .hint("use --request-rate, or a dataset with times such as mooncake")
        })?;
        return Ok((Rate::Trace, times, Duration::ZERO));
    }
    let (due, last_gap) =
        arrival::patterned(config.rate, &config.pattern, rows.rows.len(), config.seed);
    Ok((config.rate, due, last_gap))
}

/// How many images the rows have, how large they are, and what they count for; `None` if there are none.
fn image_totals(rows: &[Row]) -> Option<String> {
    let counts = || rows.iter().map(|row| row.images.len());
    let (images, fewest, most) = (counts().sum::<usize>(), counts().min()?, counts().max()?);
    if images == 0 {
        return None;
    }
    let per_request = if fewest == most {
        format!("{most} in each request")
    } else {
        let mean = images as f64 / rows.len() as f64;
        format!("{fewest} to {most} in a request, {mean:.2} on average")
    };
    let bytes: usize = rows.iter().flat_map(|row| &row.images).map(|image| image.len()).sum();
    let text: usize = rows.iter().map(|row| row.prompt_len - row.vision_len).sum();
    let tokens = match vision::planned(rows) {
        Some(VisionSource::PatchRule) => {
            let vision: usize = rows.iter().map(|row| row.vision_len).sum();
            format!("{vision} image tokens by the rule of the model")
        }
        _ => "image tokens are known after the run, if the server tells".to_owned(),
    };
    Some(format!(
        "{images} images, {per_request}, {} bytes each on average as data URIs; {text} text tokens, {tokens}",
        bytes / images
    ))
}
