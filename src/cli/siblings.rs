//! Flags and values of other clients (vLLM's, evalscope, `AISBench`, `GuideLLM`, genai-perf, `AIPerf`), with what to write here.
//!
//! A flag stands here only if its name alone does not lead to the right one. The answer may name several flags of ours;
//! one that the command at hand does not have turns the answer into "not here".

/// Where a key comes from.
const KEY: &str = "a key comes from OPENAI_API_KEY, API_KEY or the file of --api-key-file: the arguments of a command can be read by everybody on the machine";

/// What is said of a flag without a counterpart.
const NOT_HERE: &str = "";

/// Keys of bodies.
const BODY: &str = "--extra-request-body adds keys to each body, such as '{\"top_k\": 20}'";

const INPUT_LEN: &str = "--random-input-len sets the length of random prompts";
const OUTPUT_LEN: &str = "--random-output-len and --sharegpt-output-len set the length of answers";
const SPREAD: &str =
    "--random-range-ratio sets how far lengths of random prompts and answers spread";
const SHARED: &str = "--dataset-name generated-shared-prefix sends prompts with shared prefixes (--gsp-num-groups, --gsp-system-prompt-len)";
const IMAGES: &str = "--dataset-name image sends images (--image-count, --image-resolution)";
const STEADY: &str =
    "--request-rate stays the same for a run, and --multi makes a run for each of several rates";
const STREAMED: &str = "answers are streamed unless --disable-stream is given";
const APPENDED: &str = "the result is always appended to the file of --output-file";
const ROUNDS: &str = "--gsp-num-turns, and --dataset-name mooncake or agentic-trace, send conversations of several rounds";

