//! The grammar of distributions.

use std::path::PathBuf;

use super::{LONGEST, Law, Lengths, Written};

const GRAMMAR: &str = "expected a number of tokens, uniform(min=,max=), normal(mean=,stdev= or cv=), \
                       lognormal(mean=,stdev= or cv=), zipf(alpha=,min=,max=), percentages(LENGTH=PERCENT,...) \
                       or empirical(FILE)";

/// What `text` says.
///
/// # Errors
/// If it is no distribution; the message says what is wrong.
pub(super) fn distribution(text: &str) -> Result<Written, String> {
    if let Ok(n) = text.parse::<usize>() {
        return fixed(n);
    }
    let (name, rest) = text.split_once('(').ok_or(GRAMMAR)?;
    let args = rest.strip_suffix(')').ok_or_else(|| format!("{text} has no closing bracket"))?;
    let name = name.trim();
    let named = |what: String| format!("{name}: {what}");
    match name {
        "fixed" => {
            let n = args.trim().parse().map_err(|_| named(format!("`{args}` is no length")))?;
            fixed(n)
        }
        "empirical" => empirical(args).map_err(named),
        "percentages" => percentages(args).map_err(named),
        "uniform" | "normal" | "lognormal" | "zipf" => law(name, args).map_err(named),
        _ => Err(format!("there is no distribution {name:.40}: {GRAMMAR}")),
    }
}

fn fixed(n: usize) -> Result<Written, String> {
    Ok(Written::Whole(Lengths::new(Law::Uniform, n, n)?))
}

/// The parameters of a law, each given once.
struct Args<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Args<'a> {
    fn of(text: &'a str, known: &[&str]) -> Result<Self, String> {
        let mut all: Vec<(&str, &str)> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let expected = || known.join(", ");
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` has no name: expected {}", expected()))?;
            let (key, value) = (key.trim(), value.trim());
            if !known.contains(&key) {
                return Err(format!("{key} is not one of {}", expected()));
            }
            if all.iter().any(|(given, _)| *given == key) {
                return Err(format!("{key} is given twice"));
            }
            all.push((key, value));
        }
        Ok(Self(all))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(given, _)| *given == key).map(|(_, value)| *value)
    }

    fn number(&self, key: &str) -> Result<Option<f64>, String> {
        let number = |text: &str| text.parse().ok().filter(|x: &f64| x.is_finite());
        self.get(key)
            .map(|text| number(text).ok_or_else(|| format!("{key} must be a number, not {text}")))
            .transpose()
    }

    fn length(&self, key: &str) -> Result<Option<usize>, String> {
        let wrong = |text| format!("{key} must be a whole number of tokens, not {text}");
        self.get(key).map(|text| text.parse().map_err(|_| wrong(text))).transpose()
    }
}

fn law(name: &str, args: &str) -> Result<Written, String> {
    let known: &[&str] = match name {
        "uniform" => &["min", "max"],
        "zipf" => &["alpha", "min", "max"],
        _ => &["mean", "stdev", "cv", "min", "max"],
    };
    let args = Args::of(args, known)?;
    let (least, most) = (args.length("min")?, args.length("max")?);
    let missing = |key: &str| format!("{key} is missing");
    // Two of the laws have no end of their own.
    if matches!(name, "uniform" | "zipf") {
        let (least, most) =
            (least.ok_or_else(|| missing("min"))?, most.ok_or_else(|| missing("max"))?);
        let law = match name {
            "uniform" => Law::Uniform,
            _ => Law::Zipf {
                alpha: args.number("alpha")?.ok_or_else(|| missing("alpha"))?,
                first: least,
                ranks: most.saturating_sub(least).saturating_add(1),
            },
        };
        return Ok(Written::Whole(Lengths::new(law, least, most)?));
    }
    let mean = args.number("mean")?.ok_or_else(|| missing("mean"))?;
    let stdev = match (args.number("stdev")?, args.number("cv")?) {
        (Some(stdev), None) => stdev,
        (None, Some(cv)) if cv >= 0.0 => cv * mean,
        (None, Some(_)) => return Err("cv must be a number of 0 or more".to_owned()),
        (Some(_), Some(_)) => return Err("stdev and cv are two ways to say one thing".to_owned()),
        (None, None) => return Err("stdev or cv is missing".to_owned()),
    };
    let law = if name == "normal" { Law::Normal(mean, stdev) } else { Law::LogNormal(mean, stdev) };
    Ok(Written::Whole(Lengths::new(law, least.unwrap_or(1), most.unwrap_or(LONGEST))?))
}

fn percentages(args: &str) -> Result<Written, String> {
    let mut shares: Vec<(usize, f64)> = Vec::new();
    for part in args.split(',').map(str::trim) {
        let pair = part.split_once('=').and_then(|(length, share)| {
            let share = share.trim().trim_end_matches('%').trim_end();
            Some((length.trim().parse::<usize>().ok()?, share.parse::<f64>().ok()?))
        });
        let (length, share) =
            pair.ok_or_else(|| format!("`{part}` is not LENGTH=PERCENT, such as 128=50"))?;
        if length > LONGEST {
            return Err(format!("a length of {length} is above {LONGEST}"));
        }
        if shares.iter().any(|(given, _)| *given == length) {
            return Err(format!("the length {length} is given twice"));
        }
        shares.push((length, share));
    }
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    // Thirds may be written with two digits.
    if (sum - 100.0).abs() > 0.1 {
        return Err(format!("the shares sum up to {sum}, and not to 100"));
    }
    Ok(Written::Whole(Lengths::new(Law::Shares(shares), 0, LONGEST)?))
}

/// A file, with `min=` and `max=` behind it if they are given. The name may have commas.
fn empirical(args: &str) -> Result<Written, String> {
    let (mut name, mut least, mut most) = (args.trim(), None, None);
    while let Some((before, last)) = name.rsplit_once(',') {
        let end = match last.trim().split_once('=') {
            Some(("min", value)) if least.is_none() => (&mut least, value),
            Some(("max", value)) if most.is_none() => (&mut most, value),
            _ => break,
        };
        let wrong = |_| format!("{last} must be a whole number of tokens");
        *end.0 = Some(end.1.trim().parse::<usize>().map_err(wrong)?);
        name = before.trim_end();
    }
    if name.is_empty() {
        return Err("there is no name of a file".to_owned());
    }
    let (least, most) = (least.unwrap_or(0), most.unwrap_or(LONGEST));
    // The ends are checked here; the file is read when lengths are drawn.
    Lengths::new(Law::Uniform, least, most)?;
    Ok(Written::File(PathBuf::from(name), least, most))
}
