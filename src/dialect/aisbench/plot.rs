//! The timeline of a run as one page: a line for each request, and the concurrency over time.
//!
//! The page holds its data and its script, and loads nothing.

use serde_json::json;

use super::times::{end, ttft};
use crate::model::RequestRecord;

/// What the page looks like, with a place for its title and its data.
const PAGE: &str = include_str!("plot.html");

/// The page of `records` under `title`.
pub fn page(title: &str, records: &[RequestRecord]) -> String {
    let requests = records.iter().filter_map(|record| {
        let (sent, end) = (record.sent?.as_secs_f64(), end(record)?.as_secs_f64());
        let first = ttft(record).map(|ttft| sent + ttft);
        Some(json!([record.index, sent, first, end, record.completed()]))
    });
    // A `<` could end the script.
    let data = json!(requests.collect::<Vec<_>>()).to_string().replace('<', "\\u003c");
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    PAGE.replace("{{title}}", &title).replace("{{data}}", &data)
}
