//! The command line: what is refused and how, what may be shortened, what help says.

use expect_test::{expect, expect_file};

use crate::support::rbench::{RESULT, Rbench};
use crate::support::server::{Request, Script};
use crate::support::wire;

#[test]
fn unusable_command_lines_are_refused_by_name_and_rule() {
    // Nothing may be sent: the URL refuses nothing, it does not exist.
    let url = &["--base-url", "http://127.0.0.1:9"][..];
    let cases: &[(&[&str], &[&str])] = &[
        (&["--request-rate", "0"], &["--request-rate", "above 0", "inf"]),
        (&["--request-rate", "-1"], &["--request-rate", "above 0"]),
        (&["--request-rate", "nan"], &["--request-rate", "above 0"]),
        (&["--request-rate", "fast"], &["--request-rate", "above 0"]),
        (&["--request-rate-range", "1,2"], &["--request-rate-range", "--multi"]),
        (&["--multi", "--request-rate", "5"], &["--multi", "--request-rate"]),
        (&["--multi", "--request-rate-range", "1,5,0"], &["--request-rate-range", "step"]),
        (&["--multi", "--request-rate-range", "5,1,1"], &["--request-rate-range", "no rate"]),
        (&["--multi", "--request-rate-range", "0,4"], &["--request-rate-range", "above 0"]),
        (&["--random-range-ratio", "1.5"], &["--random-range-ratio", "from 0 to 1"]),
        (&["--random-range-ratio", "-0.5"], &["--random-range-ratio", "from 0 to 1"]),
        (&["--random-input-len", "-1"], &["--random-input-len", "whole number"]),
        (&["--random-output-len", "x"], &["--random-output-len", "whole number"]),
        (&["--warmup-requests", "-1"], &["--warmup-requests", "whole number"]),
        (&["--seed", "-1"], &["--seed", "whole number"]),
        (
            &[
                "--dataset-name",
                "sharegpt",
                "--dataset-path",
                "rbench-bundled",
                "--sharegpt-output-len",
                "3",
            ],
            &["--sharegpt-output-len", "3", "4"],
        ),
        (&["--num-prompts", "0"], &["--num-prompts", "above 0"]),
        (&["--num-prompts", "-1"], &["--num-prompts", "above 0"]),
        (&["--num-prompts", "1.5"], &["--num-prompts", "whole number"]),
        (&["--worker-threads", "0"], &["--worker-threads", "above 0"]),
        (&["--max-concurrency", "-1"], &["--max-concurrency", "whole number"]),
        (&["--max-concurrency", "many"], &["--max-concurrency", "whole number"]),
        (&["--extra-request-body", "[1]"], &["--extra-request-body", "JSON object", "an array"]),
        (&["--extra-request-body", "{"], &["--extra-request-body", "JSON object", "EOF"]),
        (&["--header", "bad"], &["--header", "KEY=VALUE"]),
        (&["--header", "=bad"], &["--header", "KEY=VALUE"]),
        (&["--header", "a b=1"], &["--header", "name"]),
        (&["--header", "a=1\n2"], &["--header a", "value"]),
        (&["--flush-cache", "--flush-cache-timeout", "0"], &["--flush-cache-timeout", "above 0"]),
        (&["--flush-cache", "--flush-cache-timeout", "-1"], &["--flush-cache-timeout", "above 0"]),
        (&["--flush-cache", "--flush-cache-timeout", "inf"], &["--flush-cache-timeout", "above 0"]),
        (&["--port", "70000"], &["--port", "65535"]),
        (&["--backend", "nope"], &["--backend", "nope", "sglang", "vllm-chat"]),
        (&["--backend", "gserver"], &["--backend gserver", "gRPC"]),
        (&["--backend", "trt"], &["--backend trt", "--model"]),
        (&["--backend", "truss"], &["--backend truss", "--model"]),
        (&["--backend", "trt", "--model", "m", "--disable-stream"], &["--disable-stream", "trt"]),
        (
            &["--backend", "vllm-chat", "--tokenize-prompt"],
            &["--tokenize-prompt", "vllm-chat", "--backend sglang"],
        ),
        (&["--dataset-name", "nope"], &["--dataset-name", "nope", "sharegpt", "random-ids"]),
        (&["--no-such-flag"], &["--no-such-flag"]),
        (&["word"], &["word"]),
        (&["--seed"], &["--seed", "value"]),
        (&["--mock"], &["--mock", "--base-url"]),
        (&["--output-file", "absent/out.jsonl"], &["--output-file", "absent/out.jsonl", "folder"]),
        (&["--output-file", "."], &["--output-file", "folder"]),
        (&["--base-url", "nonsense"], &["--base-url", "http://127.0.0.1:30000"]),
        (&["--base-url", "ftp://127.0.0.1"], &["--base-url", "http"]),
        (&["--base-url", "http://127.0.0.1/?a=1"], &["--base-url", "query"]),
        (&["--base-url", ""], &["--base-url"]),
    ];
    for (words, says) in cases {
        let run = Rbench::aimed(url.iter().copied()).args(*words).run();
        let run = run.exits(2).prints_nothing().says(says);
        assert!(run.stderr.starts_with("error: "), "{run:#?}");
        assert!(run.files().is_empty(), "{run:#?}");
    }
}

