//! A load that is spread over several servers.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Barrier;

use crate::support::rbench::Rbench;
use crate::support::server::{Answer, Refusing, Script};
use crate::support::wire;

/// The load over both, the first of which is asked what it serves.
fn over(first: &str, second: &str) -> Rbench {
    Rbench::load("sglang", first).args(["--base-url", second])
}

#[test]
fn servers_take_turns_and_have_figures_of_their_own() {
    let flushed = || Answer::body("200 OK", "text/plain", "done");
    let server = || Script::new(wire::good).on("/flush_cache", move |_| flushed()).start();
    let (first, second) = (server(), server());
    let run = over(&first.url(), &second.url())
        .args(["--num-prompts", "6", "--warmup-requests", "1", "--flush-cache"])
        .run()
        .exits(0);
    for server in [&first, &second] {
        let calls = server.calls();
        let count = |call: &str| calls.iter().filter(|known| known.starts_with(call)).count();
        // One of the warm-up.
        assert_eq!((count("POST /generate"), count("POST /flush_cache")), (4, 1), "{calls:?}");
        assert!(count("GET /v1/models") > 0);
    }
    let result = run.result();
    let own = &result["rbench"];
    assert_eq!(own["config"]["base_url"], first.url());
    assert_eq!(own["config"]["other_base_urls"], json!([second.url()]));
    let endpoints = own["endpoints"].as_array().unwrap();
    for (server, one) in [&first, &second].into_iter().zip(endpoints) {
        assert_eq!(one["url"], server.url());
        assert_eq!((&one["sent"], &one["completed"]), (&json!(3), &json!(3)));
        assert!(one["median_ttft_ms"].as_f64().unwrap() <= one["p99_ttft_ms"].as_f64().unwrap());
    }
    assert!(
        run.stdout.contains("  Requests sent:                         3 (3 ok, 0 failed)"),
        "{}",
        run.stdout
    );
    assert_eq!(result["completed"], 6);
}

#[test]
fn what_a_server_gets_depends_on_the_plan_alone() {
    let bodies = |threads: &str| {
        let (first, second) = (Script::new(wire::good).start(), Script::new(wire::good).start());
        let _ = over(&first.url(), &second.url())
            .args(["--num-prompts", "9", "--worker-threads", threads])
            .run()
            .exits(0);
        [first, second].map(|server| {
            let mut bodies: Vec<String> =
                server.inference().into_iter().map(|request| request.body).collect();
            bodies.sort();
            bodies
        })
    };
    let [first, second] = bodies("1");
    assert_eq!((first.len(), second.len()), (5, 4));
    assert_eq!(bodies("2"), [first, second]);
}

#[test]
fn the_server_with_the_fewest_requests_in_flight_is_next() {
    // One request hangs at the first server until the other seven are done at the second.
    let both = Arc::new(Barrier::new(2));
    let (held, last) = (both.clone(), both);
    let first = Script::new(move |request| {
        assert_eq!(request.nth, 0);
        wire::good(request).after(Answer::new().meet(&held))
    })
    .start();
    let second = Script::new(move |request| match request.nth {
        6 => wire::good(request).after(Answer::new().meet(&last)),
        _ => wire::good(request),
    })
    .start();
    let run = over(&first.url(), &second.url())
        .args(["--balance", "least-in-flight", "--num-prompts", "8", "--max-concurrency", "2"])
        .run()
        .exits(0);
    assert_eq!((first.inference().len(), second.inference().len()), (1, 7));
    assert_eq!(run.result()["completed"], 8);
}

#[test]
fn a_server_that_is_gone_fails_its_part_or_its_part_goes_to_the_next() {
    let (server, gone) = (Script::new(wire::good).start(), Refusing::new());
    let load = || {
        over(&server.url(), &gone.url()).args([
            "--num-prompts",
            "6",
            "--ready-check-timeout-sec",
            "0",
            "--model",
            "m",
        ])
    };
    let run = load().run().exits(0);
    let own = &run.result()["rbench"];
    assert_eq!((&own["endpoints"][1]["failed"], &own["ledger"]["failed"]), (&json!(3), &json!(3)));
    let run = load().args(["--retries", "1"]).run().exits(0);
    let own = &run.result()["rbench"];
    assert_eq!(
        (&own["endpoints"][0]["completed"], &own["retried_requests"]),
        (&json!(6), &json!(3))
    );
    let run = over(&server.url(), &gone.url())
        .args(["--ready-check-timeout-sec", "1"])
        .run()
        .exits(1)
        .prints_nothing();
    let _ = run.says(&[&gone.url()]);
}
