//! Tokenizers from repositories: the Hub and ModelScope, stood in for by a server of ours, and what is told without them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rbench::engine::transport::tls::Trust;
use rbench::workload::download::{Failure, Fetcher, Request as Wanted};
use serde_json::json;

use crate::support::certificates::{Authority, Speaks};
use crate::support::proxy::Proxy;
use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Refusing, Request, Script, Server};
use crate::support::wire;

fn data(file: &str) -> Vec<u8> {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/data/tokenizers", file].iter().collect();
    std::fs::read(path).unwrap()
}

/// An engine that tells of its tokenizer.
fn engine(tokenizer: &'static str) -> Server {
    let info = json!({"tokenizer_path": tokenizer, "model_path": "acme/second"});
    Script::new(wire::good).on("/model_info", move |_| Answer::json(&info)).start()
}

/// A small load on `server` with the tokenizer that the server tells of, or another.
fn load(server: &Server, tokenizer: Option<&str>) -> Rbench {
    let flags = "--dataset-name random-ids --random-input-len 8 --random-output-len 4 --random-range-ratio 1 --num-prompts 3 --warmup-requests 0";
    let run = Rbench::new(["serve", "--backend", "sglang", "--base-url", &server.url()])
        .args(flags.split(' '))
        .env("HF_HUB_OFFLINE", "0")
        .env("HF_TOKEN", "hf_hidden")
        .env("MODELSCOPE_API_TOKEN", "ms_hidden");
    match tokenizer {
        Some(tokenizer) => run.args(["--tokenizer", tokenizer]),
        None => run,
    }
}

/// Runs it, and checks that no token is told.
fn run(rbench: Rbench) -> Run {
    let run = rbench.run();
    assert!(!format!("{run:?}").contains("hidden"), "{run:?}");
    run
}

/// A file as the Hub sends it, and the part of it that is asked for first.
fn hub_file(request: &Request, bytes: &[u8]) -> Answer {
    assert_eq!(request.header("authorization"), Some("Bearer hf_hidden"));
    let part = if request.header("range") == Some("bytes=0-0") { &bytes[..1] } else { bytes };
    let range = format!("content-range: bytes 0-{}/{}", part.len() - 1, bytes.len());
    let length = format!("content-length: {}", part.len());
    let etag = format!("etag: \"{}\"", bytes.len());
    Answer::head("206 Partial Content", &[&range, &length, &etag, "x-repo-commit: c0ffee"])
        .raw(part)
}

