//! What all runs against the same servers share: connections, model, tokenizer, the launched server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::calls;
use super::connection;
use super::launch::Launched;
use super::server::{Served, discover, wait_for};
use super::signals::{self, Signals};
use super::supplies::{self, Supplies};
use crate::config::{Serve, Server};
use crate::control::probe::Probe;
use crate::engine::transport::{Endpoint, Route};
use crate::error::{Error, Kind};
use crate::output::terminal::Ui;
use crate::workload::hub::Hub;
use crate::workload::tokenizer::Tokenizer;

/// How long after a failure the end of a launched server may become known.
const END_KNOWN_WITHIN: Duration = Duration::from_millis(500);

/// What all runs against one server share.
pub(super) struct Session {
    pub(super) route: Route,
    pub(super) probe: Probe,
    /// Those of more servers.
    others: Vec<Probe>,
    pub(super) served: Served,
    /// Where tokenizers and datasets come from.
    pub(super) hub: Hub,
    pub(super) tokenizer: Tokenizer,
    /// What stands in for the path of the dataset, where its own file cannot be had.
    pub(super) dataset_path: Option<PathBuf>,
    pub(super) ui: Ui,
    /// What a signal does during its runs.
    pub(super) signals: Signals,
    /// The server, if it was started for this; ends with the session.
    launched: Option<Launched>,
}

impl Session {
    /// Waits for the server, asks it what it serves, loads the tokenizer, and finds the files of the dataset.
    ///
    /// # Errors
    /// If the server is not ready, or something is missing.
    pub(super) fn open(config: &Serve, ui: Ui) -> Result<Self, Error> {
        Self::open_with(config, true, ui)
    }

    /// As [`Self::open`], without a look at the dataset if there is none of it to `read`.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub(super) fn open_with(config: &Serve, read: bool, ui: Ui) -> Result<Self, Error> {
        let signals = signals::catch(ui)?;
        let route = connection::connection(config, ui)?;
        let probe = Probe::new(&config.target.first().base, config.target.control.clone(), &route)?;
        let launched = calls::run(launch(config, &probe, &signals, ui))??;
        let served = calls::run(served(config, &probe, launched.as_ref(), ui))??;
        let mut others = Vec::new();
        for server in config.target.servers.iter().skip(1) {
            let route = connection::to(&route, server);
            let probe = Probe::new(&server.base, config.target.control.clone(), &route)?;
            calls::run(wait_for(config, &probe, &server.shown, ui))??;
            others.push(probe);
        }
        let hub = connection::hub(&route, config, ui);
        let Supplies { tokenizer, dataset_path } =
            supplies::gather(config, &served, &probe, &hub, read, ui)?;
        if tokenizer.has_template() == Some(false) && config.backend.protocol.generates() {
            ui.warn(&format!(
                "the tokenizer {} has no chat template; base models may answer with text whose tokens cannot be counted well",
                tokenizer.name()
            ));
        }
        Ok(Self {
            route,
            probe,
            others,
            served,
            hub,
            tokenizer,
            dataset_path,
            ui,
            signals,
            launched,
        })
    }

    /// A session in which the server is not asked for anything: its model is the one that the user names.
    ///
    /// # Errors
    /// If the files of the dataset cannot be had.
    pub(super) fn without_server(config: &Serve, ui: Ui) -> Result<Self, Error> {
        let route = connection::connection(config, ui)?;
        let probe = Probe::new(&config.target.first().base, config.target.control.clone(), &route)?;
        let hub = connection::hub(&route, config, ui);
        let served = Served::unasked(config);
        let Supplies { tokenizer, dataset_path } =
            supplies::without_server(config, &served, &hub, ui)?;
        let (others, launched) = (Vec::new(), None);
        let signals = signals::catch(ui)?;
        Ok(Self {
            route,
            probe,
            others,
            served,
            hub,
            tokenizer,
            dataset_path,
            ui,
            signals,
            launched,
        })
    }

    /// The result of what was done, after telling if a launched server has ended meanwhile.
    pub(super) fn explained(&self, result: Result<(), Error>) -> Result<(), Error> {
        let Some(launched) = &self.launched else { return result };
        // Requests fail a moment before the end of a process is known.
        let timeouts = if result.is_err() { END_KNOWN_WITHIN } else { Duration::ZERO };
        let ended = calls::run(async { tokio::time::timeout(timeouts, launched.ended()).await });
        if let Ok(Ok(how)) = ended
            && self.signals.exit_code().is_none()
        {
            self.ui.warn(&format!("the launched server ended during the run: {how}"));
            launched.show_output(self.ui);
        }
        result
    }

    /// The endpoints that the load is sent to, one per server, which stream their answers if `stream` says so.
    ///
    /// # Errors
    /// If a URL or a proxy cannot be used.
    pub(super) fn endpoints(
        &self,
        spec: &Serve,
        stream: bool,
    ) -> Result<Vec<Arc<Endpoint>>, Error> {
        let endpoint = |server: &Server| {
            Endpoint::new(
                &format!("{}{}", server.base, spec.path()),
                &spec.target.load,
                spec.backend.protocol,
                stream,
                &connection::to(&self.route, server),
            )
            .map(|endpoint| endpoint.naming_requests(spec.manner.request_ids.as_deref()))
            .map(Arc::new)
        };
        spec.target.servers.iter().map(endpoint).collect()
    }

    /// Has all servers empty their prefix caches, if the run asks for that.
    ///
    /// # Errors
    /// If one does not.
    pub(super) fn flush(&self, spec: &Serve) -> Result<(), Error> {
        let Some(timeout) = spec.flush else { return Ok(()) };
        for probe in std::iter::once(&self.probe).chain(&self.others) {
            let flushed = calls::run(probe.flush(spec.backend.flush, timeout))?;
            flushed.map_err(|error| {
                let message = format!("--flush-cache: {}", error.message);
                Error { message, ..error }
            })?;
        }
        self.ui.status("prefix cache emptied");
        Ok(())
    }
}

/// Starts the server of `--launch`.
async fn launch(
    config: &Serve,
    probe: &Probe,
    signals: &Signals,
    ui: Ui,
) -> Result<Option<Launched>, Error> {
    let Some(launch) = &config.launch else { return Ok(None) };
    let shown = &config.target.first().shown;
    if probe.ready(config.backend, Duration::ZERO, shown, true, |_| {}).await.is_ok() {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "--launch: a server answers at {shown} already, which would be measured instead"
            ),
        )
        .hint("end that server, or leave --launch out to measure it")
        .hint("--port names another port, which the command has to name as well"));
    }
    Launched::start(launch, signals, ui).map(Some)
}

/// Waits for the server, unless it was launched and ends before it is ready.
async fn served(
    config: &Serve,
    probe: &Probe,
    launched: Option<&Launched>,
    ui: Ui,
) -> Result<Served, Error> {
    let Some(launched) = launched else { return discover(config, probe, ui).await };
    let result = tokio::select! {
        result = discover(config, probe, ui) => result,
        how = launched.ended() => Err(Error::new(
            Kind::Unreachable,
            format!("the launched server ended before it was ready: {how}"),
        )),
    };
    if result.is_err() && signals::exit_code().is_none() {
        launched.show_output(ui);
    }
    result
}
