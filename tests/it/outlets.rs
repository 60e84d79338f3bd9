//! Where results go, and what is shown without a run.

use serde_json::{Value, json};

use crate::support::rbench::{LOAD, Rbench, Run};
use crate::support::server::{Answer, Script, Server};
use crate::support::wire;

fn server() -> Server {
    Script::new(wire::good).start()
}

/// A small load that names no result file.
fn load(server: &Server) -> Rbench {
    let words = LOAD.split(|word| *word == "--output-file").next().unwrap();
    Rbench::new(["serve", "--backend", "vllm", "--model", "tiny", "--base-url", &server.url()])
        .args(words)
}

/// The only thing on stdout, and nothing in the folder.
fn object(run: &Run) -> Value {
    assert!(run.stdout.ends_with("}\n") && run.stdout.lines().count() == 1, "{run:#?}");
    assert!(run.files().is_empty(), "{run:#?}");
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn the_result_may_be_all_that_is_on_stdout() {
    let server = server();
    for words in [&["--json"][..], &["--output-file", "-"], &["--json", "--output-details"]] {
        let run = load(&server).args(words).run().exits(0);
        let result = object(&run);
        assert_eq!(result["completed"], 3);
        assert_eq!(result.get("ttfts").is_some(), words.len() == 2 && words[0] == "--json");
    }
    // A file that is named is written all the same.
    let run = load(&server).args(["--json", "--output-file", "out.jsonl"]).run().exits(0);
    assert_eq!(run.files(), ["out.jsonl"]);
    assert_eq!(std::fs::read_to_string(run.path("out.jsonl")).unwrap(), run.stdout);
}

#[test]
fn a_run_may_leave_no_file() {
    let run = load(&server()).arg("--no-output-file").run().exits(0).prints_a_table();
    assert!(run.files().is_empty(), "{run:#?}");
    let named = load(&server()).run().exits(0).prints_a_table();
    assert_eq!(named.files().len(), 1, "{named:#?}");
}

#[test]
fn quiet_runs_say_what_went_wrong_and_nothing_else() {
    let run = load(&server()).args(["--quiet", "--no-output-file"]).run().exits(0);
    assert_eq!(run.prints_a_table().stderr, "");
    let broken = Script::new(|_| Answer::body("500 Oops", "text/plain", "")).start();
    let run = load(&broken).args(["--quiet", "--no-output-file"]).run().exits(1);
    assert!(run.stderr.starts_with("3 of 3 requests failed"), "{run:#?}");
    assert!(!run.stderr.contains("prepared in"), "{run:#?}");
}

#[test]
fn results_are_rows_of_a_table_for_spreadsheets() {
    let server = server();
    let url = server.url();
    let words = [
        "serve",
        "--backend",
        "vllm",
        "--model",
        "tiny",
        "--base-url",
        &url,
        "--no-output-file",
        "--csv",
        "a.csv",
    ];
    let load = LOAD.split(|word| *word == "--output-file").next().unwrap();
    let words: Vec<&str> = words.iter().chain(load).copied().collect();
    let again = format!("\"$0\" {}", words.join(" "));
    let run = Rbench::in_shell(&again, &words).run().exits(0);
    let text = std::fs::read_to_string(run.path("a.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("tag,backend,dataset_name,"), "{text}");
    assert!(lines[0].contains(",completed,") && lines[0].contains(",rbench.seed,"), "{text}");
    for line in &lines[1..] {
        assert!(line.starts_with(",vllm,random-ids,"), "{text}");
        assert_eq!(line.split(',').count(), lines[0].split(',').count(), "{text}");
    }
    let other = self::load(&server).file("b.csv", "a table\nof 3\n").args(["--csv", "b.csv"]).run();
    drop(other.exits(1).says(&["--csv b.csv: its first line names no column of a result"]));
}

#[test]
fn results_name_the_machine_and_the_program() {
    let run = load(&server()).arg("--json").run().exits(0);
    let own = &object(&run)["rbench"];
    let machine = &own["machine"];
    assert!(machine["cpus"].as_u64() > Some(0), "{machine:#}");
    assert_eq!(machine["os"], std::env::consts::OS);
    assert!(machine["host"].is_string(), "{machine:#}");
    assert!(own["target"].as_str().unwrap().contains(std::env::consts::ARCH));
    assert!(own.get("commit").is_some() && own["config"].get("machine").is_none());
}

/// All is printed and nothing is sent, not even a question.
#[test]
fn a_run_can_be_looked_at_before_it_is_made() {
    let server = Script::untouched().start();
    let run = load(&server)
        .args(["--dry-run", "--request-rate", "10", "--header", "x-key: s3cret", "x-it=it's"])
        .env("OPENAI_API_KEY", "sk-hidden")
        .run()
        .exits(0);
    assert_eq!(server.calls(), [""; 0]);
    assert_eq!(server.connections(), 0);
    for part in [
        &format!("Endpoint:              POST {}/v1/completions (vllm)\n", server.url())[..],
        "Model:                 tiny\n",
        "Requests:              3 of random-ids, after 0 to warm up\n",
        "Input tokens:          24 in all; mean 8.0, min 8, max 8\n",
        "Output tokens asked:   12 in all; mean 4.0, min 4, max 4\n",
        "Arrivals:              10 requests/s\n",
        " s until the last request is sent, and its answer\n",
        &format!("curl -sN {}/v1/completions ", server.url()),
        " -H 'authorization: ***' ",
        " -H 'x-key: ***' ",
        " -d '{\"model\":\"tiny\",",
        "Nothing was sent.\n",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let all = format!("{run:?}");
    assert!(!all.contains("sk-hidden") && !run.stdout.contains("s3cret"), "{all}");
    assert!(run.files().is_empty(), "{run:#?}");
    // Without a word on the model or the server's tokenizer, there is a way as well.
    let words = ["serve", "--backend", "vllm", "--port", "1", "--num-prompts", "3", "--dry-run"];
    let run = Rbench::new(words).run().exits(0);
    assert!(run.stdout.contains("\nModel:                 MODEL\n"), "{run:#?}");
    assert!(run.stderr.contains("lengths are counted by --tokenizer rbench-bundled"), "{run:#?}");
    drop(Rbench::new(words).args(["--dataset-name", "longbench_v2"]).run().exits(1));
}

#[test]
fn arguments_may_stand_in_a_file() {
    let server = server();
    let text = "# what is measured\n--num-prompts 2 --request-rate=50\n--header 'x-a: b c'\n";
    let run = load(&server).file("load.txt", text).args(["@load.txt", "--json"]).run().exits(0);
    let result = object_beside(&run);
    assert_eq!(result["completed"], 2);
    assert_eq!(result["rbench"]["config"]["request_rate"], 50.0);
    assert_eq!(server.inference()[0].header("x-a"), Some("b c"));
    let absent = load(&server).arg("@absent.txt").run().exits(2).prints_nothing();
    drop(absent.says(&["an argument @FILE names a file that cannot be read", "absent.txt"]));
    let open = load(&server).file("open.txt", "--tag 'x").arg("@open.txt").run().exits(2);
    drop(open.says(&["a quote in a file of arguments has no end"]));
}

/// As [`object`], beside the file of arguments.
fn object_beside(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| json!(null))
}
