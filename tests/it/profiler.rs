//! Calls of the profiler, against a server that writes down what it is asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use clap::Parser;
use rbench::config::profile::{self, Profile};
use rbench::control::probe::Probe;
use rbench::control::profiler::{Running, Said};
use rbench::engine::transport::Route;
use rbench::flags::profile::{ProfileArgs, SeparatedArgs};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    method: Method,
    path: String,
    authorization: Option<String>,
    body: Value,
}

#[derive(Clone)]
struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
    refuses: Option<&'static str>,
}

async fn answer(
    State(server): State<Server>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let path = uri.path().to_owned();
    let authorization = headers.get(AUTHORIZATION).map(|v| v.to_str().unwrap().to_owned());
    let refused = server.refuses == Some(path.as_str());
    let body = serde_json::from_slice(&body).unwrap();
    server.seen.lock().unwrap().push(Seen { method, path, authorization, body });
    if refused {
        (StatusCode::BAD_REQUEST, "Profiling is already in progress.\n")
    } else {
        (StatusCode::OK, "Start profiling.\n")
    }
}

impl Server {
    /// Starts a server that refuses one path; returns its URL too.
    async fn start(refuses: Option<&'static str>) -> (Self, String) {
        let server = Self { seen: Arc::default(), refuses };
        let router = Router::new().fallback(answer).with_state(server.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, url)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }
}

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    args: ProfileArgs,
    #[command(flatten)]
    separated: SeparatedArgs,
}

fn profile(url: &str, words: &[&str]) -> Profile {
    let words = ["x", "--profile"].iter().chain(words);
    let words = Words::try_parse_from(words).unwrap();
    profile::resolve(&words.args.profiling(words.separated.profiling()), url, url, None, true)
        .unwrap()
        .unwrap()
}

/// Starts and stops a profile, and returns what was said.
async fn run(profile: &Profile) -> Vec<Said> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer key"));
    // Fails only if another test of the process has done so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The profile has the URLs.
    let probe = Probe::new("http://unused.invalid", headers, &Route::default()).unwrap();
    let mut said = Vec::new();
    let mut running = Running::new(profile, &probe);
    running.start(12.5, |what| said.push(what)).await;
    running.stop(|what| said.push(what)).await;
    said
}

fn done(text: String) -> Said {
    Said::Done(text)
}

#[tokio::test]
async fn a_profile_is_started_and_stopped_with_the_key() {
    let (server, url) = Server::start(None).await;
    let said = run(&profile(&url, &["--profile-start-step", "3"])).await;
    let call = |path: &str, body| Seen {
        method: Method::POST,
        path: path.to_owned(),
        authorization: Some("Bearer key".to_owned()),
        body,
    };
    let start = json!({
        "activities": ["CPU", "GPU"],
        "num_steps": null,
        "profile_by_stage": false,
        "profile_stages": null,
        "output_dir": "/tmp/12.5",
        "profile_prefix": null,
        "start_step": 3,
    });
    let expected = [call("/start_profile", start), call("/stop_profile", json!({"start_step": 3}))];
    assert_eq!(server.seen(), expected);
    assert_eq!(
        said,
        [
            done(format!("profiler of the server at {url} started")),
            done(format!("profiler of the server at {url} stopped")),
        ]
    );
}

#[tokio::test]
async fn a_number_of_steps_may_not_be_reached() {
    // A server that has stopped by itself refuses; one that has not stops.
    for refuses in [None, Some("/stop_profile")] {
        let (server, url) = Server::start(refuses).await;
        let said = run(&profile(&url, &["--profile-num-steps", "3"])).await;
        assert_eq!(server.paths(), ["/start_profile", "/stop_profile"]);
        assert!(matches!(&said[1], Said::Done(_)), "{said:?}");
    }
}

#[tokio::test]
async fn separated_servers_are_asked_and_not_the_router() {
    let (router, url) = Server::start(None).await;
    let (first, first_url) = Server::start(None).await;
    let (second, second_url) = Server::start(None).await;
    let words = ["--pd-separated", "--profile-decode-url", first_url.as_str(), second_url.as_str()];
    let said = run(&profile(&url, &words)).await;
    assert_eq!(router.seen(), []);
    for server in [first, second] {
        assert_eq!(server.paths(), ["/start_profile", "/stop_profile"]);
    }
    assert_eq!(said[1], done(format!("profiler of decode server 1 at {second_url} started")));
}

#[tokio::test]
async fn a_refusal_is_said_with_the_answer_and_not_stopped() {
    let (server, url) = Server::start(Some("/start_profile")).await;
    let said = run(&profile(&url, &[])).await;
    assert_eq!(server.paths(), ["/start_profile"]);
    let text = format!(
        "the profiler of the server at {url} did not start: it answers 400 Bad Request: Profiling is already in progress."
    );
    assert_eq!(said, [Said::Failed(text)]);
}

#[tokio::test]
async fn a_failed_stop_is_said() {
    let (_server, url) = Server::start(Some("/stop_profile")).await;
    let said = run(&profile(&url, &[])).await;
    assert!(
        matches!(&said[1], Said::Failed(text) if text.contains("did not stop: it answers 400"))
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let said = run(&profile(&url, &[])).await;
    assert!(matches!(&said[..], [Said::Failed(text)] if text.contains("refused")), "{said:?}");
}