/// A Hub with a repository that has nothing but a tiktoken file.
fn kimi() -> Script {
    Script::control_only()
        .on("/acme/kimi/resolve/main/tokenizer.json", |_| Answer::not_found())
        .on("/api/models/acme/kimi/revision/main", |_| {
            let files = [".gitattributes", "tiktoken.model", "tokenizer_config.json"];
            let files = files.map(|file| json!({"rfilename": file}));
            Answer::json(&json!({"sha": "c0ffee", "siblings": files}))
        })
        .on("/acme/kimi/resolve/main/tiktoken.model", |request| {
            hub_file(request, &data("ranks.tiktoken"))
        })
        .on("/acme/kimi/resolve/main/tokenizer_config.json", |request| {
            hub_file(request, br#"{"tokenizer_class": "TikTokenTokenizer"}"#)
        })
}

#[test]
fn a_repository_with_nothing_but_a_tiktoken_file() {
    let hub = kimi().start();
    let server = engine("acme/kimi");
    let run = run(load(&server, None).env("HF_ENDPOINT", hub.url())).exits(0).prints_a_table();
    assert!(run.stdout.contains("Total input tokens:                      24"), "{run:?}");
    // Where other clients look for it.
    let repo = run.path("hub/models--acme--kimi");
    assert_eq!(std::fs::read_to_string(repo.join("refs/main")).unwrap(), "c0ffee");
    let file = repo.join("snapshots/c0ffee/tiktoken.model");
    let etag = data("ranks.tiktoken").len().to_string();
    assert_eq!(std::fs::read_link(&file).unwrap(), Path::new("../../blobs").join(&etag));
    assert_eq!(std::fs::read(file).unwrap(), data("ranks.tiktoken"));
    assert!(run.path(&format!("hub/.locks/models--acme--kimi/{etag}.lock")).exists());
}

/// Forall ways to trust an authority that no system knows, and none: a Hub behind it gives its files, or the advice
/// names the flag.
#[test]
fn downloads_trust_whom_the_other_calls_trust() {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1", "localhost"]);
    let tls = || Speaks::with(&identity).config();
    let hub = kimi().start_tls(tls());
    let scope = modelscope(&[("qwen.tiktoken", "ranks.tiktoken")]).start_tls(tls());
    for (trust, comes) in
        [(&["--cacert", "ca.pem"][..], true), (&["--insecure"], true), (&[], false)]
    {
        for (id, modelscope) in [("acme/kimi", "0"), ("acme/q1.5", "1")] {
            let server = if comes { engine(id) } else { Script::control_only().start() };
            let run = run(load(&server, Some(id))
                .env("HF_ENDPOINT", hub.url())
                .env("MODELSCOPE_ENDPOINT", scope.url())
                .env("VLLM_USE_MODELSCOPE", modelscope)
                .file("ca.pem", authority.pem())
                .args(trust));
            if comes {
                drop(run.exits(0).prints_a_table().says(&[trust[0], "applies to downloads alone"]));
            } else {
                let advice = "no known authority vouches for the server's certificate";
                drop(run.exits(1).says(&[
                    &format!("no tokenizer.json of {id}"),
                    advice,
                    "--cacert",
                ]));
            }
        }
    }
}

#[test]
fn downloads_go_through_the_proxy_of_the_environment() {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["localhost"]);
    let hub = kimi().start_tls(Speaks::with(&identity).config());
    let server = engine("acme/kimi");
    let proxy = Proxy::start("proxy-authorization: Basic bWU6czNjcmV0");
    let from = |user: &str, more: &[&str]| {
        run(load(&server, None)
            .env("HF_ENDPOINT", format!("https://localhost:{}", hub.port()))
            .env("HTTPS_PROXY", format!("http://{user}@127.0.0.1:{}", proxy.port()))
            .file("ca.pem", authority.pem())
            .args(["--cacert", "ca.pem"])
            .args(more))
    };
    drop(from("me:s3cret", &["--no-proxy"]).exits(0).prints_a_table());
    assert!(proxy.heads().is_empty(), "{:?}", proxy.heads());
    drop(from("me:s3cret", &[]).exits(0).prints_a_table());
    let connect = format!("CONNECT localhost:{} HTTP/1.1\r\n", hub.port());
    let heads = proxy.heads();
    assert!(!heads.is_empty() && heads.iter().all(|head| head.starts_with(&connect)), "{heads:?}");
    let refused =
        from("me:wr0ng", &["--tokenizer", "acme/kimi"]).exits(1).says(&["proxy", "localhost"]);
    assert!(!refused.stderr.contains("wr0ng"), "{refused:?}");
}

/// Plain http asks for no authorities; https trusts those inside the program, and a file that is named.
#[test]
fn a_system_without_authorities() {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    let (plain, encrypted) = (kimi().start(), kimi().start_tls(Speaks::with(&identity).config()));
    let server = engine("acme/kimi");
    let from = |hub: &Server, more: &[&str]| {
        run(load(&server, Some("acme/kimi"))
            .env("HF_ENDPOINT", hub.url())
            .env("SSL_CERT_FILE", "/nowhere/ca.pem")
            .env("SSL_CERT_DIR", "/nowhere/certs")
            .file("ca.pem", authority.pem())
            .args(more))
    };
    drop(from(&plain, &[]).exits(0).prints_a_table());
    drop(from(&encrypted, &[]).exits(1).says(&["no known authority vouches for"]));
    drop(from(&encrypted, &["--cacert", "ca.pem"]).exits(0).prints_a_table());
}

