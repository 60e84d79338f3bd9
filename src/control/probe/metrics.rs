//! Counters of servers, in the text form of Prometheus.

use super::{Probe, Unanswered, answered, read};
use reqwest::StatusCode;
use serde_json::{Map, Value};

const PATH: &str = "/metrics";

impl Probe {
    /// The counters of `names` from `GET /metrics`, each summed over all of its labels; `None` for those it lacks.
    ///
    /// # Errors
    /// If there are none to be had; the error says what came instead.
    pub async fn counters<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<f64>; N], Unanswered> {
        let text = self.metrics().await?;
        Ok(names.map(|name| sum(&text, name)))
    }

    /// The counters of `names` by their names, each summed over all of its labels; those with a label `position` also by
    /// it, under their name and `:position`. What the server lacks is left out.
    ///
    /// # Errors
    /// If there are none to be had; the error says what came instead.
    pub async fn series(&self, names: &[&str]) -> Result<Map<String, Value>, Unanswered> {
        let text = self.metrics().await?;
        let mut all = Map::new();
        for name in names {
            let Some(total) = sum(&text, name) else { continue };
            all.insert((*name).to_owned(), total.into());
            let positions = positions(&text, name);
            if !positions.is_empty() {
                all.insert(format!("{name}:position"), positions.into());
            }
        }
        Ok(all)
    }

    /// The text of `GET /metrics`.
    async fn metrics(&self) -> Result<String, Unanswered> {
        let call = format!("GET {PATH}");
        let sent = self.get(PATH).send().await;
        let response = sent.map_err(|error| Unanswered::failed(&call, &error))?;
        let status = response.status();
        let text = if status == StatusCode::OK {
            read(response).await
        } else {
            Err(answered(response).await)
        };
        let text = text.map_err(|what| Unanswered::refused(&call, status, &what))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// The samples of the counter `name` by their label `position`.
fn positions(text: &str, name: &str) -> Map<String, Value> {
    let mut all: Map<String, Value> = Map::new();
    for rest in text.lines().filter_map(|line| line.trim().strip_prefix(name)) {
        let position = rest.split_once("position=\"").and_then(|(_, rest)| rest.split_once('"'));
        if let (Some((position, _)), Some(sample)) = (position, value(rest)) {
            let before = all.get(position).and_then(Value::as_f64).unwrap_or(0.0);
            all.insert(position.to_owned(), (before + sample).into());
        }
    }
    all
}

/// The sum of all samples of the counter `name`.
fn sum(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| value(line.trim().strip_prefix(name)?));
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// The value of a sample, from what follows its name: labels in braces, the value, perhaps a time.
fn value(rest: &str) -> Option<f64> {
    let rest = match rest.strip_prefix('{') {
        Some(labels) => after_labels(labels)?,
        // Another name that begins like this one has no blank here.
        None => rest.strip_prefix([' ', '\t'])?,
    };
    rest.split_whitespace().next()?.parse().ok().filter(|value: &f64| value.is_finite())
}

/// What follows the brace that ends labels; braces within quotes end nothing.
fn after_labels(labels: &str) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return labels.get(at + 1..),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_by_position() {
        let text = "a_total{engine=\"0\",position=\"0\"} 3\na_total{engine=\"1\",position=\"0\"} 4\na_total{position=\"1\"} 2\n";
        let found = positions(text, "a_total");
        assert_eq!(Value::from(found), serde_json::json!({"0": 7.0, "1": 2.0}));
    }

    #[test]
    fn samples() {
        let text = r#"
# HELP vllm:hits_total Hits.
# TYPE vllm:hits_total counter
vllm:hits_total{engine="0",model_name="a } \" b"} 128.0
vllm:hits_total{engine="1"} 1e2 1700000000
vllm:hits_total_more 9
vllm:hits_created{engine="0"} 1.7e9
plain 3
broken{a="b" 4
nan NaN
"#;
        for (name, want) in [
            ("vllm:hits_total", Some(228.0)),
            ("plain", Some(3.0)),
            ("absent", None),
            ("broken", None),
            ("nan", None),
        ] {
            assert_eq!(sum(text, name), want, "{name}");
        }
    }
}
