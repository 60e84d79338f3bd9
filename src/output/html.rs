//! One page of a run that works without a network: it holds its data, its style, its script and the library that draws
//! its plots, and its policy forbids everything else.
//!
//! What servers said is in the data alone, which is JSON that no parser of HTML can take for markup; the script makes
//! text of it. A browser runs the one script whose digest is in the policy, and no other.

mod comparison;
mod curves;
mod run;
mod sweep;
mod timeline;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde::Serialize;

use self::comparison::Comparison;
pub use self::run::Run;
pub use self::sweep::{Point, Sweep};
use super::comparison::Compared;
use super::door;

/// The page, with places for its parts.
const PAGE: &str = include_str!("html/page.html");

/// The style: that of the library first.
const STYLE: &str =
    concat!(include_str!("html/uplot/uPlot.min.css"), "\n", include_str!("html/page.css"));

/// The script: the library first.
const SCRIPT: &str = concat!(
    include_str!("html/uplot/uPlot.iife.min.js"),
    "\n(() => {\n\"use strict\";\n",
    include_str!("html/plots.js"),
    include_str!("html/timeline.js"),
    include_str!("html/comparison.js"),
    include_str!("html/sweep.js"),
    include_str!("html/page.js"),
    "})();\n",
);

/// Of the program that makes the page.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the page shows.
#[derive(Debug, Serialize)]
struct Data<'a> {
    /// Of the program that made the page.
    version: &'static str,
    runs: &'a [Run],
    comparisons: &'a [Comparison],
    sweep: Option<&'a Sweep>,
}

/// The page of `runs`, of which there is at least one, and of the `sweep` that they are of.
pub fn page(runs: &[Run], sweep: Option<&Sweep>) -> String {
    of(&Data { version: VERSION, runs, comparisons: &[], sweep })
}

/// The page of comparisons, of which there is at least one.
pub fn compared(all: &[Compared<'_>]) -> String {
    let comparisons: Vec<Comparison> = all.iter().map(Comparison::of).collect();
    of(&Data { version: VERSION, runs: &[], comparisons: &comparisons, sweep: None })
}

fn of(data: &Data<'_>) -> String {
    filled(&json(data))
}

/// The page with `data`, which [`json`] has made.
fn filled(data: &str) -> String {
    // The parts are put in from left to right, so that none is looked for in another.
    let parts = [
        ("{{policy}}", policy().as_str()),
        ("{{style}}", STYLE),
        ("{{data}}", data),
        ("{{script}}", SCRIPT),
    ]
    .map(|(place, part)| (place, part.to_owned()));
    let mut page =
        String::with_capacity(PAGE.len() + STYLE.len() + data.len() + SCRIPT.len() + 256);
    let mut rest = PAGE;
    for (place, part) in parts {
        let (before, after) = rest.split_once(place).unwrap_or((rest, ""));
        page += before;
        page += &part;
        rest = after;
    }
    page + rest
}

/// The content security policy: nothing is fetched, and what is run has the digest of what is written here.
fn policy() -> String {
    let of = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'",
        of(STYLE),
        of(SCRIPT)
    )
}

/// `data` as JSON that can stand in a script element, without the secrets of this process.
fn json(data: &impl Serialize) -> String {
    // Plain structures with string keys can always be written.
    let mut bytes = serde_json::to_vec(data).unwrap_or_default();
    door::json(&mut bytes, 0);
    let text = String::from_utf8_lossy(&bytes);
    // Within JSON these stand in strings alone: `<` could end the element or begin a comment in it, and the separators
    // end lines of a script.
    text.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json as value};

    use super::*;

    #[test]
    fn no_text_ends_the_element_that_holds_it() {
        let hostile = "</script><script>alert(1)</script><!--<script> \u{2028}\u{2029} {{script}}";
        let data = json(&value!({ "message": hostile }));
        assert!(!data.contains(['<', '\u{2028}', '\u{2029}']), "{data}");
        assert_eq!(serde_json::from_str::<Value>(&data).unwrap(), value!({ "message": hostile }));
        let page = filled(&data);
        assert_eq!(page.matches("</script>").count(), 2, "that of the data and that of the script");
        assert_eq!(page.matches("var uPlot=").count(), 1);
    }

    #[test]
    fn the_policy_has_the_digests_of_the_parts() {
        let page = page(&[], None);
        let between = |begin: &str, end: &str| {
            let (_, after) = page.split_once(begin).unwrap();
            after.split_once(end).unwrap().0
        };
        for (kind, text) in [
            ("style-src", between("<style>", "</style>")),
            ("script-src", between("<script>", "</script>")),
        ] {
            let digest = STANDARD.encode(digest(&SHA256, text.as_bytes()));
            assert!(page.contains(&format!("{kind} 'sha256-{digest}'")), "{kind}");
        }
        assert!(SCRIPT.is_ascii() || !SCRIPT.contains(['\u{2028}', '\u{2029}']));
        for (name, text) in [("style", STYLE), ("script", SCRIPT)] {
            assert!(!text.contains('\r') && !text.to_lowercase().contains("</s"), "{name}");
        }
    }
}
