//! Chat templates: the Jinja text that models ship, which turns messages into a prompt.
//!
//! The template engine is `minijinja`; here is what the templates of models expect on top of Jinja itself.

mod limits;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Zoned;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Operand};
use minijinja::{AutoEscape, Environment, ErrorKind};
use minijinja_contrib::pycompat;
use serde_json::{Map, Value};

use super::json;
use super::origin::read_beside;
use crate::error::{Error, Kind};
use crate::workload::bundled;
use crate::workload::hub::{Holds, Hub};

const CONFIG: &str = "tokenizer_config.json";
const JINJA: &str = "chat_template.jinja";
const JINJA_TOOLS: &str = "additional_chat_templates/tool_use.jinja";
const JSON: &str = "chat_template.json";
const SPECIAL: &str = "special_tokens_map.json";

/// The special tokens that templates name most.
const NAMED: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// Where the files that belong to a tokenizer are.
#[derive(Debug, Clone)]
pub(super) enum Beside {
    /// Inside the program.
    Bundled,
    /// In a folder.
    Folder(PathBuf),
    /// In a repository of the Hub.
    Hub(Hub, String),
    /// All that there is stands in this `tokenizer_config.json`.
    Text(String),
}

impl Beside {
    /// The text of one file, if there is such a file.
    fn read(&self, file: &str) -> Option<String> {
        match self {
            Self::Bundled => {
                (file == CONFIG).then(|| String::from_utf8_lossy(bundled::CONFIG).into_owned())
            }
            Self::Text(text) => (file == CONFIG).then(|| text.clone()),
            Self::Folder(folder) => text_of(&folder.join(file)),
            Self::Hub(hub, id) => text_of(&hub.file(Holds::Model, id, file).ok()?),
        }
    }

    /// Whether there is a chat template, without asking the Hub for it.
    pub(super) fn has_template(&self) -> Option<bool> {
        match self {
            Self::Hub(..) => None,
            Self::Bundled | Self::Folder(_) | Self::Text(_) => {
                Some([JINJA, CONFIG, JSON].into_iter().any(|file| {
                    self.read(file)
                        .is_some_and(|text| file == JINJA || text.contains("\"chat_template\""))
                }))
            }
        }
    }
}

/// The text of an ordinary file.
fn text_of(path: &Path) -> Option<String> {
    String::from_utf8(read_beside(path).ok()?).ok()
}

/// The chat template of a model, ready to be used.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// The tokenizer's name.
    name: String,
    /// Special tokens by the names that templates know them by.
    tokens: Map<String, Value>,
    /// Whether there is another template for messages with tools.
    for_tools: bool,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Names of the templates within the engine.
const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// Longest text of a template, in bytes; those of models have up to 40 KiB.
const LONGEST: usize = 1 << 20;

/// Longest prompt that a template may write, in bytes.
const MOST: usize = 64 << 20;

/// Instructions that a template may take for one prompt: models' take some hundreds for each message.
const FUEL: u64 = 20_000_000;

/// What a template said through `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

impl ChatTemplate {
    /// The template beside the tokenizer `name`; dates within prompts are those of `now`.
    pub(super) fn load(name: &str, beside: &Beside, now: Zoned) -> Result<Self, Error> {
        let config = config(name, beside)?;
        let mut tokens = tokens(&config);
        if NAMED.iter().any(|token| !config.contains_key(*token)) {
            for (token, text) in self::tokens(&object(name, SPECIAL, beside.read(SPECIAL))?) {
                // A token that the configuration sets to null is one that the model does without.
                if !config.contains_key(&token) {
                    tokens.insert(token, text);
                }
            }
        }
        let mut texts = texts(config.get("chat_template"));
        if let Some(text) = beside.read(JINJA) {
            texts.retain(|(name, _)| name != DEFAULT);
            texts.push((DEFAULT.to_owned(), text));
            if let Some(text) = beside.read(JINJA_TOOLS) {
                texts.retain(|(name, _)| name != TOOL_USE);
                texts.push((TOOL_USE.to_owned(), text));
            }
        }
        if texts.is_empty() {
            let file = object(name, JSON, beside.read(JSON))?;
            texts = self::texts(file.get("chat_template"));
        }
        // A list without a default, as some models with one named template have it.
        if let [(only, _)] = &mut texts[..] {
            DEFAULT.clone_into(only);
        }
        Self::new(name, &texts, tokens, now)
    }

    /// A template from its text or texts by name, and the special tokens.
    fn new(
        name: &str,
        texts: &[(String, String)],
        tokens: Map<String, Value>,
        now: Zoned,
    ) -> Result<Self, Error> {
        if !texts.iter().any(|(name, _)| name == DEFAULT) {
            return Err(Error::new(
                Kind::Input,
                format!("the tokenizer {name} has no chat template"),
            )
            .hint(format!("pass --tokenizer with a folder that has `chat_template` in {CONFIG}, {JINJA} or {JSON} beside tokenizer.json")));
        }
        let broken = |error: minijinja::Error| {
            Error::new(Kind::Input, format!("the chat template of {name} cannot be read"))
                .because(error)
        };
        let mut environment = environment(now).map_err(broken)?;
        for (which, text) in texts {
            if text.len() > LONGEST {
                let message =
                    format!("the chat template of {name} is longer than {} KiB", LONGEST >> 10);
                return Err(Error::new(Kind::Input, message));
            }
            let text = limits::measured(&without_marks(text));
            environment.add_template_owned(which.clone(), text).map_err(broken)?;
        }
        let for_tools = texts.iter().any(|(name, _)| name == TOOL_USE);
        Ok(Self { environment, name: name.to_owned(), tokens, for_tools })
    }

