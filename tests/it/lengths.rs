//! Distributions of lengths, from the command line to the server and the result.

use serde_json::Value;

use crate::datasets::{ask, bundled};
use crate::support::rbench::{RESULT, Rbench};

/// A run against the simulated engine with synthetic prompts.
fn run(dataset: &str, flags: &[&str]) -> Value {
    let run = Rbench::new(["serve", "--mock", "--quiet-extras", "--output-file", RESULT])
        .args(["--dataset-name", dataset, "--num-prompts", "60", "--warmup-requests", "0"])
        .args(["--output-details"])
        .args(flags)
        .run()
        .exits(0);
    run.result()
}

fn lens(result: &Value, key: &str) -> Vec<u64> {
    result[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
}

#[test]
fn requests_have_the_lengths_that_are_drawn_and_reported() {
    let flags = [
        "--input-len-dist",
        "lognormal(mean=64,cv=0.8,min=16,max=200)",
        "--output-len-dist",
        "percentages(2=75,5=25)",
    ];
    for dataset in ["random", "random-ids"] {
        let result = run(dataset, &flags);
        let (input, output) = (lens(&result, "input_lens"), lens(&result, "output_lens"));
        assert_eq!(input.len(), 60, "{dataset}");
        assert!(input.iter().all(|len| (16..=200).contains(len)), "{dataset}: {input:?}");
        assert!(output.iter().all(|len| [2, 5].contains(len)), "{dataset}: {output:?}");
        let drawn = &result["rbench"]["drawn_lengths"];
        assert_eq!(drawn["input"]["distribution"], flags[1]);
        let mean = input.iter().sum::<u64>() as f64 / 60.0;
        assert!((drawn["input"]["mean"].as_f64().unwrap() - mean).abs() < 1e-9, "{drawn}");
        assert_eq!(drawn["input"]["max"].as_u64(), input.iter().copied().max());
        let fives = output.iter().filter(|len| **len == 5).count();
        assert_eq!(drawn["output"]["mean"], 2.0 + 3.0 * fives as f64 / 60.0);
        assert_eq!(drawn["output"]["count"], 60);
    }
    // The flags of old are distributions too.
    let plain = run("random-ids", &["--random-input-len", "8", "--random-output-len", "4"]);
    let drawn = &plain["rbench"]["drawn_lengths"];
    assert_eq!(drawn["input"]["distribution"], "uniform(min=1,max=8)");
    assert_eq!(drawn["output"]["distribution"], "uniform(min=1,max=4)");
}

#[test]
fn questions_and_images_have_them_as_well() {
    let gsp = run(
        "generated-shared-prefix",
        &[
            "--gsp-num-groups",
            "3",
            "--gsp-prompts-per-group",
            "20",
            "--gsp-system-prompt-len",
            "32",
            "--input-len-dist",
            "zipf(alpha=1.1,min=4,max=40)",
            "--output-len-dist",
            "3",
        ],
    );
    let drawn = &gsp["rbench"]["drawn_lengths"];
    assert_eq!((&drawn["input"]["count"], &drawn["output"]["mean"]), (&60.into(), &3.0.into()));
    let (input, output) = (lens(&gsp, "input_lens"), lens(&gsp, "output_lens"));
    assert!(input.iter().all(|len| (32 + 4..=32 + 40 + 4).contains(len)), "{input:?}");
    assert!(output.iter().all(|len| *len == 3), "{output:?}");
    let flags = [
        "--image-resolution",
        "32x32",
        "--input-len-dist",
        "uniform(min=5,max=9)",
        "--output-len-dist",
        "4",
    ];
    let rows = ask("image", &flags).load(&bundled()).unwrap();
    let texts: Vec<usize> = rows.rows.iter().map(|row| row.prompt_len - row.vision_len).collect();
    let drawn = rows.drawn.input.unwrap();
    assert_eq!((drawn.distribution.as_str(), drawn.count), ("uniform(min=5,max=9)", texts.len()));
    assert!(rows.rows.iter().all(|row| row.output_len == 4));
}

#[test]
fn a_file_gives_lengths_and_is_named_if_it_cannot() {
    let serve = |name: &str| {
        Rbench::new(["serve", "--mock", "--dataset-name", "random-ids", "--num-prompts", "5"])
            .args(["--random-output-len", "2", "--input-len-dist"])
            .arg(format!("empirical({name})"))
            .file("lengths.txt", "7\n7\n")
            .file("words.txt", "7\nseven\n")
    };
    let run = serve("lengths.txt").run().exits(0);
    assert!(run.stderr.contains("mean 7.0, p50 7, p99 7, from 7 to 7"), "{}", run.stderr);
    let run = serve("words.txt").run().exits(1);
    assert!(run.stderr.contains("words.txt: line 2 is no length: seven"), "{}", run.stderr);
}

#[test]
fn datasets_without_drawn_lengths_refuse_them_with_a_reason() {
    let error = |words: &[&str]| {
        Rbench::new(["serve", "--mock", "--num-prompts", "2"]).args(words).run().exits(2).stderr
    };
    let said = error(&["--dataset-name", "sharegpt", "--input-len-dist", "8"]);
    assert!(
        said.contains(
            "--input-len-dist does not apply to --dataset-name sharegpt, which draws no such lengths"
        ) && said.contains("it applies to random, random-ids, image, generated-shared-prefix"),
        "{said}"
    );
    let said = error(&["--dataset-name", "random", "--input-len-dist", "normal(mean=3)"]);
    assert!(said.contains("normal: stdev or cv is missing"), "{said}");
    let said =
        error(&["--dataset-name", "random", "--input-len-dist", "8", "--random-input-len", "4"]);
    assert!(said.contains("--input-len-dist") && said.contains("cannot be used with"), "{said}");
}
