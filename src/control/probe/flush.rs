//! Empties prefix caches.

use std::time::Duration;

use super::{Probe, TIMEOUT, completed};
use crate::engine::transport::innermost;
use crate::error::{Error, Kind};
use crate::protocol::backend::Flush;

impl Probe {
    /// Empties the server's prefix cache.
    ///
    /// # Errors
    /// If the server does not do so, or a router not for all of its servers.
    pub async fn flush(&self, how: Flush, timeout: Duration) -> Result<(), Error> {
        let path = match how {
            Flush::Sglang => format!("/flush_cache?timeout={:?}", timeout.as_secs_f64()),
            Flush::Vllm => "/reset_prefix_cache".to_owned(),
            Flush::Plain => "/flush_cache".to_owned(),
        };
        let request = self.client.post(format!("{}{path}", self.base));
        // The server may use all of its time to become idle before it answers.
        let response = request.timeout(timeout + TIMEOUT).send().await.map_err(|error| {
            Error::new(
                Kind::Unreachable,
                format!(
                    "the prefix cache could not be emptied: POST {path}: {}",
                    innermost(&error)
                ),
            )
        })?;
        let Err(what) = completed(response).await else { return Ok(()) };
        let error = Error::new(
            Kind::Rejected,
            format!("the prefix cache was not emptied: the server answers POST {path} with {what}"),
        );
        Err(match how {
            Flush::Vllm => {
                error.hint("vLLM has this endpoint only when started with VLLM_SERVER_DEV_MODE=1")
            }
            _ => error,
        })
    }
}
