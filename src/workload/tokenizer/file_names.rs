//! The names that files of tokenizers have.

pub(super) const JSON: &str = "tokenizer.json";

/// The names that a tokenizer may have, the best first.
pub(super) const NAMES: &[&str] = &[JSON, "tokenizer.model", "tiktoken.model"];

/// Endings of files with names of their own, which count if there is one of them.
pub(super) const ENDINGS: &[&str] = &[TIKTOKEN, GGUF];
pub(super) const TIKTOKEN: &str = ".tiktoken";
pub(super) const GGUF: &str = ".gguf";

/// Whether `name` is one that the file of a tokenizer may have.
pub(super) fn is_expected(name: &str) -> bool {
    NAMES.contains(&name) || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether `name` is that of a GGUF file, which holds more than a tokenizer.
pub(super) fn is_gguf(name: &str) -> bool {
    name.ends_with(GGUF)
}
