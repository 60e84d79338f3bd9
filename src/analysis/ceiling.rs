//! What this host can read at most, as `rbench selftest` last found, and how far below that a run stayed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::analysis::stats::BySecond;
use crate::error::{Error, Kind};
use crate::model::RequestRecord;

/// The variable that names the folder to keep ceilings in.
pub const FOLDER_VARIABLE: &str = "RBENCH_CACHE";

/// The machine and the program that a ceiling is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Name of the machine.
    pub host: String,
    /// Cores that this program may use.
    pub cpus: usize,
    /// Version of this program.
    pub version: String,
    /// `release`, or `debug` for a build without optimizations.
    pub build: String,
}

impl Host {
    /// This program on this machine.
    pub fn here() -> Self {
        let name = nix::unistd::gethostname().ok();
        Self {
            host: name.and_then(|name| name.into_string().ok()).unwrap_or_default(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        }
    }
}

/// What a host could do at most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// The host.
    #[serde(flatten)]
    pub host: Host,
    /// When it was measured, in RFC 3339.
    pub date: String,
    /// Threads of the client.
    pub worker_threads: usize,
    /// Most events with output per second, with a server on the same host.
    pub events_per_s: f64,
    /// Streams of the run that gave them.
    pub events_at_streams: usize,
    /// What held it there: `client`, `server`, `cores`, or `load` if more was not tried.
    pub limit: String,
    /// Most streams at once of which none failed.
    pub streams: usize,
}

/// How far a run stayed below the ceiling.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headroom {
    /// Events with output in the busiest second of the run; `None` if nothing is known.
    pub events_per_s: Option<f64>,
    /// The last ceiling known of this host.
    pub ceiling: Option<Ceiling>,
}

impl Headroom {
    /// That of a run with these arrivals under `ceiling`.
    pub fn of(arrivals: &Arrivals, ceiling: Option<Ceiling>) -> Self {
        Self { events_per_s: arrivals.busiest_second(), ceiling }
    }

    /// The ceiling over the events per second: how many times as much this host could have read.
    pub fn factor(&self) -> Option<f64> {
        Some(self.ceiling.as_ref()?.events_per_s / self.events_per_s.filter(|n| *n > 0.0)?)
    }
}

/// How many events with output came in each second of a run.
#[derive(Debug, Clone)]
pub struct Arrivals {
    /// When the first second begins, in ns since the start of the run.
    origin: u64,
    seconds: BySecond,
    /// How many in all.
    events: u64,
    /// The first and the last of them, in ns since the start of the run.
    ends: Option<(u64, u64)>,
}

/// In ns.
const SECOND: u64 = 1_000_000_000;

impl Arrivals {
    /// None yet; seconds are counted from `origin`, since the start of the run.
    pub fn from(origin: Duration) -> Self {
        let origin = u64::try_from(origin.as_nanos()).unwrap_or(u64::MAX);
        Self { origin, seconds: BySecond::default(), events: 0, ends: None }
    }

    /// Adds those of `record`.
    pub fn add(&mut self, record: &RequestRecord) {
        for &at in &record.events.at_ns {
            let (first, last) = self.ends.unwrap_or((at, at));
            self.ends = Some((first.min(at), last.max(at)));
            self.seconds.add(at.saturating_sub(self.origin) / SECOND, 1);
        }
        self.events += record.events.len() as u64;
    }

    /// Adds those of `other`, whose seconds begin at the same instant.
    pub fn merge(&mut self, other: &Self) {
        self.seconds.merge(&other.seconds);
        self.events += other.events;
        if let Some((first, last)) = other.ends {
            let (ours, till) = self.ends.unwrap_or((first, last));
            self.ends = Some((first.min(ours), last.max(till)));
        }
    }

    /// Events in the fullest second; where all took less than a second, their number over that time.
    fn busiest_second(&self) -> Option<f64> {
        let (first, last) = self.ends?;
        if last - first < SECOND {
            let span = (last - first) as f64 / SECOND as f64;
            return (span > 0.0).then(|| self.events as f64 / span);
        }
        Some(self.seconds.most() as f64)
    }
}

/// The file that holds the ceiling, by the variables of the environment; `None` if they name no place.
pub fn file(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set(FOLDER_VARIABLE)
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("rbench")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/rbench")))?;
    Some(folder.join("ceiling.json"))
}

