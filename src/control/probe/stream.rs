//! One request at a time, with the arrivals of its answer's bytes.
//!
//! For loads of a single request; those of many go through `transport`.

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderMap};

use super::{anonymous, answered};
use crate::engine::transport::{Route, USER_AGENT, innermost};
use crate::error::{Error, Kind};

/// Longest time that one request may take, connecting included.
const LONGEST: Duration = Duration::from_hours(6);

/// Sends single requests.
#[derive(Debug)]
pub struct Sender {
    client: reqwest::Client,
    /// Whether there is a key, which wins over user and password of a URL.
    keyed: bool,
}

impl Sender {
    /// A sender of requests with `headers`, which go by `route`.
    ///
    /// # Errors
    /// If the TLS roots of the system can not be read.
    pub fn new(headers: HeaderMap, route: &Route) -> Result<Self, Error> {
        let keyed = headers.contains_key(AUTHORIZATION);
        let builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            // As a control call's: one that is kept may be dead when the next batch is ready.
            .pool_max_idle_per_host(0)
            .timeout(LONGEST)
            .tcp_nodelay(true);
        let client = route.lead(builder)?.build().map_err(|error| {
            Error::new(Kind::System, "can not make an HTTP client").because(error)
        })?;
        Ok(Self { client, keyed })
    }

    /// Posts `body` to `url` and hands on each piece of the answer with its arrival, from sending on;
    /// returns when the answer was complete.
    ///
    /// # Errors
    /// If there is no answer, its status is not 200, it breaks off, or `on` returns an error, which ends the request.
    pub async fn post(
        &self,
        url: &str,
        body: Vec<u8>,
        mut on: impl FnMut(&[u8], Duration) -> Result<(), String>,
    ) -> Result<Duration, String> {
        let url = if self.keyed { anonymous(url) } else { url.to_owned() };
        let request = self.client.post(url).body(body);
        let sent = Instant::now();
        let mut response = request.send().await.map_err(|error| innermost(&error))?;
        let status = response.status();
        if status != reqwest::StatusCode::OK {
            return Err(format!("it answers {}", answered(response).await));
        }
        while let Some(piece) = response.chunk().await.map_err(|error| innermost(&error))? {
            on(&piece, sent.elapsed())?;
        }
        Ok(sent.elapsed())
    }
}
