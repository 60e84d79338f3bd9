//! Configurations of runs: what `--print-config` prints, and what `rbench run` makes of it.

use std::collections::BTreeSet;

use rbench::config::RunSpec;
use rbench::workload::dataset;
use serde_json::{Value, json};

use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Script, Server};
use crate::support::wire;

const TALK: &str = r#"[{"conversations": [
    {"from": "human", "value": "What is the capital of Mali?"},
    {"from": "gpt", "value": "It is Bamako, whatever people say of it."}
]}]"#;

/// Command lines whose bodies depend on nothing but their flags.
const RUNS: &[&str] = &[
    "--dataset-name random-ids --random-input-len 12 --random-output-len 4 --random-range-ratio 0.5 --num-prompts 5 --request-rate 500 --goodput ttft:30000 e2el:60000 --header X-Tenant=team-blue X-Tenant-2=b",
    "--dataset-name random-ids --random-input-len 8 --random-output-len 4 --tokenize-prompt --num-prompts 2 --seed 7 --temperature 0.5 --top-p 0.25 --lora-name a b --read-batch 200us --request-timeout 90s --max-errors 50%",
    "--dataset-name generated-shared-prefix --gsp-num-groups 2 --gsp-prompts-per-group 2 --gsp-system-prompt-len 16 --gsp-question-len 8 --gsp-output-len 4 --num-prompts 3",
    "--backend sglang-oai-chat --dataset-name image --image-count 2 --image-resolution 32x32 --random-input-len 8 --random-output-len 4 --num-prompts 2 --model tiny",
    "--dataset-name sharegpt --dataset-path talk.json --sharegpt-output-len 5 --num-prompts 1 --extra-request-body {\"stop\":[\"x\"],\"deep\":{\"n\":1}} --cache-report",
    "--dataset-name random-ids --random-input-len 8 --random-output-len 4 --num-prompts 2 --multi --request-rate-range 300,400 --table sglang@0.5.6 --output-details",
];

/// The flags of a run against `servers`, one request at a time.
fn args<'a>(run: &'a str, urls: &'a [String]) -> Vec<&'a str> {
    let mut args: Vec<&str> = run.split_whitespace().collect();
    for url in urls {
        args.extend(["--base-url", url]);
    }
    args.extend(["--max-concurrency", "1", "--tokenizer", "rbench-bundled"]);
    // The block on the measurement depends on the machine.
    args.extend(["--quiet-extras", "--output-file", "out.jsonl"]);
    args
}

/// The bodies and the header of all that a server got.
fn bodies(server: &Server) -> Vec<(Value, Option<String>)> {
    let requests = server.inference();
    let of = |header: Option<&str>| header.map(str::to_owned);
    requests.iter().map(|request| (request.json(), of(request.header("x-tenant")))).collect()
}

/// The labels of a table, without its values.
fn layout(run: &Run) -> Vec<String> {
    let label = |line: &str| line.split_once(':').map_or(line, |(label, _)| label).to_owned();
    run.stdout.lines().map(label).collect()
}

fn printed(run: &str, urls: &[String]) -> Run {
    Rbench::new(["serve"])
        .args(args(run, urls))
        .arg("--print-config")
        .file("talk.json", TALK)
        .run()
        .exits(0)
}

#[test]
fn a_printed_configuration_runs_the_same_again() {
    for run in RUNS {
        let servers: Vec<[Server; 2]> = (0..2)
            .map(|_| [Script::new(wire::good).start(), Script::new(wire::good).start()])
            .collect();
        let [typed, again] = [0, 1].map(|i| {
            let urls: Vec<String> = servers[i].iter().map(Server::url).collect();
            let run_of = |rbench: Rbench| rbench.file("talk.json", TALK).run().exits(0);
            if i == 0 {
                return run_of(Rbench::new(["serve"]).args(args(run, &urls)));
            }
            let config = printed(run, &urls).stdout;
            let rbench = Rbench::new(["run", "config.json"]).file("config.json", config);
            run_of(
                rbench
                    .env("RBENCH_HEADER_X_TENANT", "team-blue")
                    .env("RBENCH_HEADER_X_TENANT_2", "b"),
            )
        });
        let [sent, sent_again] = [0, 1].map(|i| [bodies(&servers[i][0]), bodies(&servers[i][1])]);
        assert!(!sent[0].is_empty(), "{run}");
        assert_eq!(sent, sent_again, "{run}");
        assert!(!typed.stdout.is_empty());
        assert_eq!(layout(&typed), layout(&again), "{run}");
    }
}

#[test]
fn a_configuration_is_printed_alone_and_nothing_is_sent() {
    let server = Script::untouched().start();
    let run = printed(RUNS[0], &[server.url()]);
    let config: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(config["rbench_config"], 1);
    assert_eq!(config["request_rate"], 500.0);
    assert_eq!(config["goodput"], json!(["ttft:30000", "e2el:60000"]));
    assert_eq!(config["dataset"]["random_input_len"], 12);
    assert_eq!(config["connect_timeout"], 60.0);
    assert_eq!(
        config["header"],
        json!([
            {"name": "X-Tenant", "env": "RBENCH_HEADER_X_TENANT"},
            {"name": "X-Tenant-2", "env": "RBENCH_HEADER_X_TENANT_2"},
        ])
    );
    assert!(!run.stdout.contains("team-blue"));
    let _ = run.says(&["from RBENCH_HEADER_X_TENANT\n"]);
}

