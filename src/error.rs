//! Errors that end the program, and its exit codes.

use std::error::Error as StdError;
use std::fmt;

/// Everything went well.
pub const EXIT_OK: u8 = 0;
/// The run failed: nothing succeeded, the server could not be used, or the program has a defect.
pub const EXIT_FAILED: u8 = 1;
/// The command line is not usable.
pub const EXIT_USAGE: u8 = 2;

/// A gate failed: an objective was not met, or a comparison found a regression.
pub const EXIT_GATE: u8 = 3;

/// The measurement is not valid, and `--strict` asks for one that is.
pub const EXIT_INVALID: u8 = 4;

/// What each exit code means, for help texts and the manual.
pub const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "the run is done; a few requests may have failed, no more than --allow-failed (1 %)"),
    (
        "1",
        "the run failed: no request succeeded, more than --allow-failed (1 %) failed, the warm-up failed, the server did not answer, --max-errors ended the run, or a file could not be used",
    ),
    ("2", "the command line is not usable"),
    (
        "3",
        "a gate failed: an objective of --slo is not met, or rbench compare found what --fail-on names",
    ),
    (
        "4",
        "the run is over and its result stored, and --strict found that the client affected figures, a self-check failed or the sample decides no objective",
    ),
    (
        "129, 130, 143",
        "SIGHUP, SIGINT or SIGTERM ended the run, whose partial result is printed and marked",
    ),
];

/// The variables of the environment that matter most, for help texts and the manual.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("OPENAI_BASE_URL", "the server, where no flag names one and --backend is of the OpenAI API"),
    ("OPENAI_API_KEY", "key that is sent as a bearer token; API_KEY is sent as it is"),
    ("HF_HOME, HF_TOKEN", "where downloaded files lie; token for gated repositories"),
    ("HF_ENDPOINT, HF_HUB_OFFLINE", "another Hub; 1 uses stored files alone"),
    ("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "proxies, also of the load"),
    ("SSL_CERT_FILE, SSL_CERT_DIR", "authorities in place of the system's"),
    ("NO_COLOR", "no colours on stderr"),
];

/// What kind of thing went wrong; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line asks for something that cannot be done.
    Usage,
    /// A file or a download cannot be used.
    Input,
    /// The server does not answer.
    Unreachable,
    /// The server answers with a refusal.
    Rejected,
    /// The operating system does not allow it.
    System,
    /// No request succeeded.
    AllFailed,
    /// More requests failed than are allowed to.
    TooManyFailed,
    /// The run was ended before its plan was done.
    EndedEarly,
    /// The run is over, and its figures are not to be trusted.
    Invalid,
    /// What was measured is not as good as was asked for.
    Gate,
    /// The client's times are not as true as was asked for.
    Inaccurate,
}

impl Kind {
    /// The exit code of errors of this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => EXIT_USAGE,
            Self::Gate => EXIT_GATE,
            Self::Invalid => EXIT_INVALID,
            _ => EXIT_FAILED,
        }
    }
}

/// An error that ends the program.
#[derive(Debug)]
pub struct Error {
    /// What kind of thing went wrong.
    pub kind: Kind,
    /// One line: a lower-case fragment without a full stop.
    pub message: String,
    /// What to do about it.
    pub hints: Vec<String>,
    /// The cause.
    pub cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new(), cause: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}
