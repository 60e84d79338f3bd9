//! Lines of results, read again: those of rbench, of SGLang's client and of the detailed files of vLLM's.

use serde_json::{Map, Value};

use crate::analysis::comparison::{Request, Sample, Sampled, settle};
use crate::analysis::stats::Distribution;

/// Keys under which a line has the time of the run.
const DATE: &str = "date";

/// Reads the result that is called `name` from `line`; `load` has the names of the flags that decide what is sent.
///
/// # Errors
/// If it is no result; the message says what is missing.
pub fn read(name: String, line: &str, load: &[String]) -> Result<Sampled, String> {
    let line: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| format!("no object of JSON: {error}"))?;
    if !line.contains_key("completed") {
        return Err("there is no key completed, which results have".to_owned());
    }
    let empty = Map::new();
    let own = line.get("rbench").and_then(Value::as_object).unwrap_or(&empty);
    let config = own.get("config").and_then(Value::as_object).unwrap_or(&line);
    let mut run = Sampled { name, ..settle(config, load) };
    for key in ["version", "model", "tokenizer", "seed"] {
        let value = own.get(key).filter(|value| !value.is_null());
        if let Some(value) = value {
            run.setting.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(backend) = line.get("backend") {
        run.load.insert("backend".to_owned(), backend.clone());
    }
    run.date = own.get(DATE).or(line.get(DATE)).and_then(Value::as_str).map(str::to_owned);
    run.partial = own.get("partial_reason").and_then(Value::as_str).map(str::to_owned);
    let limits = own.get("verdict").and_then(|verdict| verdict.get("limits")?.as_array());
    let evidence = |limit: &Value| limit.get("evidence")?.as_str().map(str::to_owned);
    run.limits = limits.into_iter().flatten().filter_map(evidence).collect();
    for (key, value) in line.iter().chain(own) {
        if value.is_number() {
            run.figures.insert(key.replace("e2el", "e2e_latency"), value.clone());
        }
    }
    if let Some(Value::Object(histograms)) = own.get("histograms") {
        for sample in Sample::ALL {
            let text = histograms.get(sample.name()).and_then(Value::as_str);
            let samples = text.and_then(Distribution::from_hdr);
            run.histograms.extend(samples.map(|samples| (sample, samples)));
        }
    }
    let sent = own.get("ledger").and_then(|ledger| ledger.get("sent")).cloned();
    if let Some(sent) = sent {
        run.figures.insert("requests".to_owned(), sent);
    }
    let (requests, timed) = requests(&line, own);
    if let Some(requests) = requests {
        run.set_requests(requests, timed);
    }
    Ok(run)
}

/// The requests of the arrays that `--output-details` adds, and whether their times are known.
fn requests(line: &Map<String, Value>, own: &Map<String, Value>) -> (Option<Vec<Request>>, bool) {
    let array = |of: &'static str| line.get(of).and_then(Value::as_array);
    let (Some(ttfts), Some(itls)) = (array("ttfts"), array("itls")) else { return (None, false) };
    let at = |array: Option<&Vec<Value>>, i: usize| array.and_then(|all| all.get(i)?.as_f64());
    let times = |key: &str| own.get(key).and_then(Value::as_array);
    let (sent, done) = (times("sent_s"), times("done_s"));
    let timed = sent.is_some() && done.is_some();
    let (lengths, errors) = (array("output_lens"), array("errors"));
    let request = |i: usize| {
        let error = errors.and_then(|errors| errors.get(i)?.as_str()).unwrap_or("");
        let sent_s = if timed { at(sent, i)? } else { 0.0 };
        let gaps = itls.get(i).and_then(Value::as_array);
        let itl_ms: Vec<f64> =
            gaps.into_iter().flatten().filter_map(Value::as_f64).map(|s| s * 1e3).collect();
        let ttft_ms = at(Some(ttfts), i)? * 1e3;
        let e2e_ms = if timed {
            (at(done, i)? - sent_s) * 1e3
        } else {
            ttft_ms + itl_ms.iter().sum::<f64>()
        };
        let tokens = lengths.and_then(|all| all.get(i)?.as_u64()).unwrap_or(0);
        if !error.is_empty() {
            let done_s = at(done, i).unwrap_or(sent_s);
            return Some(Request { sent_s, done_s, ..Request::default() });
        }
        Some(Request {
            sent_s,
            done_s: at(done, i).unwrap_or(sent_s),
            completed: true,
            output_tokens: tokens,
            // An answer without a token has none.
            ttft_ms: Some(ttft_ms).filter(|&ms| ms > 0.0),
            tpot_ms: (tokens > 1).then(|| (e2e_ms - ttft_ms) / (tokens - 1) as f64),
            e2e_ms: Some(e2e_ms),
            itl_ms,
            good: None,
        })
    };
    (Some((0..ttfts.len()).filter_map(request).collect()), timed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_another_client_has_latencies_and_no_times() {
        let line = r#"{"backend": "sglang", "request_rate": 4, "completed": 2, "median_ttft_ms": 15.0,
            "ttfts": [0.01, 0.02, 0], "itls": [[0.005, 0.005], [], []], "output_lens": [3, 1, 0],
            "errors": ["", "", "refused"]}"#;
        let run = read("x".to_owned(), line, &["request_rate".to_owned()]).unwrap();
        assert_eq!(run.load.get("request_rate"), Some(&4.into()));
        assert_eq!(run.load.get("backend"), Some(&"sglang".into()));
        let requests = run.requests.unwrap();
        assert!(!run.timed);
        assert_eq!(requests.iter().filter(|request| request.completed).count(), 2);
        assert_eq!((requests[0].ttft_ms, requests[0].tpot_ms), (Some(10.0), Some(5.0)));
        assert_eq!((requests[1].tpot_ms, requests[2].ttft_ms), (None, None));
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for line in ["", "[]", "{}", "{\"rbench_records\":1}"] {
            assert!(read(String::new(), line, &[]).is_err(), "{line}");
        }
    }
}
