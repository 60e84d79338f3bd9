//! Limits of the operating system that a run can meet.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::{Error, Kind};

/// Descriptors that the program needs beside one per request: streams, files, event queues, control calls.
const RESERVE: u64 = 64;

/// Raises the soft limit of open descriptors to the hard one and returns it; `None` means there is none.
///
/// Where it can not be raised the soft limit stays, and is what is returned.
pub fn raise_descriptors() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// Requests that can be open at once under `limit` descriptors.
pub fn room(limit: Option<u64>) -> u64 {
    limit.map_or(u64::MAX, |limit| limit.saturating_sub(RESERVE))
}

/// Checks that `requests` can be open at once under `limit` descriptors.
///
/// # Errors
/// If they can not; the message has both numbers.
pub fn check_descriptors(requests: u64, limit: Option<u64>) -> Result<(), Error> {
    let Some(limit) = limit else { return Ok(()) };
    let need = requests.saturating_add(RESERVE);
    if need <= limit {
        return Ok(());
    }
    let room = room(Some(limit));
    Err(Error::new(
        Kind::System,
        format!("{requests} requests at once need {need} file descriptors, and the limit is {limit}"),
    )
    .hint(format!("set --max-concurrency to {room} or less"))
    .hint("or raise the hard limit (ulimit -Hn, /etc/security/limits.conf, or LimitNOFILE= of the service)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_the_numbers() {
        assert!(check_descriptors(936, Some(1000)).is_ok());
        assert!(check_descriptors(1_000_000, None).is_ok());
        let error = check_descriptors(937, Some(1000)).unwrap_err();
        assert!(error.message.contains("937") && error.message.contains("1000"), "{error}");
        assert!(error.hints[0].contains("936"), "{:?}", error.hints);
    }
}
