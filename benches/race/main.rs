//! A race of whole clients: the CPU time and memory that each spends on the same streams of one server.
//!
//! Beside rbench runs a floor program that does no more than a client must, and any rival whose command is given.
//! Programs take turns, and what counts is the ratio to the floor in the same round.
//! From each CPU time that of the same program with a single request is taken off: start-up and warm-up are not raced.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::exit, reason = "a program")]

mod child;
mod floor;
mod server;
mod table;
mod wire;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use child::{Cost, Server};
use table::Table;
use wire::Route;

/// One load.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    route: Route,
    /// Times of an answer, in ms.
    ttft: u64,
    itl: u64,
    requests: usize,
    concurrency: usize,
    /// Tokens of an answer, each an event of its own.
    out: usize,
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "completions", route: Route::Completions, ttft: 50, itl: 20, requests: 2000, concurrency: 500, out: 100 },
    Case { name: "chat", route: Route::Chat, ttft: 50, itl: 20, requests: 2000, concurrency: 500, out: 100 },
    Case { name: "generate", route: Route::Generate, ttft: 50, itl: 20, requests: 2000, concurrency: 500, out: 100 },
    Case { name: "generate-long", route: Route::Generate, ttft: 50, itl: 2, requests: 40, concurrency: 20, out: 4000 },
    Case { name: "crowd", route: Route::Completions, ttft: 200, itl: 50, requests: 8000, concurrency: 8000, out: 20 },
];

/// Races rbench and other clients against a floor program
#[derive(Debug, Parser)]
#[command(name = "race", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,

    /// Rounds, in each of which every program runs once
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Run this case alone; can be given several times
    #[arg(long, value_name = "NAME", value_parser = CASES.iter().map(|case| case.name).collect::<Vec<_>>())]
    case: Vec<String>,

    /// Another client; can be given several times
    ///
    /// Its command is one for the shell, in which stand {host}, {port}, {requests} in all, {concurrency} of them at once,
    /// {out} tokens of each answer, {path} of the route, {tokenizer} for a folder with a tokenizer.json, {tmp} for a
    /// folder to write to, and {backend}: sglang-oai, sglang-oai-chat or sglang. {vllm-backend} is openai or
    /// openai-chat, and a command with it sits out the cases with /generate.
    #[arg(long, value_name = "NAME=COMMAND", value_parser = rival)]
    rival: Vec<(String, String)>,

    /// Another build of rbench than the one that was built with this program
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_rbench"))]
    rbench: PathBuf,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// What other processes of this program do.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
enum Part {
    /// Serve
    #[command(hide = true)]
    Server { ttft: u64, itl: u64 },
    /// Be the floor
    #[command(hide = true)]
    Floor { port: u16, case: String, requests: usize },
    /// Run a command and tell what it cost
    #[command(hide = true)]
    Measure {
        output: PathBuf,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

fn rival(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some((name, command)) if !name.trim().is_empty() && !command.trim().is_empty() => {
            Ok((name.trim().to_owned(), command.trim().to_owned()))
        }
        _ => Err("expected NAME=COMMAND, such as 'mine=./mine --port {port}'".to_owned()),
    }
}

fn case(name: &str) -> Result<&'static Case, Box<dyn Error>> {
    CASES
        .iter()
        .find(|case| case.name == name)
        .ok_or_else(|| format!("there is no case {name}").into())
}

/// How a program is started for a case, a port and a number of requests; `None` if it can not run the case.
type Start = Box<dyn Fn(&Case, u16, usize) -> Option<Vec<String>>>;

/// A program in the race.
struct Runner {
    name: String,
    start: Start,
}