    /// The prompt that stands for `messages`, with `tools` on offer;
    /// `add_generation_prompt` ends it where the assistant's answer begins.
    ///
    /// # Errors
    /// If the template refuses the messages, or uses what the engine does not have.
    pub fn render(
        &self,
        messages: &[Value],
        tools: Option<&Value>,
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        let mut context = self.tokens.clone();
        context.insert("messages".into(), messages.into());
        context.insert("tools".into(), tools.cloned().unwrap_or(Value::Null));
        context.insert("documents".into(), Value::Null);
        context.insert("add_generation_prompt".into(), add_generation_prompt.into());
        let which = if self.for_tools && tools.is_some() { TOOL_USE } else { DEFAULT };
        self.environment
            .get_template(which)
            .and_then(|template| {
                let mut prompt = Bounded(Vec::new());
                template.render_captured_to(Operand::from(Serde(&context)), &mut prompt)?;
                // An engine of texts writes nothing else.
                Ok(String::from_utf8(prompt.0).unwrap_or_default())
            })
            .map_err(|error| self.error(error))
    }

    /// The text of the token that begins a sequence, if the model has one.
    pub fn bos(&self) -> Option<&str> {
        self.tokens.get("bos_token")?.as_str().filter(|text| !text.is_empty())
    }

    fn error(&self, error: minijinja::Error) -> Error {
        let raised =
            std::iter::successors(Some(&error as &(dyn std::error::Error + 'static)), |error| {
                error.source()
            })
            .find_map(|error| error.downcast_ref::<Raised>());
        if let Some(raised) = raised {
            return Error::new(
                Kind::Input,
                format!("the chat template of {} refuses the messages: {raised}", self.name),
            );
        }
        Error::new(Kind::Input, format!("the chat template of {} cannot be used", self.name))
            .because(error)
    }
}

/// A prompt that is being written, up to [`MOST`] bytes.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST {
            return Err(io::Error::other(format!("it writes more than {} MiB", MOST >> 20)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The engine with what templates of models expect of it.
fn environment(now: Zoned) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(pycompat::unknown_method_callback);
    limits::install(&mut environment);
    environment.add_filter("tojson", json::tojson);
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<Operand, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, "raised by the template")
                .with_source(Raised(message)))
        },
    );
    environment.add_function("strftime_now", move |format: String| {
        jiff::fmt::strtime::format(&format, &now).map_err(|error| {
            minijinja::Error::new(ErrorKind::InvalidOperation, "no such format of a date")
                .with_source(error)
        })
    });
    Ok(environment)
}

/// The `tokenizer_config.json` of the tokenizer `name`, empty if there is none.
///
/// # Errors
/// If it is not an object.
pub(super) fn config(name: &str, beside: &Beside) -> Result<Map<String, Value>, Error> {
    object(name, CONFIG, beside.read(CONFIG))
}

/// The object in a file, empty if there is no such file.
fn object(name: &str, file: &str, text: Option<String>) -> Result<Map<String, Value>, Error> {
    let Some(text) = text else { return Ok(Map::new()) };
    serde_json::from_str(&text).map_err(|error| {
        Error::new(Kind::Input, format!("{file} of {name} is not a JSON object")).because(error)
    })
}

/// Templates by name: a text is the default, a list has a name for each.
fn texts(value: Option<&Value>) -> Vec<(String, String)> {
    let named = |item: &Value| {
        let text = |key| item.get(key).and_then(Value::as_str).map(str::to_owned);
        Some((text("name")?, text("template")?))
    };
    match value {
        Some(Value::String(text)) => vec![(DEFAULT.to_owned(), text.clone())],
        Some(Value::Array(items)) => items.iter().filter_map(named).collect(),
        Some(Value::Object(map)) => map
            .iter()
            .filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())))
            .collect(),
        _ => Vec::new(),
    }
}

/// The special tokens of a configuration: each a text, or an object with the text as `content`.
fn tokens(config: &Map<String, Value>) -> Map<String, Value> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(Value::from(text.as_str())),
        Value::Object(token) => token.get("content").filter(|content| content.is_string()).cloned(),
        _ => None,
    };
    config
        .iter()
        .filter(|(key, _)| key.ends_with("_token"))
        .filter_map(|(key, value)| Some((key.clone(), text(value)?)))
        .collect()
}

/// The text with the marks around generated parts turned into a condition that always holds.
///
/// `generation` blocks tell training code which part the model wrote; they change nothing about the text.
fn without_marks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        let inner = tag.split_once("%}").map_or("", |(inner, _)| inner);
        let word = inner.trim_matches(|c: char| c.is_whitespace() || "+-".contains(c));
        let instead = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => word,
        };
        if instead == word {
            rest = tag;
        } else {
            out.push_str(&inner.replacen(word, instead, 1));
            rest = &tag[inner.len()..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
#[path = "template/tests.rs"]
mod tests;
