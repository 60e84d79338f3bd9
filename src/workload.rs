//! What is sent: prompts and their lengths, when each request is due, and the bodies as bytes.

pub mod arrival;
pub mod bundled;
pub mod conversation;
pub mod dataset;
pub mod download;
pub mod filetype;
pub mod hub;
pub mod lengths;
pub mod lora;
pub mod plan;
pub mod tokenizer;