#[test]
fn a_configuration_may_come_over_standard_input_and_leave_keys_out() {
    let server = Script::new(wire::good).start();
    let config = json!({
        "rbench_config": 1,
        "base_url": [server.url()],
        "tokenizer": "rbench-bundled",
        "num_prompts": 2,
        "dataset_name": "random-ids",
        "dataset": {"random_input_len": 8, "random_output_len": 4},
    });
    let input = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(input.path(), config.to_string()).unwrap();
    let words = format!("exec < {}", input.path().display());
    let _ = Rbench::in_shell(&words, ["run", "-"]).run().exits(0).prints_a_table();
    // One of them is the warm-up.
    assert_eq!(server.inference().len(), 3);
}

#[test]
fn wrong_configurations_are_refused_by_the_name_of_the_key() {
    for (key, value, says) in [
        ("num_promts", json!(5), "there is no key num_promts"),
        ("num_prompts", json!("five"), "num_prompts: invalid type: string \"five\""),
        ("num_prompts", json!(0), "num_prompts: must be a whole number above 0"),
        ("top_p", json!(1.5), "top_p: must be a number above 0 and at most 1"),
        ("request_rate", json!("fast"), "request_rate: must be a number of requests per second"),
        ("connect_timeout", json!(-1), "connect_timeout: must be a number of seconds"),
        ("read_batch", json!(5), "read_batch: must be at most 1s"),
        ("goodput", json!(["ttft"]), "goodput: expected ttft:MS"),
        ("table", json!("abc"), "table: must be one of"),
        ("header", json!([{"name": "a", "value": "b"}]), "header: unknown field `value`"),
        ("dataset_name", json!("abc"), "dataset_name: there is no dataset abc"),
        ("dataset", json!({"random_len": 5}), "random_len is no parameter of random-ids"),
        ("dataset", json!({"random_input_len": "x"}), "dataset: random_input_len: invalid type"),
        ("dataset", json!({"random_range_ratio": 2}), "random_range_ratio: must be a number from"),
        ("rbench_config", json!(2), "rbench_config is 2, and this rbench reads 1"),
        ("mock", json!(true), "mock and base_url do not go together"),
        ("backend", json!("abc"), "no --backend abc"),
        ("header", json!([{"name": "A", "env": "NOT_SET"}]), "NOT_SET is not set"),
    ] {
        let mut config = json!({
            "rbench_config": 1,
            "base_url": ["http://127.0.0.1:1"],
            "dataset_name": "random-ids",
        });
        config[key] = value;
        let _ = Rbench::new(["run", "config.json"])
            .file("config.json", config.to_string())
            .run()
            .exits(2)
            .prints_nothing()
            .says(&[says]);
    }
    let _ = Rbench::new(["run", "none.json"]).run().exits(2).says(&["none.json: cannot read"]);
    let not_json = Rbench::new(["run", "x"]).file("x", "--seed 1").run();
    let _ = not_json.exits(2).says(&["x: expected an object of JSON"]);
}

#[test]
fn what_no_configuration_holds_is_refused() {
    for (flags, says) in [
        ("--launch server", "cannot be used with"),
        ("--base-url http://user:secret-word@127.0.0.1:1", "a URL of --base-url has a password"),
        ("--tag sk-1234567890abc", "a flag has a key or a password"),
        (
            "--dataset-name random --allow-repeat --prompt-suffix x",
            "--prompt-suffix does not apply",
        ),
    ] {
        let run = Rbench::new(["serve", "--print-config"])
            .args(flags.split_whitespace())
            .env("OPENAI_API_KEY", "sk-1234567890abc")
            .run()
            .exits(2)
            .prints_nothing()
            .says(&[says]);
        assert!(!run.stderr.contains("secret-word") && !run.stderr.contains("sk-1234"));
    }
}

#[test]
fn every_flag_of_serve_is_a_key() {
    let command = rbench::cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let flags: BTreeSet<String> = serve
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .map(|flag| flag.replace('-', "_"))
        .collect();
    let mut keys: BTreeSet<String> = BTreeSet::new();
    for entry in dataset::ALL {
        let config = json!({"rbench_config": 1, "dataset_name": entry.name});
        let spec = RunSpec::from_json(&config.to_string()).unwrap();
        let written = spec.to_json().unwrap();
        let Value::Object(all) = serde_json::from_str(&written).unwrap() else { panic!() };
        let Value::Object(params) = &all["dataset"] else { panic!("{written}") };
        keys.extend(params.keys().chain(all.keys()).cloned());
        // What was written is read again as it was.
        assert_eq!(RunSpec::from_json(&written).unwrap().to_json().unwrap(), written);
    }
    let missing: Vec<&String> = flags.difference(&keys).collect();
    // `--print-config` refuses those of a launch and of gates; two are older names of `worker_threads`.
    let mut apart = ["launch", "launch_grace_sec", "launch_log"].to_vec();
    apart.extend(["dry_run", "print_config", "rust_client", "rust_worker_threads"]);
    apart.extend(["bencher", "benchmark_action", "junit", "slo", "slo_on", "summary"]);
    apart.sort_unstable();
    assert_eq!(missing, apart);
    let more: Vec<&String> = keys.difference(&flags).collect();
    assert_eq!(more, ["dataset", "gsp_num_prompts", "rbench_config"]);
}
