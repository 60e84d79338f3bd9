//! A run of a point: its configuration, the prompts that are its own, and what it is recognised by.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rand::Rng as _;
use serde_json::{Map, Value, json};

use super::super::engine::Engine;
use super::super::hopeless::Watch;
use super::super::serve::{self, Looks};
use crate::config::{Job, Serve};
use crate::error::Error;
use crate::output::sweep::label;
use crate::rng;

/// A run that is to be made.
pub(super) struct Point {
    /// The flags that vary.
    pub(super) flags: Vec<String>,
    /// Their values.
    pub(super) values: Vec<String>,
    /// Which run of the point it is, from 1.
    pub(super) run: usize,
    /// Name of its folder.
    pub(super) name: String,
    /// Digest of all that decides what is measured: runs with the same digest are the same.
    pub(super) digest: String,
    /// What runs with one session have in common.
    pub(super) session: String,
    /// The layout of its files.
    pub(super) looks: Looks,
    /// The run.
    pub(super) spec: Serve,
    /// What may end it.
    pub(super) watch: Option<Watch>,
}

/// What all points of a sweep are made with.
pub(super) struct Made<'a> {
    /// The engine of `--mock`.
    pub(super) engine: Option<&'a Engine>,
    /// Whether all have the same prompts.
    pub(super) same: bool,
    /// What ends runs early, in words; empty if nothing does.
    pub(super) ended_by: String,
}

/// Keys of a configuration that change nothing of what is measured.
const APART: [&str; 15] = [
    "allow_failed",
    "disable_tqdm",
    "failed_file",
    "output_file",
    "plot_throughput",
    "print_requests",
    "progress",
    "quiet",
    "quiet_extras",
    "ready_check_timeout_sec",
    "records",
    "steady_state_output_file",
    "strict",
    "table",
    "verbose",
];

/// Longest beginning of a folder's name.
const LONGEST: usize = 80;

impl Point {
    /// Run `run` of the point with these `values` of `flags`, for which `job` is the run. It has prompts of its own
    /// unless all are to have the same.
    ///
    /// # Errors
    /// If the configuration cannot be used.
    pub(super) fn new(
        mut job: Job,
        (flags, values): (Vec<String>, Vec<String>),
        run: usize,
        made: &Made<'_>,
    ) -> Result<Self, Error> {
        let told = label(&flags, &values, None);
        if !made.same {
            // What another point has sent may still be in the server's cache.
            let stream = format!("sweep/prompts: {told}");
            let drawn = rng::stream(job.spec.load.seed, &stream, run as u64).next_u64();
            // Readers of JSON without whole numbers have 53 bits.
            job.spec.load.seed = drawn >> 11;
        }
        // A warm-up that knew the first prompt would have it cached.
        job.manner.salts = true;
        let session = session(&job);
        let launch = job.launch.as_ref().map(|launch| launch.command.clone());
        let (looks, spec) = serve::resolved(job, made.engine)?;
        let digest = digest(&spec, (launch.as_deref(), &made.ended_by), run);
        let mut name: String = told.chars().map(fit).take(LONGEST).collect();
        name += &format!(".{run}.{}", &digest[..8]);
        Ok(Self { flags, values, run, name, digest, session, looks, spec, watch: None })
    }

    /// What the manifest has of it.
    pub(super) fn told(&self) -> Value {
        json!({
            "name": self.name,
            "values": self.named(),
            "run": self.run,
            "num_prompts": self.spec.num_prompts,
            "seed": self.spec.seed,
            "digest": self.digest,
        })
    }

    /// The values by the names of their flags.
    pub(super) fn named(&self) -> Map<String, Value> {
        let pairs = self.flags.iter().zip(&self.values);
        pairs.map(|(flag, value)| (flag.clone(), value.clone().into())).collect()
    }
}

/// A character of a file's name.
fn fit(c: char) -> char {
    if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' }
}

/// The servers and what is read before a run, which decide the session.
fn session(job: &Job) -> String {
    let spec = &job.spec;
    let launch = job.launch.as_ref().map(|launch| &launch.command);
    serde_json::to_string(&(&spec.servers, &spec.connection, &spec.prompts, launch))
        .unwrap_or_default()
}

/// SHA-256 of the effective configuration, in hexadecimal.
fn digest(spec: &Serve, beside: (Option<&str>, &str), run: usize) -> String {
    let effective = &spec.effective;
    // A simulated engine has another port each time.
    let is_mock = effective.get("mock") == Some(&Value::Bool(true));
    let decides = |key: &str| !(APART.contains(&key) || is_mock && key == "base_url");
    let mut all: BTreeMap<&str, Value> = effective
        .iter()
        .filter(|(key, _)| decides(key))
        .map(|(key, value)| (key.as_str(), value.clone()))
        .collect();
    // Each start of the program draws a new salt.
    all.entry("salt").and_modify(|salt| *salt = (!salt.is_null()).into());
    let text = serde_json::to_string(&(all, beside, run)).unwrap_or_default();
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
