//! The configuration of a run as plain values, from which it can be repeated: what `--print-config` writes.

use std::path::Path;

use serde_json::{Map, Value};

use super::usage;
use crate::cli::{Header, ServeArgs, ServeInput};
use crate::error::Error;
use crate::workload::dataset::{Entry, Spec};

/// The layout that this program writes, and the newest that it reads.
const VERSION: u64 = 1;

/// The key of the layout's number.
const LAYOUT: &str = "rbench_config";

/// The key of the dataset's parameters.
const DATASET: &str = "dataset";

/// Everything that a run needs: the flags of `serve` by their names, and the parameters of the dataset.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// The general flags.
    pub flags: ServeArgs,
    /// The dataset.
    pub dataset: Spec,
}

impl RunSpec {
    /// The run that a command line asks for.
    pub fn of(input: &ServeInput) -> Self {
        Self { flags: input.args.clone(), dataset: input.dataset.clone() }
    }

    /// Writes it as JSON, without the value of any header.
    ///
    /// # Errors
    /// If it holds a password, or a path that is not UTF-8.
    pub fn to_json(&self) -> Result<String, Error> {
        self.check_paths()?;
        self.check_urls()?;
        let mut all = Map::new();
        all.insert(LAYOUT.to_owned(), VERSION.into());
        all.extend(map(&self.flags)?);
        all.insert(DATASET.to_owned(), self.dataset.params().clone().into());
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
        let flags = flags(&given)?;
        conflicts(&flags)?;
        let entry = Entry::find(&flags.dataset_name).ok_or_else(|| {
            usage(format!("dataset_name: there is no dataset {}", flags.dataset_name))
        })?;
        let dataset =
            Spec::with(entry, &dataset).map_err(|what| usage(format!("{DATASET}: {what}")))?;
        Ok(Self { flags, dataset })
    }

    /// The run as a command line would have asked for it.
    ///
    /// # Errors
    /// If the flags of datasets have no defaults, which is a defect of the program.
    pub fn into_input(self) -> Result<ServeInput, Error> {
        let Self { flags: args, dataset } = self;
        let effective = dataset.effective().map_err(usage)?;
        Ok(ServeInput { args, dataset, source: None, effective, notes: Vec::new() })
    }

    /// Names the variables of the environment that are to have the values of headers.
    ///
    /// # Errors
    /// If the flags cannot be written.
    pub fn variables(&self) -> Result<Vec<String>, Error> {
        let headers = map(&self.flags)?.shift_remove("header");
        let of = |header: &Value| header.get("env")?.as_str().map(str::to_owned);
        Ok(headers.iter().filter_map(Value::as_array).flatten().filter_map(of).collect())
    }

    fn check_paths(&self) -> Result<(), Error> {
        let ServeArgs { connection, .. } = &self.flags;
        let paths = [
            ("--dataset-path", &self.flags.dataset_path),
            ("--output-file", &self.flags.output_file),
            ("--steady-state-output-file", &self.flags.steady_state_output_file),
            ("--records", &self.flags.records),
            ("--failed-file", &self.flags.failed_file),
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
        let profiling = &self.flags.profiling;
        for (flag, urls) in [
            ("--base-url", &self.flags.base_url),
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

/// The flags by their names.
fn map(flags: &ServeArgs) -> Result<Map<String, Value>, Error> {
    match serde_json::to_value(flags) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(usage(format!("the flags are no object: {other}"))),
        Err(error) => Err(unwritable(&error)),
    }
}

fn unwritable(error: &serde_json::Error) -> Error {
    usage(format!("--print-config: {error}"))
}

/// The flags with `given` in the place of their defaults.
fn flags(given: &Map<String, Value>) -> Result<ServeArgs, Error> {
    let defaults = map(&ServeArgs::defaults().map_err(usage)?)?;
    if let Some(key) = given.keys().find(|key| !defaults.contains_key(*key)) {
        return Err(usage(format!("there is no key {key}"))
            .hint("keys are the flags of rbench serve, with _ for -, and those of a dataset stand under dataset"));
    }
    let with = |given: Map<String, Value>| {
        let mut all = defaults.clone();
        all.extend(given);
        serde_json::from_value::<ServeArgs>(all.into()).map_err(|error| error.to_string())
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
fn conflicts(flags: &ServeArgs) -> Result<(), Error> {
    let ServeArgs { connection, profiling, .. } = flags;
    let has_url = !flags.base_url.is_empty();
    let both = |a: bool, b: bool| a && b;
    for (keys, wrong) in [
        ("mock and base_url", both(flags.mock, has_url)),
        ("mock and port", both(flags.mock, flags.port.is_some())),
        ("mock and model", both(flags.mock, flags.model.is_some())),
        ("mock and served_model_name", both(flags.mock, flags.served_model_name.is_some())),
        ("multi and use_trace_timestamps", both(flags.multi, flags.use_trace_timestamps)),
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
pub(super) fn headers(flags: &ServeArgs) -> Result<Vec<Header>, Error> {
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
    flags.header.iter().map(read).collect()
}

/// The flags as results have them: without what may be secret, and without those that say nothing of a run.
pub(super) fn effective(flags: &ServeArgs) -> Map<String, Value> {
    let mut all = map(flags).unwrap_or_default();
    for key in ["multi", "request_rate_range", "rust_client", "rust_worker_threads"] {
        all.shift_remove(key);
    }
    if flags.connection.http_version.is_none() {
        all.shift_remove("http_version");
    }
    let headers = flags.header.iter().map(|header| Value::from(header.shown()));
    all.insert("header".into(), headers.collect());
    // URLs may hold passwords: results have how many there were.
    let profiling = &flags.profiling;
    for (key, urls) in [
        ("profile_prefill_url", &profiling.profile_prefill_url),
        ("profile_decode_url", &profiling.profile_decode_url),
    ] {
        all.insert(key.into(), urls.iter().map(|_| Value::from("***")).collect());
    }
    all
}
