//! A short run of every target, for the gate: the corpus as it is, then mutations of it for some seconds.
//!
//! Needs nothing but the toolchain of the program. It is blind where libFuzzer follows the coverage, so it finds what
//! lies near the corpus: that a target was broken by a change, or what a change broke.
//! `cargo run --example short --no-default-features -- SECONDS [TARGET ...]`

use std::path::Path;
use std::time::{Duration, Instant};

use rbench_fuzz::ALL;

/// A sequence that is the same in every run.
struct Draws(u64);

impl Draws {
    fn next(&mut self, below: usize) -> usize {
        // The constants are Knuth's; the upper bits are the good ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below.max(1)
    }
}

/// What breaks readers more often than bytes at random.
const WORDS: &[&[u8]] = &[
    b"\n",
    b"\r\n",
    b"\r",
    b"\n\n",
    b"data: ",
    b"event: error\n",
    b"[DONE]",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"null",
    b"-1",
    b"18446744073709551615",
    b"1e999",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"0\r\n\r\n",
    b"content-length: ",
    b"transfer-encoding: chunked\r\n",
    b"HTTP/1.1 100 \r\n\r\n",
    b"\"index\":65535,",
    b"\"choices\":[",
];

fn mutate(input: &mut Vec<u8>, other: &[u8], draws: &mut Draws) {
    for _ in 0..=draws.next(4) {
        let at = draws.next(input.len() + 1);
        let to = (at + draws.next(16)).min(input.len());
        match draws.next(6) {
            0 => drop(input.drain(at..to)),
            1 => drop(input.splice(at..at, WORDS[draws.next(WORDS.len())].iter().copied())),
            2 => drop(input.splice(at..to, WORDS[draws.next(WORDS.len())].iter().copied())),
            3 => {
                let copy = input[at..to].to_vec();
                drop(input.splice(to..to, copy));
            }
            4 => {
                let from = draws.next(other.len() + 1);
                drop(input.splice(at.., other[from..].iter().copied()));
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = draws.next(256) as u8;
                }
            }
        }
    }
    input.truncate(1 << 16);
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry of the corpus").path())
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a file of the corpus")).collect()
}

fn main() {
    let mut words = std::env::args().skip(1);
    let seconds = words.next().and_then(|word| word.parse().ok()).expect("SECONDS [TARGET ...]");
    let wanted: Vec<String> = words.collect();
    for (name, target) in ALL {
        if !wanted.is_empty() && !wanted.iter().any(|word| word == name) {
            continue;
        }
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        let started = Instant::now();
        let mut runs = 0_u64;
        let mut input = Vec::new();
        let mut draws = Draws(1);
        let run = |input: &[u8]| {
            if std::panic::catch_unwind(|| target(input)).is_err() {
                let file = format!("crash-{name}");
                std::fs::write(&file, input).expect("the input can be written");
                panic!("{name} failed with the input that is now in {file}");
            }
        };
        for seed in &corpus {
            run(seed);
            runs += 1;
        }
        while started.elapsed() < Duration::from_secs(seconds) {
            input.clear();
            input.extend_from_slice(&corpus[draws.next(corpus.len())]);
            mutate(&mut input, &corpus[draws.next(corpus.len())], &mut draws);
            run(&input);
            runs += 1;
        }
        println!("{name}: {runs} inputs, {} of them the corpus", corpus.len());
    }
}
