//! The commands of the guide to SGLang's client, against a simulated engine.
//!
//! Each is what a reader of the guide types after its first words are changed, sizes apart: what only makes a run long is
//! cut down by flags at the end. Files that the client would download are where it keeps them.

use crate::support::mock::Mock;
use crate::support::rbench::{RESULT, Rbench, Run};

/// Runs a command of the guide; `{at}` in it stands for the flags that name the server.
fn run(mock: &Mock, words: &str, cut: &str) -> Run {
    const SHAREGPT: &str = "hub/datasets--anon8231489123--ShareGPT_Vicuna_unfiltered";
    let (_, port) = mock.url.rsplit_once(':').unwrap();
    let words = words
        .replace("{native}", &format!("--backend sglang --host 127.0.0.1 --port {port}"))
        .replace("{url}", &format!("--base-url {}", mock.url));
    let trace = "{\"timestamp\": 0, \"hash_ids\": [1], \"output_length\": 3}\n";
    let mut rbench = Rbench::new(["serve", "--output-file", RESULT])
        .args(words.split_whitespace())
        .args(cut.split_whitespace())
        .file(&format!("{SHAREGPT}/refs/main"), "1")
        .file(
            &format!("{SHAREGPT}/snapshots/1/ShareGPT_V3_unfiltered_cleaned_split.json"),
            rbench::workload::bundled::CONVERSATIONS,
        );
    for workload in ["conversation", "mooncake", "synthetic", "toolagent"] {
        rbench = rbench.file(&format!(".cache/rbench/mooncake/{workload}_trace.jsonl"), trace);
    }
    rbench.run()
}

const LLAMA: &str = "--model meta-llama/Llama-3.1-8B-Instruct";
const FEW: &str = "--num-prompts 3";
const SMALL: &str = "--num-prompts 3 --random-input-len 16 --random-output-len 4";
const VLM: &str = "{native} --model your-vlm-model --dataset-name image --apply-chat-template";

/// The backend that the table names, the command, what cuts it down, and what is said on stderr.
const COMMANDS: &[(&str, &str, &str, &[&str])] = &[
    ("sglang", "{native} --num-prompts 1000 {llama}", FEW, &[]),
    ("vllm", "--backend vllm {url} --num-prompts 1000 {llama}", FEW, &[]),
    (
        "sglang-oai-chat",
        "{url} --backend sglang-oai-chat --dataset-name image --num-prompts 500 --image-count 3 \
         --image-resolution 720p --random-input-len 512 --random-output-len 512",
        "--num-prompts 1 --random-output-len 4 --image-resolution 36x64",
        &["3 in each request"],
    ),
    (
        "sglang",
        "{url} --backend sglang --dataset-name random --num-prompts 3000 --random-input 1024 \
         --random-output 1024 --random-range-ratio 0.5",
        SMALL,
        &[],
    ),
    (
        "sglang",
        "{native} {llama} --dataset-name random --random-input-len 1024 --random-output-len 1024 \
         --random-range-ratio 0.5 --num-prompts 2000 --request-rate 100 --max-concurrency 512 \
         --output-file sglang_random.jsonl --output-details",
        SMALL,
        &["result appended to sglang_random.jsonl"],
    ),
    (
        "vllm",
        "--backend vllm {url} {llama} --dataset-name sharegpt --num-prompts 1000 \
         --sharegpt-output-len 256",
        FEW,
        &["3 requests of sharegpt", "768 output tokens asked for"],
    ),
    (
        "vllm-chat",
        "--backend vllm-chat {url} {llama} --dataset-name random --num-prompts 500 \
         --apply-chat-template",
        SMALL,
        &["--apply-chat-template does nothing for --dataset-name random"],
    ),
    (
        "sglang",
        "{vlm} --image-count 2 --image-resolution 720p --random-input-len 128 \
         --random-output-len 256 --num-prompts 200",
        "--num-prompts 1 --random-output-len 4 --image-resolution 36x64",
        &["2 in each request"],
    ),
    (
        "sglang",
        "{vlm} --image-count 1 --image-resolution 512x768 --random-input-len 64 \
         --random-output-len 128 --num-prompts 100",
        "--num-prompts 1 --random-output-len 4",
        &["1 in each request"],
    ),
    (
        "sglang",
        "{vlm} --image-count 1 --image-resolution 1080p --image-format png --image-content blank \
         --random-input-len 64 --random-output-len 128 --num-prompts 100",
        "--num-prompts 1 --random-output-len 4 --image-resolution 360p",
        &["1 in each request"],
    ),
    (
        "sglang",
        "{native} {llama} --dataset-name generated-shared-prefix --gsp-num-groups 64 \
         --gsp-prompts-per-group 16 --gsp-system-prompt-len 2048 --gsp-question-len 128 \
         --gsp-output-len 256 --num-prompts 1024",
        "--num-prompts 4 --gsp-system-prompt-len 32 --gsp-output-len 4",
        &["4 requests of generated-shared-prefix"],
    ),
    (
        "sglang",
        "{native} {llama} --dataset-name random --tokenize-prompt --random-input-len 2048 \
         --random-output-len 256 --random-range-ratio 0.2",
        SMALL,
        &[],
    ),
    ("sglang", "{native} {llama} --profile --flush-cache", FEW, &["prefix cache emptied"]),
    (
        "trt",
        "--backend trt {url} --model your-trt-llm-model --dataset-name random --num-prompts 100 \
         --disable-ignore-eos",
        SMALL,
        &[],
    ),
    (
        "sglang",
        "{native} --model model-name --dataset-name mooncake --mooncake-slowdown-factor 1.0 \
         --mooncake-num-rounds 1000 --mooncake-workload conversation --use-trace-timestamps \
         --random-output-len 256",
        "--mooncake-num-rounds 2",
        &["--random-output-len does nothing for --dataset-name mooncake"],
    ),
    (
        "sglang",
        "{native} {llama} --dataset-name random --num-prompts 500 --random-input-len 1024 \
         --random-output-len 256 --fake-prefill",
        SMALL,
        &[],
    ),
];

