//! The variance of a sum of terms that depend on their neighbours: overlapping batch means.
//!
//! The estimator is that of Meketon and Schmeiser (1984) with the lugsail correction of Vats and Flegal (2022), which
//! offsets the bias of short batches; batches are as long as the first autocorrelation of the terms asks for, after
//! Liu, Vats and Flegal (2022).

/// The variance of a sum, and the degrees of freedom that it was estimated with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SumVariance {
    /// Of the sum.
    pub variance: f64,
    /// Degrees of freedom.
    pub freedom: f64,
}

/// Fewer batches than this give no useful variance.
const FEWEST: usize = 8;

impl SumVariance {
    /// That of the sum over all `runs`, whose terms are centred; infinite where there are too few terms.
    ///
    /// `at_least` is the least length of a batch in each run. Several runs have a variance between them, which
    /// includes what lies within them; the larger of both counts.
    pub fn of_runs(runs: &[Vec<f64>], at_least: &[usize]) -> Self {
        let each: Vec<Self> =
            runs.iter().zip(at_least).map(|(run, &length)| Self::of_run(run, length)).collect();
        let variance = each.iter().map(|run| run.variance).sum::<f64>();
        // Satterthwaite (1946).
        let weights: f64 = each.iter().map(|run| run.variance.powi(2) / run.freedom.max(1.0)).sum();
        let freedom = if weights > 0.0 { variance * variance / weights } else { 1.0 };
        let within = Self { variance, freedom };
        if runs.len() < 2 {
            return within;
        }
        let sums: Vec<f64> = runs.iter().map(|run| run.iter().sum()).collect();
        let n = sums.len() as f64;
        let mean = sums.iter().sum::<f64>() / n;
        let squares = sums.iter().map(|sum| (sum - mean) * (sum - mean)).sum::<f64>();
        let between = Self { variance: squares * n / (n - 1.0), freedom: n - 1.0 };
        if between.variance > within.variance { between } else { within }
    }

    /// That of the sum of the terms of one run in their order.
    fn of_run(terms: &[f64], at_least: usize) -> Self {
        let n = terms.len();
        let alike = independent(terms);
        let length = length(terms).max(at_least).min(n / FEWEST);
        if length < 2 {
            let variance = if n < 2 { f64::INFINITY } else { alike * n as f64 };
            return Self { variance, freedom: n.saturating_sub(1).max(1) as f64 };
        }
        let whole = overlapping(terms, length);
        let long_run =
            if length >= 3 { 2.0 * whole - overlapping(terms, length / 3) } else { whole };
        // The correction is for terms that pull in one direction.
        let long_run = long_run.max(whole);
        Self {
            variance: long_run * n as f64,
            freedom: (n / length).saturating_sub(1).max(1) as f64,
        }
    }
}

/// The variance of a term, as if terms were independent.
fn independent(terms: &[f64]) -> f64 {
    let n = terms.len() as f64;
    let mean = terms.iter().sum::<f64>() / n;
    terms.iter().map(|term| (term - mean) * (term - mean)).sum::<f64>() / (n - 1.0).max(1.0)
}

/// The long-run variance of a term from all batches of `length` neighbours.
fn overlapping(terms: &[f64], length: usize) -> f64 {
    let (n, b) = (terms.len() as f64, length as f64);
    let mean = terms.iter().sum::<f64>() / n;
    let mut sum: f64 = terms[..length].iter().sum();
    let mut squares = (sum / b - mean).powi(2);
    for (gone, come) in terms.iter().zip(&terms[length..]) {
        sum += come - gone;
        squares += (sum / b - mean).powi(2);
    }
    n * b / ((n - b) * (n - b + 1.0)) * squares
}

/// How many neighbours a batch needs, by the first autocorrelation of the terms.
fn length(terms: &[f64]) -> usize {
    let n = terms.len() as f64;
    let mean = terms.iter().sum::<f64>() / n;
    let square: f64 = terms.iter().map(|term| (term - mean).powi(2)).sum();
    let next: f64 = terms.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    let rho = if square > 0.0 { (next / square).clamp(0.0, 0.97) } else { 0.0 };
    let scale = 2.0 * rho / (1.0 - rho * rho);
    let asked = (1.5 * scale * scale * n).cbrt().max(n.cbrt());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    let asked = asked.ceil() as usize;
    asked
}
