//! Comparisons as a table, as JSON and as Markdown.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::json;
use crate::analysis::comparison::{self, Pair, Row, Sampled, Verdict, Whole};
use crate::analysis::statistics::Scale;

/// One load on both sides.
#[derive(Debug)]
pub struct Against<'a> {
    /// The runs.
    pub pair: Pair<'a>,
    /// Their metrics.
    pub rows: Vec<Row>,
}

/// A file against the one before.
#[derive(Debug)]
pub struct Compared<'a> {
    /// The file before.
    pub base: &'a Path,
    /// The file after.
    pub new: &'a Path,
    /// Each load that both have.
    pub against: Vec<Against<'a>>,
    /// Loads that one of them has.
    pub unpaired: usize,
    /// Why runs are no evidence.
    pub doubts: Vec<String>,
    /// The verdict.
    pub whole: Whole,
    /// What failed, and why.
    pub failures: Vec<String>,
}

/// Lines of text for each flag that differs between the runs before and after, by what `part` shows of them.
pub fn differences<'a>(
    base: &[&'a Sampled],
    new: &[&'a Sampled],
    part: fn(&Sampled) -> &Map<String, Value>,
) -> Vec<String> {
    let keys: BTreeSet<&String> = base.iter().chain(new).flat_map(|run| part(run).keys()).collect();
    let values = |side: &[&Sampled], key: &String| -> BTreeSet<String> {
        let value =
            |run: &&Sampled| part(run).get(key).map_or("not set".to_owned(), Value::to_string);
        side.iter().map(value).collect()
    };
    let shown = |values: BTreeSet<String>| values.into_iter().collect::<Vec<_>>().join(", ");
    keys.into_iter()
        .filter_map(|key| {
            let (before, after) = (values(base, key), values(new, key));
            (before != after).then(|| format!("{key}: {} -> {}", shown(before), shown(after)))
        })
        .collect()
}

/// A side in a few words: how many runs and requests.
pub(super) fn side(runs: &[&Sampled]) -> String {
    let requests: Option<usize> = runs.iter().map(|run| Some(run.requests.as_ref()?.len())).sum();
    let requests = requests.map_or("without samples".to_owned(), |n| format!("{n} requests"));
    let s = if runs.len() == 1 { "" } else { "s" };
    format!("{} run{s}, {requests}", runs.len())
}

/// The flags in which a load differs from the others.
pub(super) fn load(compared: &Compared<'_>, against: &Against<'_>) -> Option<String> {
    if compared.against.len() < 2 {
        return None;
    }
    let first = against.pair.base.first()?;
    let others: Vec<&Sampled> =
        compared.against.iter().flat_map(|against| against.pair.base.iter().copied()).collect();
    let differs =
        |key: &&String| others.iter().any(|run| run.load.get(*key) != first.load.get(*key));
    let keys = first.load.keys().filter(differs);
    Some(keys.map(|key| format!("{key} {}", first.load[key])).collect::<Vec<_>>().join(", "))
}

/// What has to be known before the figures.
pub(super) fn warnings(compared: &Compared<'_>) -> Vec<String> {
    let mut warnings = compared.doubts.clone();
    let mut seen = BTreeSet::new();
    for Against { pair, .. } in &compared.against {
        seen.extend(differences(&pair.base, &pair.new, |run| &run.setting));
    }
    warnings
        .extend(seen.into_iter().map(|difference| format!("the setting differs: {difference}")));
    if compared.unpaired > 0 {
        warnings.push(format!("{} loads are on one side alone", compared.unpaired));
    }
    let alone = |pair: &Pair<'_>| pair.base.len() == 1 || pair.new.len() == 1;
    if compared.against.iter().any(|against| alone(&against.pair)) {
        warnings.push(
            "a side has one run: intervals hold within it and leave out how runs differ".to_owned(),
        );
    }
    warnings
}

/// A figure with four digits.
pub(super) fn figure(metric: comparison::Compared, value: f64) -> String {
    match metric {
        _ if !value.is_finite() => "n/a".to_owned(),
        comparison::Compared::Success | comparison::Compared::Goodput => {
            format!("{:.2} %", value * 1e2)
        }
        _ if value.abs() >= 1000.0 => format!("{value:.0}"),
        _ if value.abs() >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The change, its interval, the probability and the verdict of a row.
pub(super) fn cells(row: &Row) -> [String; 4] {
    let Some(difference) = row.difference else {
        return ["n/a".to_owned(), String::new(), String::new(), verdict(row)];
    };
    let percent = |share: f64| match row.metric.scale() {
        // No bound at all.
        Scale::Relative if !share.is_finite() || share <= -1.0 => "?".to_owned(),
        Scale::Relative => format!("{:+.1}", share * 1e2),
        Scale::Absolute => format!("{:+.2}", share * 1e2),
    };
    let unit = if row.metric.scale() == Scale::Absolute { "pt" } else { "%" };
    let interval = difference
        .interval
        .map_or(String::new(), |(low, high)| format!("[{}, {}]", percent(low), percent(high)));
    let p = row.p.map_or(String::new(), |p| {
        if p < 0.0001 { "<0.0001".to_owned() } else { format!("{p:.4}") }
    });
    [format!("{} {unit}", percent(difference.change)), interval, p, verdict(row)]
}

/// The verdict on a metric.
fn verdict(row: &Row) -> String {
    match &row.verdict {
        Verdict::Improvement => "improvement".to_owned(),
        Verdict::Regression => "regression".to_owned(),
        Verdict::Unchanged => "~".to_owned(),
        Verdict::Undecided(Some(runs)) => format!("~ needs {runs} runs a side"),
        Verdict::Undecided(None) => "~ needs more requests".to_owned(),
        Verdict::Unknown(why) => format!("n/a: {why}"),
    }
}

/// The table, with a line end after each line.
pub fn table(compared: &Compared<'_>) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "Base: {}", compared.base.display());
    let _ = writeln!(text, "New:  {}", compared.new.display());
    for warning in warnings(compared) {
        let _ = writeln!(text, "Note: {warning}");
    }
    for against in &compared.against {
        text.push('\n');
        if let Some(load) = load(compared, against) {
            let _ = writeln!(text, "{load}");
        }
        let (base, new) = (side(&against.pair.base), side(&against.pair.new));
        let _ = writeln!(text, "{base} against {new}");
        let line = [("metric", "base", "new"), ("change", "95 % interval", "p")];
        let [(metric, base, new), (change, interval, p)] = line;
        let _ = writeln!(
            text,
            "{metric:<24} {base:>10} {new:>10} {change:>10} {interval:>18} {p:>8}  verdict"
        );
        for row in &against.rows {
            let metric = row.metric.to_string();
            let (base, new) = (figure(row.metric, row.base), figure(row.metric, row.new));
            let [change, interval, p, verdict] = cells(row);
            let _ = writeln!(
                text,
                "{metric:<24} {base:>10} {new:>10} {change:>10} {interval:>18} {p:>8}  {verdict}"
            );
        }
    }
    let _ = writeln!(text, "\nVerdict: {}", conclusion(compared));
    for failure in &compared.failures {
        let _ = writeln!(text, "Failed: {failure}");
    }
    text
}

/// The verdict on the whole, with what it rests on.
fn conclusion(compared: &Compared<'_>) -> String {
    let rows = || compared.against.iter().flat_map(|against| &against.rows);
    let named = |verdict: &Verdict| {
        let names: Vec<String> = rows()
            .filter(|row| row.verdict == *verdict)
            .map(|row| row.metric.to_string())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        names.join(", ")
    };
    let why = match compared.whole {
        Whole::Improvement => named(&Verdict::Improvement),
        Whole::Regression => named(&Verdict::Regression),
        Whole::Mixed => format!(
            "better: {}; worse: {}",
            named(&Verdict::Improvement),
            named(&Verdict::Regression)
        ),
        Whole::Pass => {
            "no difference is shown, and none that is not tolerated is possible".to_owned()
        }
        Whole::Inconclusive if !compared.doubts.is_empty() => "the runs are no evidence".to_owned(),
        Whole::Inconclusive => {
            "no difference is shown, and the sample excludes too little".to_owned()
        }
    };
    format!("{} ({why})", compared.whole.name())
}

/// The comparison as one line of JSON, without a line end.
pub fn json(compared: &Compared<'_>) -> String {
    let finite = |x: f64| if x.is_finite() { Value::from(x) } else { Value::Null };
    let row = |row: &Row| {
        let difference = row.difference;
        let runs = match row.verdict {
            Verdict::Undecided(runs) => runs,
            _ => None,
        };
        let name = match &row.verdict {
            Verdict::Improvement => "improvement",
            Verdict::Regression => "regression",
            Verdict::Unchanged => "unchanged",
            Verdict::Undecided(_) => "undecided",
            Verdict::Unknown(_) => "unknown",
        };
        json!({
            "metric": row.metric.to_string(),
            "base": finite(row.base),
            "new": finite(row.new),
            "change": difference.map(|difference| finite(difference.change)),
            "interval": difference.and_then(|d| d.interval).map(|(low, high)| [finite(low), finite(high)]),
            "p": difference.and_then(|difference| difference.p),
            "p_adjusted": row.p,
            "verdict": name,
            "needs_runs": runs,
            "reason": if let Verdict::Unknown(why) = &row.verdict { Some(*why) } else { None },
        })
    };
    let against = |against: &Against<'_>| {
        let Pair { base, new } = &against.pair;
        json!({
            "load": base.first().map(|run| Value::from(run.load.clone())),
            "base_runs": base.iter().map(|run| run.name.clone()).collect::<Vec<_>>(),
            "new_runs": new.iter().map(|run| run.name.clone()).collect::<Vec<_>>(),
            "metrics": against.rows.iter().map(row).collect::<Vec<_>>(),
        })
    };
    let value = json!({
        "base": compared.base.display().to_string(),
        "new": compared.new.display().to_string(),
        "verdict": compared.whole.name(),
        "failures": compared.failures,
        "notes": warnings(compared),
        "loads": compared.against.iter().map(against).collect::<Vec<_>>(),
    });
    json::line(&value)
}

/// The comparison as a section of Markdown.
pub fn markdown(compared: &Compared<'_>) -> String {
    let title = format!("{} against {}", compared.new.display(), compared.base.display());
    let mut text =
        format!("### rbench: {}\n\n{}\n\n", escaped(&title), escaped(&conclusion(compared)));
    for warning in warnings(compared) {
        text += &format!("- {}\n", escaped(&warning));
    }
    for against in &compared.against {
        text.push('\n');
        if let Some(load) = load(compared, against) {
            text += &format!("{}\n\n", escaped(&load));
        }
        text += "| metric | base | new | change | 95 % interval | p | verdict |\n|---|--:|--:|--:|--:|--:|---|\n";
        for row in &against.rows {
            let (base, new) = (figure(row.metric, row.base), figure(row.metric, row.new));
            let [change, interval, p, verdict] = cells(row);
            text += &format!(
                "| {} | {base} | {new} | {change} | {interval} | {} | {} |\n",
                row.metric,
                escaped(&p),
                escaped(&verdict)
            );
        }
    }
    for failure in &compared.failures {
        text += &format!("\n**Failed:** {}\n", escaped(failure));
    }
    text.push('\n');
    text
}

/// `text` without characters that Markdown gives a meaning.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '|' | '<' | '>' | '*' | '`' | '[' | ']' | '\\' | '&') {
            out += &format!("&#{};", u32::from(c));
        } else {
            out.push(if c.is_control() { ' ' } else { c });
        }
    }
    out
}
