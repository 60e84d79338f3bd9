//! The flags of the server's profiler.

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::values::count;
use crate::config::{DEFAULT_ACTIVITIES, Profiling};

const PROFILE: &str = "Profiling";

/// What the profiler of an SGLang server can record.
const ACTIVITIES: [&str; 5] = ["CPU", "GPU", "CUDA_PROFILER", "XPU", "MEM"];

/// The flags.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct ProfileArgs {
    /// Profile the server during the run
    #[arg(long, help_heading = PROFILE)]
    pub profile: bool,
    /// Activities to record
    #[arg(long, value_name = "NAME", num_args = 1.., default_values = DEFAULT_ACTIVITIES, value_parser = PossibleValuesParser::new(ACTIVITIES), help_heading = PROFILE)]
    pub profile_activities: Vec<String>,
    /// First step of the server to record
    #[arg(long, value_name = "N", help_heading = PROFILE)]
    pub profile_start_step: Option<u64>,
    /// Number of steps to record; the server stops by itself. Overrides --profile-num-steps
    #[arg(long, value_name = "N", value_parser = count, help_heading = PROFILE)]
    pub profile_steps: Option<usize>,
    /// Number of steps to record; the server stops by itself
    #[arg(long, value_name = "N", value_parser = count, help_heading = PROFILE)]
    pub profile_num_steps: Option<usize>,
    /// Record prefill and decode separately, 5 steps of each if no number is given
    #[arg(long, help_heading = PROFILE)]
    pub profile_by_stage: bool,
    /// The stages to record
    #[arg(long, value_name = "NAME", num_args = 1.., help_heading = PROFILE)]
    pub profile_stages: Vec<String>,
    /// Folder on the server for the traces [default: `SGLANG_TORCH_PROFILER_DIR`, else /tmp]
    #[arg(long, help = "Folder on the server for the traces [default: SGLANG_TORCH_PROFILER_DIR, else /tmp]", value_name = "PATH", help_heading = PROFILE)]
    pub profile_output_dir: Option<String>,
    /// Prefix of the names of the traces
    #[arg(long, value_name = "TEXT", help_heading = PROFILE)]
    pub profile_prefix: Option<String>,
}

/// The flags where prefill and decode are servers of their own.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct SeparatedArgs {
    /// Prefill and decode are servers of their own, and are profiled there
    #[arg(long, help_heading = PROFILE)]
    pub pd_separated: bool,
    /// The prefill servers to profile
    #[arg(long, value_name = "URL", num_args = 0.., conflicts_with = "profile_decode_url", help_heading = PROFILE)]
    pub profile_prefill_url: Vec<String>,
    /// The decode servers to profile
    #[arg(long, value_name = "URL", num_args = 0.., help_heading = PROFILE)]
    pub profile_decode_url: Vec<String>,
}

impl SeparatedArgs {
    /// Where the flags have something profiled.
    pub fn profiling(self) -> Profiling {
        let Self { pd_separated, profile_prefill_url, profile_decode_url } = self;
        Profiling { pd_separated, profile_prefill_url, profile_decode_url, ..Profiling::default() }
    }
}

