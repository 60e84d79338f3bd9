//! The configuration of a run as plain values, from which it can be repeated: what `--print-config` writes.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::parts::{
    Before, Client, Connection, Layouts, Load, Outputs, Profiling, Prompts, Requests, Servers,
    Timeouts,
};
use super::usage;
use super::values::Header;
use crate::error::Error;
use crate::workload::dataset::{Entry, Params, Spec};

/// The layout that this program writes, and the newest that it reads.
const VERSION: u64 = 1;

/// The key of the layout's number.
const LAYOUT: &str = "rbench_config";

/// The key of the dataset's parameters.
const DATASET: &str = "dataset";

/// Everything that a run needs: plain values without a flag or a tool, from which it can be repeated.
///
/// The default is what `rbench serve` does without a flag. A dialect sets what its own flags mean.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RunSpec {
    /// The servers.
    #[serde(flatten)]
    pub servers: Servers,
    /// How many requests, and when.
    #[serde(flatten)]
    pub load: Load,
    /// Where prompts come from.
    #[serde(flatten)]
    pub prompts: Prompts,
    /// What each request asks for.
    #[serde(flatten)]
    pub requests: Requests,
    /// What is done before the first request.
    #[serde(flatten)]
    pub before: Before,
    /// The layouts of the results.
    #[serde(flatten)]
    pub layouts: Layouts,
    /// How the servers are reached.
    #[serde(flatten)]
    pub connection: Connection,
    /// How the client sends and reads.
    #[serde(flatten)]
    pub client: Client,
    /// Time limits, and what the run survives.
    #[serde(flatten)]
    pub timeouts: Timeouts,
    /// What is profiled.
    #[serde(flatten)]
    pub profiling: Profiling,
    /// What is recorded and reported.
    #[serde(flatten)]
    pub outputs: Outputs,
    /// Parameters of the dataset; those that are left out have their defaults.
    #[serde(skip)]
    pub dataset: Params,
}

impl RunSpec {
    /// Writes it as JSON, without the value of any header.
    ///
    /// # Errors
    /// If it holds a password, or a path that is not UTF-8.
    pub fn to_json(&self) -> Result<String, Error> {
        self.check_paths()?;
        self.check_urls()?;
        let mut all = Map::new();
        all.insert(LAYOUT.to_owned(), VERSION.into());
        all.extend(map(self)?);
        all.insert(DATASET.to_owned(), self.dataset.clone().into());
        let text = serde_json::to_string_pretty(&all).map_err(|error| unwritable(&error))?;
        Ok(text + "\n")
    }

    /// Reads what [`RunSpec::to_json`] has written. Keys that are left out are as where no flag is given.
    ///
    /// # Errors
    /// If it is no such JSON, or has an unknown key, or a value that its key does not take; the message names the key.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let mut given: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| usage(format!("expected an object of JSON: {error}")))?;
        match given.shift_remove(LAYOUT) {
            Some(layout) if layout == VERSION => {}
            Some(layout) => {
                return Err(usage(format!(
                    "{LAYOUT} is {layout}, and this rbench reads {VERSION}"
                )));
            }
            None => {
                return Err(usage(format!("there is no key {LAYOUT}"))
                    .hint("rbench serve --print-config prints a configuration"));
            }
        }
        let dataset = match given.shift_remove(DATASET) {
            None => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => return Err(usage(format!("{DATASET}: expected an object"))),
        };
        let mut spec = over_defaults(&given)?;
        conflicts(&spec)?;
        let name = &spec.prompts.dataset_name;
        let entry = Entry::find(name)
            .ok_or_else(|| usage(format!("dataset_name: there is no dataset {name}")))?;
        let dataset =
            Spec::with(entry, &dataset).map_err(|what| usage(format!("{DATASET}: {what}")))?;
        spec.dataset.clone_from(dataset.params());
        Ok(spec)
    }

    /// The dataset.
    ///
    /// # Errors
    /// If there is none of that name, or a parameter cannot be used.
    pub fn dataset(&self) -> Result<Spec, Error> {
        let name = &self.prompts.dataset_name;
        let entry =
            Entry::find(name).ok_or_else(|| usage(format!("there is no dataset {name}")))?;
        Spec::with(entry, &self.dataset).map_err(usage)
    }

    /// Names the variables of the environment that are to have the values of headers.
    ///
    /// # Errors
    /// If the flags cannot be written.
    pub fn variables(&self) -> Result<Vec<String>, Error> {
        let headers = map(self)?.shift_remove("header");
        let of = |header: &Value| header.get("env")?.as_str().map(str::to_owned);
        Ok(headers.iter().filter_map(Value::as_array).flatten().filter_map(of).collect())
    }

    fn check_paths(&self) -> Result<(), Error> {
        let Self { connection, outputs, .. } = self;
        let paths = [
            ("--dataset-path", &self.prompts.dataset_path),
            ("--output-file", &outputs.output_file),
            ("--steady-state-output-file", &outputs.steady_state_output_file),
            ("--records", &outputs.records),
            ("--failed-file", &outputs.failed_file),
            ("--csv", &outputs.csv),
            ("--api-key-file", &connection.api_key_file),
            ("--cacert", &connection.cacert),
            ("--cert", &connection.cert),
            ("--key", &connection.key),
        ];
        let is_text = |path: &Path| path.to_str().is_some();
        match paths.iter().find(|(_, path)| path.as_deref().is_some_and(|path| !is_text(path))) {
            None => Ok(()),
            Some((flag, _)) => Err(usage(format!(
                "--print-config: the path of {flag} is not UTF-8, which JSON cannot hold"
            ))),
        }
    }

    fn check_urls(&self) -> Result<(), Error> {
        let profiling = &self.profiling;
        for (flag, urls) in [
            ("--base-url", &self.servers.base_url),
            ("--profile-prefill-url", &profiling.profile_prefill_url),
            ("--profile-decode-url", &profiling.profile_decode_url),
        ] {
            let has_password = |url: &String| {
                url::Url::parse(url)
                    .is_ok_and(|url| url.password().is_some() || !url.username().is_empty())
            };
            if urls.iter().any(has_password) {
                return Err(usage(format!(
                    "--print-config: a URL of {flag} has a password, which no configuration holds"
                ))
                .hint(
                    "pass it as --header Authorization=..., whose value the environment has then",
                ));
            }
        }
        Ok(())
    }
}