#[test]
fn a_command_is_needed() {
    let _ = Rbench::new([""; 0]).run().exits(2).prints_nothing().says(&["serve", "mock"]);
    let _ = Rbench::new(["bench"]).run().exits(2).prints_nothing().says(&["bench"]);
}

#[test]
fn flags_may_be_shortened() {
    let server = Script::new(wire::good).start();
    let run = Rbench::new(["serve", "--backend", "vllm", "--base", &server.url()])
        .args(["--tokenizer", "rbench-bundled", "--dataset-n", "random-ids"])
        .args(["--num-prompt", "2", "--random-input=8", "--random-output", "4"])
        .args(["--random-range", "1", "--max-conc", "1", "--req", "50", "--warmup", "0"])
        .args(["--disable-ignore", "--see", "7", "--e", r#"{"top_p": 0.5}"#, "--hea", "x-a=1"])
        .args(["--output-f", RESULT, "--output-d", "--disable-t"])
        .run()
        .exits(0);
    let result = run.result();
    let config = &result["rbench"]["config"];
    let expected = serde_json::json!({
        "num_prompts": 2, "random_input_len": 8, "random_output_len": 4, "random_range_ratio": 1.0,
        "max_concurrency": 1, "request_rate": 50.0, "warmup_requests": 0, "seed": 7,
        "disable_ignore_eos": true, "output_details": true, "disable_tqdm": true,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&config[key], value, "{key}");
    }
    let requests: Vec<Request> = server.inference();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].json()["top_p"], 0.5);
    assert_eq!(requests[0].header("x-a"), Some("1"));
}

#[test]
fn ambiguous_flags_are_refused_with_what_they_could_be() {
    for (word, candidates) in [
        ("--random-i", &["--random-input-len", "--random-image-count"][..]),
        ("--random=1", &["--random-input-len", "--random-output-len", "--random-range-ratio"]),
        ("--dataset", &["--dataset-name", "--dataset-path"]),
        ("--out", &["--output-file", "--output-details"]),
        ("--flush", &["--flush-cache", "--flush-cache-timeout"]),
        ("--tokeniz", &["--tokenizer", "--tokenize-prompt"]),
    ] {
        let run = Rbench::new(["serve", word, "8"]).run().exits(2).prints_nothing();
        let flag = word.split('=').next().unwrap();
        let _ = run.says(candidates).says(&[&format!("'{flag}' is ambiguous"), "rbench serve"]);
    }
}

#[test]
fn the_last_of_a_repeated_flag_counts() {
    let server = Script::new(wire::good).start();
    let run = Rbench::load("vllm", &server.url())
        .args(["--num-prompts", "9", "--num-prompts=4", "--seed", "1", "--seed", "2"])
        .args(["--header", "x-a=1", "--header", "x-a=2", "--num-prompt", "1"])
        .args(["--disable-tqdm", "--disable-tqdm"])
        .run()
        .exits(0);
    assert_eq!(run.result()["rbench"]["seed"], 2);
    let [request] = <[Request; 1]>::try_from(server.inference()).unwrap();
    assert_eq!(request.header("x-a"), Some("2"));
}

#[test]
fn help() {
    for (words, file) in [
        (&["--help"][..], expect_file!["../data/help.txt"]),
        (&["serve", "--help"], expect_file!["../data/help-serve.txt"]),
        (&["sweep", "--help"], expect_file!["../data/help-sweep.txt"]),
        (&["run", "--help"], expect_file!["../data/help-run.txt"]),
        (&["offline", "--help"], expect_file!["../data/help-offline.txt"]),
        (&["one-batch", "--help"], expect_file!["../data/help-one-batch.txt"]),
        (&["vllm", "bench", "serve", "--help"], expect_file!["../data/help-vllm.txt"]),
        (&["aisbench", "--help"], expect_file!["../data/help-aisbench.txt"]),
        (&["evalscope", "perf", "--help"], expect_file!["../data/help-evalscope.txt"]),
        (&["mock", "--help"], expect_file!["../data/help-mock.txt"]),
        (&["report", "--help"], expect_file!["../data/help-report.txt"]),
        (&["compare", "--help"], expect_file!["../data/help-compare.txt"]),
        (&["merge", "--help"], expect_file!["../data/help-merge.txt"]),
        (&["selftest", "--help"], expect_file!["../data/help-selftest.txt"]),
    ] {
        let run = Rbench::new(words).run().exits(0);
        assert_eq!(run.stderr, "");
        file.assert_eq(&run.stdout);
    }
}