impl ProfileArgs {
    /// What the flags have profiled, where `separated` says.
    pub fn profiling(self, separated: Profiling) -> Profiling {
        let Self {
            profile,
            profile_activities,
            profile_start_step,
            profile_steps,
            profile_num_steps,
            profile_by_stage,
            profile_stages,
            profile_output_dir,
            profile_prefix,
        } = self;
        Profiling {
            profile,
            profile_activities,
            profile_start_step,
            profile_steps,
            profile_num_steps,
            profile_by_stage,
            profile_stages,
            profile_output_dir,
            profile_prefix,
            ..separated
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::profile::{Profile, note, resolve};

    #[derive(Parser)]
    struct Input {
        #[command(flatten)]
        args: ProfileArgs,
        #[command(flatten)]
        separated: SeparatedArgs,
    }

    /// What `args` ask for, or what is wrong with them.
    fn asked(args: &str) -> Result<Profiling, String> {
        let args = std::iter::once("x").chain(args.split_whitespace());
        let parsed = Input::try_parse_from(args);
        parsed
            .map(|input| input.args.profiling(input.separated.profiling()))
            .map_err(|error| error.to_string())
    }

    fn parsed(words: &str) -> Result<Option<Profile>, String> {
        let args = asked(words)?;
        resolve(&args, "http://h:1", "http://h:1", None, true).map_err(|error| error.to_string())
    }

    fn profile(words: &str) -> Profile {
        parsed(&format!("--profile {words}")).unwrap().unwrap()
    }

    #[test]
    fn bodies() {
        let start = |words| profile(words).start_body(1.5);
        let plain = json!({
            "activities": ["CPU", "GPU"],
            "num_steps": null,
            "profile_by_stage": false,
            "profile_stages": null,
            "output_dir": "/tmp/1.5",
            "profile_prefix": null,
        });
        let with = |key: &str, value: Value| {
            let mut body = plain.clone();
            body[key] = value;
            body
        };
        assert_eq!(start(""), plain);
        for (words, key, value) in [
            ("--profile-activities CPU MEM", "activities", json!(["CPU", "MEM"])),
            ("--profile-num-steps 7", "num_steps", json!(7)),
            ("--profile-steps 8", "num_steps", json!(8)),
            ("--profile-num-steps 7 --profile-steps 8", "num_steps", json!(8)),
            ("--profile-stages prefill decode", "profile_stages", json!(["prefill", "decode"])),
            ("--profile-output-dir /a/b/", "output_dir", json!("/a/b/1.5")),
            ("--profile-output-dir /", "output_dir", json!("/1.5")),
            ("--profile-prefix x", "profile_prefix", json!("x")),
            ("--profile-start-step 3", "start_step", json!(3)),
        ] {
            assert_eq!(start(words), with(key, value), "{words}");
        }
        let mut staged = with("num_steps", json!(5));
        staged["profile_by_stage"] = json!(true);
        assert_eq!(start("--profile-by-stage"), staged);
        assert_eq!(profile("").stop_body(), json!({}));
        assert_eq!(profile("--profile-start-step 3").stop_body(), json!({"start_step": 3}));
    }

    #[test]
    fn folders_of_the_environment() {
        let args = asked("--profile").unwrap();
        let profile = resolve(&args, "", "", Some("/traces".into()), true).unwrap().unwrap();
        assert_eq!(profile.start_body(2.25)["output_dir"], "/traces/2.25");
    }

    #[test]
    fn who_counts_steps() {
        let prefill = "--pd-separated --profile-prefill-url http://a";
        for (words, counts) in [
            ("", false),
            ("--profile-by-stage", false),
            ("--profile-num-steps 3", true),
            ("--profile-steps 3", true),
            (&format!("{prefill} --profile-num-steps 3"), false),
            (&format!("{prefill} --profile-steps 3"), true),
        ] {
            assert_eq!(profile(words).counts, counts, "{words}");
            let args = asked(&format!("--profile {words}")).unwrap();
            let silent = resolve(&args, "http://h:1", "http://h:1", None, false).unwrap().unwrap();
            assert!(!silent.counts, "{words}");
        }
    }

    #[test]
    fn flags_that_do_nothing() {
        let note = |words: &str| note(&asked(words).unwrap(), "vllm");
        assert_eq!(note("--profile"), None);
        assert_eq!(note("--profile-num-steps 3"), None);
        let text = note("--profile --profile-num-steps 3 --profile-prefix x").unwrap();
        assert!(
            text.starts_with("--profile-num-steps, --profile-prefix do nothing with"),
            "{text}"
        );
    }

    #[test]
    fn separated_servers() {
        let names = |words| {
            let workers = profile(words).workers.into_iter();
            workers.map(|worker| (worker.base, worker.name)).collect::<Vec<_>>()
        };
        let pair = |base: &str, name: &str| (base.to_owned(), name.to_owned());
        assert_eq!(names(""), [pair("http://h:1", "the server at http://h:1")]);
        assert_eq!(
            names("--pd-separated --profile-decode-url http://a:1/ http://me:pw@b:2"),
            [
                pair("http://a:1", "decode server 0 at http://a:1"),
                pair("http://me:pw@b:2", "decode server 1 at http://***@b:2"),
            ]
        );
    }

    #[test]
    fn what_is_refused() {
        for (words, part) in [
            ("--profile-steps 3", "--profile-steps says how to profile"),
            ("--profile-activities GPU", "--profile-activities says how to profile"),
            ("--profile --profile-activities TPU", "TPU"),
            ("--profile --profile-steps 0", "above 0"),
            ("--profile --pd-separated", "which servers to profile"),
            ("--profile --pd-separated --profile-prefill-url", "which servers to profile"),
            ("--profile --profile-prefill-url http://a", "separated deployment"),
            ("--profile --pd-separated --profile-prefill-url nonsense", "--profile-prefill-url"),
            (
                "--profile --pd-separated --profile-prefill-url http://a --profile-decode-url http://b",
                "cannot be used with",
            ),
        ] {
            let error = parsed(words).unwrap_err();
            assert!(error.contains(part), "{words}: {error}");
        }
        assert_eq!(parsed(""), Ok(None));
        assert_eq!(parsed("--pd-separated"), Ok(None));
    }
}
