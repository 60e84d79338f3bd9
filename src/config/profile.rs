//! What to have profiled, where, and how.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::urls::checked_url;
use super::{DEFAULT_ACTIVITIES, Profiling, usage};
use crate::error::Error;

/// Steps of each stage if their number is not given.
const STAGE_STEPS: usize = 5;

/// Where servers write traces if nothing else is said.
const TRACES: &str = "/tmp";

/// A profile of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The servers to ask.
    pub workers: Vec<Worker>,
    /// Whether they count steps and stop by themselves, as far as the run has as many.
    pub counts: bool,
    /// The body of the start, without its output folder.
    start: Map<String, Value>,
    /// Folder for the folders of the runs.
    folder: String,
}

/// A server to be profiled.
#[derive(Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its URL without a slash at the end.
    pub base: String,
    /// What messages call it.
    pub name: String,
}

impl std::fmt::Debug for Worker {
    /// Leaves the URL out, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Profile {
    /// The body of the start of a profile; `epoch_s` names the folder of the run.
    pub fn start_body(&self, epoch_s: f64) -> Value {
        let mut body = self.start.clone();
        body.insert("output_dir".into(), self.folder(epoch_s).into());
        body.into()
    }

    /// The folder on the server for the traces of a run; `epoch_s` names it.
    pub fn folder(&self, epoch_s: f64) -> String {
        format!("{}/{epoch_s}", self.folder)
    }

    /// The same profile, whose traces have `part` in their names behind the prefix that was asked for.
    #[must_use]
    pub fn of_part(&self, part: &str) -> Self {
        let mut profile = self.clone();
        let given = profile.start.get("profile_prefix").and_then(Value::as_str).unwrap_or_default();
        let prefix = format!("{given}{part}");
        profile.start.insert("profile_prefix".into(), prefix.into());
        profile
    }

    /// The body of its stop.
    pub fn stop_body(&self) -> Value {
        match self.start.get("start_step") {
            Some(step) => json!({"start_step": step}),
            None => json!({}),
        }
    }
}

/// The flags that become the body of a start, which servers of SGLang alone read; and whether they are given.
fn sglang_only(args: &Profiling) -> [(&'static str, bool); 8] {
    [
        ("--profile-activities", args.profile_activities != DEFAULT_ACTIVITIES),
        ("--profile-start-step", args.profile_start_step.is_some()),
        ("--profile-steps", args.profile_steps.is_some()),
        ("--profile-num-steps", args.profile_num_steps.is_some()),
        ("--profile-by-stage", args.profile_by_stage),
        ("--profile-stages", !args.profile_stages.is_empty()),
        ("--profile-output-dir", args.profile_output_dir.is_some()),
        ("--profile-prefix", args.profile_prefix.is_some()),
    ]
}

/// Resolves the flags; `base` is the URL of the server, `traces` what `SGLANG_TORCH_PROFILER_DIR` says,
/// `reads` whether the backend's servers read more of a start than that it came.
///
/// # Errors
/// If they contradict each other, or a URL is none.
pub fn resolve(
    args: &Profiling,
    base: &str,
    shown: &str,
    traces: Option<String>,
    reads: bool,
) -> Result<Option<Profile>, Error> {
    let urls = [
        ("--profile-prefill-url", !args.profile_prefill_url.is_empty()),
        ("--profile-decode-url", !args.profile_decode_url.is_empty()),
    ];
    if !args.profile {
        return match sglang_only(args).into_iter().chain(urls).find(|(_, given)| *given) {
            Some((flag, _)) => {
                Err(usage(format!("{flag} says how to profile, and nothing is profiled"))
                    .hint("add --profile, or leave the flag out"))
            }
            None => Ok(None),
        };
    }
    let folder = args.profile_output_dir.clone().or(traces).unwrap_or_else(|| TRACES.to_owned());
    let folder = match std::path::absolute(Path::new(&folder)) {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(_) => return Err(usage("--profile-output-dir must not be empty".to_owned())),
    };
    let by_stage = args.profile_by_stage.then_some(STAGE_STEPS);
    let steps = args.profile_steps.or(args.profile_num_steps).or(by_stage);
    let list = |words: &[String]| if words.is_empty() { Value::Null } else { json!(words) };
    let Value::Object(mut start) = json!({
        "activities": args.profile_activities,
        "num_steps": steps,
        "profile_by_stage": args.profile_by_stage,
        "profile_stages": list(&args.profile_stages),
        "output_dir": null,
        "profile_prefix": args.profile_prefix,
    }) else {
        return Ok(None);
    };
    if let Some(step) = args.profile_start_step {
        start.insert("start_step".into(), step.into());
    }
    // Separated servers share a number of steps badly: they take different times for them.
    let given = args.profile_num_steps.is_some() && !args.pd_separated;
    let counts = reads && (args.profile_steps.is_some() || given);
    Ok(Some(Profile {
        workers: workers(args, base, shown)?,
        counts,
        start,
        folder: trimmed(folder),
    }))
}

/// What is said of the flags that do nothing with `backend`, whose servers read nothing of a start but that it came.
pub fn note(args: &Profiling, backend: &str) -> Option<String> {
    let given: Vec<&str> =
        sglang_only(args).into_iter().filter_map(|(flag, given)| given.then_some(flag)).collect();
    (args.profile && !given.is_empty()).then(|| {
        format!(
            "{} {} nothing with --backend {backend}, whose servers do not read it: the profiler runs from the start of the load to its end",
            given.join(", "),
            if given.len() == 1 { "does" } else { "do" },
        )
    })
}

/// Without a slash at its end; the root becomes empty.
fn trimmed(folder: String) -> String {
    match folder.strip_suffix('/') {
        Some(rest) => rest.to_owned(),
        None => folder,
    }
}

fn workers(args: &Profiling, base: &str, shown: &str) -> Result<Vec<Worker>, Error> {
    let lists = [
        ("--profile-prefill-url", "prefill", &args.profile_prefill_url),
        ("--profile-decode-url", "decode", &args.profile_decode_url),
    ];
    if !args.pd_separated {
        if let Some((flag, ..)) = lists.iter().find(|(_, _, urls)| !urls.is_empty()) {
            return Err(usage(format!("{flag} names servers of a separated deployment"))
                .hint("add --pd-separated, or leave the flag out"));
        }
        return Ok(vec![Worker { base: base.to_owned(), name: format!("the server at {shown}") }]);
    }
    let mut workers = Vec::new();
    for (flag, kind, urls) in lists {
        for (i, text) in urls.iter().enumerate() {
            let base = text.trim().trim_end_matches('/');
            let shown = checked_url(flag, base)?;
            workers.push(Worker {
                base: base.to_owned(),
                name: format!("{kind} server {i} at {shown}"),
            });
        }
    }
    if workers.is_empty() {
        return Err(usage(
            "--profile with --pd-separated does not tell which servers to profile".to_owned(),
        )
        .hint("add --profile-prefill-url URL ... or --profile-decode-url URL ..."));
    }
    Ok(workers)
}
