//! The flags, and what each changes.

/// The flags of SGLang's client 0.5.23, without their dashes.
pub(super) const REFERENCE: &str = "
    backend base-url host port ready-check-timeout-sec dataset-name dataset-path dataset-offset agentic-max-turns
    speed-bench-category speed-bench-output-len model served-model-name tokenizer num-prompts sharegpt-output-len
    sharegpt-context-len random-input-len random-output-len random-range-ratio image-count image-resolution
    random-image-count image-format image-content request-rate use-trace-timestamps max-concurrency output-file
    output-details goodput print-requests disable-tqdm disable-stream return-logprob top-logprobs-num token-ids-logprob
    logprob-start-len return-routed-experts cache-report seed disable-ignore-eos temperature top-p extra-request-body
    apply-chat-template profile plot-throughput profile-activities profile-start-step profile-steps profile-num-steps
    profile-by-stage profile-stages profile-output-dir profile-prefix lora-name lora-request-distribution
    lora-zipf-alpha prompt-suffix pd-separated profile-prefill-url profile-decode-url flush-cache flush-cache-timeout
    warmup-requests tokenize-prompt gsp-num-groups gsp-prompts-per-group gsp-system-prompt-len gsp-question-len
    gsp-output-len gsp-range-ratio gsp-fast-prepare gsp-send-routing-key gsp-num-turns gsp-ordered
    gsp-group-distribution gsp-zipf-alpha mooncake-slowdown-factor mooncake-num-rounds mooncake-workload fake-prefill
    tag header rust-client rust-worker-threads";

/// Those of older releases.
pub(super) const OLDER: &str = "
    multi request-rate-range disable-warmup gen-num-groups gen-prompts-per-group gen-system-prompt-len gen-question-len
    gen-output-len pd-seperated gsp-send-routing-id";

/// Flags that are not in the walk, and why.
pub(super) const EXEMPT: &[(&str, &str)] = &[
    ("multi", "makes several runs: `sweep.rs`"),
    ("request-rate-range", "the rates of --multi"),
    ("burstiness", "changes due times alone: the tests of `workload::arrival`"),
    ("ramp-up-strategy", "likewise"),
    ("ramp-up-start-rps", "likewise"),
    ("ramp-up-end-rps", "likewise"),
    ("launch", "has processes of its own: `launch.rs`"),
    ("launch-log", "likewise"),
    ("launch-grace-sec", "likewise"),
    ("cacert", "has files of its own: `tls.rs` and `hub.rs`"),
    ("no-output-file", "leaves no result to look at: `outlets.rs`"),
    ("dry-run", "likewise"),
    ("slo", "its exit codes: `gates.rs`"),
    ("slo-on", "likewise"),
    ("junit", "likewise"),
    ("summary", "likewise"),
    ("bencher", "likewise"),
    ("benchmark-action", "likewise"),
    ("strict", "its exit code is that of the machine: `measurement.rs`"),
    ("print-config", "prints a configuration and runs nothing: `configuration.rs`"),
    ("help", "has a golden of its own"),
];

