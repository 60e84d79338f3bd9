//! `rbench selftest`: how true the client's times are on this host, and how much it can read.
//!
//! Each run is one of `dispatch`, as in `serve`, against an engine in a process of its own whose log has the true times.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::save;
use crate::analysis::ceiling::{self, Host};
use crate::cli::selftest::SelftestArgs;
use crate::engine::progress::Progress;
use crate::engine::system;
use crate::engine::transport::Endpoint;
use crate::engine::{self, Ran};
use crate::error::{Error, Kind};
use crate::health::ClockSource;
use crate::mock::truth::{self, Line};
use crate::model::{Prompt, Row};
use crate::output::terminal::Ui;
use crate::protocol::backend::{Backend, Common, Sampling, Style};
use crate::selftest::compare::compare;
use crate::selftest::{Case, Findings, Purpose, Setup};
use crate::workload::plan::{self, Encoder};

/// The pace of a stream: one event in this time.
const ITL: Duration = Duration::from_millis(20);

/// The pace of streams that only are to be there.
const SLOW_ITL: Duration = Duration::from_millis(250);

/// Twice the load has to bring so much more for the search to go on.
const RISE: f64 = 1.05;

/// Threads of the server at most: more only matter where the client has as many.
const SERVER_THREADS: usize = 4;

/// How long and how large the runs are.
#[derive(Debug)]
struct Scale {
    /// Streams of the runs for errors.
    streams: Vec<usize>,
    /// Streams at once at most.
    most: usize,
    /// Events of a stream at most.
    events: usize,
    /// Length that a run is to have where the host cannot keep up.
    seconds: f64,
}

/// `rbench selftest`.
pub(super) fn selftest(args: &SelftestArgs, ui: Ui) -> Result<(), Error> {
    save::check("--json", args.json.as_deref())?;
    let scale = scale(args)?;
    let host = Host::here();
    if host.build == "debug" {
        ui.warn("this is a build without optimizations: what it finds does not hold for a release");
    }
    let mut test = Test {
        client_threads: args.worker_threads,
        server_threads: host.cpus.saturating_sub(args.worker_threads).clamp(1, SERVER_THREADS),
        cases: Vec::new(),
        ui,
    };
    test.errors(&scale, host.cpus)?;
    test.events(&scale)?;
    test.streams(&scale)?;
    let findings = Findings {
        host,
        date: jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        client_threads: test.client_threads,
        server_threads: test.server_threads,
        cases: test.cases,
    };
    let printed = ui
        .data(&findings.table())
        .map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error));
    if let Some(path) = &args.json {
        save::append(path, &findings.line())?;
        ui.status(&format!("result appended to {}", path.display()));
    }
    keep(&findings, ui);
    printed?;
    judge(&findings, args.max_error)
}

/// Lengths and sizes that the words ask for.
fn scale(args: &SelftestArgs) -> Result<Scale, Error> {
    let room = system::room(system::raise_descriptors());
    let default: &[usize] = if args.quick { &[50, 500] } else { &[50, 500, 2000] };
    let most = args.max_streams.unwrap_or(if args.quick { 4096 } else { 16_384 });
    let fits = |n: usize| n as u64 <= room;
    let refused = |flag: &str, n: usize| {
        Err(Error::new(
            Kind::Usage,
            format!("{flag} {n}: the limit of file descriptors leaves room for {room} streams"),
        )
        .hint("ask for fewer, or raise the hard limit (ulimit -Hn)"))
    };
    if let Some(&n) = args.streams.iter().find(|n| !fits(**n)) {
        return refused("--streams", n);
    }
    if let Some(n) = args.max_streams.filter(|n| !fits(*n)) {
        return refused("--max-streams", n);
    }
    let most = most.min(usize::try_from(room).unwrap_or(usize::MAX));
    let streams = if args.streams.is_empty() {
        default.iter().copied().filter(|n| *n <= most).collect()
    } else {
        args.streams.clone()
    };
    let (events, seconds) = if args.quick { (25, 0.6) } else { (100, 2.0) };
    Ok(Scale { streams, most, events, seconds })
}

/// A self-test under way.
#[derive(Debug)]
struct Test {
    client_threads: usize,
    server_threads: usize,
    cases: Vec<Case>,
    ui: Ui,
}

impl Test {
    /// The runs for errors: each load with the kernel's clock and with the program's own, on idle and on busy cores.
    fn errors(&mut self, scale: &Scale, cpus: usize) -> Result<(), Error> {
        let smallest = scale.streams.iter().min().copied();
        let loads = scale.streams.iter().map(|&streams| (Purpose::Errors, streams, 0));
        // One more than there are cores, so that each has somebody who wants it.
        let busy = smallest.map(|streams| (Purpose::BusyErrors, streams, cpus + 1));
        for (purpose, streams, busy) in loads.chain(busy) {
            for clock in [ClockSource::Kernel, ClockSource::User] {
                let events = self.affordable(scale, streams).clamp(10, scale.events);
                self.run(Setup { purpose, streams, events, itl: ITL, clock, busy })?;
            }
        }
        Ok(())
    }

