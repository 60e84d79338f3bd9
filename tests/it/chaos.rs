//! Every kind of fault at once: each is told for what it is, and the good requests are as if there were none.
//!
//! `RBENCH_CHAOS=10000` makes a longer run than the suite has time for, and prints what it found.

use std::collections::BTreeMap;

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;

use crate::support::rbench::Rbench;
use crate::support::server::{Answer, Request, Script};
use crate::support::wire::{self, DONE, Wire};

/// One request in so many has a fault.
const ONE_IN: usize = 10;

/// Most memory that the client may take, in MiB.
const MEMORY_MIB: i64 = 192;

const WORDS: &[&str] = &["a", "b", "c", "d", "e"];

/// The kind of failure that a fault is, and its answer.
type Fault = (&'static str, fn() -> Answer);

/// All kinds.
const FAULTS: &[Fault] = &[
    ("http_status", || Answer::body("500 Oops", "text/plain", "broken")),
    ("http_status", || Answer::body("429 Too Many Requests", "application/json", "{}")),
    ("transport", || Answer::new().reset()),
    ("transport", || Answer::new().close()),
    ("malformed", || Answer::new().raw("SMTP/1.0 220 hello\r\n\r\n")),
    ("early_end", || Answer::events().close()),
    ("early_end", || begun().close()),
    ("early_end", || begun().reset()),
    ("malformed", || begun().chunk("data: {\"text\": \n\n").hang()),
    ("malformed", || begun().raw("xyz\r\n").hang()),
    ("server_error", || {
        begun().chunk("data: {\"error\": {\"message\": \"out of memory\"}}\n\n").end()
    }),
    ("no_tokens", || Answer::events().chunk(DONE).end()),
    ("first_token_timeout", || Answer::new().hang()),
    ("first_token_timeout", || Answer::events().hang()),
    ("idle_timeout", || begun().hang()),
];

/// A stream with one token so far.
fn begun() -> Answer {
    Answer::events().chunk(wire::event(&Wire::Native.token(WORDS, 0)))
}

/// The failure that the request number `nth` meets, if it does.
fn fault(nth: usize) -> Option<&'static Fault> {
    nth.is_multiple_of(ONE_IN).then(|| &FAULTS[nth / ONE_IN % FAULTS.len()])
}

/// A good stream with gaps.
fn good(_: &Request) -> Answer {
    let events = Wire::Native.events(WORDS);
    events.iter().fold(Answer::events(), |answer, event| answer.pause(5).chunk(event)).end()
}

fn run(requests: usize, with_faults: bool) -> Value {
    let server = Script::new(move |request| match fault(request.nth) {
        Some((_, answer)) if with_faults => answer(),
        _ => good(request),
    })
    .start();
    let run = Rbench::load("sglang", &server.url())
        .args(["--num-prompts", &requests.to_string(), "--max-concurrency", "100"])
        .args(["--first-token-timeout", "2s", "--idle-timeout", "2s"])
        .run()
        .exits(0);
    run.result()
}

#[test]
fn each_fault_is_told_for_what_it_is_and_harms_no_other() {
    let requests = std::env::var("RBENCH_CHAOS").ok().and_then(|n| n.parse().ok()).unwrap_or(600);
    let result = run(requests, true);
    let mut want: BTreeMap<&str, u64> = BTreeMap::new();
    // What a kept connection lost came once more.
    let resent = result["rbench"]["ledger"]["resent"].as_u64().unwrap_or(0);
    let seen = requests + usize::try_from(resent).unwrap();
    (0..seen).filter_map(fault).for_each(|(kind, _)| *want.entry(kind).or_default() += 1);
    *want.get_mut("transport").unwrap() -= resent;
    want.retain(|_, count| *count > 0);
    let mut got: BTreeMap<&str, u64> = BTreeMap::new();
    for group in result["rbench"]["failures"].as_array().unwrap() {
        *got.entry(group["kind"].as_str().unwrap()).or_default() +=
            group["count"].as_u64().unwrap();
    }
    assert_eq!(got, want);
    let (ledger, faults) = (&result["rbench"]["ledger"], want.values().sum::<u64>());
    let number = |key: &str| ledger[key].as_u64().unwrap();
    assert_eq!(number("completed") + faults, requests as u64);
    assert_eq!((number("sent"), number("failed")), (requests as u64, faults));
    for check in result["rbench"]["checks"].as_array().unwrap() {
        assert_eq!(check["passed"], true, "{check}");
    }
    // All of the good ones, and nothing of the others.
    assert_eq!(result["total_output_tokens"], (requests as u64 - faults) * WORDS.len() as u64);
    let without = run(requests, false);
    assert_eq!(without["completed"], requests);
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss() / 1024;
    assert!(used < MEMORY_MIB, "{used} MiB");
    println!("{requests} requests, failures {got:?}, at most {used} MiB; with faults and without:");
    for key in
        ["median_ttft_ms", "p99_ttft_ms", "median_itl_ms", "p99_itl_ms", "median_e2e_latency_ms"]
    {
        println!(
            "{key}: {:.2} {:.2}",
            result[key].as_f64().unwrap(),
            without[key].as_f64().unwrap()
        );
    }
}
