//! The names that rbench's own object gives to measures.

use crate::analysis::measure::{Measure, Percent, Reference, Series, Statistic};
use crate::analysis::metric::Latency;

/// Where rbench's own object has a measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// At its top.
    Own(String),
    /// Among what another client would have reported.
    Reference(&'static str),
}

/// The name of `measure`; `None` if the object does not have it.
pub fn name(measure: Measure) -> Option<Name> {
    let own = |name: &str| Some(Name::Own(name.to_owned()));
    match measure {
        Measure::Completed => own("completed"),
        Measure::Duration => own("duration"),
        Measure::InputTokens => own("total_input_tokens"),
        Measure::InputTextTokens => own("total_input_text_tokens"),
        Measure::InputVisionTokens => own("total_input_vision_tokens"),
        Measure::OutputTokens => own("total_output_tokens"),
        Measure::RetokenizedTokens => own("total_output_tokens_retokenized"),
        Measure::ServerInputTokens => own("server_input_tokens"),
        Measure::RequestThroughput => own("request_throughput"),
        Measure::InputThroughput => own("input_throughput"),
        Measure::OutputThroughput => own("output_throughput"),
        Measure::TotalThroughput => own("total_throughput"),
        Measure::PeakOutputTokens => own("peak_output_tokens_per_s"),
        Measure::StalledShare => own("stalled_share"),
        Measure::WaitedForConnection => own("waited_for_connection"),
        Measure::Concurrency => own("concurrency"),
        Measure::AcceptLength => own("accept_length"),
        Measure::MaxOutputTokens => own("max_output_tokens_per_s"),
        Measure::MaxConcurrentRequests => own("max_concurrent_requests"),
        Measure::RetriedRequests => own("retried_requests"),
        Measure::RetryAttempts => own("retry_attempts"),
        Measure::ResentRequests => own("resent_requests"),
        Measure::RequestGoodput => own("request_goodput"),
        Measure::SloAttainment => own("slo_attainment"),
        Measure::SloAttainmentOf(Latency::Ttft) => own("slo_attainment_ttft"),
        Measure::SloAttainmentOf(Latency::Tpot) => own("slo_attainment_tpot"),
        Measure::SloAttainmentOf(Latency::E2el) => own("slo_attainment_e2el"),
        Measure::CachePromptTokens => own("cache_prompt_tokens"),
        Measure::CachedTokens => own("total_cached_tokens"),
        Measure::CacheHitRate => own("cache_hit_rate_pct"),
        Measure::DeviceCachedTokens => own("device_cached_tokens"),
        Measure::HostCachedTokens => own("host_cached_tokens"),
        Measure::StorageCachedTokens => own("storage_cached_tokens"),
        Measure::CacheReportedRequests => own("cache_reported_requests"),
        Measure::Reference(Reference::Duration) => Some(Name::Reference("duration")),
        Measure::Reference(Reference::MaxConcurrentRequests) => {
            Some(Name::Reference("max_concurrent_requests"))
        }
        Measure::Of(statistic, series) => {
            let what = prefix(statistic)?;
            Some(Name::Own(format!("{what}_{}_ms", of_series(series))))
        }
    }
}

/// The beginning of the name of a statistic; `None` for those that the object leaves out.
fn prefix(statistic: Statistic) -> Option<String> {
    match statistic {
        Statistic::Mean => Some("mean".to_owned()),
        Statistic::Std => Some("std".to_owned()),
        Statistic::Max => Some("max".to_owned()),
        Statistic::MEDIAN => Some("median".to_owned()),
        Statistic::Percentile(percent) => Some(of_percent(percent)),
        Statistic::SampleStd | Statistic::Min => None,
    }
}

/// `p99` and `p99.9`.
pub fn of_percent(percent: Percent) -> String {
    format!("p{percent}")
}

/// The part of a name that says what samples are of.
pub fn of_series(series: Series) -> &'static str {
    match series {
        Series::E2e => "e2e_latency",
        Series::Ttft => "ttft",
        Series::Tpot => "tpot",
        Series::Itl => "itl",
        Series::EventItl => "event_itl",
        Series::TokenItl => "token_itl",
        Series::WorstGap => "worst_gap",
        Series::TtftFromDue => "ttft_from_due",
        Series::E2eFromDue => "e2e_from_due",
        Series::SendLateness => "send_lateness",
        Series::QueueTime => "queue_time",
        Series::ConnectTime => "connect_time",
        Series::TtftWithRetries => "ttft_with_retries",
        Series::E2eWithRetries => "e2e_with_retries",
        Series::ResendCost => "resend_cost",
    }
}
