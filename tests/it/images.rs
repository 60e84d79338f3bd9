//! Runs with images: what is sent, what is refused, and how image tokens are counted.

use serde_json::{Value, json};

use crate::support::rbench::{Rbench, Run};
use crate::support::server::Script;
use crate::support::wire;

/// Two small images with each request of 5 tokens.
fn images(backend: &str, url: &str) -> Rbench {
    Rbench::load(backend, url).args([
        "--dataset-name",
        "image",
        "--image-resolution",
        "84x112",
        "--image-count",
        "2",
        "--random-input-len",
        "5",
    ])
}

/// A run against engines that count prompts of 8 tokens, and the first body.
fn run(backend: &str, prepare: impl Fn(Rbench) -> Rbench) -> (Run, Value) {
    let server = Script::new(wire::good).start();
    let run = prepare(images(backend, &server.url())).run().exits(0).prints_a_table();
    let body = serde_json::from_str(&server.inference()[0].body).unwrap();
    (run, body)
}

fn is_jpeg(uri: &Value) -> bool {
    uri.as_str().is_some_and(|uri| uri.starts_with("data:image/jpeg;base64,/9j/"))
}

#[test]
fn chat_messages_have_images_before_the_text() {
    for backend in ["sglang-oai-chat", "vllm-chat", "lmdeploy-chat"] {
        let (_, body) = run(backend, |rbench| rbench);
        let parts = body["messages"][0]["content"].as_array().unwrap();
        let kinds: Vec<&str> = parts.iter().map(|part| part["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["image_url", "image_url", "text"], "{backend}");
        assert!(parts[..2].iter().all(|part| is_jpeg(&part["image_url"]["url"])), "{backend}");
        assert!(!parts[2]["text"].as_str().unwrap().contains('<'), "{backend}");
    }
}

#[test]
fn native_bodies_have_a_list_of_images_and_their_places_in_the_text() {
    for backend in ["sglang", "sglang-native"] {
        let (_, body) = run(backend, |rbench| rbench);
        let list = body["image_data"].as_array().unwrap();
        assert!(list.len() == 2 && list.iter().all(is_jpeg), "{backend}");
        assert!(body["text"].as_str().unwrap().starts_with("<image><image>"), "{backend}");
    }
}

#[test]
fn endpoints_without_images_refuse_them() {
    for backend in ["sglang-oai", "vllm", "lmdeploy", "vllm-embedding", "trt", "truss"] {
        let _ =
            images(backend, "http://127.0.0.1:1").args(["--model", "m"]).run().exits(2).says(&[
                "--dataset-name image has images",
                backend,
                "use --backend sglang, sglang-native, sglang-oai-chat, vllm-chat,",
            ]);
    }
}

#[test]
fn the_server_tells_image_tokens_where_no_rule_does() {
    let (run, _) = run("sglang-oai-chat", |rbench| rbench);
    assert_eq!(run.row("Total input tokens:"), Some("24"));
    assert_eq!(run.row("Total input text tokens:"), Some("15"));
    assert_eq!(run.row("Total input vision tokens:"), Some("9"));
    assert_eq!(run.result()["rbench"]["vision_token_source"], "server");
}

#[test]
fn a_rule_of_the_model_gives_image_tokens() {
    let config = json!({"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14, "merge_size": 2,
        "min_pixels": 3136, "max_pixels": 12_845_056});
    let (run, body) = run("sglang", |rbench| {
        rbench
            .file("model/tokenizer.json", rbench::workload::bundled::TOKENIZER)
            .file("model/preprocessor_config.json", config.to_string())
            .args(["--tokenizer", "model"])
    });
    // Each image has 3 x 4 groups of patches.
    assert_eq!(run.row("Total input tokens:"), Some("87"));
    assert_eq!(run.row("Total input text tokens:"), Some("15"));
    assert_eq!(run.row("Total input vision tokens:"), Some("72"));
    assert_eq!(run.result()["rbench"]["vision_token_source"], "patch_rule");
    assert!(body["text"].as_str().unwrap().starts_with("<|vision_start|><|image_pad|>"));
    let _ = run.says(&["6 images, 2 in each request", "72 image tokens"]);
}
