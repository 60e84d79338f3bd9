//! Limits on the values that a template builds.
//!
//! Fuel bounds the steps of a template, and one step can double a text. Whatever gets a name is therefore measured:
//! a call that does so is written behind each tag that gives one.

use minijinja::value::{Rest, Value as Operand};
use minijinja::{Environment, Error, ErrorKind};

/// The function that measures.
const MEASURE: &str = "rbench_measure";

/// Longest text that may have a name, in bytes.
const LONGEST: usize = 64 << 20;

/// Most items of a list or map that may have a name.
const MOST: usize = 4 << 20;

/// Gives `environment` what [`measured`] templates call.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_function(MEASURE, measure);
}

fn measure(values: Rest<Operand>) -> Result<bool, Error> {
    for value in values.0 {
        let what = match value.as_str() {
            Some(text) if text.len() > LONGEST => {
                format!("a text of more than {} MiB", LONGEST >> 20)
            }
            None if value.len().is_some_and(|len| len > MOST) => format!("more than {MOST} items"),
            _ => continue,
        };
        return Err(Error::new(ErrorKind::InvalidOperation, format!("it builds {what}")));
    }
    Ok(true)
}

/// The template with a call to measure behind each tag that names values.
pub(super) fn measured(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    // Blocks whose text gets a name where they end.
    let mut captured = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let close = match tag.as_bytes().get(1) {
            Some(b'%') => "%}",
            Some(b'{') => "}}",
            Some(b'#') => "#}",
            _ => {
                out.push('{');
                rest = &tag[1..];
                continue;
            }
        };
        let inner = &tag[2..];
        // Comments know no strings.
        let end = if close == "#}" { inner.find(close) } else { end_of(inner, close) };
        let Some(end) = end else {
            rest = tag;
            break;
        };
        let (whole, after) = tag.split_at(2 + end + close.len());
        out.push_str(whole);
        rest = after;
        if close != "%}" {
            continue;
        }
        let inner = &inner[..end];
        let mark = inner.chars().next_back().filter(|mark| "-+".contains(*mark));
        let statement = inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        if statement == "raw" {
            let end = rest.find("endraw").unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let names = names(statement, &mut captured);
        if !names.is_empty() {
            let mark = mark.map(String::from).unwrap_or_default();
            out.push_str(&format!("{{% do {MEASURE}({names}) {mark}%}}"));
        }
    }
    out + rest
}

/// What `statement` gives names to, as arguments of a call.
fn names(statement: &str, captured: &mut Vec<String>) -> String {
    let (word, rest) = statement.split_once(|c: char| c.is_whitespace()).unwrap_or((statement, ""));
    match word {
        "set" => {
            if let Some((target, _)) = rest.split_once('=') {
                return target.trim().to_owned();
            }
            captured.push(rest.split('|').next().unwrap_or_default().trim().to_owned());
            String::new()
        }
        "endset" => captured.pop().unwrap_or_default(),
        "for" => rest.split_once(" in ").map_or("", |(target, _)| target.trim()).to_owned(),
        "macro" => variables(rest.split_once('(').map_or("", |(_, list)| list)),
        "with" => variables(rest),
        _ => String::new(),
    }
}

/// The names in a list of parameters, which may have defaults.
fn variables(list: &str) -> String {
    let names = list.split(',').map(|item| {
        item.split('=')
            .next()
            .unwrap_or_default()
            .trim_matches(|c: char| c.is_whitespace() || c == ')')
    });
    let is_name = |name: &&str| {
        name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    names.filter(is_name).collect::<Vec<_>>().join(", ")
}

/// Where `close` is in `text` outside of strings.
fn end_of(text: &str, close: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (i, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(mark) if c == mark => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if text[i..].starts_with(close) => return Some(i),
            Some(_) | None => {}
        }
    }
    None
}
