//! A small tokenizer and a small conversation file inside the program, for runs without a network.
//!
//! `datasets/README.md` says how they are made.

/// The name that stands for the bundled files in `--tokenizer` and `--dataset-path`.
pub const NAME: &str = "rbench-bundled";

/// A byte-level BPE tokenizer in the `tokenizer.json` format.
pub static TOKENIZER: &[u8] = include_bytes!("../../datasets/tokenizer/tokenizer.json");

/// What belongs to it: the special tokens and the chat template.
pub static CONFIG: &[u8] = include_bytes!("../../datasets/tokenizer/tokenizer_config.json");

/// Conversations in the ShareGPT format.
pub static CONVERSATIONS: &[u8] = include_bytes!("../../datasets/conversations.json");
