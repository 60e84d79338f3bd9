//! A curve as lines of text for a terminal, without colour.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

/// Columns of a plot.
pub const WIDTH: u16 = 80;

/// Rows of a plot, its axes included.
const HEIGHT: u16 = 14;

/// Most points that a plot can show side by side.
pub const POINTS: usize = 2 * (WIDTH as usize - 10);

/// A plot of `values` over `x_end_s` seconds from 0 on, with `title` above; each line has a line end.
///
/// Each value stands for an equal slice of the time and is drawn at its middle.
pub fn plot(title: &str, values: &[f64], slice_s: f64, x_end_s: f64) -> String {
    let points: Vec<(f64, f64)> =
        values.iter().enumerate().map(|(i, &y)| ((i as f64 + 0.5) * slice_s, y)).collect();
    let top = values.iter().copied().fold(0.0, f64::max);
    // A flat line at 0 needs some height too.
    let top = if top > 0.0 { top } else { 1.0 };
    let right = points.last().map_or(x_end_s, |&(x, _)| x.max(x_end_s));
    let ticks = |end: f64, unit: &str| [0.0, end / 2.0, end].map(|x| number(x) + unit);
    let line = Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).data(&points);
    let chart = Chart::new(vec![line])
        .x_axis(Axis::default().bounds([0.0, right]).labels(ticks(right, " s")))
        .y_axis(Axis::default().bounds([0.0, top]).labels(ticks(top, "")));
    let area = Rect::new(0, 0, WIDTH, HEIGHT);
    let mut buffer = Buffer::empty(area);
    chart.render(area, &mut buffer);
    let rows = buffer.content().chunks(usize::from(WIDTH));
    let rows = rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>());
    let mut out = format!("{title}\n");
    for row in rows {
        out += row.trim_end();
        out.push('\n');
    }
    out
}

/// Few digits, as many as small numbers need.
fn number(x: f64) -> String {
    let digits = match x {
        x if x >= 100.0 || x == 0.0 => 0,
        x if x >= 10.0 => 1,
        _ => 2,
    };
    format!("{x:.digits$}")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_ramp() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        expect![[r"
            Requests in flight
            100 │                                                                     ⢀⣀⠤⠔⠒⠉
                │                                                               ⢀⣀⠤⠔⠒⠉⠁
                │                                                        ⢀⣀⠤⠔⠒⠉⠉⠁
                │                                                   ⣀⡠⠔⠒⠉⠁
                │                                            ⣀⡠⠤⠒⠊⠉⠉
                │                                      ⣀⡠⠤⠒⠊⠉
            50.0│                               ⢀⣀⠤⠔⠒⠉⠉
                │                         ⣀⣀⠤⠔⠒⠉⠁
                │                   ⣀⡠⠤⠒⠊⠉
                │            ⣀⣀⡠⠤⠒⠊⠉
                │      ⢀⣀⠤⠔⠊⠉
            0   │⢀⣀⠤⠔⠒⠉⠁
                └───────────────────────────────────────────────────────────────────────────
              0 s                                   5.03 s                            10.1 s
        "]]
        .assert_eq(&plot("Requests in flight", &values, 0.1, 10.0));
    }

    #[test]
    fn every_curve_fits() {
        for (values, slice_s) in [
            (vec![0.0], 1.0),
            (vec![5.0], 0.001),
            (vec![1e9; POINTS + 1], 1e6),
            (vec![0.0, 1e-9, 3.0], 10.0),
        ] {
            let text = plot("x", &values, slice_s, slice_s * values.len() as f64);
            assert_eq!(text.lines().count(), usize::from(HEIGHT) + 1);
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{text}");
            assert!(text.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "{text}");
        }
    }
}