/// Flags by their names, without the hyphens where there are two.
const FLAGS: &[(&str, &str)] = &[
    ("append-result", APPENDED),
    ("api", "--backend sets the kind of server"),
    ("api-key", KEY),
    ("apikey", KEY),
    ("artifact-dir", APPENDED),
    ("auth", KEY),
    ("auth-token", KEY),
    ("backend-args", BODY),
    ("backend-kwargs", BODY),
    ("backend-type", "--backend sets the kind of server"),
    ("bearer-token", KEY),
    ("benchmark-duration", "--duration sets how long requests are sent"),
    ("benchmark-grace-period", "--grace sets how long requests in flight may go on at the end"),
    ("bfcl-categories", NOT_HERE),
    (
        "chat-template-kwargs",
        "--extra-request-body '{\"chat_template_kwargs\": {...}}' hands them to the server",
    ),
    ("compare", NOT_HERE),
    ("concurrency", "--max-concurrency sets how many requests are in flight at most"),
    ("config", NOT_HERE),
    ("cooldown", NOT_HERE),
    ("custom-dataset-path", "--dataset-path names the file of the dataset"),
    ("custom-dataset-type", "--dataset-name sets the source of prompts"),
    ("custom-output-len", OUTPUT_LEN),
    ("data", "--dataset-name sets the source of prompts, --dataset-path its file"),
    ("data-source", NOT_HERE),
    ("dataset-args", NOT_HERE),
    ("datasets", "--dataset-name sets the source of prompts, --dataset-path its file"),
    ("debug", "--print-requests prints a line for each request that is sent or has ended"),
    ("disable-console-outputs", "--disable-tqdm draws no progress bar"),
    ("disable-progress", "--disable-tqdm draws no progress bar"),
    ("disable-shuffle", NOT_HERE),
    ("display-scheduler-stats", NOT_HERE),
    ("enable-multimodal-chat", IMAGES),
    (
        "enable-thinking",
        "--extra-request-body '{\"chat_template_kwargs\": {\"enable_thinking\": false}}' hands it to the server",
    ),
    ("endpoint", "--backend sets the path of the endpoint, --base-url what stands before it"),
    ("endpoint-type", "--backend sets the kind of server"),
    ("extra-args", BODY),
    ("extra-body", BODY),
    ("extra-inputs", BODY),
    ("fixed-schedule", "--use-trace-timestamps sends requests when the trace says"),
    ("frequency-penalty", BODY),
    ("headers", "--header adds headers, each as KEY=VALUE"),
    ("hf-name", NOT_HERE),
    ("hf-output-len", NOT_HERE),
    ("hf-split", NOT_HERE),
    ("hf-subset", NOT_HERE),
    (
        "hf-token",
        "a token for the Hub comes from HF_TOKEN: the arguments of a command can be read by everybody on the machine",
    ),
    (
        "ignore-eos",
        "generation goes on after an end-of-sequence token already, unless --disable-ignore-eos is given: leave it out",
    ),
    ("image-height-mean", IMAGES),
    ("image-num", IMAGES),
    ("image-width", IMAGES),
    ("image-width-mean", IMAGES),
    ("input-file", "--dataset-path names the file of the dataset"),
    ("input-len", INPUT_LEN),
    ("input-tokens", INPUT_LEN),
    ("input-tokens-mean", INPUT_LEN),
    ("input-tokens-stddev", SPREAD),
    ("isl", INPUT_LEN),
    ("isl-stddev", SPREAD),
    ("label", "--tag adds a label to the result"),
    (
        "log-every-n-query",
        "--print-requests prints a line for each request that is sent or has ended",
    ),
    ("log-level", NOT_HERE),
    ("logprobs", "--return-logprob and --top-logprobs-num have log probabilities returned"),
    ("lora-assignment", "--lora-request-distribution sets how requests are shared among adapters"),
    ("lora-modules", "--lora-name names the adapters"),
    (
        "max-error-rate",
        "--max-errors ends a run with more failures, given as a number or as a share such as 5%",
    ),
    (
        "max-global-error-rate",
        "--max-errors ends a run with more failures, given as a number or as a share such as 5%",
    ),
    ("max-model-len", NOT_HERE),
    ("max-new-tokens", OUTPUT_LEN),
    ("max-num-workers", "--worker-threads sets how many threads send and read"),
    (
        "max-prompt-length",
        "--random-input-len sets the length of random prompts, --random-range-ratio how far it spreads",
    ),
    ("max-requests", "--num-prompts sets the number of requests"),
    ("max-seconds", "--duration sets how long requests are sent"),
    ("max-tokens", OUTPUT_LEN),
    ("max-turns", ROUNDS),
    ("measurement-interval", "--duration sets how long requests are sent"),
    ("metadata", "--tag adds a label to the result"),
    (
        "metric-percentiles",
        "the table has a fixed set of percentiles, and --output-details adds the times of each request to the result",
    ),
    ("min-p", BODY),
    (
        "min-prompt-length",
        "--random-input-len sets the length of random prompts, --random-range-ratio how far it spreads",
    ),
    ("min-tokens", BODY),
    ("mode", NOT_HERE),
    ("model-name", "--model sets the name of the model"),
    ("model-names", "--model sets the name of the model"),
    ("models", "--model sets the name of the model"),
    ("multi-turn", ROUNDS),
    ("multi-turn-args", ROUNDS),
    ("n-choices", "--extra-request-body '{\"n\": 2}' asks for several completions"),
    ("name", "--tag adds a label to the result"),
    ("no-gzip", NOT_HERE),
    ("no-oversample", "prompts are repeated only where --allow-repeat is given: leave it out"),
    (
        "no-self-timed",
        "a trace keeps its own times only where --use-trace-timestamps is given: leave it out",
    ),
    ("no-stream", "--disable-stream asks for whole answers"),
    ("no-test-connection", "--ready-check-timeout-sec 0 sends without a look at the server first"),
    ("num-concurrent-requests", "--max-concurrency sets how many requests are in flight at most"),
    ("num-dataset-entries", "--num-prompts sets the number of requests"),
    ("num-prefix-prompts", SHARED),
    ("num-requests", "--num-prompts sets the number of requests"),
    ("num-threads", "--worker-threads sets how many threads send and read"),
    ("num-turns", ROUNDS),
    ("num-users", "--max-concurrency sets how many requests are in flight at most"),
    ("num-warmup-requests", "--warmup-requests sets how many requests are sent first"),
    ("num-warmups", "--warmup-requests sets how many requests are sent first"),
    ("num-workers", "--worker-threads sets how many threads send and read"),
    ("number", "--num-prompts sets the number of requests"),
    ("open-loop", "--request-rate without --max-concurrency is an open loop: leave it out"),
    ("openai-api-key", KEY),
    ("osl", OUTPUT_LEN),
    ("osl-stddev", SPREAD),
    ("output", APPENDED),
    ("output-artifact-dir", APPENDED),
    ("output-dir", APPENDED),
    ("output-format", "the result is a line of JSON in the file of --output-file"),
    ("output-len", OUTPUT_LEN),
    ("output-path", APPENDED),
    ("output-tokens", OUTPUT_LEN),
    ("output-tokens-mean", OUTPUT_LEN),
    ("output-tokens-stddev", SPREAD),
    ("outputs-dir", APPENDED),
    ("parallel", "--max-concurrency sets how many requests are in flight at most"),
    ("password", KEY),
    (
        "percentile-metrics",
        "the table has a fixed set of metrics, and --output-details adds the times of each request to the result",
    ),
    ("plot-dataset-stats", NOT_HERE),
    ("plot-timeline", "--plot-throughput plots the run on the terminal"),
    ("prefix-count", SHARED),
    ("prefix-length", SHARED),
    ("prefix-prompt-length", SHARED),
    ("prefix-repetition-num-prefixes", SHARED),
    ("prefix-repetition-output-len", SHARED),
    ("prefix-repetition-prefix-len", SHARED),
    ("prefix-repetition-suffix-len", SHARED),
    ("presence-penalty", BODY),
    ("pressure", "--duration sets how long requests are sent"),
    ("pressure-time", "--duration sets how long requests are sent"),
    ("probe-request-rate", NOT_HERE),
    ("processor", "--tokenizer names the tokenizer"),
    ("profile-export-file", APPENDED),
    ("profile-export-prefix", APPENDED),
    ("prompt", "--dataset-name custom sends the prompts of a file (--dataset-path)"),
    ("prompt-input-tokens-mean", INPUT_LEN),
    ("prompt-input-tokens-stddev", SPREAD),
    ("prompt-output-tokens-mean", OUTPUT_LEN),
    ("prompt-output-tokens-stddev", SPREAD),
    ("prompt-tokens-mean", INPUT_LEN),
    ("prompt-tokens-stddev", SPREAD),
    ("prompts", "--num-prompts sets the number of requests"),
    ("proxy", "a proxy comes from HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"),
    ("public-dataset", "--dataset-name sets the source of prompts"),
    ("qps", "--request-rate sets the requests per second"),
    ("query-template", BODY),
    ("rampup", STEADY),
    ("random-batch-size", NOT_HERE),
    ("random-mm-base-items-per-request", IMAGES),
    ("random-mm-bucket-config", IMAGES),
    ("random-mm-limit-mm-per-prompt", IMAGES),
    ("random-mm-num-mm-items-range-ratio", IMAGES),
    ("random-prefix-len", SHARED),
    ("random-seed", "--seed sets the seed of everything that is drawn"),
    ("rate", "--request-rate sets the requests per second"),
    ("rate-type", "--request-rate sets an open loop, --max-concurrency a closed one"),
    ("read-timeout", "--first-token-timeout and --idle-timeout set how long output may take"),
    ("repetition-penalty", BODY),
    ("request-count", "--num-prompts sets the number of requests"),
    ("request-id-prefix", NOT_HERE),
    (
        "request-timeout-seconds",
        "--request-timeout sets the longest time of a request, with its unit",
    ),
    ("request-type", "--backend sets the kind of server"),
    ("requests", "--num-prompts sets the number of requests"),
    ("result-dir", APPENDED),
    ("result-filename", APPENDED),
    ("reuse", "rbench report prints the result of a file of --records"),
    ("rps", "--request-rate sets the requests per second"),
    ("save-detailed", "--output-details adds the times of each request to the result"),
    ("save-result", "the result is always appended to the file of --output-file: leave it out"),
    ("scenario", NOT_HERE),
    ("self-timed", "--use-trace-timestamps sends requests when the trace says"),
    ("server", "--base-url names the server"),
    ("service-kind", "--backend sets the kind of server"),
    ("session-concurrency", "--max-concurrency sets how many requests are in flight at most"),
    (
        "skip-chat-template",
        "no chat template is applied unless --apply-chat-template is given: leave it out",
    ),
    ("skip-tokenizer-init", "--tokenizer rbench-bundled uses a bundled tokenizer"),
    ("sla-auto-tune", NOT_HERE),
    ("sleep-interval", NOT_HERE),
    ("spec-decode", "the accept length is printed where the server reports one: leave it out"),
    ("stability-percentage", NOT_HERE),
    ("stop", BODY),
    ("stop-token-ids", BODY),
    ("stream", STREAMED),
    ("streaming", STREAMED),
    ("summarizer", "--steady-state-concurrency-ratio reports a steady state as well"),
    ("synthetic-input-tokens-mean", INPUT_LEN),
    ("synthetic-input-tokens-stddev", SPREAD),
    ("target", "--base-url names the server"),
    ("threads", "--worker-threads sets how many threads send and read"),
    ("timeline-itl-thresholds", NOT_HERE),
    (
        "timeout",
        "--request-timeout sets the longest time of a request; --connect-timeout, --first-token-timeout and --idle-timeout those of its parts",
    ),
    ("token", KEY),
    ("tokenizer-mode", "the kind of a tokenizer is found by its files: leave it out"),
    ("tokenizer-path", "--tokenizer names the tokenizer"),
    ("top-k", BODY),
    ("total-timeout", "--request-timeout sets the longest time of a request, with its unit"),
    ("trust-remote-code", "tokenizers are read without running code: leave it out"),
    ("ui", "--disable-tqdm draws no progress bar"),
    ("ui-type", "--disable-tqdm draws no progress bar"),
    ("use-beam-search", BODY),
    ("user", KEY),
    ("users", "--max-concurrency sets how many requests are in flight at most"),
    ("visualizer", NOT_HERE),
    ("warmup-num", "--warmup-requests sets how many requests are sent first"),
    ("warmup-request-count", "--warmup-requests sets how many requests are sent first"),
    ("work-dir", APPENDED),
    ("workers", "--worker-threads sets how many threads send and read"),
    ("-H", "--header adds headers, each as KEY=VALUE"),
    ("-c", "--max-concurrency sets how many requests are in flight at most"),
    ("-d", "--duration sets how long requests are sent"),
    ("-k", KEY),
    ("-m", "--model sets the name of the model"),
    ("-n", "--num-prompts sets the number of requests"),
    ("-o", APPENDED),
    ("-q", "--request-rate sets the requests per second"),
    ("-r", "--request-rate sets the requests per second"),
    ("-s", "--seed sets the seed of everything that is drawn"),
    ("-t", "--worker-threads sets how many threads send and read"),
    ("-u", "--base-url names the server"),
    ("-v", "--print-requests prints a line for each request that is sent or has ended"),
    ("-z", "--duration sets how long requests are sent"),
];

