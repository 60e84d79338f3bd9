//! What vLLM's parser makes of an argument list before flags are read: values inside of JSON flags by dots, and flags
//! from a file.

use std::ffi::OsString;

use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// Flags whose value is a JSON object that dots lead into.
const OBJECTS: [&str; 1] = ["extra-body"];

/// The position of the first flag of `rbench vllm bench serve`, if that is the command.
fn first(args: &[OsString]) -> Option<usize> {
    let words = ["vllm", "bench", "serve"];
    let is_ours = args.len() > 3 && words.iter().zip(&args[1..]).all(|(word, arg)| arg == *word);
    is_ours.then_some(4)
}

/// The file of `--config`, if one is named.
pub fn config(args: &[OsString]) -> Option<&OsString> {
    let start = first(args)?;
    let at = args.iter().skip(start).position(|arg| arg == "--config")?;
    args.get(start + at + 1)
}

/// The argument list with the flags of `file` before those that were typed, so that these win.
///
/// # Errors
/// If `file` is no mapping of flags to values; the message says where.
pub fn with_config(args: &[OsString], file: &str) -> Result<Vec<OsString>, String> {
    let Some(start) = first(args) else { return Ok(args.to_vec()) };
    let documents = YamlLoader::load_from_str(file).map_err(|error| error.to_string())?;
    let mut flags: Vec<OsString> = Vec::new();
    match documents.as_slice() {
        [] | [Yaml::Null] => {}
        [Yaml::Hash(map)] => {
            for (key, value) in map {
                let name = scalar(key).ok_or("a key is no text")?;
                flag(&name, value, &mut flags)?;
            }
        }
        _ => return Err("expected one mapping of flags to values".to_owned()),
    }
    let mut all = args[..start].to_vec();
    all.extend(flags);
    let mut typed = args[start..].iter();
    while let Some(arg) = typed.next() {
        if arg == "--config" {
            typed.next();
        } else {
            all.push(arg.clone());
        }
    }
    Ok(all)
}

fn flag(name: &str, value: &Yaml, flags: &mut Vec<OsString>) -> Result<(), String> {
    let flag = format!("--{}", name.replace('_', "-"));
    match value {
        Yaml::Boolean(true) => flags.push(flag.into()),
        Yaml::Boolean(false) | Yaml::Null => {}
        Yaml::Array(items) => {
            flags.push(flag.into());
            for item in items {
                let item = scalar(item).ok_or_else(|| format!("{name} has a list of lists"))?;
                flags.push(item.into());
            }
        }
        Yaml::Hash(_) => {
            let json = json(value).ok_or_else(|| format!("{name} has a key that is no text"))?;
            flags.extend([flag.into(), json.to_string().into()]);
        }
        one => {
            let one = scalar(one).ok_or_else(|| format!("{name} has no value"))?;
            flags.extend([flag.into(), one.into()]);
        }
    }
    Ok(())
}

