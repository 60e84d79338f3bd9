//! Everything that follows a run while it goes on: progress line, request log, records on disk, aggregate.
//!
//! One value has the lifecycle of all: they start before the load, and end after it. Each reporter that the user asks for
//! subscribes to the [`RunEvent`](crate::engine::event::RunEvent)s that it wants, through a bounded channel that the load
//! never waits for; an absent reporter has no channel.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::aggregating;
use super::hopeless::Watch;
use super::progress_line::{ProgressLine, Shown, Towards};
use super::recording::{self, Recording};
use super::request_log::RequestLog;
use super::save;
use super::signals::Signals;
use super::terms::terms;
use crate::analysis::counts::Counter;
use crate::analysis::intake::{Rules, Taken};
use crate::config::{ProgressForm, Serve};
use crate::dialect::Choice;
use crate::engine::{Options, Ran};
use crate::error::{Error, Kind};
use crate::journal::{End, Header};
use crate::model::{PlannedRequest, RequestRecord};
use crate::output::terminal::Ui;
use crate::workload::tokenizer::Tokenizer;

/// The reporters that a run is to have.
pub(super) struct Reporters {
    ui: Ui,
    progress: ProgressForm,
    print_requests: bool,
    aggregate: bool,
    names_result: Option<Choice>,
    watch: Option<Watch>,
}

/// A run that is about to begin.
#[derive(Clone, Copy)]
pub(super) struct Begun<'a> {
    pub(super) spec: &'a Serve,
    pub(super) header: &'a Header,
    pub(super) plan: &'a Arc<[PlannedRequest]>,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) date: &'a jiff::Zoned,
    pub(super) signals: &'a Signals,
}

/// A run that was followed to its end.
pub(super) struct Followed {
    pub(super) ran: Ran,
    pub(super) taken: Option<Taken>,
    /// The files of the run, which lack their end.
    pub(super) recording: Option<Recording>,
    /// The result file; an empty path if there is none.
    pub(super) result: PathBuf,
}

/// The reporters that write to the terminal, in the order in which they end.
struct Live {
    _line: Option<ProgressLine>,
    _log: Option<RequestLog>,
}

impl Reporters {
    /// The reporters that `spec` asks for. A run with
    /// `names_result` has a result file even where nobody names one.
    pub(super) fn of(spec: &Serve, names_result: Option<Choice>, ui: Ui) -> Self {
        Self {
            ui,
            progress: if spec.results.quiet { ProgressForm::None } else { spec.progress },
            print_requests: spec.print_requests,
            aggregate: spec.low_memory,
            names_result,
            watch: None,
        }
    }

    /// The same with `watch`, which may end the run.
    pub(super) fn watched(self, watch: Option<Watch>) -> Self {
        Self { watch, ..self }
    }

    /// Starts them, has `load` send the requests, and ends them.
    ///
    /// # Errors
    /// If one cannot start, or the load cannot.
    pub(super) fn follow(
        self,
        begun: &Begun<'_>,
        options: &mut Options,
        load: impl FnOnce(&Options) -> io::Result<Ran>,
    ) -> Result<Followed, Error> {
        let failed = |error| Error::new(Kind::System, "cannot start the run").because(error);
        let result = self.result(begun)?;
        let recording = self.record(begun, &result, options)?;
        let live = self.start(begun, options);
        // What was started ends with the subscriptions, and is waited for.
        let live = live.inspect_err(|_| options.subscribers.clear()).map_err(failed)?;
        let rules = self.aggregate.then(|| rules(begun));
        let secrets = &begun.spec.target.secrets;
        let ran = aggregating::run(rules, secrets, options, load).map_err(failed);
        drop(live);
        let (ran, taken) = ran?;
        Ok(Followed { ran, taken, recording, result })
    }

    /// The result file, which can be written to; an empty path if there is to be none.
    fn result(&self, begun: &Begun<'_>) -> Result<PathBuf, Error> {
        let Begun { spec, header, date, .. } = begun;
        if let Some(path) = &spec.results.file {
            return Ok(path.clone());
        }
        let named = self.names_result.filter(|_| !spec.results.no_file);
        let Some(jsonl) = named else { return Ok(PathBuf::new()) };
        let path = jsonl.file_name(&header.metadata, &date.strftime("%m%d").to_string());
        save::check("the result file", Some(&path))
            .map_err(|error| error.hint("--output-file FILE names another"))?;
        Ok(path)
    }

    /// Starts the progress line and the request log.
    fn start(&self, begun: &Begun<'_>, options: &mut Options) -> io::Result<Live> {
        let requests = begun.plan.iter().map(PlannedRequest::rounds).sum();
        let towards = begun.spec.duration.map_or(Towards::Requests(requests), Towards::Time);
        let Options { subscribers, stop, .. } = options;
        let line =
            self.shown().map(|shown| ProgressLine::start(towards, shown, self.ui, subscribers));
        // Without a thread for it there is no line.
        let line = line.and_then(Result::ok);
        let secrets = begun.spec.target.secrets.clone();
        let log = self.print_requests.then(|| RequestLog::start(self.ui, secrets, subscribers));
        if let Some(watch) = &self.watch {
            watch.start(stop, subscribers)?;
        }
        Ok(Live { _line: line, _log: log.transpose()? })
    }

    /// How progress is shown, if it is. What is no terminal gets lines.
    fn shown(&self) -> Option<Shown> {
        match self.progress {
            ProgressForm::None => None,
            ProgressForm::Auto | ProgressForm::Bar if self.ui.terminal() => Some(Shown::Bar),
            ProgressForm::Auto | ProgressForm::Bar | ProgressForm::Lines => Some(Shown::Lines),
        }
    }

    /// Starts the records on disk.
    fn record(
        &self,
        begun: &Begun<'_>,
        result: &Path,
        options: &mut Options,
    ) -> Result<Option<Recording>, Error> {
        let Begun { spec, header, plan, .. } = begun;
        let started = recording::start(spec, result, header, plan, options, self.ui)?;
        Ok(started.inspect(|recording| begun.signals.write_first(recording.backlog())))
    }
}

/// How the requests of a run are aggregated.
fn rules<'a>(begun: &Begun<'a>) -> Rules<'a> {
    let Begun { spec, header, plan, tokenizer, .. } = *begun;
    Rules {
        // What goes around has no last request, and no conversations.
        plan: if spec.duration.is_some() { &[] } else { plan },
        counter: Counter { tokenizer, generates: spec.backend.protocol.generates() },
        terms: terms(header, false),
        endpoints: &header.endpoints,
        vision: header.vision,
    }
}

/// What became of the files of a run.
pub(super) struct Files {
    /// The result file; an empty path if there is none.
    pub(super) result: PathBuf,
    /// Records that lie beside the result without being asked for.
    pub(super) beside: Option<PathBuf>,
    /// Whether the files that were asked for are whole.
    pub(super) written: Result<(), Error>,
}

impl Files {
    /// Writes what is missing of `recording`: the records of what was never sent, and the end.
    pub(super) fn close(
        result: PathBuf,
        recording: Option<Recording>,
        unsent: &[RequestRecord],
        end: &End,
    ) -> Self {
        let beside = recording.as_ref().and_then(|recording| recording.beside.clone());
        let written = recording.map_or(Ok(()), |recording| recording.finish(unsent, end));
        Self { result, beside, written }
    }
}
