//! Values that flags take, read and checked.

use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::config::values::{is_count, is_probability, is_temperature};
use crate::config::{Balance, ClockChoice, HttpVersion, LoraDistribution, ProgressForm};

/// Parses a whole number.
///
/// # Errors
/// If it is none.
pub fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| "must be a whole number, 0 or more".to_owned())
}

/// Parses a whole number above 0.
///
/// # Errors
/// If it is none.
pub fn count(text: &str) -> Result<usize, String> {
    is_count(text.trim().parse().unwrap_or(0))
}

/// Parses a number of 0 or more.
///
/// # Errors
/// If it is none.
pub fn temperature(text: &str) -> Result<f64, String> {
    is_temperature(text.trim().parse().unwrap_or(f64::NAN))
}

/// Parses a number above 0 and at most 1.
///
/// # Errors
/// If it is none.
pub fn probability(text: &str) -> Result<f64, String> {
    is_probability(text.trim().parse().unwrap_or(f64::NAN))
}

impl ValueEnum for Balance {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::RoundRobin, Self::LeastInFlight]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::RoundRobin => {
                PossibleValue::new("round-robin").help("One server after the other")
            }
            Self::LeastInFlight => PossibleValue::new("least-in-flight")
                .help("The server with the fewest requests in flight"),
        })
    }
}

impl ValueEnum for LoraDistribution {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Uniform, Self::Distinct, Self::Skewed]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Uniform => PossibleValue::new("uniform").help("Evenly at random"),
            Self::Distinct => PossibleValue::new("distinct").help("In turn"),
            Self::Skewed => {
                PossibleValue::new("skewed").help("Each adapter more often than the next")
            }
        })
    }
}

impl ValueEnum for ClockChoice {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Kernel, Self::User]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Kernel => {
                PossibleValue::new("kernel").help("The kernel, when it receives the data")
            }
            Self::User => PossibleValue::new("user").help("This program, when it reads them"),
        })
    }
}

impl ValueEnum for HttpVersion {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::One, Self::Two]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Auto => PossibleValue::new("auto")
                .help("HTTP/1.1, and HTTP/2 for servers that refuse it in the handshake of TLS"),
            Self::One => PossibleValue::new("1.1").help("HTTP/1.1"),
            Self::Two => PossibleValue::new("2").help("HTTP/2, without asking"),
        })
    }
}

impl ValueEnum for ProgressForm {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Bar, Self::Lines, Self::None]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Auto => PossibleValue::new("auto").help("A bar on a terminal, lines elsewhere"),
            Self::Bar => PossibleValue::new("bar").help("A bar, on a terminal"),
            Self::Lines => PossibleValue::new("lines").help("A line every 10 s"),
            Self::None => PossibleValue::new("none").help("Nothing"),
        })
    }
}
