//! The line on the terminal that shows how far a run is.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::reporter::{self, Reporter};
use crate::engine::event::{RunEvent, Subscribers, Wants};
use crate::engine::progress::Snapshot;

/// Bytes of ticks that wait at most.
const BACKLOG: u64 = 16 << 10;

/// How long the line may take to go: a terminal that was stopped with Ctrl-S takes nothing, and the results do not wait
/// for it.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// Where a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Towards {
    /// So many requests.
    Requests(usize),
    /// The end of this time.
    Time(Duration),
}

impl Towards {
    /// How far a run is, and what the line says of it.
    fn shown(self, at: &Snapshot) -> (u64, String) {
        let done = at.done;
        let (position, mut text) = match self {
            Self::Requests(n) => (done, format!("{done}/{n}")),
            Self::Time(lasts) => {
                let position = at.elapsed.as_secs().min(lasts.as_secs());
                (position, format!("of {lasts:?}, {done} done"))
            }
        };
        let seconds = at.elapsed.as_secs_f64().max(1e-3);
        text += &format!(
            ", {} failed, {:.1} req/s, {:.0} tok/s",
            at.failed,
            done as f64 / seconds,
            at.tokens as f64 / seconds,
        );
        if let Some(ttft) = at.ttft {
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            text += &format!(", TTFT p50 {:.0} p99 {:.0} ms", ms(ttft.median), ms(ttft.p99));
        }
        text += &format!(", {} in flight", at.in_flight);
        if let Some(why) = &at.ending {
            text += &format!(", ending: {why}");
        }
        (position, text)
    }

    /// The position at its end.
    fn end(self) -> u64 {
        match self {
            Self::Requests(n) => n as u64,
            Self::Time(lasts) => lasts.as_secs(),
        }
    }
}

/// The line, while a run goes on.
struct Line {
    towards: Towards,
    color: bool,
    bar: Option<ProgressBar>,
    /// Dropped when the line is gone.
    _here: mpsc::Sender<()>,
}

impl Line {
    fn draw(&self) -> ProgressBar {
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let bar = ProgressBar::with_draw_target(Some(self.towards.end()), target);
        let template = if self.color {
            "{elapsed} [{bar:16.cyan/blue}] {wide_msg}"
        } else {
            "{elapsed} [{bar:16}] {wide_msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Reporter for Line {
    type Found = ();
    const THREAD: &'static str = "rbench-progress";
    const WANTS: Wants = Wants { sends: false, ends: None, ticks: true };

    fn hear(&mut self, event: RunEvent) {
        match event {
            RunEvent::Started(_) => self.bar = Some(self.draw()),
            RunEvent::Tick(snapshot) => {
                if let Some(bar) = &self.bar {
                    let (position, text) = self.towards.shown(&snapshot);
                    bar.set_message(text);
                    bar.set_position(position);
                }
            }
            RunEvent::Finished => self.clear(),
            RunEvent::Sent { .. } | RunEvent::Ended { .. } => {}
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
    /// Draws the line on stderr from the start of the load to its end. Draws nothing if stderr is no terminal.
    ///
    /// # Errors
    /// If no thread can be made.
    pub(super) fn start(
        towards: Towards,
        color: bool,
        subscribers: &mut Subscribers,
    ) -> io::Result<Self> {
        let (here, gone) = mpsc::channel();
        let line = Line { towards, color, bar: None, _here: here };
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

    #[test]
    fn what_the_line_says() {
        let ms = Duration::from_millis;
        let mut at = Snapshot {
            elapsed: ms(2000),
            done: 5,
            failed: 1,
            in_flight: 3,
            tokens: 640,
            ttft: Some(Ttft { median: ms(12), p99: ms(340) }),
            ending: None,
        };
        let (position, text) = Towards::Requests(40).shown(&at);
        let rest = "1 failed, 2.5 req/s, 320 tok/s, TTFT p50 12 p99 340 ms, 3 in flight";
        assert_eq!((position, text), (5, format!("5/40, {rest}")));
        at.ending = Some("interrupted by SIGINT".to_owned());
        let (position, text) = Towards::Time(Duration::from_secs(1)).shown(&at);
        let text_then = format!("of 1s, 5 done, {rest}, ending: interrupted by SIGINT");
        assert_eq!((position, text), (1, text_then));
        let (_, text) = Towards::Requests(40).shown(&Snapshot::default());
        assert_eq!(text, "0/40, 0 failed, 0.0 req/s, 0 tok/s, 0 in flight");
    }
}
