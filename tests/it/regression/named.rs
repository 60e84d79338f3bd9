//! What a server names: files and repositories are followed as far as they can be tokenizers.

use std::process::Command;

use serde_json::json;

use crate::support::rbench::Rbench;
use crate::support::server::{Answer, Script};
use crate::support::wire;

#[test]
fn a_server_names_no_file_of_this_machine_but_a_tokenizer() {
    const TOKENIZER: &[u8] = include_bytes!("../../../datasets/tokenizer/tokenizer.json");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, bytes) in
        [("good/tokenizer.json", TOKENIZER), ("plain/notes.txt", b"{}"), ("huge/x", b"")]
    {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    // Longer than any tokenizer, and holds nothing.
    let huge = std::fs::File::create(path("huge/tokenizer.json")).unwrap();
    huge.set_len(600 << 20).unwrap();
    for (name, target) in [("device", "/dev/zero"), ("kernel", "/proc/self/environ")] {
        std::fs::create_dir(path(name)).unwrap();
        std::os::unix::fs::symlink(target, path(&format!("{name}/tokenizer.json"))).unwrap();
    }
    std::fs::create_dir(path("pipe")).unwrap();
    let made = Command::new("mkfifo").arg(path("pipe/tokenizer.json")).status().unwrap();
    assert!(made.success());
    // The configuration beside a good tokenizer, where its template would be.
    std::fs::create_dir(path("beside")).unwrap();
    std::fs::write(path("beside/tokenizer.json"), TOKENIZER).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("beside/tokenizer_config.json")).unwrap();
    for (name, is_good) in [
        ("/dev/zero".to_owned(), false),
        ("/dev/stdin".to_owned(), false),
        ("/proc/self/environ".to_owned(), false),
        ("/proc/self/fd/0".to_owned(), false),
        (path("device"), false),
        (path("device/tokenizer.json"), false),
        (path("kernel"), false),
        (path("pipe"), false),
        (path("pipe/tokenizer.json"), false),
        (path("huge"), false),
        (path("plain/notes.txt"), false),
        (path("absent"), false),
        (path("good"), true),
        (path("good/tokenizer.json"), true),
        (path("beside"), true),
    ] {
        for key in ["tokenizer_path", "model_path"] {
            let info = json!({key: name});
            let server = Script::new(wire::good)
                .whatever()
                .on("/model_info", move |_| Answer::json(&info))
                .start();
            let run = Rbench::new(["serve", "--base-url", &server.url()])
                .args(["--warmup-requests", "0", "--num-prompts", "1", "--output-file", "o.jsonl"])
                .args(["--dataset-name", "random-ids", "--random-input-len", "8"])
                .args(["--random-output-len", "4"])
                .run();
            let run =
                if is_good { run.exits(0) } else { run.exits(1).says(&["no tokenizer could"]) };
            assert!(is_good || run.stderr.contains(&name), "{run:#?}");
        }
    }
    // A server elsewhere, reached through a proxy of this machine's network: its paths are not ours.
    let server = Script::new(wire::good)
        .whatever()
        .on("/model_info", {
            let info = json!({"tokenizer_path": path("good")});
            move |_| Answer::json(&info)
        })
        .start();
    let run = Rbench::new(["serve", "--base-url", "http://192.0.2.1:30000"])
        .args(["--warmup-requests", "0", "--num-prompts", "1", "--dataset-name", "random-ids"])
        .env("HTTP_PROXY", &server.url())
        .run()
        .exits(1);
    let _ = run.says(&["a path on the server's machine", "--tokenizer"]);
}