/// Forall servers that know ranges, or do not: what came before a download broke off is used, or thrown away.
#[test]
fn a_download_goes_on_where_it_broke_off() {
    for ranges in [true, false] {
        let hub = kimi()
            .on("/acme/kimi/resolve/main/tiktoken.model", move |request| {
                let bytes = data("ranks.tiktoken");
                let all = bytes.len();
                if let Some(range) = request.header("range").filter(|_| ranges) {
                    assert_eq!(range, "bytes=10-");
                    let range = format!("content-range: bytes 10-{}/{all}", all - 1);
                    let length = format!("content-length: {}", all - 10);
                    let fields = [&range, &length, "etag: \"ranks\"", "x-repo-commit: c0ffee"];
                    Answer::head("206 Partial Content", &fields).raw(&bytes[10..])
                } else {
                    let length = format!("content-length: {all}");
                    let fields = [&length, "etag: \"ranks\"", "x-repo-commit: c0ffee"];
                    Answer::head("200 OK", &fields).raw(bytes)
                }
            })
            .start();
        let server = engine("acme/kimi");
        let part = if ranges { data("ranks.tiktoken")[..10].to_vec() } else { b"other".to_vec() };
        let run = run(load(&server, None)
            .env("HF_ENDPOINT", hub.url())
            .file("hub/models--acme--kimi/blobs/ranks.incomplete", part));
        let run = run.exits(0).prints_a_table();
        let blobs = run.path("hub/models--acme--kimi/blobs");
        assert_eq!(std::fs::read(blobs.join("ranks")).unwrap(), data("ranks.tiktoken"));
        assert!(!blobs.join("ranks.incomplete").exists());
    }
}

/// A Hub leads to other servers for contents: those get no token, and the names are the Hub's.
#[test]
fn other_servers_get_no_token() {
    let store = Script::control_only()
        .on("/bucket/1", |request| {
            assert_eq!(request.header("authorization"), None);
            let text = String::from_utf8(data("ranks.tiktoken")).unwrap();
            Answer::body("200 OK", "application/octet-stream", &text)
        })
        .start();
    let to = format!("location: {}/bucket/1?signed", store.url());
    let hub = kimi()
        .on("/acme/kimi/resolve/main/tiktoken.model", |_| {
            Answer::head("307 Temporary Redirect", &["location: /moved", "content-length: 0"])
        })
        .on("/moved", move |request| {
            assert_eq!(request.header("authorization"), Some("Bearer hf_hidden"));
            let fields =
                [&to, "x-repo-commit: c0ffee", "x-linked-etag: \"sum\"", "content-length: 0"];
            Answer::head("302 Found", &fields)
        })
        .start();
    let server = engine("acme/kimi");
    let run = run(load(&server, None).env("HF_ENDPOINT", hub.url())).exits(0).prints_a_table();
    let blob = run.path("hub/models--acme--kimi/blobs/sum");
    assert_eq!(std::fs::read(blob).unwrap(), data("ranks.tiktoken"));
}

/// Forall names that a Hub could give its contents to write elsewhere: refused.
#[test]
fn a_hub_names_no_place_outside_of_its_cache() {
    for fields in [
        ["etag: \"../../../../evil\"", "x-repo-commit: c0ffee"],
        ["etag: \"fine\"", "x-repo-commit: ../../evil"],
        ["etag: \"fine\"", "x-other: c0ffee"],
    ] {
        let hub = kimi()
            .on("/acme/kimi/resolve/main/tiktoken.model", move |_| {
                Answer::head("200 OK", &[fields[0], fields[1], "content-length: 4"]).raw("evil")
            })
            .start();
        let server = Script::control_only().start();
        let run = run(load(&server, Some("acme/kimi")).env("HF_ENDPOINT", hub.url())).exits(1);
        let run = run.says(&["as a Hub's files have"]);
        assert!(!run.files().iter().any(|file| file.contains("evil")), "{:?}", run.files());
    }
}

