//! A result as a line of comma-separated values, for spreadsheets.

use csv::{ReaderBuilder, WriterBuilder};
use serde_json::{Map, Value};

/// The figures and settings of a line of results that are one value each, by their names: those of the tool first, then
/// those of the object `rbench` under its name, without its lists and configuration.
fn columns(line: &str) -> Vec<(String, String)> {
    let line: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
    let text = |value: &Value| match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    };
    let of = |map: &Map<String, Value>, before: &str| -> Vec<(String, String)> {
        map.iter()
            .filter_map(|(key, value)| Some((format!("{before}{key}"), text(value)?)))
            .collect()
    };
    let mut all = of(&line, "");
    if let Some(Value::Object(own)) = line.get("rbench") {
        all.extend(of(own, "rbench."));
    }
    all
}

/// The rows that a file which begins with `before` takes for the result `line`: a header first if it is empty, and the
/// values under the header that it has otherwise, with the columns that it lacks.
///
/// # Errors
/// If what the file holds is no such header.
pub fn rows(before: &str, line: &str) -> Result<(String, Vec<String>), String> {
    let columns = columns(line);
    let names: Vec<String> = if before.is_empty() {
        columns.iter().map(|(name, _)| name.clone()).collect()
    } else {
        let mut reader = ReaderBuilder::new().has_headers(true).from_reader(before.as_bytes());
        let header = reader.headers().map_err(|error| error.to_string())?;
        header.iter().map(str::to_owned).collect()
    };
    if !before.is_empty() && !columns.iter().any(|(name, _)| names.contains(name)) {
        return Err("its first line names no column of a result".to_owned());
    }
    let value = |name: &String| {
        let found = columns.iter().find(|(column, _)| column == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    let written = if before.is_empty() { writer.write_record(&names) } else { Ok(()) };
    written
        .and_then(|()| writer.write_record(names.iter().map(value)))
        .map_err(|error| error.to_string())?;
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    let lost = columns.into_iter().map(|(name, _)| name).filter(|name| !names.contains(name));
    Ok((text, lost.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"backend":"vllm","tag":null,"completed":3,"ttfts":[1],"text":"a, \"b\"",
        "rbench":{"seed":1,"config":{"x":1},"date":"d"}}"#;

    #[test]
    fn values_stand_under_their_names() {
        let (text, lost) = rows("", LINE).unwrap();
        assert_eq!(
            text,
            "backend,tag,completed,text,rbench.seed,rbench.date\nvllm,,3,\"a, \"\"b\"\"\",1,d\n"
        );
        assert!(lost.is_empty());
        let (more, lost) = rows("completed,other,backend\n1,2,3\n", LINE).unwrap();
        assert_eq!(more, "3,,vllm\n");
        assert_eq!(lost, ["tag", "text", "rbench.seed", "rbench.date"]);
        assert!(rows("a table of something else\n", LINE).is_err());
    }
}