/// All programs, the floor first.
fn runners(args: &Args, tmp: &Path) -> Result<Vec<Runner>, Box<dyn Error>> {
    let this = std::env::current_exe()?.display().to_string();
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/tokenizer");
    let result = tmp.join("result.jsonl").display().to_string();
    let tmp = tmp.display().to_string();
    let floor = move |case: &Case, port: u16, n: usize| {
        Some(vec![
            this.clone(),
            "floor".to_owned(),
            port.to_string(),
            case.name.to_owned(),
            n.to_string(),
        ])
    };
    let program = args.rbench.display().to_string();
    let rbench = move |case: &Case, port: u16, n: usize| {
        let line = format!(
            "serve --backend {} --host 127.0.0.1 --port {port} --model mock --dataset-name random-ids \
             --random-input-len 16 --random-output-len {} --random-range-ratio 1 --num-prompts {n} \
             --max-concurrency {} --disable-tqdm",
            case.route.backend(),
            case.out,
            case.concurrency,
        );
        let mut command = vec![program.clone()];
        command.extend(line.split_whitespace().map(str::to_owned));
        command.extend(["--tokenizer", tokenizer, "--output-file", &result].map(str::to_owned));
        Some(command)
    };
    let mut all = vec![
        Runner { name: "floor".to_owned(), start: Box::new(floor) },
        Runner { name: "rbench".to_owned(), start: Box::new(rbench) },
    ];
    for (name, template) in args.rival.clone() {
        let tmp = tmp.clone();
        let command = move |case: &Case, port: u16, n: usize| {
            let mut line = template.clone();
            if line.contains("{vllm-backend}") {
                line = line.replace("{vllm-backend}", case.route.vllm_backend()?);
            }
            for (mark, word) in [
                ("{host}", "127.0.0.1"),
                ("{port}", &port.to_string()),
                ("{backend}", case.route.backend()),
                ("{path}", case.route.path()),
                ("{requests}", &n.to_string()),
                ("{concurrency}", &case.concurrency.to_string()),
                ("{out}", &case.out.to_string()),
                ("{tokenizer}", tokenizer),
                ("{tmp}", &tmp),
            ] {
                line = line.replace(mark, word);
            }
            // The shell is not part of the race.
            Some(vec!["sh".to_owned(), "-c".to_owned(), format!("exec {line}")])
        };
        all.push(Runner { name, start: Box::new(command) });
    }
    Ok(all)
}

/// What a program costs in one case: its run less one with a single request, whose CPU time is that of start-up.
fn run(
    runner: &Runner,
    case: &Case,
    server: &Server,
    tmp: &Path,
) -> Option<Result<Cost, Box<dyn Error>>> {
    let once = (runner.start)(case, server.port, 1)?;
    let whole = (runner.start)(case, server.port, case.requests)?;
    let output = tmp.join("output");
    let measured = || {
        let before = server.served()?;
        let once = child::cost(&output, &once)?;
        let between = server.served()?;
        let cost = child::cost(&output, &whole)?;
        let after = server.served()?;
        let answers = after.answers - between.answers;
        let tokens = after.tokens - between.tokens;
        if between.answers == before.answers
            || answers < case.requests as u64
            || tokens < (case.requests * case.out) as u64
        {
            let told = child::tail(&output);
            let wanted = case.requests * case.out;
            return Err(format!("the server sent {answers} answers and {tokens} tokens, and {wanted} tokens were to be asked for\n{told}").into());
        }
        Ok(Cost { cpu: cost.cpu.saturating_sub(once.cpu), memory: cost.memory })
    };
    Some(measured())
}

fn race(args: &Args) -> Result<bool, Box<dyn Error>> {
    let descriptors = raise_descriptors();
    let folder = tempfile::tempdir()?;
    let runners = runners(args, folder.path())?;
    let chosen =
        |case: &&Case| args.case.is_empty() || args.case.iter().any(|name| name == case.name);
    println!("{}", table::machine());
    let mut table = Table::new(runners.iter().map(|runner| runner.name.clone()).collect());
    let mut whole = true;
    for case in CASES.iter().filter(chosen) {
        if descriptors.is_some_and(|limit| limit < case.concurrency as u64 + 64) {
            eprintln!(
                "{}: left out, as {} streams need more file descriptors (ulimit -n)",
                case.name, case.concurrency
            );
            whole = false;
            continue;
        }
        let server = Server::start(case.ttft, case.itl)?;
        let mut costs = vec![Vec::new(); runners.len()];
        for round in 1..=args.rounds {
            for (runner, costs) in runners.iter().zip(&mut costs) {
                let cost = match run(runner, case, &server, folder.path()) {
                    None => None,
                    Some(Ok(cost)) => Some(cost),
                    Some(Err(error)) => {
                        eprintln!("{} {}: {error}", case.name, runner.name);
                        whole = false;
                        None
                    }
                };
                if let Some(cost) = cost {
                    let us = table::per_event(cost.cpu, case.requests, case.out);
                    let memory = cost.memory >> 20;
                    eprintln!(
                        "{} {round}/{} {}: {us:.2} us per event, {memory} MiB",
                        case.name, args.rounds, runner.name
                    );
                }
                costs.push(cost);
            }
        }
        println!("{}", table.row(case, &costs));
    }
    Ok(whole)
}

/// Raises the limit of open descriptors, for the programs as well; `None` means that there is none.
fn raise_descriptors() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.part {
        None => race(&args),
        Some(Part::Server { ttft, itl }) => {
            // Goes down with who started it.
            std::thread::spawn(|| {
                let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
                std::process::exit(0);
            });
            server::run(*ttft, *itl).map(|()| true)
        }
        Some(Part::Floor { port, case: name, requests }) => case(name)
            .and_then(|case| floor::run(*port, case.route, *requests, case.concurrency, case.out))
            .map(|()| true),
        Some(Part::Measure { output, command }) => child::measure(output, command).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