    /// Doubles the load until no more comes of it.
    fn events(&mut self, scale: &Scale) -> Result<(), Error> {
        let purpose = Purpose::Events;
        let tried = |case: &&Case| case.setup.purpose == Purpose::Errors;
        let mut streams =
            self.cases.iter().filter(tried).map(|case| case.setup.streams).max().unwrap_or(25);
        while streams < scale.most {
            let best = self.best();
            streams = (streams * 2).min(scale.most);
            let events = self.affordable(scale, streams).clamp(10, scale.events);
            let clock = ClockSource::Kernel;
            self.run(Setup { purpose, streams, events, itl: ITL, clock, busy: 0 })?;
            if self.best() < best * RISE {
                break;
            }
        }
        Ok(())
    }

    /// Tries the most streams at once, and half as many until none fails.
    fn streams(&mut self, scale: &Scale) -> Result<(), Error> {
        let clean = |test: &Self| {
            let clean = test.cases.iter().filter(|case| case.clean());
            clean.map(|case| case.setup.streams).max().unwrap_or(0)
        };
        let mut streams = scale.most;
        while streams > clean(self) {
            let events = self.affordable(scale, streams).clamp(2, 8);
            self.run(Setup {
                purpose: Purpose::Streams,
                streams,
                events,
                itl: SLOW_ITL,
                clock: ClockSource::Kernel,
                busy: 0,
            })?;
            streams /= 2;
        }
        Ok(())
    }

    /// Events per stream for which a host that cannot keep up needs the time that a run is to have.
    fn affordable(&self, scale: &Scale, streams: usize) -> usize {
        let reachable = self
            .cases
            .iter()
            .filter(|case| case.setup.busy == 0)
            .map(Case::reachable_per_s)
            .fold(0.0, f64::max);
        if reachable == 0.0 {
            return scale.events;
        }
        // Bounded by the clamps of the callers; a float becomes the nearest number that fits.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let events = (reachable * scale.seconds / streams as f64) as usize;
        events
    }

    /// Most events per second so far.
    fn best(&self) -> f64 {
        let idle = self.cases.iter().filter(|case| case.setup.busy == 0);
        idle.map(|case| case.events_per_s).fold(0.0, f64::max)
    }

    /// One run.
    fn run(&mut self, setup: Setup) -> Result<(), Error> {
        let what = if setup.busy > 0 {
            format!(" beside {} busy loops", setup.busy)
        } else {
            String::new()
        };
        self.ui.status(&format!(
            "{} streams of {} events, one in {} ms, {} clock{what}",
            setup.streams,
            setup.events,
            setup.itl.as_millis(),
            setup.clock.name(),
        ));
        let case = measure(setup, self.client_threads, self.server_threads)?;
        if !case.clean() {
            self.ui.warn(&format!(
                "{} requests failed, and {} have no line in the server's log that fits",
                case.compared.failed, case.compared.unmatched
            ));
        }
        self.cases.push(case);
        Ok(())
    }
}

/// Runs a load against an engine of its own, and compares.
fn measure(setup: Setup, client_threads: usize, server_threads: usize) -> Result<Case, Error> {
    let failed = |what: &str| Error::new(Kind::System, format!("cannot start {what}"));
    let backend = Backend::find("vllm").ok_or_else(|| failed("the load"))?;
    let log = Scratch::new();
    let pace = format!("{}us", setup.itl.as_micros());
    let engine = Engine::start_with(&[
        "--truth",
        &log.0.to_string_lossy(),
        "--ttft",
        &pace,
        "--itl",
        &pace,
        "--max-batch",
        &setup.streams.to_string(),
        "--threads",
        &server_threads.to_string(),
    ])?;
    let encoder = Encoder {
        protocol: backend.protocol,
        common: Arc::new(Common {
            model: crate::mock::MODEL.to_owned(),
            stream: true,
            ignore_eos: true,
            extra: serde_json::Map::new(),
            sampling: Sampling::default(),
            style: Style::default(),
        }),
        render: None,
    };
    let url = format!("{}{}", engine.url(), backend.path);
    let endpoint = [Arc::new(Endpoint::bare(&url, backend.protocol)?)];
    let options =
        engine::Options { threads: client_threads, clock: setup.clock, ..Default::default() };
    let row = Row::new(Prompt::Text("Hello".to_owned()), 1, setup.events);
    // Pages and caches are warm when it counts; these requests have no keys, so the comparison passes them over.
    let warm_up = plan::warmup(&row, setup.streams.min(8), &encoder);
    engine::run(warm_up, &endpoint, &options, &Progress::new())
        .map_err(|error| failed("the warm-up").because(error))?;
    let rows = (0..setup.streams)
        .map(|i| Row { routing_key: Some(i.to_string().into()), ..row.clone() })
        .collect();
    let plan = plan::build(rows, &vec![Duration::ZERO; setup.streams], &encoder);
    let loops =
        BusyLoops::start(setup.busy).map_err(|error| failed("busy loops").because(error))?;
    let before = cpu_of(engine.pid());
    let ran = engine::run(plan, &endpoint, &options, &Progress::new());
    let after = cpu_of(engine.pid());
    drop(loops);
    let Ran { records, health, started, ended_early: _ } =
        ran.map_err(|error| failed("a run").because(error))?;
    let start_ns = monotonic_at(started);
    // Its log is complete once it has ended.
    engine.end()?;
    let lines = read(&log.0)?;
    let threads = u32::try_from(server_threads).unwrap_or(1);
    let server_cpu =
        before.zip(after).map(|(before, after)| after.saturating_sub(before) / threads);
    let compared = compare(&records, &lines, start_ns);
    Ok(Case::new(setup, &records, &health, compared, server_cpu))
}