/// Reads the ceiling of `host` from `path`; `None` if there is none, or one of another host or program.
///
/// # Errors
/// If there is a file, and it is no ceiling.
pub fn read(path: &Path, host: &Host) -> Result<Option<Ceiling>, Error> {
    let fail = || Error::new(Kind::Input, format!("{} is no ceiling", path.display()));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail().because(error)),
    };
    let ceiling: Ceiling = serde_json::from_str(&text).map_err(|error| {
        fail().because(error).hint("run rbench selftest, which writes it anew, or delete it")
    })?;
    Ok((ceiling.host == *host && ceiling.events_per_s > 0.0).then_some(ceiling))
}

/// Writes `ceiling` to `path`, in the place of the one before.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, ceiling: &Ceiling) -> Result<(), Error> {
    let fail = |error: std::io::Error| {
        Error::new(Kind::System, format!("cannot write {}", path.display())).because(error)
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    let text = serde_json::to_string_pretty(ceiling).map_err(|error| fail(error.into()))?;
    std::fs::write(path, text + "\n").map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::gather::Origins;
    use crate::model::PlannedRequest;

    fn ceiling() -> Ceiling {
        Ceiling {
            host: Host::here(),
            date: "2026-01-02T03:04:05+00:00".to_owned(),
            worker_threads: 1,
            events_per_s: 50_000.0,
            events_at_streams: 2000,
            limit: "server".to_owned(),
            streams: 16_000,
        }
    }

    fn record(at_ms: &[u64]) -> RequestRecord {
        let mut record = RequestRecord::unsent(&PlannedRequest {
            index: 0,
            due: Duration::ZERO,
            body: bytes::Bytes::new(),
            prompt_len: 1,
            vision_len: 0,
            routing_key: None,
            output_len: 1,
            conversation: None,
            asked: crate::model::Asked::default(),
        });
        for at in at_ms {
            record.events.push(0, at * 1_000_000, 1);
        }
        record
    }

    #[test]
    fn headroom() {
        for (records, expected) in [
            (&[][..], None),
            (&[&[][..]], None),
            (&[&[700]], None),
            // Four in half a second.
            (&[&[700, 900], &[800, 1200]], Some(8.0)),
            // Seconds count from the first event: 500 to 1500 has three.
            (&[&[500, 1600], &[1000, 1499, 2600]], Some(3.0)),
        ] {
            let records: Vec<RequestRecord> = records.iter().map(|at| record(at)).collect();
            let mut arrivals = Arrivals::from(Origins::of(&records).event);
            for record in &records {
                arrivals.add(record);
            }
            let headroom = Headroom::of(&arrivals, Some(ceiling()));
            assert_eq!(headroom.events_per_s, expected);
            assert_eq!(headroom.factor(), expected.map(|n| 50_000.0 / n));
            assert_eq!(Headroom::of(&arrivals, None).factor(), None);
        }
    }

    #[test]
    fn the_place_of_the_file() {
        for (set, expected) in [
            (&[][..], None),
            (&[("RBENCH_CACHE", ""), ("HOME", "")], None),
            (&[("HOME", "/h")], Some("/h/.cache/rbench/ceiling.json")),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")], Some("/c/rbench/ceiling.json")),
            (&[("XDG_CACHE_HOME", "/c"), ("RBENCH_CACHE", "/r")], Some("/r/ceiling.json")),
        ] {
            let variable = |name: &str| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(file(variable), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn a_ceiling_holds_for_its_host_and_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/ceiling.json");
        let here = Host::here();
        assert_eq!(read(&path, &here).unwrap(), None);
        write(&path, &ceiling()).unwrap();
        assert_eq!(read(&path, &here).unwrap(), Some(ceiling()));
        for other in [
            Host { host: format!("{}x", here.host), ..here.clone() },
            Host { cpus: here.cpus + 1, ..here.clone() },
            Host { version: "0.0.0".to_owned(), ..here.clone() },
            Host { build: "other".to_owned(), ..here.clone() },
        ] {
            assert_eq!(read(&path, &other).unwrap(), None, "{other:?}");
        }
        for text in ["", "{}", "[1]"] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path, &here).unwrap_err();
            assert!(error.message.contains("ceiling.json"), "{error}");
        }
    }
}
