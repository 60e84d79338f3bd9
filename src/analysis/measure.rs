//! The identities of figures: each measure that an analysis can give is a value of [`Measure`], never a string.
//!
//! Outputs and dialects name measures by these; labels and keys are theirs.

/// A measure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Requests whose whole response arrived.
    Completed,
    /// From the start of the run to the last end of a request, in s.
    Duration,
    /// Prompt tokens, images included.
    InputTokens,
    /// Prompt tokens of text.
    InputTextTokens,
    /// Prompt tokens of images.
    InputVisionTokens,
    /// Output tokens by the best source of each request.
    OutputTokens,
    /// Tokens of the received text by the local tokenizer.
    RetokenizedTokens,
    /// Prompt tokens as the server counted them.
    ServerInputTokens,
    /// Completed requests per second.
    RequestThroughput,
    /// Prompt tokens per second.
    InputThroughput,
    /// Output tokens per second.
    OutputThroughput,
    /// Prompt and output tokens per second.
    TotalThroughput,
    /// The most tokens in one second, each event shared by its tokens.
    PeakOutputTokens,
    /// The share of completed requests with a gap longer than the threshold.
    StalledShare,
    /// Requests that waited for a connection to be opened.
    WaitedForConnection,
    /// The mean number of completed requests in flight.
    Concurrency,
    /// The accept length that the server reports.
    AcceptLength,
    /// The most tokens in one second, each event at its own time.
    MaxOutputTokens,
    /// The most requests in flight at one instant.
    MaxConcurrentRequests,
    /// Requests that were sent more than once.
    RetriedRequests,
    /// Attempts beyond the first.
    RetryAttempts,
    /// Requests that were sent once more over a new connection.
    ResentRequests,
    /// Completed requests that met every objective, per second.
    RequestGoodput,
    /// The same as a share of all requests.
    SloAttainment,
    /// The share of all requests that met the objective of one latency.
    SloAttainmentOf(Latency),
    /// Prompt tokens of the report on the prefix cache.
    CachePromptTokens,
    /// Those of them that were in the cache.
    CachedTokens,
    /// The second as a percentage of the first.
    CacheHitRate,
    /// Cached tokens that lay on the device.
    DeviceCachedTokens,
    /// Cached tokens that lay in the memory of the host.
    HostCachedTokens,
    /// Cached tokens that lay in storage.
    StorageCachedTokens,
    /// Completed requests whose cached tokens the server reported.
    CacheReportedRequests,
    /// What the client of another tool would have reported.
    Reference(Reference),
    /// A statistic of samples in ms.
    Of(Statistic, Series),
}

/// Figures that only say what SGLang's client would have reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reference {
    /// The duration with what that client waits for after the last answer, in s.
    Duration,
    /// The most completed requests that touch one and the same second.
    MaxConcurrentRequests,
}

/// What samples are of; each in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Series {
    /// End-to-end latency.
    E2e,
    /// Time to first token.
    Ttft,
    /// Time per output token after the first.
    Tpot,
    /// Inter-token latency as the endpoint's reference client has it.
    Itl,
    /// Gaps between events.
    EventItl,
    /// Gaps between tokens.
    TokenItl,
    /// The longest gap of each request.
    WorstGap,
    /// Time to first token from the due time.
    TtftFromDue,
    /// End-to-end latency from the due time.
    E2eFromDue,
    /// The client's own lateness.
    SendLateness,
    /// Waits under the cap on requests in flight.
    QueueTime,
    /// Waits for a connection to be opened.
    ConnectTime,
    /// Time to first token from the first attempt.
    TtftWithRetries,
    /// End-to-end latency from the first attempt.
    E2eWithRetries,
    /// What lost connections cost.
    ResendCost,
}

/// A latency that an objective can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Latency {
    /// Time to first token.
    Ttft,
    /// Time per output token after the first.
    Tpot,
    /// End-to-end latency.
    E2el,
}

impl Latency {
    /// Every latency.
    pub const ALL: [Self; 3] = [Self::Ttft, Self::Tpot, Self::E2el];

    /// The latency as users and results spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::E2el => "e2el",
        }
    }
}

/// A number that stands for samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// Arithmetic mean.
    Mean,
    /// Population standard deviation (divisor n).
    Std,
    /// Sample standard deviation (divisor n − 1).
    SampleStd,
    /// Smallest sample.
    Min,
    /// Largest sample.
    Max,
    /// Percentile by linear interpolation.
    Percentile(Percent),
}

impl Statistic {
    /// The median.
    pub const MEDIAN: Self = Self::Percentile(Percent::whole(50));
    /// The 90th percentile.
    pub const P90: Self = Self::Percentile(Percent::whole(90));
    /// The 95th percentile.
    pub const P95: Self = Self::Percentile(Percent::whole(95));
    /// The 99th percentile.
    pub const P99: Self = Self::Percentile(Percent::whole(99));
}

/// A percentage from 0 to 100 in steps of a thousandth, so that it has an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

impl Percent {
    /// `n` percent, at most 100.
    pub const fn whole(n: u32) -> Self {
        Self(if n > 100 { 100_000 } else { n * 1000 })
    }

    /// `percent` in steps of a thousandth; `None` if it is outside of 0 to 100 or lies between two steps.
    pub fn new(percent: f64) -> Option<Self> {
        let thousandths = (percent * 1e3).round();
        let is_step = (thousandths - percent * 1e3).abs() < 1e-6;
        if !(0.0..=1e5).contains(&thousandths) || !is_step {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
        let thousandths = thousandths as u32;
        Some(Self(thousandths))
    }

    /// The percentage as a number.
    pub fn value(self) -> f64 {
        f64::from(self.0) / 1e3
    }
}

impl std::fmt::Display for Percent {
    /// Writes `99` and `99.9`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_an_identity() {
        for (percent, shown) in [
            (0.0, Some("0")),
            (50.0, Some("50")),
            (99.9, Some("99.9")),
            (99.999, Some("99.999")),
            (100.0, Some("100")),
            (99.9995, None),
            (100.1, None),
            (-1.0, None),
            (f64::NAN, None),
        ] {
            assert_eq!(Percent::new(percent).map(|p| p.to_string()).as_deref(), shown, "{percent}");
        }
        assert_eq!(Percent::new(90.0), Some(Percent::whole(90)));
    }
}
