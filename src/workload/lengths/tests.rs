//! Distributions of lengths.

use proptest::prelude::*;

use super::*;

fn lengths(text: &str) -> Lengths {
    text.parse::<Distribution>().unwrap().lengths().unwrap()
}

/// Mean and standard deviation of many draws.
fn moments(text: &str) -> (f64, f64) {
    const N: usize = 20_000;
    let lengths = lengths(text);
    let drawn: Vec<f64> = (0..N).map(|i| lengths.draw(1, "test", i) as f64).collect();
    let mean = drawn.iter().sum::<f64>() / N as f64;
    let squares: f64 = drawn.iter().map(|x| (x - mean).powi(2)).sum();
    (mean, (squares / N as f64).sqrt())
}

#[test]
fn draws_have_the_moments_of_their_distributions() {
    for (text, mean, stdev) in [
        ("512", 512.0, 0.0),
        ("fixed(512)", 512.0, 0.0),
        ("uniform(min=100, max=300)", 200.0, 58.0),
        ("normal(mean=512,stdev=64)", 512.0, 64.0),
        ("normal(mean=512,cv=0.125)", 512.0, 64.0),
        ("lognormal(mean=512,cv=0.5)", 512.0, 256.0),
        ("lognormal(mean=512,stdev=256)", 512.0, 256.0),
        ("percentages(100=50%, 300=50%)", 200.0, 100.0),
        ("percentages(100=33.33,200=33.33,300=33.33)", 200.0, 81.6),
    ] {
        let (got, spread) = moments(text);
        assert!((got - mean).abs() <= 0.02 * mean, "{text}: {got}");
        assert!((spread - stdev).abs() <= 0.05 * stdev + 1e-9, "{text}: {spread}");
    }
}

#[test]
fn ranks_have_the_weights_of_zipf() {
    let lengths = lengths("zipf(alpha=1,min=10,max=13)");
    let mut seen = [0.0; 4];
    for i in 0..20_000 {
        seen[lengths.draw(1, "test", i) - 10] += 1.0 / 20_000.0;
    }
    // 1 / k over 1 + 1/2 + 1/3 + 1/4.
    for (k, share) in (1..).zip(seen) {
        let wanted = 12.0 / 25.0 / f64::from(k);
        assert!((share - wanted).abs() < 0.02, "{k}: {share} {wanted}");
    }
}

#[test]
fn a_file_gives_its_own_lengths() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("of a, day.txt");
    std::fs::write(&path, "# tokens\n10\n\n20\n4000\n").unwrap();
    let path = path.display();
    let drawn = |text: &str| {
        let lengths = lengths(text);
        let drawn: std::collections::BTreeSet<usize> =
            (0..200).map(|i| lengths.draw(1, "test", i)).collect();
        (drawn.into_iter().collect::<Vec<_>>(), lengths.ends())
    };
    let all = drawn(&format!("empirical({path})"));
    assert_eq!(all, (vec![10, 20, 4000], (10, 4000)));
    let held = drawn(&format!("empirical({path}, min=16, max=1024)"));
    assert_eq!(held, (vec![16, 20, 1024], (16, 1024)));
    std::fs::write(folder.path().join("bad"), "10\nten\n").unwrap();
    let bad = format!("empirical({})", folder.path().join("bad").display());
    let error = bad.parse::<Distribution>().unwrap().lengths().unwrap_err();
    assert!(error.to_string().contains("line 2 is no length: ten"), "{error}");
    let none = "empirical(/nowhere/at/all)".parse::<Distribution>().unwrap();
    assert!(none.lengths().unwrap_err().to_string().contains("/nowhere/at/all"));
}