#[test]
fn plain_urls_are_fetched_with_the_same_trust() {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    let server = Script::control_only()
        .on("/trace.jsonl", |_| Answer::body("200 OK", "text/plain", "{}\n"))
        .on("/gone.jsonl", |_| Answer::not_found())
        .start_tls(Speaks::with(&identity).config());
    let folder = tempfile::tempdir().unwrap();
    let (pem, path) = (folder.path().join("ca.pem"), folder.path().join("deep/trace.jsonl"));
    std::fs::write(&pem, authority.pem()).unwrap();
    let url = format!("{}/trace.jsonl", server.url());
    let unknown = Fetcher::new(&Trust::default(), false).save(&Wanted::new(&url), &path);
    let Err(Failure::Unreachable(why)) = unknown else { panic!("{unknown:?}") };
    assert!(why.contains("--cacert") && !path.exists(), "{why}");
    let trust = Trust::load(Some(&pem), None, false).unwrap();
    let fetcher = Fetcher::new(&trust, false);
    fetcher.save(&Wanted::new(&url), &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"{}\n");
    let gone = fetcher.text(&Wanted::new(&url.replace("trace", "gone")));
    assert!(matches!(gone, Err(Failure::Refused { status: Some(404), .. })), "{gone:?}");
}

#[test]
fn a_repository_without_a_tokenizer_is_told_of() {
    let hub = Script::control_only()
        .on("/acme/weights/resolve/main/tokenizer.json", |_| Answer::not_found())
        .on("/api/models/acme/weights/revision/main", |_| {
            Answer::json(&json!({"sha": "c0ffee", "siblings": [{"rfilename": "x-q4.gguf"}]}))
        })
        .start();
    let server = Script::control_only().start();
    let run = run(load(&server, Some("acme/weights")).env("HF_ENDPOINT", hub.url()));
    drop(run.exits(1).says(&[
        "acme/weights has no tokenizer of a known format: no tokenizer.json, tokenizer.model, tiktoken.model",
        "a GGUF file of it can be used by its path",
        "--tokenizer PATH",
    ]));
}

#[test]
fn a_model_that_is_on_no_hub_costs_one_question() {
    let hub = Script::control_only()
        .on("/tiny/resolve/main/tokenizer.json", |_| Answer::not_found())
        .on("/api/models/tiny/revision/main", |_| Answer::not_found())
        .start();
    let server = Script::control_only().start();
    let run = run(load(&server, None).env("HF_ENDPOINT", hub.url()));
    let url = format!("{}/tiny/resolve/main/tokenizer.json", hub.url());
    drop(run.exits(1).says(&[
        "tried tiny",
        "no tokenizer.json of tiny",
        &url,
        "404",
        "--tokenizer PATH",
    ]));
    assert_eq!(hub.calls().len(), 2, "{:?}", hub.calls());
}

#[test]
fn who_does_not_answer_is_asked_once_and_not_for_long() {
    // Takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let refusing = Refusing::new();
    for (url, why) in
        [(silent, "did not answer within 0.2 s"), (refusing.url(), "cannot be reached")]
    {
        let server = Script::control_only()
            .on("/model_info", |_| {
                Answer::json(&json!({"tokenizer_path": "acme/first", "model_path": "acme/second"}))
            })
            .start();
        for modelscope in ["false", "true"] {
            let run = run(load(&server, None)
                .env("HF_ENDPOINT", &url)
                .env("HF_HUB_ETAG_TIMEOUT", "0.2")
                .env("MODELSCOPE_ENDPOINT", &url)
                .env("VLLM_USE_MODELSCOPE", modelscope));
            let run = run.exits(1).says(&["tried acme/first", &url, "--tokenizer PATH"]);
            if modelscope == "false" {
                drop(run.says(&[why]));
            }
        }
    }
}

