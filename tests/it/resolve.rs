//! What command lines mean, and which are refused before anything is sent.

use rbench::cli::{self, Input};
use rbench::config::{self, Keys, Serve};
use rbench::error::{Error, Kind};
use serde_json::{Value, json};

fn resolve(flags: &str) -> Result<Serve, Error> {
    let words = ["rbench", "serve"].into_iter().chain(flags.split_whitespace());
    match cli::parse(words.map(Into::into)).unwrap_or_else(|error| panic!("{flags}: {error}")) {
        Input::Serve(words) => config::resolve(*words, &Keys::default(), None),
        _ => panic!("not the words of serve"),
    }
}

/// Flags that do not go together, and what the message has to name.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "--backend sglang-embedding --goodput e2el:5 ttft:5",
        &["--goodput ttft:5", "sglang-embedding"],
    ),
    ("--backend trt --model m --lora-name a", &["--lora-name", "trt"]),
    ("--backend truss --model m --lora-name a", &["--lora-name", "truss"]),
    (
        "--lora-name a --lora-request-distribution distinct",
        &["distinct", "at least two", "gives 1"],
    ),
    ("--lora-request-distribution skewed", &["skewed", "at least two", "gives 0"]),
    (
        "--lora-name a b --lora-request-distribution skewed --lora-zipf-alpha 1",
        &["--lora-zipf-alpha", "above 1"],
    ),
    (
        "--lora-name a b --lora-request-distribution skewed --lora-zipf-alpha nan",
        &["--lora-zipf-alpha"],
    ),
    ("--backend vllm --fake-prefill", &["--fake-prefill", "vllm"]),
    ("--backend sglang-embedding --fake-prefill", &["--fake-prefill"]),
];

#[test]
fn what_can_not_apply_is_refused_by_name() {
    for (flags, named) in REFUSED {
        let error = resolve(flags).map(|_| ()).expect_err(flags);
        assert_eq!(error.kind, Kind::Usage, "{flags}");
        for part in *named {
            assert!(error.message.contains(part), "{flags}: {error}");
        }
    }
}

#[test]
fn bad_objectives_are_named() {
    for pair in ["ttft", "ttft:0", "itl:5", "tpot:nan"] {
        let words = ["rbench", "serve", "--goodput", "e2el:100", pair];
        let error = cli::parse(words.map(Into::into)).map(|_| ()).expect_err(pair);
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(&format!("'{pair}'")), "{error}");
    }
}

#[test]
fn a_later_objective_takes_the_place_of_an_earlier_one() {
    let config = resolve("--goodput ttft:500 e2el:9 ttft:50").unwrap();
    let slos: Vec<String> = config.slos.iter().map(ToString::to_string).collect();
    assert_eq!(slos, ["ttft:50", "e2el:9"]);
    assert_eq!(config.effective["goodput"], json!(["ttft:50", "e2el:9"]));
}

#[test]
fn flags_that_are_keys_of_the_body() {
    for (flags, want) in [
        ("", json!({})),
        ("--backend sglang --cache-report", json!({})),
        ("--backend vllm-chat --cache-report", json!({})),
        ("--backend sglang-oai --cache-report", json!({"return_cached_tokens_details": true})),
        ("--backend sglang-oai-chat --cache-report", json!({"return_cached_tokens_details": true})),
        (
            r#"--fake-prefill --extra-request-body {"top_k":1,"bootstrap_room":5}"#,
            json!({"top_k": 1, "bootstrap_room": 0, "bootstrap_host": "2.2.2.2"}),
        ),
    ] {
        assert_eq!(Value::Object(resolve(flags).unwrap().extra), want, "{flags}");
    }
}

#[test]
fn an_alpha_that_nothing_uses_is_not_checked() {
    let config = resolve("--lora-name a b --lora-zipf-alpha 0.5").unwrap();
    assert_eq!(&*config.adapters.unwrap().first(), "a");
    assert!(resolve("--lora-name --backend trt --model m").unwrap().adapters.is_none());
}
