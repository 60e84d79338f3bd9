//! Which columns of a data set are prompts, images and answers.
//!
//! A few data sets have rules of their own; all others are read by the names that columns usually have.

use serde_json::Value;

use crate::workload::dataset::Cells;

/// The rules of a data set.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// Columns whose texts, one after the other, are the prompt.
    prompt: Vec<String>,
    /// The split that is used if none is named.
    pub(super) split: Option<&'static str>,
    /// Output tokens, where they are not those of an answer.
    pub(super) output: Option<usize>,
}

/// What a row asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asks {
    /// The prompt.
    pub(super) prompt: String,
    /// Its images as URIs.
    pub(super) images: Vec<String>,
    /// The answer that the data set has.
    pub(super) answer: Option<String>,
}

/// A data set with rules of its own: its name on the Hub, its columns of prompts, its split, its output tokens.
type Known = (&'static str, &'static [&'static str], Option<&'static str>, Option<usize>);

const KNOWN: &[Known] = &[
    ("likaixin/InstructCoder", &["input", "instruction"], Some("train"), Some(200)),
    ("philschmid/mt-bench", &["turns"], Some("train"), Some(256)),
    ("openai/openai_humaneval", &["prompt"], Some("test"), Some(256)),
    ("openai/gsm8k", &["question"], Some("test"), Some(256)),
    ("AI-MO/aimo-validation-aime", &["problem"], Some("train"), None),
    ("AI-MO/NuminaMath-1.5", &["problem"], Some("train"), None),
    ("AI-MO/NuminaMath-CoT", &["problem"], Some("train"), None),
    ("mgoin/mlperf-inference-llama2-data", &["system_prompt", "question"], Some("train"), None),
    ("mgoin/mlperf-inference-llama3.1-data", &["system_prompt", "input"], Some("train"), None),
    ("lmarena-ai/VisionArena-Chat", &["conversation"], Some("train"), Some(128)),
    ("lmarena-ai/vision-arena-bench-v0.1", &["turns"], Some("train"), Some(128)),
    ("Lin-Chen/MMStar", &["question"], Some("val"), Some(128)),
];

/// Names of columns of prompts, the likeliest first.
const PROMPTS: [&str; 13] = [
    "prompt",
    "question",
    "instruction",
    "query",
    "problem",
    "text",
    "messages",
    "conversations",
    "conversation",
    "turns",
    "content",
    "input",
    "article",
];

/// Names of columns of answers.
const ANSWERS: [&str; 11] = [
    "output",
    "response",
    "completion",
    "answer",
    "solution",
    "ref_output",
    "target",
    "chosen",
    "canonical_solution",
    "highlights",
    "summary",
];

/// Names of columns of images.
const IMAGES: [&str; 4] = ["image", "images", "image_1", "jpg"];

impl Columns {
    /// The rules of the data set `name`; `column` is the one that the user names.
    pub(super) fn of(name: &str, column: Option<String>) -> Self {
        let known = KNOWN.iter().find(|(known, ..)| *known == name);
        let (prompt, split, output) =
            known.map_or((&[][..], None, None), |&(_, p, s, o)| (p, s, o));
        let prompt = prompt.iter().map(|&name| name.to_owned()).collect();
        Self { prompt: column.map_or(prompt, |column| vec![column]), split, output }
    }

    /// What a row asks; `None` if no column says so.
    pub(super) fn asks(&self, cells: &Cells) -> Option<Asks> {
        let mut turns = (None, None);
        let prompt = if self.prompt.is_empty() {
            let found = PROMPTS.iter().find_map(|name| {
                let value = cells.get(*name)?;
                turns = said(value);
                Some((*name, turns.0.clone()?))
            })?;
            match (found.0, cells.get("input").and_then(Value::as_str)) {
                // An instruction is often about another text.
                ("instruction", Some(input)) if !input.is_empty() => {
                    format!("{}\n\n{input}", found.1)
                }
                _ => found.1,
            }
        } else {
            let texts: Vec<String> = self
                .prompt
                .iter()
                .filter_map(|name| {
                    turns = said(cells.get(name)?);
                    turns.0.clone()
                })
                .filter(|text| !text.is_empty())
                .collect();
            texts.join("\n\n")
        };
        let answer = || ANSWERS.iter().find_map(|name| said(cells.get(*name)?).0);
        let images = IMAGES.iter().filter_map(|name| cells.get(*name)).flat_map(uris).collect();
        let prompt = Some(prompt).filter(|text| !text.trim().is_empty())?;
        Some(Asks { prompt, images, answer: turns.1.or_else(answer) })
    }
}

/// The first two texts of a value: itself, or those of a list of turns.
fn said(value: &Value) -> (Option<String>, Option<String>) {
    match value {
        Value::String(text) => (Some(text.clone()), None),
        Value::Object(turn) => {
            let keys = ["content", "value", "text"];
            (keys.iter().find_map(|key| said(turn.get(*key)?).0), None)
        }
        Value::Array(turns) => {
            let is_system = |turn: &&Value| {
                ["role", "from"].iter().any(|key| turn.get(*key).is_some_and(|who| who == "system"))
            };
            let mut texts = turns.iter().filter(|turn| !is_system(turn)).filter_map(|t| said(t).0);
            (texts.next(), texts.next())
        }
        _ => (None, None),
    }
}

/// The images of a cell.
fn uris(value: &Value) -> Vec<String> {
    match value {
        Value::String(uri) if uri.starts_with("data:image") || uri.contains("://") => {
            vec![uri.clone()]
        }
        Value::Object(file) => file.get("bytes").map(uris).unwrap_or_default(),
        Value::Array(all) => all.iter().flat_map(uris).take(1).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asks(name: &str, cells: &Value) -> Option<Asks> {
        Columns::of(name, None).asks(cells.as_object().unwrap())
    }

    #[test]
    fn columns_are_found_by_their_names() {
        for (cells, prompt, answer) in [
            (json!({"question": "q", "answer": "a"}), "q", Some("a")),
            (json!({"instruction": "do", "input": "it", "output": "o"}), "do\n\nit", Some("o")),
            (json!({"instruction": "do", "input": ""}), "do", None),
            (
                json!({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"},
                    {"role": "assistant", "content": "a"}]}),
                "u",
                Some("a"),
            ),
            (json!({"conversations": [{"from": "human", "value": "u"}]}), "u", None),
        ] {
            let asked = asks("some/set", &cells).unwrap();
            assert_eq!(
                (asked.prompt.as_str(), asked.answer.as_deref()),
                (prompt, answer),
                "{cells}"
            );
        }
        assert_eq!(asks("some/set", &json!({"label": 3})), None);
    }

    #[test]
    fn known_data_sets_have_rules() {
        let asked = asks("philschmid/mt-bench", &json!({"turns": ["first", "second"]})).unwrap();
        assert_eq!(asked.prompt, "first");
        assert_eq!(Columns::of("philschmid/mt-bench", None).output, Some(256));
        let asked = asks(
            "Lin-Chen/MMStar",
            &json!({"question": "q", "image": {"bytes": "data:image/png;base64,x"}}),
        );
        assert_eq!(asked.unwrap().images, ["data:image/png;base64,x"]);
    }
}