/// ModelScope with these files.
fn modelscope(files: &'static [(&'static str, &'static str)]) -> Script {
    let names: Vec<_> =
        files.iter().map(|(name, _)| json!({"Path": name, "Type": "blob"})).collect();
    Script::control_only()
        .on("/api/v1/models/acme/q1.5/repo", move |request| {
            assert_eq!(request.header("authorization"), Some("Bearer ms_hidden"));
            assert_eq!(request.header("cookie"), Some("m_session_id=ms_hidden"));
            let asked = request.path.split("Revision=master&FilePath=").nth(1).unwrap();
            match files.iter().find(|(name, _)| *name == asked) {
                Some((_, file)) => {
                    let text = data(file);
                    let text = std::str::from_utf8(&text).unwrap();
                    Answer::body("200 OK", "application/octet-stream", text)
                }
                None => Answer::not_found(),
            }
        })
        .on("/api/v1/models/acme/q1.5/repo/files", move |_| {
            Answer::json(&json!({"Code": 200, "Data": {"Files": names}}))
        })
}

#[test]
fn models_come_from_modelscope_if_the_environment_says_so() {
    for (variable, value) in [("SGLANG_USE_MODELSCOPE", "True"), ("VLLM_USE_MODELSCOPE", "1")] {
        let hub = modelscope(&[("qwen.tiktoken", "ranks.tiktoken")]).start();
        let server = engine("acme/q1.5");
        let cache = tempfile::TempDir::new().unwrap();
        let with = |rbench: Rbench| {
            run(rbench
                .env(variable, value)
                .env("MODELSCOPE_CACHE", cache.path().to_str().unwrap())
                .env("MODELSCOPE_DOMAIN", hub.url()))
        };
        drop(with(load(&server, None)).exits(0).prints_a_table());
        let calls = hub.calls().len();
        let kept = cache.path().join("models/acme--q1.5/snapshots/master/qwen.tiktoken");
        assert_eq!(std::fs::read(kept).unwrap(), data("ranks.tiktoken"));
        // The second time nobody needs to be asked.
        drop(with(load(&server, None).env("HF_HUB_OFFLINE", "1")).exits(0).prints_a_table());
        assert_eq!(hub.calls().len(), calls, "{:?}", hub.calls());
    }
}

#[test]
fn the_cache_of_older_clients_of_modelscope_is_used() {
    let tokenizer: &Path = "datasets/tokenizer/tokenizer.json".as_ref();
    let tokenizer = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(tokenizer)).unwrap();
    for folder in ["models/acme/q1___5", "hub/models/acme/q1___5", "hub/acme/q1___5"] {
        let server = engine("acme/q1.5");
        let rbench = load(&server, None)
            .file(&format!(".cache/modelscope/{folder}/tokenizer.json"), &tokenizer)
            .env("HF_HUB_OFFLINE", "1")
            .env("SGLANG_USE_MODELSCOPE", "true");
        drop(run(rbench).exits(0).prints_a_table());
    }
}

#[test]
fn what_modelscope_lacks_is_told_with_its_url() {
    let hub = modelscope(&[("config.json", "ranks.tiktoken")]).start();
    let server = Script::control_only().start();
    let rbench = |id| {
        load(&server, Some(id))
            .env("SGLANG_USE_MODELSCOPE", "true")
            .env("MODELSCOPE_ENDPOINT", hub.url())
    };
    drop(run(rbench("acme/q1.5")).exits(1).says(&["acme/q1.5 has no tokenizer of a known format"]));
    drop(
        run(rbench("tiny"))
            .exits(1)
            .says(&["no tokenizer.json of tiny", "ids of ModelScope are OWNER/NAME"]),
    );
    // Nobody was asked for the id that cannot be one.
    assert!(hub.calls().iter().all(|call| call.contains("/acme/q1.5/")), "{:?}", hub.calls());
    drop(run(rbench("acme/q1.5").env("HF_HUB_OFFLINE", "1")).exits(1).says(&[
        "no tokenizer.json of acme/q1.5 in the ModelScope cache",
        "HF_HUB_OFFLINE is set",
    ]));
}
