//! The flags of `generated-shared-prefix`.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::{Deserialize, Serialize};

use super::super::lengths::{Ratio, ranged};
use crate::workload::lengths::Distribution;

const HEADING: &str = "Dataset: generated-shared-prefix";

/// Most prompts that can be asked for.
const MOST: usize = 100_000_000;

const UNIFORM: &str = "uniform";
const ZIPF: &str = "zipf";

/// How many groups, and how long their prompts are.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[group(skip)]
#[expect(clippy::struct_field_names, reason = "the names of the flags and of the result keys")]
pub(super) struct Opts {
    /// Groups, each with a system prompt of its own
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one, help_heading = HEADING)]
    pub(super) gsp_num_groups: usize,
    /// Prompts of each group; all of them are sent unless --num-prompts is given
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one, help_heading = HEADING)]
    pub(super) gsp_prompts_per_group: usize,
    /// Tokens of each system prompt, at most
    #[arg(long, value_name = "TOKENS", default_value_t = 2048, help_heading = HEADING)]
    pub(super) gsp_system_prompt_len: usize,
    /// Tokens of each question, at most; of each turn
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = at_least_one, help_heading = HEADING)]
    pub(super) gsp_question_len: usize,
    /// Output tokens of each request, at most; of each turn
    #[arg(long, value_name = "TOKENS", default_value_t = 256, help_heading = HEADING)]
    pub(super) gsp_output_len: usize,
    /// Lengths are uniform in [RATIO x length, length]; 1 makes them fixed
    #[arg(long, value_name = "RATIO", default_value_t = Ratio(1.0), allow_negative_numbers = true, help_heading = HEADING)]
    pub(super) gsp_range_ratio: Ratio,
    /// Turns of the conversation that each prompt begins
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one, help_heading = HEADING)]
    pub(super) gsp_num_turns: usize,
    /// How prompts are shared among groups: evenly, or the first groups the most
    #[arg(long, value_name = "HOW", default_value = UNIFORM, value_parser = PossibleValuesParser::new([UNIFORM, ZIPF]), help_heading = HEADING)]
    pub(super) gsp_group_distribution: String,
    /// Group k gets a share of prompts proportional to 1 / k^ALPHA, with the distribution zipf
    #[arg(long, value_name = "ALPHA", value_parser = alpha, allow_negative_numbers = true, help_heading = HEADING)]
    pub(super) gsp_zipf_alpha: Option<f64>,
    /// Keep the prompts of a group together instead of shuffling all
    #[arg(long, help_heading = HEADING)]
    pub(super) gsp_ordered: bool,
    /// Send the header X-SMG-Routing-Key, the same for all prompts of a group
    #[arg(long, help_heading = HEADING)]
    pub(super) gsp_send_routing_key: bool,
    /// Do not count the tokens of the generated prompts
    #[arg(long, help_heading = HEADING)]
    pub(super) gsp_fast_prepare: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("must be a whole number above 0".to_owned()),
    }
}

fn alpha(text: &str) -> Result<f64, String> {
    check_alpha(text.trim().parse().unwrap_or(f64::NAN))
}

fn check_alpha(x: f64) -> Result<f64, String> {
    if x.is_finite() && x > 0.0 { Ok(x) } else { Err("must be a number above 0".to_owned()) }
}

impl Opts {
    /// Prompts of all groups.
    pub(super) fn slots(&self) -> usize {
        self.gsp_num_groups * self.gsp_prompts_per_group
    }

    /// The distribution of the lengths of system prompts.
    pub(super) fn system(&self) -> Distribution {
        ranged(self.gsp_system_prompt_len, self.gsp_range_ratio)
    }

    /// Checks what parameters have to do with each other.
    ///
    /// # Errors
    /// If they do not go together, or one is out of its range.
    pub(super) fn check(&self) -> Result<(), String> {
        let opts = self;
        let refuse = |message: &str| message.to_owned();
        for (flag, n) in [
            ("--gsp-num-groups", opts.gsp_num_groups),
            ("--gsp-prompts-per-group", opts.gsp_prompts_per_group),
            ("--gsp-question-len", opts.gsp_question_len),
            ("--gsp-num-turns", opts.gsp_num_turns),
        ] {
            if n == 0 {
                return Err(format!("{flag} must be a whole number above 0"));
            }
        }
        if ![UNIFORM, ZIPF].contains(&opts.gsp_group_distribution.as_str()) {
            let name = &opts.gsp_group_distribution;
            return Err(format!("--gsp-group-distribution: there is none named {name}"));
        }
        if let Some(alpha) = opts.gsp_zipf_alpha {
            check_alpha(alpha).map_err(|what| format!("--gsp-zipf-alpha {what}"))?;
        }
        match (opts.gsp_group_distribution.as_str(), opts.gsp_zipf_alpha) {
            (ZIPF, None) => {
                return Err(refuse(
                    "--gsp-group-distribution zipf needs --gsp-zipf-alpha, such as 1.1",
                ));
            }
            (UNIFORM, Some(_)) => {
                return Err(refuse(
                    "--gsp-zipf-alpha does not apply to --gsp-group-distribution uniform: use zipf",
                ));
            }
            _ => {}
        }
        let slots = opts.gsp_num_groups.checked_mul(opts.gsp_prompts_per_group);
        if slots.is_none_or(|slots| slots > MOST) {
            return Err(refuse(&format!(
                "--gsp-num-groups times --gsp-prompts-per-group is above {MOST}"
            )));
        }
        Ok(())
    }
}
