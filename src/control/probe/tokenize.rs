//! The tokenizer of a server, as vLLM, SGLang and llama.cpp give it to others.

use serde_json::{Value, json};

use super::{Probe, Unanswered, answered, read_json};
use reqwest::StatusCode;

impl Probe {
    /// The token ids of `text` by `POST /tokenize`, with special tokens if `special`.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn tokenize(
        &self,
        model: &str,
        text: &str,
        special: bool,
    ) -> Result<Vec<u32>, Unanswered> {
        // Each server reads the names that it knows: the last two are llama.cpp's.
        let body = json!({"model": model, "prompt": text, "add_special_tokens": special,
            "content": text, "add_special": special});
        let ids = |answer: &Value| {
            let id = |token: &Value| token.as_u64().and_then(|id| u32::try_from(id).ok());
            answer.get("tokens")?.as_array()?.iter().map(id).collect()
        };
        self.ask("/tokenize", &body, ids).await
    }

    /// The text of `ids` by `POST /detokenize`.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn detokenize(&self, model: &str, ids: &[u32]) -> Result<String, Unanswered> {
        let body = json!({"model": model, "tokens": ids});
        let text = |answer: &Value| {
            let text = |key: &&str| Some(answer.get(*key)?.as_str()?.to_owned());
            ["prompt", "text", "content"].iter().find_map(text)
        };
        self.ask("/detokenize", &body, text).await
    }

    /// What `find` finds in the answer to a `POST` of `body`.
    async fn ask<T>(
        &self,
        path: &str,
        body: &Value,
        find: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, Unanswered> {
        let call = format!("POST {path}");
        let sent = self.client.post(format!("{}{path}", self.base)).json(body).send().await;
        let response = sent.map_err(|error| Unanswered::failed(&call, &error))?;
        let status = response.status();
        let found = if status == StatusCode::OK {
            read_json(response)
                .await
                .and_then(|answer| find(&answer).ok_or_else(|| "something else".to_owned()))
        } else {
            Err(answered(response).await)
        };
        found.map_err(|what| Unanswered::refused(&call, status, &what))
    }
}