fn filled(words: &str) -> String {
    words.replace("{vlm}", VLM).replace("{llama}", LLAMA)
}

#[test]
fn every_command_runs() {
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "0ms"]);
    for (backend, words, cut, says) in COMMANDS {
        let run = run(&mock, &filled(words), cut).exits(0).prints_a_table().says(says);
        assert_eq!(run.row("Backend:"), Some(*backend), "{run:#?}");
        let sent: usize = run.row("Successful requests:").unwrap().parse().unwrap();
        let failed = run.stderr.contains("failed");
        assert!(sent > 0 && !failed, "{run:#?}");
    }
}

#[test]
fn every_workload_of_a_trace_runs() {
    let mock = Mock::start(&["--ttft", "1ms", "--itl", "0ms"]);
    for workload in ["conversation", "mooncake", "synthetic", "toolagent"] {
        let words = format!("{{native}} --dataset-name mooncake --mooncake-workload {workload}");
        let run = run(&mock, &words, FEW).exits(0);
        assert_eq!(run.row("Traffic request rate:"), Some("trace"));
    }
}

/// What the guide has that no client takes is answered with what to write.
#[test]
fn mistakes_of_the_guide_are_answered_with_what_to_write() {
    let mock = Mock::nowhere();
    for (words, says) in [
        (
            "--dataset-name mooncake --use-trace-timestamps true",
            &["'true'", "--use-trace-timestamps takes no value: leave out 'true'"][..],
        ),
        ("--mooncake-workload agent", &["'agent'", "a similar value exists: 'toolagent'"]),
        (
            "--mooncake-workload conversation|mooncake|agent|synthetic",
            &["possible values: mooncake, conversation, synthetic, toolagent"],
        ),
        (
            // The page shows braces and its source does not.
            r#"--extra-request-body &#123;"top_p":0.9,"temperature":0.6&#125;"#,
            &["must be a JSON object such as {\"top_p\": 0.9}"],
        ),
        ("--backend gserver", &["--backend gserver cannot be used"]),
    ] {
        let _ = run(&mock, words, "").exits(2).prints_nothing().says(says);
    }
}