/// The values by their keys.
fn map(spec: &RunSpec) -> Result<Map<String, Value>, Error> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(usage(format!("the configuration is no object: {other}"))),
        Err(error) => Err(unwritable(&error)),
    }
}

fn unwritable(error: &serde_json::Error) -> Error {
    usage(format!("--print-config: {error}"))
}

/// The default with `given` in the place of its values.
fn over_defaults(given: &Map<String, Value>) -> Result<RunSpec, Error> {
    let defaults = map(&RunSpec::default())?;
    if let Some(key) = given.keys().find(|key| !defaults.contains_key(*key)) {
        return Err(usage(format!("there is no key {key}"))
            .hint("keys are the flags of rbench serve, with _ for -, and those of a dataset stand under dataset"));
    }
    let with = |given: Map<String, Value>| {
        let mut all = defaults.clone();
        all.extend(given);
        serde_json::from_value::<RunSpec>(all.into()).map_err(|error| error.to_string())
    };
    with(given.clone()).map_err(|what| {
        // The wrong one of several is the one that is wrong alone as well.
        let is_wrong = |key: &String, value: &Value| {
            with(Map::from_iter([(key.clone(), value.clone())])).err().as_ref() == Some(&what)
        };
        match given.iter().find(|(key, value)| is_wrong(key, value)) {
            Some((key, _)) => usage(format!("{key}: {what}")),
            None => usage(what),
        }
    })
}

/// Refuses keys that do not go together, as their flags do not.
fn conflicts(spec: &RunSpec) -> Result<(), Error> {
    let RunSpec { servers, load, connection, profiling, .. } = spec;
    let has_ramp = load.ramp_up_strategy.is_some();
    let has_url = !servers.base_url.is_empty();
    let both = |a: bool, b: bool| a && b;
    for (keys, wrong) in [
        ("mock and base_url", both(servers.mock, has_url)),
        ("mock and port", both(servers.mock, servers.port.is_some())),
        ("mock and model", both(servers.mock, servers.model.is_some())),
        ("mock and served_model_name", both(servers.mock, servers.served_model_name.is_some())),
        ("multi and use_trace_timestamps", both(load.multi, load.use_trace_timestamps)),
        ("ramp_up_strategy and multi", both(has_ramp, load.multi)),
        ("ramp_up_strategy and use_trace_timestamps", both(has_ramp, load.use_trace_timestamps)),
        ("ramp_up_strategy and duration", both(has_ramp, load.duration.is_some())),
        ("cacert and insecure", both(connection.cacert.is_some(), connection.insecure)),
        (
            "profile_prefill_url and profile_decode_url",
            both(
                !profiling.profile_prefill_url.is_empty(),
                !profiling.profile_decode_url.is_empty(),
            ),
        ),
    ] {
        if wrong {
            return Err(usage(format!("{keys} do not go together")).hint("leave one of them out"));
        }
    }
    if connection.cert.is_some() != connection.key.is_some() {
        return Err(usage("cert and key need each other".to_owned()));
    }
    Ok(())
}

/// The headers with their values, of which the environment may have some.
///
/// # Errors
/// If a variable is not set.
pub(super) fn headers(servers: &Servers) -> Result<Vec<Header>, Error> {
    let read = |header: &Header| {
        match header {
        Header::FromEnv { name, variable } => match super::keys::variable(variable)? {
            Some(value) => Ok(Header::Pair { name: name.clone(), value }),
            None => Err(usage(format!(
                "{variable} is not set, and the configuration takes the value of the header {name} from it"
            ))
            .hint(format!("export {variable}=VALUE"))),
        },
        header => Ok(header.clone()),
    }
    };
    servers.header.iter().map(read).collect()
}

/// The values as results have them: without what may be secret, and without those that say nothing of one run.
pub(super) fn effective(spec: &RunSpec) -> Map<String, Value> {
    let mut all = map(spec).unwrap_or_default();
    for key in ["multi", "request_rate_range"] {
        all.shift_remove(key);
    }
    if spec.load.ramp_up_strategy.is_none() {
        for key in ["ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps"] {
            all.shift_remove(key);
        }
    }
    if (spec.load.burstiness - 1.0).abs() < f64::EPSILON {
        all.shift_remove("burstiness");
    }
    if spec.connection.http_version.is_none() {
        all.shift_remove("http_version");
    }
    let headers = spec.servers.header.iter().map(|header| Value::from(header.shown()));
    all.insert("header".into(), headers.collect());
    // URLs may hold passwords: results have how many there were.
    let profiling = &spec.profiling;
    for (key, urls) in [
        ("profile_prefill_url", &profiling.profile_prefill_url),
        ("profile_decode_url", &profiling.profile_decode_url),
    ] {
        all.insert(key.into(), urls.iter().map(|_| Value::from("***")).collect());
    }
    all
}
