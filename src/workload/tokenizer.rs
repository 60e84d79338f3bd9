//! Loads a tokenizer, counts, cuts and joins. The only file that names the `tokenizers` crate, the mock apart.

mod byte_level;
mod configured;
mod file_names;
mod gguf;
#[cfg(test)]
mod golden;
mod growth;
mod json;
mod memo;
mod origin;
mod pieces;
mod remote;
mod sentencepiece;
mod source;
mod template;
mod tiktoken;

use jiff::Zoned;
use serde_json::{Map, Value};

use self::memo::Memo;
pub use self::origin::{Name, Origin, read_beside};
pub use self::remote::Counter;
use self::remote::{Estimate, Remote};
use self::template::Beside;
pub use self::template::ChatTemplate;
use crate::error::{Error, Kind};
use crate::workload::bundled;
use crate::workload::filetype;
use crate::workload::hub::Hub;

/// The name that stands for none.
pub const NONE: &str = "none";

/// A tokenizer and where it came from.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// What words encode to, for those that encode each word by itself.
    memo: Option<Memo>,
    name: String,
    /// Where its chat template may be.
    beside: Beside,
    /// A server that counts, where there is no file; the library's own type knows no token then.
    remote: Option<Remote>,
}

impl Tokenizer {
    /// The first of `names` that can be loaded: the file of a tokenizer, a folder or a repository of the Hub
    /// that holds one, or [`bundled::NAME`].
    ///
    /// Files are `tokenizer.json`, tiktoken's, SentencePiece's `tokenizer.model` and GGUF.
    ///
    /// # Errors
    /// If none can; the message has what became of each.
    pub fn load(names: &[String], hub: &Hub) -> Result<Self, Error> {
        let names: Vec<Name> = names.iter().map(|name| Name::of_user(name)).collect();
        Self::load_named(&names, hub)
    }