/// What a flag changes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shows {
    /// These fields of the first body, as pointers with values; all others are those of the base.
    Body(&'static [(&'static str, &'static str)]),
    /// A field of the first body, the others apart.
    Field(&'static str, &'static str),
    /// A field of every body in the order of arrival.
    Each(&'static str, &'static [&'static str]),
    /// A header of every request to generate in the order of arrival; what is after the last `_` counts.
    Header(&'static str, &'static [&'static str]),
    /// A call.
    Call(&'static str),
    /// A field of the body of `/start_profile`.
    Profile(&'static str, &'static str),
    /// Number of requests to generate.
    Requests(usize),
    /// The first image: its format, its size and whether it is white.
    Image(&'static str),
    /// A row of the table.
    Row(&'static str, &'static str),
    /// A field of the JSONL line.
    Key(&'static str, &'static str),
    /// The least that a number of the JSONL line is.
    AtLeast(&'static str, f64),
    /// A file.
    File(&'static str),
    /// A text on stderr.
    Says(&'static str),
    /// A refusal with a text on stderr.
    Refused(&'static str),
}

use Shows::{AtLeast, Body, Call, Each, Field, File, Header, Image, Key, Profile, Refused};
use Shows::{Requests, Row, Says};

/// The base whose server is not ready at once.
pub(super) const SLOW: &str = "slow";

/// What runs without the flag are made of: a name, words, and the first body if it is always the same.
/// `@` is the URL of the server, `%` its port.
#[rustfmt::skip]
pub(super) const BASES: &[(&str, &str, &str)] = &[
    ("native", "--base-url @ --dataset-path q.json --num-prompts 1", r#"{"text": "What is new?", "sampling_params": {"temperature": 0.0, "max_new_tokens": 5, "ignore_eos": true}, "stream": true, "lora_path": null, "return_logprob": false, "return_routed_experts": false, "logprob_start_len": -1}"#),
    ("completions", "--base-url @ --backend sglang-oai --dataset-path q.json --num-prompts 1", r#"{"model": "tiny", "prompt": "What is new?", "best_of": 1, "max_tokens": 5, "stream": true, "temperature": 0.0, "ignore_eos": true, "stream_options": {"include_usage": true}}"#),
    ("chat", "--base-url @ --backend sglang-oai-chat --dataset-path q.json --num-prompts 1", r#"{"model": "tiny", "messages": [{"role": "user", "content": "What is new?"}], "max_completion_tokens": 5, "stream": true, "temperature": 0.0, "ignore_eos": true, "stream_options": {"include_usage": true}}"#),
    ("two", "--base-url @ --dataset-path two.json --num-prompts 2", ""),
    ("twice", "--base-url @ --dataset-path two.json --num-prompts 2", ""),
    (SLOW, "--base-url @ --dataset-path q.json --num-prompts 1", ""),
    ("host", "--host 127.0.0.1 --port % --dataset-path q.json --num-prompts 1", ""),
    ("elsewhere", "--host 127.0.0.1 --port 1 --dataset-path q.json --num-prompts 1 --model m --ready-check-timeout-sec 0", ""),
    ("warm", "--base-url @ --dataset-path q.json --num-prompts 1 --warmup-requests 2", ""),
    ("ids", "--base-url @ --dataset-name random-ids --num-prompts 1 --random-input-len 8 --random-output-len 4", ""),
    ("exact", "--base-url @ --dataset-name random-ids --num-prompts 1 --random-input-len 8 --random-output-len 4 --random-range-ratio 1", ""),
    ("fixed", "--base-url @ --dataset-name random-ids --num-prompts 1 --random-input-len 64 --random-output-len 4", ""),
    ("drawn", "--base-url @ --dataset-name random-ids --num-prompts 1 --random-range-ratio 1", ""),
    ("shared", "--base-url @ --dataset-name random-ids --num-prompts 3 --random-input-len 64 --random-output-len 4 --random-range-ratio 1 --cache-hit-rate 0.5", ""),
    ("adapters", "--base-url @ --lora-name a b --dataset-name random-ids --num-prompts 6 --max-concurrency 1 --random-input-len 8 --random-output-len 4", ""),
    ("skewed", "--base-url @ --lora-name a b --dataset-name random-ids --num-prompts 6 --max-concurrency 1 --random-input-len 8 --random-output-len 4 --lora-request-distribution skewed", ""),
    ("image", "--base-url @ --backend sglang-oai-chat --dataset-name image --num-prompts 4 --max-concurrency 1 --random-input-len 4 --random-output-len 4 --image-resolution 28x28", ""),
    ("images", "--base-url @ --backend sglang-oai-chat --dataset-name image --num-prompts 4 --random-input-len 4 --random-output-len 4 --image-resolution 28x28 --image-count 3", ""),
    ("groups", "--base-url @ --dataset-name generated-shared-prefix --gsp-num-groups 2 --gsp-prompts-per-group 3 --gsp-system-prompt-len 16 --gsp-question-len 8 --gsp-output-len 6", ""),
    ("chats", "--base-url @ --backend vllm-chat --dataset-name generated-shared-prefix --gsp-num-groups 2 --gsp-prompts-per-group 3 --gsp-system-prompt-len 16 --gsp-question-len 8 --gsp-output-len 6", ""),
    ("keyed", "--base-url @ --dataset-name generated-shared-prefix --gsp-num-groups 2 --gsp-prompts-per-group 3 --gsp-system-prompt-len 16 --gsp-question-len 8 --gsp-output-len 6 --gsp-send-routing-key --max-concurrency 1", ""),
    ("zipf", "--base-url @ --dataset-name generated-shared-prefix --gsp-num-groups 2 --gsp-prompts-per-group 3 --gsp-system-prompt-len 16 --gsp-question-len 8 --gsp-output-len 6 --gsp-send-routing-key --max-concurrency 1 --gsp-group-distribution zipf", ""),
    ("agents", "--base-url @ --backend vllm-chat --dataset-name agentic-trace --dataset-path agents.json --num-prompts 2 --max-concurrency 1", ""),
    ("entropy", "--base-url @ --dataset-name speed-bench --dataset-path entropy.jsonl --num-prompts 1", ""),
    ("trace", "--base-url @ --dataset-name mooncake --dataset-path trace.jsonl --num-prompts 2", ""),
    ("workload", "--base-url @ --dataset-name mooncake --num-prompts 2", ""),
    ("profile", "--base-url @ --dataset-path q.json --num-prompts 1 --profile", ""),
    ("flush", "--base-url @ --dataset-path q.json --num-prompts 1 --flush-cache", ""),
    ("steady", "--base-url @ --dataset-path q.json --num-prompts 1 --steady-state-concurrency-ratio 0.5", ""),
    ("bad", "--base-url @ --dataset-name custom --dataset-path bad.jsonl --num-prompts 1", ""),
    ("few", "--base-url @ --dataset-name random --dataset-path q.json --num-prompts 2 --random-input-len 4 --random-output-len 4", ""),
    // Needs the name of a model, which --mock gives.
    ("alone", "--backend trt --dataset-name random-ids --num-prompts 1 --random-input-len 4 --random-output-len 4", ""),
];

/// A flag, the base that it is added to, the words that add it, and what it changes.
pub(super) type Line = (&'static str, &'static str, &'static str, Shows);

/// Where requests go, and what is looked at before.
#[rustfmt::skip]
pub(super) const TARGET: &[Line] = &[
    ("backend", "native", "--backend vllm", Call("POST /v1/completions")),
    ("base-url", "twice", "--base-url @/proxy", Call("POST /proxy/generate")),
    ("balance", "native", "--balance least-in-flight", Says("--balance does nothing with one server")),
    ("host", "host", "--host localhost", Key("/rbench/config/base_url", "\"http://localhost:%\"")),
    ("port", "elsewhere", "--port %", Call("POST /generate")),
    ("ready-check-timeout-sec", SLOW, "--ready-check-timeout-sec 9", Says("waiting up to 9 s")),
    ("model", "completions", "--model m", Body(&[("/model", "\"m\"")])),
    ("served-model-name", "chat", "--served-model-name n", Body(&[("/model", "\"n\"")])),
    ("tokenizer", "native", "--tokenizer folder", Key("/rbench/tokenizer", "\"folder\"")),
    ("header", "native", "--header X-A=1", Header("x-a", &["1"])),
    ("warmup-requests", "native", "--warmup-requests 2", Requests(3)),
    ("flush-cache", "native", "--flush-cache", Call("POST /flush_cache?timeout=60.0")),
    ("flush-cache-timeout", "flush", "--flush-cache-timeout 7", Call("POST /flush_cache?timeout=7.0")),
    ("rust-client", "native", "--rust-client", Says("--rust-client is not needed")),
    ("rust-worker-threads", "native", "--rust-worker-threads 2", Key("/rbench/config/worker_threads", "2")),
    ("clock", "native", "--clock user", Key("/rbench/client/clock", "\"user\"")),
    ("read-batch", "native", "--read-batch 0", Key("/rbench/client/read_batch_ms", "0.0")),
    ("stall-threshold", "native", "--stall-threshold 0", Key("/rbench/config/stall_threshold", "0.0")),
    ("connect-timeout", "native", "--connect-timeout 3s", Key("/rbench/config/connect_timeout", "3.0")),
    ("first-token-timeout", "native", "--first-token-timeout 2m", Key("/rbench/config/first_token_timeout", "120.0")),
    ("idle-timeout", "native", "--idle-timeout 0", Key("/rbench/config/idle_timeout", "0.0")),
    ("request-timeout", "native", "--request-timeout 5m", Key("/rbench/config/request_timeout", "300.0")),
    ("max-errors", "native", "--max-errors 5%", Key("/rbench/config/max_errors", "\"5%\"")),
    ("duration", "two", "--duration 50ms --max-concurrency 1", AtLeast("/completed", 3.0)),
    ("progress", "native", "--progress lines", Key("/rbench/config/progress", "\"lines\"")),
    ("json", "native", "--json", Key("/rbench/config/json", "true")),
    ("csv", "native", "--csv a.csv", Key("/rbench/config/csv", "\"a.csv\"")),
    ("quiet", "native", "--quiet", Key("/rbench/config/quiet", "true")),
    ("allow-failed", "native", "--allow-failed 3", Key("/rbench/config/allow_failed", "\"3\"")),
    ("verbose", "native", "--verbose", Key("/rbench/config/verbose", "true")),
    ("retries", "native", "--retries 2", Key("/rbench/config/retries", "2")),
    ("grace", "native", "--grace 1s", Key("/rbench/config/grace", "1.0")),
    ("quiet-extras", "native", "--quiet-extras", Key("/rbench/config/quiet_extras", "true")),
    ("no-spin", "native", "--no-spin", Key("/rbench/config/no_spin", "true")),
    ("api-key-file", "native", "--api-key-file q.json", Refused("--api-key-file q.json: does not hold one key alone")),
    ("cert", "native", "--cert a --key b", Refused("--cert does not apply to http")),
    ("key", "native", "--key b", Refused("--cert")),
    ("insecure", "native", "--insecure", Says("--insecure applies to downloads alone")),
    ("no-proxy", "native", "--no-proxy", Key("/rbench/config/no_proxy", "true")),
    ("http-version", "native", "--http-version 1.1", Key("/rbench/config/http_version", "\"1.1\"")),
    ("connection-per-request", "two", "--connection-per-request", Key("/rbench/client/connections_ahead", "0")),
    ("worker-threads", "native", "--worker-threads 2", Key("/rbench/config/worker_threads", "2")),
    ("mock", "alone", "--mock", Row("Backend:", "trt")),
    ("disable-warmup", "warm", "--disable-warmup", Requests(1)),
];

/// The load.
#[rustfmt::skip]
pub(super) const LOAD: &[Line] = &[
    ("num-prompts", "ids", "--num-prompts 3", Requests(3)),
    ("seed", "ids", "--seed 7", Key("/rbench/seed", "7")),
    ("request-rate", "native", "--request-rate 50", Row("Traffic request rate:", "50.0")),
    ("max-concurrency", "native", "--max-concurrency 1", Row("Max request concurrency:", "1")),
    ("use-trace-timestamps", "native", "--use-trace-timestamps", Refused("whose rows have no times")),
    ("disable-stream", "native", "--disable-stream", Body(&[("/stream", "false")])),
    ("disable-ignore-eos", "native", "--disable-ignore-eos", Body(&[("/sampling_params/ignore_eos", "false")])),
    ("temperature", "native", "--temperature 0.5", Body(&[("/sampling_params/temperature", "0.5")])),
    ("top-p", "native", "--top-p 0.9", Body(&[("/sampling_params/top_p", "0.9")])),
    ("return-logprob", "native", "--return-logprob", Body(&[("/return_logprob", "true")])),
    ("top-logprobs-num", "native", "--top-logprobs-num 2", Body(&[("/top_logprobs_num", "2")])),
    ("token-ids-logprob", "native", "--token-ids-logprob 5 6", Body(&[("/token_ids_logprob", "[5, 6]")])),
    ("logprob-start-len", "native", "--logprob-start-len 3", Body(&[("/logprob_start_len", "3")])),
    ("return-routed-experts", "native", "--return-routed-experts", Body(&[("/return_routed_experts", "true")])),
    ("extra-request-body", "chat", r#"--extra-request-body {"k":[1]}"#, Body(&[("/k", "[1]")])),
    ("fake-prefill", "native", "--fake-prefill", Body(&[("/bootstrap_host", "\"2.2.2.2\""), ("/bootstrap_room", "0")])),
    ("lora-name", "completions", "--lora-name a", Body(&[("/model", "\"a\""), ("/lora_path", "\"a\"")])),
    ("lora-request-distribution", "adapters", "--lora-request-distribution distinct", Each("/lora_path", &["\"a\"", "\"b\"", "\"a\"", "\"b\"", "\"a\"", "\"b\""])),
    ("lora-zipf-alpha", "skewed", "--lora-zipf-alpha 1000000", Each("/lora_path", &["\"a\"", "\"a\"", "\"a\"", "\"a\"", "\"a\"", "\"a\""])),
];

/// Prompts of files.
#[rustfmt::skip]
pub(super) const TEXTS: &[Line] = &[
    ("dataset-name", "native", "--dataset-name random-ids", Key("/dataset_name", "\"random-ids\"")),
    ("dataset-path", "native", "--dataset-path r.json", Body(&[("/text", "\"Who was it?\"")])),
    ("sharegpt-output-len", "native", "--sharegpt-output-len 9", Body(&[("/sampling_params/max_new_tokens", "9")])),
    ("sharegpt-context-len", "two", "--sharegpt-context-len 12", Requests(1)),
    ("apply-chat-template", "native", "--apply-chat-template", Body(&[("/text", "\"[What is new?]\"")])),
    ("prompt-suffix", "native", "--prompt-suffix !", Body(&[("/text", "\"What is new?!Assistant:\"")])),
    ("tokenize-prompt", "ids", "--tokenize-prompt", Field("/text", "null")),
    ("random-input-len", "exact", "--random-input-len 5", Key("/total_input_tokens", "5")),
    ("random-output-len", "exact", "--random-output-len 9", Field("/sampling_params/max_new_tokens", "9")),
    ("random-range-ratio", "fixed", "--random-range-ratio 1", Key("/total_input_tokens", "64")),
    ("input-len-dist", "drawn", "--input-len-dist 5", Key("/total_input_tokens", "5")),
    ("output-len-dist", "drawn", "--output-len-dist 9", Field("/sampling_params/max_new_tokens", "9")),
    ("cache-hit-rate", "drawn", "--cache-hit-rate 0.5", Says("prefixes were sent for the cache")),
    ("cache-prefixes", "shared", "--cache-prefixes 1", Says("1 of 1 prefixes")),
    ("cache-popularity", "shared", "--cache-popularity zipf(alpha=9)", Says("used by zipf(alpha=9)")),
    ("salt", "ids", "--salt pepper", Key("/rbench/config/salt", "\"pepper\"")),
    ("dataset-offset", "agents", "--dataset-offset 1", Field("/messages/0/content", "\"second\"")),
    ("agentic-max-turns", "agents", "--agentic-max-turns 1", Requests(2)),
    ("speed-bench-category", "entropy", "--speed-bench-category low_entropy", Field("/text", "\"[Low.]\"")),
    ("speed-bench-output-len", "entropy", "--speed-bench-output-len 9", Field("/sampling_params/max_new_tokens", "9")),
    ("skip-bad-rows", "bad", "--skip-bad-rows", Requests(1)),
    ("allow-repeat", "few", "--allow-repeat", Requests(2)),
];

/// Images, shared prefixes and traces.
#[rustfmt::skip]
pub(super) const MADE: &[Line] = &[
    ("image-count", "image", "--image-count 2", Field("/messages/0/content/1/type", "\"image_url\"")),
    ("image-resolution", "image", "--image-resolution 28x56", Image("jpeg 28x56 noise")),
    ("image-format", "image", "--image-format png", Image("png 28x28 noise")),
    ("image-content", "image", "--image-content blank", Image("jpeg 28x28 white")),
    ("random-image-count", "images", "--random-image-count", Says("1 to 3 in a request")),
    ("gsp-num-groups", "groups", "--gsp-num-groups 3", Requests(9)),
    ("gsp-prompts-per-group", "groups", "--gsp-prompts-per-group 2", Requests(4)),
    ("gsp-system-prompt-len", "groups", "--gsp-system-prompt-len 26", Key("/total_input_tokens", "204")),
    ("gsp-question-len", "groups", "--gsp-question-len 18", Key("/total_input_tokens", "204")),
    ("gsp-output-len", "groups", "--gsp-output-len 9", Field("/sampling_params/max_new_tokens", "9")),
    ("gsp-range-ratio", "groups", "--gsp-range-ratio 0.1", Key("/total_input_tokens", "72")),
    ("gsp-fast-prepare", "groups", "--gsp-fast-prepare", Says("not counted")),
    ("gsp-num-turns", "chats", "--gsp-num-turns 2", Requests(12)),
    ("gsp-ordered", "keyed", "--gsp-ordered", Header("x-smg-routing-key", &["0", "0", "0", "1", "1", "1"])),
    ("gsp-group-distribution", "keyed", "--gsp-group-distribution zipf --gsp-zipf-alpha 40", Header("x-smg-routing-key", &["0", "0", "0", "0", "0", "0"])),
    ("gsp-zipf-alpha", "zipf", "--gsp-zipf-alpha 40", Header("x-smg-routing-key", &["0", "0", "0", "0", "0", "0"])),
    ("gsp-send-routing-key", "groups", "--gsp-send-routing-key --gsp-num-groups 1", Header("x-smg-routing-key", &["0", "0", "0"])),
    ("mooncake-slowdown-factor", "trace", "--mooncake-slowdown-factor 10", AtLeast("/duration", 0.5)),
    ("mooncake-num-rounds", "trace", "--mooncake-num-rounds 2", Requests(4)),
    ("mooncake-workload", "workload", "--mooncake-workload toolagent", Field("/sampling_params/max_new_tokens", "7")),
    ("gen-num-groups", "groups", "--gen-num-groups 3", Requests(9)),
    ("gen-prompts-per-group", "groups", "--gen-prompts-per-group 2", Requests(4)),
    ("gen-system-prompt-len", "groups", "--gen-system-prompt-len 26", Key("/total_input_tokens", "204")),
    ("gen-question-len", "groups", "--gen-question-len 18", Key("/total_input_tokens", "204")),
    ("gen-output-len", "groups", "--gen-output-len 9", Field("/sampling_params/max_new_tokens", "9")),
    ("gsp-send-routing-id", "groups", "--gsp-send-routing-id --gsp-num-groups 1", Header("x-smg-routing-key", &["0", "0", "0"])),
];

/// The profiler.
#[rustfmt::skip]
pub(super) const PROFILER: &[Line] = &[
    ("profile", "native", "--profile", Call("POST /start_profile")),
    ("profile-activities", "profile", "--profile-activities MEM", Profile("/activities", "[\"MEM\"]")),
    ("profile-start-step", "profile", "--profile-start-step 2", Profile("/start_step", "2")),
    ("profile-steps", "profile", "--profile-steps 4", Profile("/num_steps", "4")),
    ("profile-num-steps", "profile", "--profile-num-steps 3", Profile("/num_steps", "3")),
    ("profile-by-stage", "profile", "--profile-by-stage", Profile("/profile_by_stage", "true")),
    ("profile-stages", "profile", "--profile-stages decode", Profile("/profile_stages", "[\"decode\"]")),
    ("profile-output-dir", "profile", "--profile-output-dir /traces", Profile("/output_dir", "\"/traces\"")),
    ("profile-prefix", "profile", "--profile-prefix p", Profile("/profile_prefix", "\"p\"")),
    ("pd-separated", "profile", "--pd-separated --profile-decode-url @/decode", Call("POST /decode/start_profile")),
    ("profile-prefill-url", "profile", "--pd-separated --profile-prefill-url @/prefill", Call("POST /prefill/start_profile")),
    ("profile-decode-url", "profile", "--pd-separated --profile-decode-url @/decode @/decode2", Call("POST /decode2/start_profile")),
    ("pd-seperated", "profile", "--pd-seperated --profile-decode-url @/decode", Call("POST /decode/start_profile")),
];

/// What is printed and written.
#[rustfmt::skip]
pub(super) const OUTPUT: &[Line] = &[
    ("output-file", "native", "--output-file other.jsonl", File("other.jsonl")),
    ("output-details", "native", "--output-details", Key("/errors", "[\"\"]")),
    ("low-memory", "native", "--low-memory", Key("/rbench/config/low_memory", "true")),
    ("records", "native", "--records r.jsonl", File("r.jsonl")),
    ("failed-file", "native", "--failed-file f.jsonl", File("f.jsonl")),
    ("goodput", "native", "--goodput ttft:90000", Row("SLOs (ms):", "ttft:90000")),
    ("cache-report", "native", "--cache-report", Row("Cache hit rate:", "0.0%")),
    ("tag", "native", "--tag x", Key("/tag", "\"x\"")),
    ("print-requests", "native", "--print-requests", Says("\"event\":\"start\"")),
    ("plot-throughput", "native", "--plot-throughput", Says("Requests in flight, in slices of")),
    // Without a terminal there is no bar.
    ("disable-tqdm", "native", "--disable-tqdm", Key("/rbench/config/disable_tqdm", "true")),
    ("table", "native", "--table sglang@0.4.6", Row("Max reqeuest concurrency:", "not set")),
    ("jsonl", "native", "--jsonl sglang@0.5.1", Key("/rbench/config/jsonl", "\"sglang@0.5.1\"")),
    ("steady-state-concurrency-ratio", "native", "--steady-state-concurrency-ratio 0.5", Row("Concurrency ratio:", "0.50")),
    ("steady-state-output-file", "steady", "--steady-state-output-file steady.jsonl", File("steady.jsonl")),
];

pub(super) const WALK: &[&[Line]] = &[TARGET, LOAD, TEXTS, MADE, PROFILER, OUTPUT];