/// Values by their flags, each with the value that means the same here.
const VALUES: &[(&str, &str, &str)] = &[
    ("backend", "openai-completions", "vllm"),
    ("backend", "openai-chat-completions", "vllm-chat"),
    ("backend", "openai_http", "vllm-chat"),
    ("backend", "chat", "vllm-chat"),
    ("backend", "completions", "vllm"),
    ("backend", "openai-embeddings", "vllm-embedding"),
    ("backend", "openai_embedding", "vllm-embedding"),
    ("backend", "embeddings", "vllm-embedding"),
    ("backend", "openai-responses", "vllm-responses"),
    ("backend", "infinity-embeddings", "infinity-embedding"),
    ("backend", "llama.cpp", "vllm-chat"),
    ("backend", "ollama", "vllm-chat"),
    ("backend", "tensorrt-llm", "trt"),
    ("backend", "triton", "trt"),
    ("dataset-name", "prefix_repetition", "generated-shared-prefix"),
    ("dataset-name", "random-mm", "image"),
    ("dataset-name", "random_vl", "image"),
    ("dataset-name", "synthetic", "random"),
];

/// What to write here for the flag `typed`, hyphens included: `Some("")` if there is nothing like it.
pub(super) fn flag(typed: &str) -> Option<&'static str> {
    let name = typed.strip_prefix("--").unwrap_or(typed).replace('_', "-");
    FLAGS.iter().find(|(flag, _)| *flag == name).map(|&(_, answer)| answer)
}

