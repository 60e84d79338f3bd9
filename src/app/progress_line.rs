//! How far a run is: a line of the terminal that is drawn again and again, or a line of its own every few seconds.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::reporter::{self, Reporter};
use crate::engine::event::{RunEvent, Subscribers, Wants};
use crate::engine::progress::Snapshot;
use crate::engine::system;
use crate::output::terminal::Ui;

/// Bytes of ticks that wait at most.
const BACKLOG: u64 = 16 << 10;

/// How long the line may take to go: a terminal that was stopped with Ctrl-S takes nothing, and the results do not wait
/// for it.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// Time from one line to the next where there is no terminal: often enough for those who watch a log.
const LINES_EVERY: Duration = Duration::from_secs(10);

/// Columns from which on there is room for a bar beside the figures.
const WIDE: usize = 100;

/// Columns of the bar and of what stands around it.
const BAR: usize = 19;

/// Steps of the bar.
const STEPS: u64 = 1000;

/// Columns of a terminal that does not say.
const COLUMNS: usize = 80;

/// Where a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Towards {
    /// So many requests.
    Requests(usize),
    /// The end of this time.
    Time(Duration),
}

impl Towards {
    /// The share of the way that lies behind.
    fn share(self, at: &Snapshot) -> f64 {
        let share = match self {
            Self::Requests(n) => at.done as f64 / n.max(1) as f64,
            Self::Time(lasts) => at.elapsed.as_secs_f64() / lasts.as_secs_f64().max(1e-9),
        };
        share.clamp(0.0, 1.0)
    }

    /// What there is to see, the most important first.
    fn pieces(self, at: &Snapshot) -> Vec<String> {
        let seconds = at.elapsed.as_secs_f64().max(1e-3);
        let (done, share) = (at.done, self.share(at));
        let place = match self {
            Self::Requests(n) => format!("{done}/{n}"),
            Self::Time(lasts) => format!("of {}, {done} done", length(lasts)),
        };
        let mut pieces = vec![format!("{:.0} % {place}", share * 100.0)];
        let left = match (self, &at.ending) {
            (_, Some(why)) => {
                pieces.push(format!("ending: {why}"));
                None
            }
            (Self::Time(lasts), None) => Some(lasts.saturating_sub(at.elapsed)),
            // As fast as until now.
            (Self::Requests(_), None) => (share > 0.0)
                .then(|| Duration::try_from_secs_f64(seconds * (1.0 / share - 1.0)).ok())
                .flatten(),
        };
        pieces.extend(left.map(|left| format!("{} left", length(left))));
        pieces.push(format!("{} failed", at.failed));
        pieces.push(format!("{:.1} req/s", done as f64 / seconds));
        if let Some(ttft) = at.ttft {
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            pieces.push(format!("TTFT p50 {:.0} p99 {:.0} ms", ms(ttft.median), ms(ttft.p99)));
        }
        pieces.push(format!("{} in flight", at.in_flight));
        pieces.push(format!("{:.0} tok/s", at.tokens as f64 / seconds));
        pieces
    }
}

/// A length of time for people who wait.
fn length(time: Duration) -> String {
    match time.as_secs() {
        0..120 => format!("{} s", time.as_secs()),
        120..7200 => format!("{} min", time.as_secs() / 60),
        _ => format!("{:.1} h", time.as_secs_f64() / 3600.0),
    }
}

/// As many of `pieces` as fit into `width` columns, at least one.
fn fitting(pieces: &[String], width: usize) -> String {
    let mut line = String::new();
    for piece in pieces {
        if !line.is_empty() {
            if line.len() + 2 + piece.len() > width {
                break;
            }
            line += ", ";
        }
        line += piece;
    }
    line
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// As one line of the terminal.
    Bar,
    /// As a line of its own every few seconds.
    Lines,
}

/// The bar, while a run goes on.
struct Bar {
    bar: ProgressBar,
    /// Whether there is room for more than the figures.
    wide: bool,
}

/// The line, while a run goes on.
struct Line {
    towards: Towards,
    shown: Shown,
    ui: Ui,
    bar: Option<Bar>,
    /// When the next line of its own is due.
    next: Duration,
    /// Dropped when the line is gone.
    _here: mpsc::Sender<()>,
}

