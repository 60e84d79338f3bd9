//! URLs that flags give.

use super::usage;
use crate::error::Error;

/// Checks the URL `base` that `flag` gives, and returns it without its password.
pub(super) fn checked_url(flag: &str, base: &str) -> Result<String, Error> {
    let example = "expected something like http://127.0.0.1:30000";
    // A parser would take some away and encode others, and requests are made of the text.
    if base.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(usage(format!("{flag} must not have blanks in it")).hint(example));
    }
    let mut url = reqwest::Url::parse(base)
        .map_err(|error| usage(format!("{flag} does not give a URL: {error}")).hint(example))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(usage(format!("{flag} is not an http or https URL")).hint(example));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(usage(format!("{flag} must not have a query or a fragment")).hint(example));
    }
    if url.password().is_some() || !url.username().is_empty() {
        // Neither can fail on a URL that has a host.
        let _ = url.set_password(None);
        let _ = url.set_username("***");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}
