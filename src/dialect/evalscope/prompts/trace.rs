//! Recorded requests, sent again at the times at which they were.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Prompts, usage};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::workload::conversation::text_len;
use crate::workload::dataset::records::{self, Taken};
use crate::workload::dataset::{Context, Rows};

const EXPECTED: &str = "{\"body\": {...}, \"timestamp\": SECONDS or a date, ...} on each line";

/// What is done with recorded requests.
struct Args {
    /// How many times as fast as recorded they are sent.
    speed: f64,
    model: Option<String>,
    mapping: Map<String, Value>,
    /// Whether answers are held to the length of the recorded ones.
    matches: bool,
}

impl Args {
    fn of(args: &Map<String, Value>) -> Result<Self, String> {
        let wrong = |key: &str, want: &str| format!("--dataset-args: {key} must be {want}");
        let given = |key: &str| args.get(key).filter(|value| !value.is_null());
        let speed = given("speed").map_or(Some(1.0), Value::as_f64);
        let speed = speed.filter(|speed| *speed > 0.0 && speed.is_finite());
        let mapping = match given("model_mapping") {
            None => Map::new(),
            Some(Value::Object(mapping)) if mapping.values().all(Value::is_string) => {
                mapping.clone()
            }
            Some(_) => return Err(wrong("model_mapping", "an object of names")),
        };
        let model = match given("model_override") {
            None => None,
            Some(Value::String(model)) => Some(model.clone()),
            Some(_) => return Err(wrong("model_override", "a name")),
        };
        let matches = match given("match_output_length") {
            None => false,
            Some(Value::Bool(matches)) => *matches,
            Some(_) => return Err(wrong("match_output_length", "true or false")),
        };
        Ok(Self {
            speed: speed.ok_or_else(|| wrong("speed", "a number above 0"))?,
            model,
            mapping,
            matches,
        })
    }
}

/// A recorded request.
struct Recorded {
    body: Map<String, Value>,
    at: f64,
    completion: Option<usize>,
}

/// The rows in the order of their times, the first at 0.
pub(super) fn rows(of: &Prompts, context: &Context<'_>) -> Result<Rows, Error> {
    let args = Args::of(&of.args).map_err(usage)?;
    let path = of.path.as_deref().ok_or_else(|| {
        usage(format!("--dataset {} needs --dataset-path", of.name)).hint(EXPECTED)
    })?;
    let mut all = records::read(path, context, EXPECTED, usize::MAX, recorded)?.items;
    all.sort_by(|a, b| a.at.total_cmp(&b.at));
    let all: Vec<Recorded> = all.into_iter().skip(of.offset).take(context.n).collect();
    let first = all.first().map(|one| one.at).ok_or_else(|| {
        Error::new(Kind::Input, format!("{}: no recorded request is left", path.display()))
    })?;
    let row = |one: Recorded| row(of, context, &args, one, first);
    let rows: Vec<Row> = all.into_iter().map(row).collect::<Result<_, _>>()?;
    Ok(Rows { rows, replay: true, ..Rows::default() })
}

fn recorded(mut record: Map<String, Value>) -> Result<Taken<Recorded>, String> {
    let Some(Value::Object(body)) = record.shift_remove("body") else {
        return Err("there is no object `body`".to_owned());
    };
    if record.get("headers").and_then(Value::as_object).is_some_and(|headers| !headers.is_empty()) {
        return Err("it has `headers` of its own, which rbench cannot send; take them out, and give those of all requests with --headers".to_owned());
    }
    let at = match record.get("timestamp") {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => instant(text),
        _ => None,
    };
    let at = at
        .filter(|at| at.is_finite())
        .ok_or("`timestamp` is neither a number of seconds nor a date")?;
    let completion = record.get("completion_tokens").and_then(Value::as_u64);
    let completion = completion.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    Ok(Taken::Row(Recorded { body, at, completion }))
}

/// Seconds since 1970 of a date in RFC 3339; one without an offset is in UTC.
fn instant(text: &str) -> Option<f64> {
    let stamp: jiff::Timestamp = text.parse().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(stamp.as_duration().as_secs_f64())
}

/// Keys that hold a server to a grammar, under which it does not go on after the end.
const CONSTRAINED: [&str; 5] =
    ["response_format", "structured_outputs", "guided_json", "guided_regex", "guided_grammar"];

fn row(
    of: &Prompts,
    context: &Context<'_>,
    args: &Args,
    one: Recorded,
    first: f64,
) -> Result<Row, Error> {
    let Recorded { mut body, at, completion } = one;
    let own = |body: &Map<String, Value>, key: &str| body.get(key).and_then(Value::as_u64);
    let limit = own(&body, "max_tokens").or_else(|| own(&body, "max_completion_tokens"));
    let (messages, text) = (body.shift_remove("messages"), body.shift_remove("prompt"));
    body.shift_remove("stream");
    let mut model = body.shift_remove("model");
    if let Some(mapped) =
        model.as_ref().and_then(Value::as_str).and_then(|model| args.mapping.get(model))
    {
        model = Some(mapped.clone());
    }
    if let Some(name) = &args.model {
        model = Some(name.clone().into());
    }
    body.extend(model.map(|model| ("model".to_owned(), model)));
    let mut output = limit.and_then(|n| usize::try_from(n).ok());
    if args.matches {
        let length = completion.ok_or_else(|| {
            Error::new(Kind::Input, "match_output_length: a row has no `completion_tokens`")
        })?;
        if let Some(key) = CONSTRAINED.iter().find(|key| body.contains_key(**key)) {
            let message = format!(
                "match_output_length: a row has `{key}`, under which no length can be kept to"
            );
            return Err(Error::new(Kind::Input, message)
                .hint("take such rows out, or leave match_output_length out"));
        }
        body.shift_remove("max_completion_tokens");
        for (key, value) in [
            ("max_tokens", Value::from(length)),
            ("min_tokens", length.into()),
            ("ignore_eos", true.into()),
        ] {
            body.insert(key.to_owned(), value);
        }
        output = Some(length);
    }
    let output_len = output.unwrap_or(of.answers.most);
    let tokenizer = context.tokenizer;
    let mut row = match (messages, text) {
        (Some(Value::Array(messages)), _) => {
            let len = messages.iter().map(|message| text_len(message, tokenizer)).sum();
            Row::new(Prompt::Messages(messages), len, output_len)
        }
        (_, Some(Value::String(text))) => {
            let len = tokenizer.count_with_special(&text);
            Row::new(Prompt::Text(text), len, output_len)
        }
        _ => return Err(Error::new(Kind::Input, "a body has neither `messages` nor `prompt`")),
    };
    row.extra.extend(body);
    row.at = Some(Duration::try_from_secs_f64((at - first) / args.speed).unwrap_or_default());
    Ok(of.limited(row))
}