/// Reads the server's log.
fn read(path: &Path) -> Result<Vec<Line>, Error> {
    let fail = |what: String| {
        Error::new(Kind::System, format!("the server's log {} {what}", path.display()))
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| fail("cannot be read".to_owned()).because(error))?;
    text.lines()
        .enumerate()
        .map(|(i, line)| {
            serde_json::from_str(line)
                .map_err(|error| fail(format!("is broken in line {}", i + 1)).because(error))
        })
        .collect()
}

/// `instant` on the clock of the server's log, in ns.
fn monotonic_at(instant: Instant) -> u64 {
    // The closest of several looks at both clocks.
    let look = || {
        let (before, now, after) = (truth::monotonic_ns(), Instant::now(), truth::monotonic_ns());
        let ago = u64::try_from(now.saturating_duration_since(instant).as_nanos());
        (after - before, (before + (after - before) / 2).saturating_sub(ago.unwrap_or(u64::MAX)))
    };
    (0..5).map(|_| look()).min().unwrap_or_else(look).1
}

/// CPU time of all threads of a process; `None` if the system does not tell.
fn cpu_of(pid: u32) -> Option<Duration> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut sum = 0;
    for thread in threads {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        sum += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(sum))
}

/// Keeps the ceilings for later runs of `serve`; that they cannot be kept is no failure of the test.
fn keep(findings: &Findings, ui: Ui) {
    let Some(ceiling) = findings.ceiling() else { return };
    let Some(path) = ceiling::file(|name| std::env::var(name).ok()) else {
        ui.warn(&format!(
            "the ceiling is not kept: neither {}, XDG_CACHE_HOME nor HOME is set",
            ceiling::FOLDER_VARIABLE
        ));
        return;
    };
    match ceiling::write(&path, &ceiling) {
        Ok(()) => ui.status(&format!("ceiling kept in {}", path.display())),
        Err(error) => ui.warn(&format!("the ceiling is not kept: {error}")),
    }
}

/// Holds the errors against `--max-error`.
fn judge(findings: &Findings, bound: Option<Duration>) -> Result<(), Error> {
    let Some(bound) = bound else { return Ok(()) };
    let bound_us = bound.as_secs_f64() * 1e6;
    match findings.worst_us() {
        Some(worst) if worst <= bound_us => Ok(()),
        worst => {
            let found = worst.map_or_else(
                || "there is none to compare".to_owned(),
                |worst| format!("is {worst:.0} us"),
            );
            Err(Error::new(
                Kind::Inaccurate,
                format!("--max-error {bound_us:.0} us: the largest 99th percentile {found}"),
            ))
        }
    }
}

/// A file for the server's log; removed when dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("rbench-selftest-{}.jsonl", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Threads that want the CPU and do nothing with it, until dropped.
#[derive(Debug)]
struct BusyLoops {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl BusyLoops {
    fn start(n: usize) -> std::io::Result<Self> {
        let mut loops = Self { stop: Arc::default(), threads: Vec::with_capacity(n) };
        for _ in 0..n {
            let stop = loops.stop.clone();
            let spin = move || {
                while !stop.load(Relaxed) {
                    std::hint::spin_loop();
                }
            };
            loops.threads.push(std::thread::Builder::new().name("busy".into()).spawn(spin)?);
        }
        Ok(loops)
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // A loop has nothing to tell.
            let _ = thread.join();
        }
    }
}