#[test]
fn manual_pages() {
    let page = |words: &[&str]| Rbench::new(["man"]).args(words).run().exits(0).stdout;
    let program = page(&[]);
    assert!(program.contains(".TH rbench 1") && program.contains("rbench\\-serve"), "{program}");
    for (words, has) in [
        (&["serve"][..], &["\\-\\-max\\-errors", ".SH \"EXIT STATUS\"", "129, 130, 143"][..]),
        (&["report"], &["\\-\\-failed\\-file"]),
    ] {
        let page = page(words);
        assert!(has.iter().all(|text| page.contains(text)), "{page}");
    }
    let run = Rbench::new(["man", "supervise"]).run().exits(2);
    let _ = run.says(&["there is no command supervise", "serve"]);
}

#[test]
fn exit_codes_are_those_of_the_docs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/exit-codes.md");
    let page = std::fs::read_to_string(path).unwrap();
    for (code, meaning) in rbench::error::EXIT_CODES {
        assert!(page.contains(&format!("| {code} | {meaning} |")), "{code}");
    }
}

#[test]
fn version() {
    for word in ["--version", "-V"] {
        let run = Rbench::new([word]).run().exits(0);
        let begin = concat!("rbench ", env!("CARGO_PKG_VERSION"), " (");
        assert!(run.stdout.starts_with(begin) && run.stdout.ends_with(")\n"), "{run:?}");
        assert!(run.stdout.contains(std::env::consts::ARCH), "{run:?}");
    }
}

/// The short help fits on two screens, and has what a first run needs.
#[test]
fn the_short_help_is_short() {
    let short = Rbench::new(["serve", "-h"]).run().exits(0).stdout;
    assert!(short.lines().count() <= 110, "{}", short.lines().count());
    for part in ["--backend", "--base-url", "--json", "--dry-run", "--slo", "Examples:", "--help"] {
        assert!(short.contains(part), "{part}: {short}");
    }
    assert!(!short.contains("--gsp-num-groups") && !short.contains("gserver"), "{short}");
    let long = Rbench::new(["serve", "--help"]).run().exits(0).stdout;
    for part in ["--gsp-num-groups", "Examples:", "OPENAI_BASE_URL", "HF_HUB_OFFLINE"] {
        assert!(long.contains(part), "{part}");
    }
}

/// The pages name each other, and what they name is there.
#[test]
fn manual_pages_refer_to_each_other() {
    let page = |words: &[&str]| Rbench::new(["man"]).args(words).run().exits(0).stdout;
    let whole = page(&[]);
    assert!(whole.contains(".SH \"SEE ALSO\"") && whole.contains("rbench\\-serve"), "{whole}");
    let serve = page(&["serve"]);
    assert!(serve.contains("\\fBrbench\\fR(1)") && serve.contains("rbench\\-mock"), "{serve}");
    assert!(serve.contains("OPENAI_BASE_URL") && !serve.contains("supervise"), "{serve}");
}

/// An end of a pipe that nobody reads.
fn closed_pipe() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let _ = Rbench::new(["serve", "--help"]).stdout(closed_pipe()).run().exits(0);
    let server = Script::new(wire::good).start();
    let run = Rbench::load("vllm", &server.url()).stdout(closed_pipe()).run().exits(0);
    assert_eq!(run.result()["completed"], 3);
}

#[test]
#[cfg(target_os = "linux")]
fn a_table_that_can_not_be_written_is_an_error_and_the_result_is_kept() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let server = Script::new(wire::good).start();
    let run = Rbench::load("vllm", &server.url()).stdout(full()).run();
    let run = run.exits(1).says(&["error: cannot write to stdout"]);
    assert_eq!(run.result()["completed"], 3);
}

#[test]
fn errors_have_one_form() {
    let run = Rbench::new(["serve", "--backend", "vllm-chat", "--tokenize-prompt"]).run().exits(2);
    expect![[r#"
        error: --tokenize-prompt does not apply to --backend vllm-chat
        hint: use it with --backend sglang, whose endpoint takes token ids
    "#]]
    .assert_eq(&run.stderr);
}

#[test]
fn shells_complete_what_the_help_lists() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Rbench::new(["completions", shell]).run().exits(0).stdout;
        for word in ["serve", "max-concurrency", "dataset-name", "vllm"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(!script.contains("supervise"), "{shell}");
    }
    let run = Rbench::new(["completions", "tcsh"]).run().exits(2);
    assert!(run.stderr.contains("bash"), "{}", run.stderr);
}

#[test]
fn the_licences_of_all_parts_are_printed() {
    let text = Rbench::new(["--licenses"]).run().exits(0).stdout;
    for part in ["Apache License", "tokio", "rustls", "tokenizers"] {
        assert!(text.contains(part), "{part}");
    }
    let _ = Rbench::new(["--licenses", "serve"]).run().exits(2);
    assert!(!Rbench::new([] as [&str; 0]).run().exits(2).stderr.is_empty());
}

#[test]
fn help_is_a_command_too() {
    let by_flag = Rbench::new(["serve", "--help"]).run().exits(0).stdout;
    assert_eq!(Rbench::new(["help", "serve"]).run().exits(0).stdout, by_flag);
    let all = Rbench::new(["help"]).run().exits(0).stdout;
    assert!(all.contains("one-batch") && !all.contains("supervise"), "{all}");
}
