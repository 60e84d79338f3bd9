//! Rows of tables.

use crate::analysis::metric::Figure;

/// Width of headings and of the rule at the end.
pub(super) const WIDTH: usize = 50;

/// A heading between dashes.
pub(super) fn heading(text: &str) -> String {
    format!("{text:-^WIDTH$}\n")
}

/// A label and its value, padded to their columns.
pub(super) fn line(label: &str, value: &str) -> String {
    format!("{label:<40} {value:<10}\n")
}

/// A figure as the table shows it; `n/a` where there was nothing to compute it from.
pub(super) fn value(figure: Figure) -> String {
    match figure {
        Figure::Count(n) => n.to_string(),
        Figure::Real(x) => format!("{x:.2}"),
        Figure::Absent => "n/a".to_owned(),
    }
}