impl Line {
    /// Draws the bar for a terminal of so many columns.
    fn draw(&mut self, at: &Snapshot, columns: usize) {
        let wide = columns >= WIDE;
        if self.bar.as_ref().is_none_or(|bar| bar.wide != wide) {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let bar = match self.bar.take() {
                Some(bar) => bar.bar,
                None => ProgressBar::with_draw_target(Some(STEPS), target),
            };
            let template = match (wide, self.ui.color()) {
                (true, true) => "[{bar:16.cyan/blue}] {wide_msg}",
                (true, false) => "[{bar:16}] {wide_msg}",
                (false, _) => "{wide_msg}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            self.bar = Some(Bar { bar, wide });
        }
        let Some(Bar { bar, .. }) = &self.bar else { return };
        let room = columns.saturating_sub(if wide { BAR } else { 0 });
        bar.set_message(fitting(&self.towards.pieces(at), room));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to STEPS")]
        bar.set_position((self.towards.share(at) * STEPS as f64) as u64);
    }

    /// The line of its own that is due, if one is.
    fn due(&mut self, at: &Snapshot) -> Option<String> {
        if at.elapsed < self.next {
            return None;
        }
        // Those that nobody had the time for are left out.
        while self.next <= at.elapsed {
            self.next += LINES_EVERY;
        }
        Some(format!("{}: {}", length(at.elapsed), fitting(&self.towards.pieces(at), usize::MAX)))
    }

    fn clear(&mut self) {
        if let Some(Bar { bar, .. }) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Reporter for Line {
    type Found = ();
    const THREAD: &'static str = "rbench-progress";
    const WANTS: Wants = Wants { sends: false, ends: None, ticks: true };

    fn hear(&mut self, event: RunEvent) {
        match (event, self.shown) {
            (RunEvent::Tick(snapshot), Shown::Bar) => {
                self.draw(&snapshot, system::columns().unwrap_or(COLUMNS));
            }
            (RunEvent::Tick(snapshot), Shown::Lines) => {
                if let Some(line) = self.due(&snapshot) {
                    self.ui.status(&line);
                }
            }
            (RunEvent::Finished, _) => self.clear(),
            (RunEvent::Started(_) | RunEvent::Sent { .. } | RunEvent::Ended { .. }, _) => {}
        }
    }

    fn end(mut self, _: u64) {
        self.clear();
    }
}

/// A line that was started; dropping it waits until the line is gone, so all subscriptions are to be ended before.
#[derive(Debug)]
pub(super) struct ProgressLine {
    /// Ends when the line is gone.
    gone: mpsc::Receiver<()>,
}

impl ProgressLine {
    /// Shows on stderr how far a run is, from the start of the load to its end. A bar draws nothing if stderr is no
    /// terminal.
    ///
    /// # Errors
    /// If no thread can be made.
    pub(super) fn start(
        towards: Towards,
        shown: Shown,
        ui: Ui,
        subscribers: &mut Subscribers,
    ) -> io::Result<Self> {
        let (here, gone) = mpsc::channel();
        let line = Line { towards, shown, ui, bar: None, next: LINES_EVERY, _here: here };
        reporter::start(line, BACKLOG, subscribers)?;
        Ok(Self { gone })
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        // A line that cannot be taken away stays.
        let _ = self.gone.recv_timeout(GONE_WITHIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::progress::Ttft;

    fn at(seconds: u64) -> Snapshot {
        let ms = Duration::from_millis;
        Snapshot {
            elapsed: Duration::from_secs(seconds),
            done: 100,
            failed: 3,
            in_flight: 22,
            tokens: 1938 * seconds,
            ttft: Some(Ttft { median: ms(12), p99: ms(340) }),
            ending: None,
        }
    }

    #[test]
    fn what_matters_stays_where_there_is_little_room() {
        let pieces = Towards::Requests(300).pieces(&at(10));
        for (width, line) in [
            (10, "33 % 100/300"),
            (40, "33 % 100/300, 20 s left, 3 failed"),
            (60, "33 % 100/300, 20 s left, 3 failed, 10.0 req/s"),
            (
                120,
                "33 % 100/300, 20 s left, 3 failed, 10.0 req/s, TTFT p50 12 p99 340 ms, 22 in flight, 1938 tok/s",
            ),
        ] {
            assert_eq!(fitting(&pieces, width), line);
        }
    }

    #[test]
    fn runs_over_a_time_and_runs_that_are_ended() {
        let towards = Towards::Time(Duration::from_mins(10));
        let line = fitting(&towards.pieces(&at(540)), 60);
        assert_eq!(line, "90 % of 10 min, 100 done, 60 s left, 3 failed, 0.2 req/s");
        let ending = Some("interrupted by SIGINT".to_owned());
        let line = fitting(&towards.pieces(&Snapshot { ending, ..at(540) }), 70);
        assert_eq!(line, "90 % of 10 min, 100 done, ending: interrupted by SIGINT, 3 failed");
        let before = Towards::Requests(3).pieces(&Snapshot::default());
        assert_eq!(fitting(&before, 30), "0 % 0/3, 0 failed, 0.0 req/s");
    }

    #[test]
    fn lines_come_in_their_time() {
        let (here, _gone) = mpsc::channel();
        let mut line = Line {
            towards: Towards::Requests(300),
            shown: Shown::Lines,
            ui: Ui::new(),
            bar: None,
            next: LINES_EVERY,
            _here: here,
        };
        let due: Vec<bool> =
            [1, 9, 10, 11, 35, 36, 40].iter().map(|&s| line.due(&at(s)).is_some()).collect();
        assert_eq!(due, [false, false, true, false, true, false, true]);
        let text = line.due(&at(50)).unwrap();
        assert!(text.starts_with("50 s: 33 % 100/300, 100 s left, 3 failed, "), "{text}");
    }
}
