//! Lists and ranges of values, as flags of `rbench sweep` take them.

/// Most values that one flag may have.
const MOST: usize = 10_000;

/// The values of a list with commas between them: `A..B` doubles up to B, `A..B:xF` multiplies by F, and `A..B:STEP`
/// adds STEP.
///
/// # Errors
/// If the list is empty or too long, or a range cannot be read; the message has no name of a flag.
pub(super) fn values(text: &str) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim) {
        match part.split_once("..") {
            _ if part.is_empty() => return Err(format!("'{text}' has an empty value")),
            None => all.push(part.to_owned()),
            Some((from, rest)) => range(part, from, rest, &mut all)?,
        }
        if all.len() > MOST {
            return Err(format!("'{text}' is more than {MOST} values"));
        }
    }
    // A range may begin with what stands before it.
    let mut seen = std::collections::HashSet::new();
    all.retain(|value| seen.insert(value.clone()));
    Ok(all)
}

/// Adds the values of the range `part`.
fn range(part: &str, from: &str, rest: &str, all: &mut Vec<String>) -> Result<(), String> {
    let wrong = || {
        format!(
            "'{part}' is no range: expected FROM..TO, which doubles, FROM..TO:xFACTOR or FROM..TO:STEP"
        )
    };
    let (to, step) = rest.split_once(':').map_or((rest, None), |(to, step)| (to, Some(step)));
    let factor = step.is_none_or(|step| step.starts_with('x'));
    let step = step.map_or("2", |step| step.trim_start_matches('x'));
    let [from, to, step] = [from, to, step].map(number);
    let (Some(from), Some(to), Some(step)) = (from, to, step) else { return Err(wrong()) };
    if from.0 > to.0 {
        return Err(format!("'{part}' ends before it begins"));
    }
    if (factor && (step.0 <= 1.0 || from.0 <= 0.0)) || step.0 <= 0.0 {
        return Err(format!("'{part}' has no end: a factor is above 1, a step above 0"));
    }
    // Factors do not add digits: those of the ends are what the flag takes.
    let digits = if factor { from.1.max(to.1) } else { from.1.max(to.1).max(step.1) };
    let scale = 10_f64.powi(i32::try_from(digits).unwrap_or(0));
    let rounded = |value: f64| (value * scale).round() / scale;
    for i in 0..=MOST {
        let i = i as f64;
        let value = if factor { from.0 * step.0.powf(i) } else { i.mul_add(step.0, from.0) };
        let value = rounded(value);
        if value > to.0 {
            break;
        }
        all.push(shown(value, digits));
    }
    // What multiplies seldom meets its end, which is asked for.
    if factor {
        all.push(shown(to.0, digits));
    }
    Ok(())
}

/// A number in plain digits, and how many of them stand after the point.
fn number(text: &str) -> Option<(f64, usize)> {
    let text = text.trim();
    let digits = text.split_once('.').map_or(0, |(_, digits)| digits.len());
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value: f64 = text.parse().ok().filter(|_| plain && digits <= 9)?;
    (value < 1e15).then_some((value, digits))
}

/// `value` with at most so many digits after the point.
fn shown(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if digits == 0 {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_and_ranges() {
        for (text, want) in [
            ("1,2,4..64", "1 2 4 8 16 32 64"),
            ("4..4", "4"),
            ("4..50", "4 8 16 32 50"),
            ("1..20:1", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"),
            ("1..8:3", "1 4 7"),
            ("0..1:0.25", "0 0.25 0.5 0.75 1"),
            ("1..1000:x10", "1 10 100 1000"),
            ("1..4:x1.1", "1 2 3 4"),
            ("0.5..2", "0.5 1 2"),
            ("0.1..0.7:0.1", "0.1 0.2 0.3 0.4 0.5 0.6 0.7"),
            ("8,inf", "8 inf"),
            ("10x , 512", "10x 512"),
            ("1,1..2,2", "1 2"),
        ] {
            assert_eq!(values(text).unwrap().join(" "), want, "{text}");
        }
        for text in [
            "1..",
            "..4",
            "4..1",
            "0..4",
            "1..4:0",
            "1..4:x1",
            "1..4:",
            "1,,2",
            "1..1e9:1",
            "1..99999:1",
            "1...4",
        ] {
            assert!(values(text).is_err(), "{text} {:?}", values(text));
        }
    }

    proptest! {
        /// Forall texts: values are read or refused, and a range has its ends.
        #[test]
        fn ranges_have_their_ends(from in 1_u32..1000, more in 0_u32..1000, text in "[0-9.,:x]{0,12}") {
            let to = from + more;
            let values_of = |text: &str| values(text).unwrap();
            let doubled = values_of(&format!("{from}..{to}"));
            prop_assert_eq!(doubled.first(), Some(&from.to_string()));
            prop_assert_eq!(doubled.last(), Some(&to.to_string()));
            prop_assert_eq!(values_of(&format!("{from}..{to}:1")).len(), more as usize + 1);
            let _ = values(&text);
        }
    }
}