#[test]
fn what_is_wrong_is_named() {
    for (text, said) in [
        ("", "expected a number of tokens"),
        ("-5", "expected a number"),
        ("gamma(mean=2)", "there is no distribution gamma"),
        ("uniform(min=1", "no closing bracket"),
        ("uniform(min=1)", "uniform: max is missing"),
        ("uniform(min=9,max=1)", "uniform: min 9 is above max 1"),
        ("uniform(1,9)", "`1` has no name: expected min, max"),
        ("uniform(min=1,max=9,mean=3)", "mean is not one of min, max"),
        ("uniform(min=1,min=2,max=9)", "min is given twice"),
        ("normal(mean=5)", "normal: stdev or cv is missing"),
        ("normal(mean=5,cv=1,stdev=2)", "two ways to say one thing"),
        ("normal(mean=x,cv=1)", "mean must be a number, not x"),
        ("normal(mean=5,cv=nan)", "cv must be a number"),
        ("normal(mean=5,stdev=-1)", "stdev must be a number of 0 or more"),
        ("lognormal(mean=0,cv=1)", "mean must be a number above 0"),
        ("lognormal(mean=5,cv=1,min=2.5)", "min must be a whole number of tokens, not 2.5"),
        ("zipf(alpha=0,min=1,max=9)", "alpha must be a number above 0"),
        ("zipf(min=1,max=9)", "zipf: alpha is missing"),
        ("percentages(8=50)", "the shares sum up to 50, and not to 100"),
        ("percentages(8=50,8=50)", "the length 8 is given twice"),
        ("percentages(8:50,9:50)", "`8:50` is not LENGTH=PERCENT"),
        ("percentages(8=150,9=-50)", "shares must be numbers of 0 or more"),
        ("empirical()", "there is no name of a file"),
        ("empirical(f,min=9,max=1)", "min 9 is above max 1"),
        ("fixed(x)", "fixed: `x` is no length"),
        ("999999999999", "is above 100000000"),
    ] {
        let error = text.parse::<Distribution>().unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
}

/// Distributions of every kind, with ends that hold them.
fn written() -> impl Strategy<Value = (String, usize, usize)> {
    (0_usize..7, 0_usize..2000, 0_usize..2000, 0.1_f64..5000.0, 0.0_f64..3.0).prop_map(
        |(kind, least, more, mean, spread)| {
            let most = least + more;
            let text = match kind {
                0 => format!("uniform(min={least},max={most})"),
                1 => format!("normal(mean={mean},cv={spread},min={least},max={most})"),
                2 => format!("lognormal(mean={mean},cv={spread},min={least},max={most})"),
                3 => format!("lognormal( max={most}, min={least}, stdev={spread}, mean={mean} )"),
                4 => format!("zipf(alpha={},min={least},max={most})", spread + 0.1),
                5 => format!("percentages({least}=40,{}=60)", most + 1),
                _ => return (format!("{most}"), most, most),
            };
            (text, least, most + usize::from(kind == 5))
        },
    )
}

proptest! {
    /// Forall distributions: draws stay between the ends, repeat by seed and row, and the text gives the same ones back.
    #[test]
    fn draws_stay_between_the_ends((text, least, most) in written(), seed: u64, i in 0_usize..1000) {
        let distribution: Distribution = text.parse().unwrap();
        let lengths = distribution.lengths().unwrap();
        let drawn = lengths.draw(seed, "test", i);
        prop_assert!((least..=most).contains(&drawn), "{} {}", text, drawn);
        let (shortest, longest) = lengths.ends();
        prop_assert!((shortest..=longest).contains(&drawn));
        prop_assert!((least..=most).contains(&distribution.mean()));
        let again: Distribution = distribution.to_string().parse().unwrap();
        prop_assert_eq!(&again, &distribution);
        prop_assert_eq!(again.lengths().unwrap().draw(seed, "test", i), drawn);
        let json = serde_json::to_string(&distribution).unwrap();
        prop_assert_eq!(serde_json::from_str::<Distribution>(&json).unwrap(), distribution);
    }

    /// Forall texts: the parser takes them or says why not.
    #[test]
    fn any_text_is_taken_or_refused(text in "(fixed|uniform|normal|lognormal|zipf|percentages|empirical|x)?[(]?[a-z0-9=,.%() -]{0,40}[)]?") {
        if let Err(error) = text.parse::<Distribution>() {
            prop_assert!(!error.is_empty());
        }
    }
}

#[test]
fn a_summary_counts_what_was_cut_off() {
    let distribution: Distribution = "normal(mean=100,stdev=50,min=50,max=150)".parse().unwrap();
    let lengths = distribution.lengths().unwrap();
    let drawn = (0..1000).map(|i| lengths.draw(7, "test", i));
    let summary = Summary::of(&distribution, drawn).unwrap();
    // A third of a normal distribution lies beyond one standard deviation.
    assert!((250..400).contains(&summary.held), "{summary:?}");
    assert_eq!((summary.min, summary.max, summary.count), (50, 150, 1000));
    let (lines, notes) = Drawn { input: Some(summary), output: None }.lines();
    assert!(lines[0].starts_with("input lengths drawn from normal(mean=100,stdev=50"), "{lines:?}");
    assert!(notes[0].contains("are at an end of"), "{notes:?}");
    let narrow: Distribution = "uniform(min=1,max=4)".parse().unwrap();
    let summary = Summary::of(&narrow, [1, 2, 3, 4].into_iter()).unwrap();
    assert_eq!((summary.p50, summary.p90, summary.held), (2, 4, 0));
    assert_eq!(Drawn { input: Some(summary), output: None }.lines().1, [""; 0]);
}
