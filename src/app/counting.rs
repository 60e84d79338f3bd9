//! How far counters of the server grew over the run.

use serde_json::{Map, Value};

use super::calls;
use super::session::Session;
use crate::config::Serve;

/// The key of the growth in the server's account.
const GROWTH: &str = "counters";

/// The counters that the run reports as they are now; `None` if there are none, or the server does not tell them.
pub(super) fn counters(session: &Session, spec: &Serve) -> Option<Map<String, Value>> {
    let names = spec.manner.counters;
    if names.is_empty() {
        return None;
    }
    let found = calls::run(session.probe.series(names)).ok()?.ok()?;
    (!found.is_empty()).then_some(found)
}

/// How far they grew since they were as in `before`.
pub(super) fn growth(
    session: &Session,
    spec: &Serve,
    before: &Map<String, Value>,
) -> Option<Map<String, Value>> {
    counters(session, spec).map(|after| grown(before, after))
}

/// Adds the growth to the server's account of itself.
pub(super) fn put(account: &mut Option<Value>, growth: Map<String, Value>) {
    let account = account.get_or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(account) = account {
        account.insert(GROWTH.to_owned(), growth.into());
    }
}

fn grown(before: &Map<String, Value>, after: Map<String, Value>) -> Map<String, Value> {
    let one = |(name, after): (String, Value)| {
        let was = before.get(&name);
        let growth = match after {
            Value::Object(after) => {
                let none = Map::new();
                grown(was.and_then(Value::as_object).unwrap_or(&none), after).into()
            }
            after => {
                let was = was.and_then(Value::as_f64).unwrap_or(0.0);
                // A server that began anew counts from nothing.
                let now = after.as_f64().unwrap_or(0.0);
                (if now < was { now } else { now - was }).into()
            }
        };
        (name, growth)
    };
    after.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_grew_over_the_run_counts() {
        let before = json!({"a": 5.0, "p": {"0": 2.0}});
        let after = json!({"a": 8.0, "p": {"0": 3.0, "1": 1.0}, "b": 4.0});
        let (Value::Object(before), Value::Object(after)) = (before, after) else { panic!() };
        let grown = Value::from(grown(&before, after));
        assert_eq!(grown, json!({"a": 3.0, "p": {"0": 1.0, "1": 1.0}, "b": 4.0}));
    }
}