fn scalar(value: &Yaml) -> Option<String> {
    match value {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(n) => Some(n.to_string()),
        Yaml::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn json(value: &Yaml) -> Option<Value> {
    Some(match value {
        Yaml::Hash(map) => {
            let pair = |(key, value)| Some((scalar(key)?, json(value)?));
            Value::Object(map.iter().map(pair).collect::<Option<Map<_, _>>>()?)
        }
        Yaml::Array(items) => items.iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        Yaml::Real(text) => serde_json::from_str(text).ok()?,
        Yaml::Integer(n) => (*n).into(),
        Yaml::Boolean(flag) => (*flag).into(),
        Yaml::String(text) => text.as_str().into(),
        _ => Value::Null,
    })
}

/// The argument list with the values of `--flag.key.key VALUE` in the JSON of `--flag`; a `+` after the last key appends
/// to a list.
///
/// # Errors
/// If a key leads into something that is no object, or has no value.
pub fn undotted(args: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let Some(start) = first(&args) else { return Ok(args) };
    let mut kept: Vec<OsString> = Vec::with_capacity(args.len());
    let mut objects: Map<String, Value> = Map::new();
    let mut rest = args.into_iter();
    kept.extend(rest.by_ref().take(start));
    while let Some(arg) = rest.next() {
        let text = arg.to_str().and_then(|text| text.strip_prefix("--"));
        let Some(text) = text else {
            kept.push(arg);
            continue;
        };
        let (name, typed) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v)));
        let (name, typed) = (name.to_owned(), typed.map(str::to_owned));
        let (flag, path) = match name.split_once('.') {
            Some((flag, path)) => (flag.replace('_', "-"), Some(path.to_owned())),
            None => (name.replace('_', "-"), None),
        };
        if !OBJECTS.contains(&flag.as_str()) {
            kept.push(arg);
            continue;
        }
        let value = typed.or_else(|| rest.next()?.into_string().ok());
        let value = value.ok_or_else(|| format!("--{name} needs a value"))?;
        let Some(path) = path else {
            match serde_json::from_str(&value) {
                Ok(Value::Object(object)) => {
                    let all = objects.entry(flag).or_insert_with(|| Value::Object(Map::new()));
                    if let Value::Object(all) = all {
                        all.extend(object);
                    }
                }
                // What is wrong with it is said where flags are read.
                _ => kept.extend([format!("--{flag}").into(), value.into()]),
            }
            continue;
        };
        // As vLLM reads it: JSON where it is some, else a text.
        let value = match value.as_str() {
            "True" | "true" => Value::Bool(true),
            "False" | "false" => Value::Bool(false),
            "None" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        };
        let all = objects.entry(flag).or_insert_with(|| Value::Object(Map::new()));
        put(all, &path, value).map_err(|what| format!("--{name}: {what}"))?;
    }
    for (flag, object) in objects {
        kept.extend([format!("--{flag}").into(), object.to_string().into()]);
    }
    Ok(kept)
}

/// Sets the value at `path` in `all`.
fn put(all: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let Value::Object(map) = all else { return Err(format!("{path} leads into no object")) };
    if let Some(rest) = rest {
        let within = map.entry(key.to_owned()).or_insert_with(|| Value::Object(Map::new()));
        return put(within, rest, value);
    }
    match key.strip_suffix('+') {
        None => drop(map.insert(key.to_owned(), value)),
        Some(key) => match map.entry(key.to_owned()).or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(items) => items.push(value),
            _ => return Err(format!("{key} is no list")),
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &[&str]) -> Vec<OsString> {
        ["rbench", "vllm", "bench", "serve"].iter().chain(text).map(Into::into).collect()
    }

    #[test]
    fn dots_lead_into_objects() {
        let typed = [
            "--extra_body.chat_template_kwargs.enable_thinking",
            "false",
            "--seed",
            "1",
            "--extra-body.stop+",
            "a",
            "--extra-body.stop+=b",
            "--extra-body",
            r#"{"x": 1}"#,
        ];
        let read = undotted(args(&typed)).unwrap();
        let body = r#"{"chat_template_kwargs":{"enable_thinking":false},"stop":["a","b"],"x":1}"#;
        assert_eq!(read, args(&["--seed", "1", "--extra-body", body]));
        let wrong = undotted(args(&["--extra-body.a", "1", "--extra-body.a.b", "2"]));
        assert_eq!(wrong.unwrap_err(), "--extra-body.a.b: b leads into no object");
        let other: Vec<OsString> =
            ["rbench", "serve", "--extra-body.a", "1"].map(Into::into).into();
        assert_eq!(undotted(other.clone()).unwrap(), other);
    }

    #[test]
    fn what_is_typed_wins_over_a_file() {
        let file = "num_prompts: 7\nignore-eos: true\nsave-result: false\nmetadata:\n  - a=b\n  - c=d\nextra_body: {top_k: 3}\n";
        let typed = args(&["--config", "f.yaml", "--num-prompts", "9"]);
        assert_eq!(config(&typed).unwrap(), "f.yaml");
        let all = with_config(&typed, file).unwrap();
        let want = [
            "--num-prompts",
            "7",
            "--ignore-eos",
            "--metadata",
            "a=b",
            "c=d",
            "--extra-body",
            r#"{"top_k":3}"#,
            "--num-prompts",
            "9",
        ];
        assert_eq!(all, args(&want));
        assert!(with_config(&typed, "- a\n- b\n").is_err());
        assert_eq!(with_config(&typed, "").unwrap(), args(&["--num-prompts", "9"]));
    }
}