/// The value of `flag`, named without its hyphens, that means here what `typed` means elsewhere.
pub(super) fn value(flag: &str, typed: &str) -> Option<&'static str> {
    VALUES.iter().find(|(of, value, _)| *of == flag && *value == typed).map(|&(.., ours)| ours)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::protocol::backend;
    use crate::workload::dataset;

    #[test]
    fn answers_name_flags_and_values_that_exist() {
        let command = crate::cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        let ours: BTreeSet<&str> = serve.get_arguments().filter_map(clap::Arg::get_long).collect();
        let mut seen = BTreeSet::new();
        for (flag, answer) in FLAGS {
            assert!(seen.insert(flag), "two lines of {flag}");
            assert!(!ours.contains(flag), "{flag} is a flag of serve");
            for named in answer.split("--").skip(1) {
                let end = named.find(|c: char| !c.is_ascii_lowercase() && c != '-');
                let named = &named[..end.unwrap_or(named.len())];
                assert!(named == "records" || ours.contains(named), "{flag}: {named}");
            }
        }
        for (flag, typed, ours) in VALUES {
            let known = |name: &str| match *flag {
                "backend" => backend::Backend::find(name).is_some(),
                _ => dataset::Entry::find(name).is_some(),
            };
            assert!(known(ours) && !known(typed), "{typed}");
        }
    }
}
