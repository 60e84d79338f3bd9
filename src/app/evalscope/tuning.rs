//! `--sla-auto-tune`: the search for the highest load that meets objectives.

use serde_json::{Map, Value};

use super::{Job, name, save_json, usage};
use crate::dialect::evalscope::sla::{self, Probe, Probes, Range};
use crate::dialect::evalscope::{Figures, Flags, Load, files};
use crate::error::Error;

/// Refuses flags that do not go together, before a server is looked for.
pub(super) fn check(flags: &Flags, loads: &[Load]) -> Result<(), Error> {
    let groups = flags.sla_params.as_ref().ok_or_else(|| {
        usage("--sla-auto-tune needs --sla-params".to_owned())
            .hint("such as --sla-params '{\"p99_ttft\": \"<=2s\"}'")
    })?;
    groups.check(flags.generates()).map_err(usage)?;
    if loads.len() > 1 {
        let message = "--sla-auto-tune begins with one load, and several are given";
        return Err(usage(message.to_owned()));
    }
    if flags.sla_variable == "rate" && flags.dataset == "workload_trace" {
        return Err(usage("--sla-variable rate does not go with the times of a trace".to_owned()));
    }
    let (lowest, highest) = (flags.sla_lower_bound, flags.sla_upper_bound);
    if lowest > highest {
        let message = format!("--sla-lower-bound {lowest} is above --sla-upper-bound {highest}");
        return Err(usage(message));
    }
    Ok(())
}

/// Looks for the best load for each group of objectives.
pub(super) fn tune(job: &mut Job, loads: &[Load]) -> Result<(), Error> {
    let (Some(groups), [start, ..]) = (job.flags.sla_params.clone(), loads) else { return Ok(()) };
    let varies_rate = job.flags.sla_variable == "rate";
    let (lowest, highest) = (job.flags.sla_lower_bound, job.flags.sla_upper_bound);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 0")]
    let first = if varies_rate {
        start.rate.map_or(lowest, |rate| rate.round() as usize)
    } else {
        start.parallel.unwrap_or(lowest)
    };
    let range = Range { lowest, highest, first };
    let mut probes = Probes::new();
    let mut measured: Map<String, Value> = Map::new();
    let mut selections = Vec::new();
    for (i, group) in groups.all.iter().enumerate() {
        job.ui.status(&format!("group {} of {}: {group}", i + 1, groups.all.len()));
        let found = sla::search(group, range, &mut probes, |value| {
            let runs = measure(job, value, varies_rate)?;
            let key = format!("{}_{value}", job.flags.sla_variable);
            measured.insert(key, summary(&runs));
            Ok::<_, Error>(Probe::of(&runs))
        });
        match found {
            Ok(selection) => selections.push(selection),
            Err(error) => {
                // What was tried until then is not lost.
                save_json(&job.folder.join("sla_summary.json"), &measured.into())?;
                return Err(error);
            }
        }
    }
    save_json(&job.folder.join("sla_summary.json"), &measured.into())?;
    job.print(&sla::render(&groups, &probes, &selections))
}

/// The runs of one load.
fn measure(job: &mut Job, value: usize, varies_rate: bool) -> Result<Vec<Figures>, Error> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 0")]
    let number = (value as f64 * job.flags.sla_number_multiplier.unwrap_or(2.0)).ceil() as usize;
    let number = number.max(1);
    let load = if varies_rate {
        let cap = job.flags.sla_fixed_parallel.unwrap_or(job.flags.sla_upper_bound);
        Load { parallel: Some(cap), rate: Some(value as f64), number }
    } else {
        Load { parallel: Some(value), rate: None, number }
    };
    let mut runs = Vec::new();
    for i in 1..=job.flags.sla_num_runs {
        if job.runs > 0 {
            job.pause();
        }
        let variable = job.flags.sla_variable.clone();
        job.ui.status(&format!("trying {variable} {value} ({}), run {i}", name(&load, false)));
        let folder = format!("sla_tuning/sla_{variable}_{value}_run_{i}");
        let folder = job.folder.join(folder);
        runs.push(job.run(&load, &folder)?);
        if let Some(ended) = job.partial.take() {
            return Err(ended);
        }
    }
    Ok(runs)
}

/// The figures of the runs of one load as the file of the search has them: those of the last run, and the number of
/// runs.
fn summary(runs: &[Figures]) -> Value {
    let Some(last) = runs.last() else { return Value::Null };
    let mut metrics = files::summary(last, false, Value::Null);
    if let Some(metrics) = metrics.as_object_mut() {
        metrics.shift_remove("rbench");
    }
    serde_json::json!({"metrics": metrics, "percentiles": files::percentiles(last, false), "runs": runs.len()})
}