    /// As [`Self::load`], with regard to who gave the names.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn load_named(names: &[Name], hub: &Hub) -> Result<Self, Error> {
        let (mut tried, mut hints): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for Name { text: name, origin } in names {
            match Self::load_one(name, *origin, hub) {
                Ok(tokenizer) => return Ok(tokenizer),
                Err(error) => {
                    let cause = error.cause.map_or(String::new(), |cause| format!(": {cause}"));
                    tried.push(format!("{name} ({}{cause})", error.message));
                    let new = error.hints.into_iter().filter(|hint| !hints.contains(hint));
                    let new: Vec<String> = new.collect();
                    hints.extend(new);
                }
            }
        }
        // What would open the door comes before the ways around.
        hints.push("pass --tokenizer PATH: a tokenizer.json, tiktoken, SentencePiece or GGUF file, or a folder that holds one".to_owned());
        hints.push("--tokenizer rbench-bundled is inside the program; its counts are not those of the model".to_owned());
        let message = format!("no tokenizer could be loaded; tried {}", tried.join("; "));
        let error = Error::new(Kind::Input, message);
        Err(hints.into_iter().fold(error, Error::hint))
    }

    fn load_one(name: &str, origin: Origin, hub: &Hub) -> Result<Self, Error> {
        if name == NONE && origin == Origin::User {
            return Ok(Self::none());
        }
        if name == bundled::NAME {
            return Self::parse(name, bundled::TOKENIZER, Beside::Bundled, &Map::new());
        }
        let source::Found { json, beside, config } = source::load(name, origin, hub)?;
        Self::parse(name, &json, beside, &config)
    }

    fn parse(
        name: &str,
        text: &[u8],
        beside: Beside,
        config: &Map<String, Value>,
    ) -> Result<Self, Error> {
        if let Some(what) = filetype::of(&text[..text.len().min(filetype::HEAD)]) {
            return Err(Error::new(Kind::Input, format!("{name} is {what}")));
        }
        let unreadable =
            || Error::new(Kind::Input, format!("{name} is not a tokenizer.json that can be read"));
        growth::check(text).map_err(|what| {
            Error::new(Kind::Input, format!("{name} is no tokenizer that can be used: {what}"))
        })?;
        // The library panics over some files that are broken.
        let read = std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(text));
        let mut inner =
            read.map_err(|_| unreadable())?.map_err(|error| unreadable().because(error))?;
        // Files may carry limits of training runs; a prompt is never cut or padded by them.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| {
            Error::new(Kind::Input, format!("{name} cannot be used without truncation"))
                .because(error)
        })?;
        configured::apply(&mut inner, name, config)?;
        let memo = Memo::of(&inner);
        Ok(Self { inner, memo, name: name.to_owned(), beside, remote: None })
    }

    /// A tokenizer called `name` for which `counter` counts.
    ///
    /// It has no vocabulary and no chat template, and finds out late if nobody counts any more: see [`Self::trouble`].
    pub fn of_server(name: String, counter: Box<dyn Counter>) -> Self {
        let inner = tokenizers::Tokenizer::new(tokenizers::models::bpe::BPE::default());
        let beside = Beside::Text("{}".to_owned());
        Self { inner, memo: None, name, beside, remote: Some(Remote::new(counter)) }
    }

    /// No tokenizer: lengths to ask for are estimated by the bytes of a text, and what was sent and came is for the
    /// server to count.
    fn none() -> Self {
        Self::of_server(NONE.to_owned(), Box::new(Estimate))
    }

    /// Whether it counts; what does not count estimates lengths to ask for, and no figure is made of that.
    pub fn counts(&self) -> bool {
        self.remote.is_none() || self.name != NONE
    }

    /// Whether texts are counted on this machine, and so at no cost.
    pub fn is_local(&self) -> bool {
        self.remote.is_none()
    }

    /// Why counts since then are missing, if a server counts and failed to.
    pub fn trouble(&self) -> Option<&str> {
        self.remote.as_ref()?.trouble()
    }

    /// The name that it was found by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has a chat template; `None` if that is not known.
    pub fn has_template(&self) -> Option<bool> {
        self.beside.has_template().filter(|_| self.is_local())
    }

    /// Its chat template, from the files beside it; prompts that tell the date tell that of `now`.
    ///
    /// # Errors
    /// If it has none, or one that cannot be read.
    pub fn chat_template(&self, now: &Zoned) -> Result<ChatTemplate, Error> {
        ChatTemplate::load(&self.name, &self.beside, now.clone())
    }

    /// The crate's own type, for the mock's vocabulary.
    pub fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// Token ids of `text`, without special tokens. Text that the model cannot represent has none.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.ids(text, false)
    }

    /// Token ids of `text` with the special tokens that a server would add.
    pub fn encode_with_special(&self, text: &str) -> Vec<u32> {
        self.ids(text, true)
    }

    fn ids(&self, text: &str, special: bool) -> Vec<u32> {
        if let Some(remote) = &self.remote {
            return remote.ids(text, special);
        }
        let mut ids = Vec::with_capacity(text.len() / 4 + 8);
        if self.each(text, special, |some| ids.extend_from_slice(some)) {
            return ids;
        }
        self.inner
            .encode_fast(text, special)
            .map_or_else(|_| Vec::new(), |encoding| encoding.get_ids().to_vec())
    }

    /// Number of tokens of `text`, without special tokens.
    pub fn count(&self, text: &str) -> usize {
        self.len(text, false)
    }

    /// Number of tokens of `text` with the special tokens that a server would add.
    pub fn count_with_special(&self, text: &str) -> usize {
        self.len(text, true)
    }

    fn len(&self, text: &str, special: bool) -> usize {
        if let Some(remote) = &self.remote {
            return remote.ids(text, special).len();
        }
        let mut len = 0;
        if self.each(text, special, |ids| len += ids.len()) {
            return len;
        }
        self.inner.encode_fast(text, special).map_or(0, |encoding| encoding.len())
    }

    /// Hands on the ids of `text` as they are remembered; whether that could be done.
    fn each(&self, text: &str, special: bool, take: impl FnMut(&[u32])) -> bool {
        let memo = self.memo.as_ref();
        memo.and_then(|memo| memo.each(&self.inner, text, special, take)).is_some()
    }

    /// The text of `ids`, special tokens included. Unknown ids have no text.
    pub fn decode(&self, ids: &[u32]) -> String {
        if let Some(remote) = &self.remote {
            return remote.text(ids);
        }
        let known = self.memo.as_ref().and_then(|memo| memo.decode(&self.inner, ids));
        known.unwrap_or_else(|| self.inner.decode(ids, false).unwrap_or_default())
    }

    /// The text of the token that begins a prompt of `template`, if the tokenizer puts it before each text as well:
    /// a server that gets the prompt as text would have it twice.
    pub fn bos_again(&self, template: &ChatTemplate) -> Option<String> {
        // A server that counts is not asked where there is no beginning.
        let added = || self.decode(&self.encode_with_special(""));
        template.bos().filter(|bos| added().starts_with(bos)).map(str::to_owned)
    }

    /// Number of special tokens that are added to each text.
    pub fn special_tokens_added(&self) -> usize {
        use tokenizers::PostProcessor as _;
        if let Some(remote) = &self.remote {
            return remote.ids("", true).len();
        }
        self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(false))
    }

    /// Ids of plain tokens that stand for a space and a word of ASCII letters, rising.
    ///
    /// Byte-level vocabularies write the space as `Ġ`, those of the SentencePiece family as `▁`.
    pub fn word_ids(&self) -> Vec<u32> {
        let is_word = |id: &u32| {
            self.inner.id_to_token(*id).is_some_and(|token| {
                let word = token.strip_prefix(['Ġ', '▁']).unwrap_or("");
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphabetic())
            })
        };
        self.plain_ids().into_iter().filter(is_word).collect()
    }

    /// Ids of the base vocabulary, rising, without added and special tokens.
    pub fn plain_ids(&self) -> Vec<u32> {
        let added = self.inner.get_added_tokens_decoder();
        let mut ids: Vec<u32> = self
            .inner
            .get_vocab(false)
            .into_values()
            .filter(|id| !added.contains_key(id))
            .collect();
        ids.sort_unstable();
        ids
    }
}
