//! Runs the commands. With the folder beside it the only part that names every stage; nothing imports it.

mod aggregating;
mod aisbench;
mod calls;
mod compare;
mod configured;
mod connection;
mod counting;
mod cycles;
mod dry_run;
mod engine;
mod evalscope;
mod figures;
mod gates;
mod header;
mod hopeless;
mod launch;
mod limits;
mod load;
mod merge;
mod offline;
mod one_batch;
mod prepare;
mod processes;
mod profiling;
mod progress_line;
mod publish;
mod recording;
mod report;
mod reporter;
mod reporters;
mod request_log;
mod run;
mod save;
mod selftest;
mod serve;
mod server;
mod session;
mod signals;
mod supervise;
mod supplies;
mod sweep;
mod terms;
mod tokenizing;
mod vllm;
mod warm_up;

use std::cell::Cell;
use std::ffi::OsString;

use crate::cli::{self, Input};
use crate::engine::system;
use crate::error::{EXIT_OK, Error, Kind};
use crate::mock;
use crate::output::terminal::Ui;
use crate::workload::hub::Hub;
use crate::workload::tokenizer::Tokenizer;

/// Runs the program with `input`, its name first, and returns its exit code.
pub fn run(input: impl IntoIterator<Item = OsString>) -> u8 {
    let ui = Ui::new();
    let input = match argument_files(input.into_iter().collect()).and_then(vllm::arguments) {
        Ok(input) => input,
        Err(error) => {
            ui.error(&error);
            return error.kind.exit_code();
        }
    };
    let input = match cli::parse(input) {
        Ok(input) => input,
        Err(error) => {
            // Help and version go to stdout with code 0, usage errors to stderr with code 2.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(crate::error::EXIT_USAGE);
        }
    };
    if !matches!(input, Input::Text(_) | Input::Supervise(_))
        && let Err(error) = begin()
    {
        ui.error(&error);
        return error.kind.exit_code();
    }
    signals::survive_full_files();
    // Fails only if a provider is there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match input {
        Input::Aisbench(flags) => aisbench::bench(&flags, ui),
        Input::Evalscope(flags) => evalscope::perf(*flags, ui),
        Input::Mock(opts) => run_mock(*opts, ui),
        Input::Offline(input) => offline::offline(*input, ui),
        Input::OneBatch(input) => one_batch::one_batch(*input, ui),
        Input::Report(args) => report::report(&args, ui),
        Input::Run(args) => configured::run(&args, ui),
        Input::Merge(args) => merge::merge(&args, ui),
        Input::Compare(args) => compare::compare(&args, ui),
        Input::Selftest(args) => selftest::selftest(&args, ui),
        Input::Text(text) => ui
            .data(&text)
            .map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error)),
        Input::PrintConfig(job) => configured::print(*job, ui),
        Input::Serve(job) => serve::serve(*job, ui),
        Input::Sweep(input) => sweep::sweep(*input, ui),
        Input::Supervise(args) => supervise::supervise(&args, ui),
        Input::Vllm(flags) => vllm::serve(&flags, ui),
    };
    if let Some(code) = signals::exit_code() {
        // What went wrong then went wrong because of it.
        return code;
    }
    match result {
        Ok(()) => EXIT_OK,
        Err(error) => {
            ui.error(&error);
            error.kind.exit_code()
        }
    }
}

/// Puts the arguments that a file holds in the place of `@FILE`: as a shell splits them, over lines, with comments.
///
/// # Errors
/// If a file cannot be read, or a quote in it has no end.
fn argument_files(args: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    let open = Cell::new(false);
    let words = |text: &str, _: char| {
        let words = shlex::split(text).unwrap_or_else(|| {
            open.set(true);
            Vec::new()
        });
        words.into_iter().map(|word| argfile::Argument::PassThrough(word.into())).collect()
    };
    let expanded = argfile::expand_args_from(args.into_iter(), words, argfile::PREFIX);
    let advice = "write --flag=@VALUE for a value that begins with @";
    match expanded {
        Ok(_) if open.get() => {
            Err(Error::new(Kind::Usage, "a quote in a file of arguments has no end"))
        }
        Ok(expanded) => Ok(expanded),
        Err(error) => {
            Err(Error::new(Kind::Usage, "an argument @FILE names a file that cannot be read")
                .because(error)
                .hint(advice))
        }
    }
}

/// Starts the threads that make prompts and figures, and checks what would panic later.
///
/// # Errors
/// If the system has no thread or hardly a descriptor left.
fn begin() -> Result<(), Error> {
    system::check_beginning(system::raise_descriptors())?;
    rayon::ThreadPoolBuilder::new().build_global().map_err(|error| {
        Error::new(Kind::System, "cannot start the threads that make prompts")
            .because(error)
            .hint(system::MORE_THREADS)
    })
}

/// `rbench mock`.
fn run_mock(opts: mock::Opts, ui: Ui) -> Result<(), Error> {
    // Thousands of clients need as many descriptors.
    system::raise_descriptors();
    let name = match &opts.tokenizer {
        Some(path) => path.display().to_string(),
        None => crate::workload::bundled::NAME.to_owned(),
    };
    let tokenizer = Tokenizer::load(&[name], &Hub::from_env(false))?;
    let vocabulary = mock::vocabulary_from(tokenizer.inner());
    if !vocabulary.exact {
        ui.warn("this tokenizer splits the mock's words: answers have other token counts than they claim");
    }
    mock::run(opts, vocabulary, |server| {
        ui.status(&format!("{}{}", engine::LISTENING, server.url()));
    })
    .map_err(|error| Error::new(Kind::System, format!("failed to {error}")).because(error))
}
