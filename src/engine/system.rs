//! Limits of the operating system that a run can meet.

mod budget;
mod machine;

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use self::budget::{Budget, Charge, OWED, OWED_PER_TOKEN, OverBudget, Spent};
pub use self::machine::machine;

use crate::error::{Error, Kind};

/// Descriptors that the program needs beside one per request: streams, files, event queues, control calls.
const RESERVE: u64 = 64;

/// The columns of the terminal that stderr is; `None` if it is none, or does not say.
pub fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

/// Raises the soft limit of open descriptors to the hard one and returns it; `None` means there is none.
///
/// Where it cannot be raised the soft limit stays, and is what is returned.
pub fn raise_descriptors() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// Descriptors of a thread of the load: its event queue and what wakes it.
const PER_THREAD: u64 = 2;

/// Bytes that a thread of the load takes at least: what it reads into, and the part of its stack that it uses.
const THREAD_BYTES: u64 = 512 << 10;

/// Checks that `threads` threads of the load, which `flag` asks for, can have the descriptors and the memory that they
/// need of `limit` and `free`.
///
/// # Errors
/// If they cannot; the message has the numbers.
pub fn check_threads(threads: u64, limit: Option<u64>, free: Option<u64>) -> Result<(), Error> {
    let need = threads.saturating_mul(PER_THREAD).saturating_add(RESERVE);
    let bytes = threads.saturating_mul(THREAD_BYTES);
    let lack = if let Some(limit) = limit.filter(|&limit| need > limit) {
        format!("need {need} file descriptors, and the limit is {limit}")
    } else if let Some(free) = free.filter(|&free| bytes > free) {
        format!("need {} MiB of memory, and {} MiB are free", bytes >> 20, free >> 20)
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::System, format!("--worker-threads {threads}: so many threads {lack}"))
        .hint("more threads than cores send no faster"))
}

/// Checks that `n` copies of a request, which `flag` asks for, fit into the `free` memory.
///
/// # Errors
/// If they do not; the message has the numbers.
pub fn check_copies(flag: &str, n: u64, bytes: u64, free: Option<u64>) -> Result<(), Error> {
    let need = n.saturating_mul(bytes);
    let Some(free) = free.filter(|&free| need > free) else { return Ok(()) };
    let (need, free) = (need >> 20, free >> 20);
    let message = format!("{flag} {n}: so many need about {need} MiB, and {free} MiB are free");
    Err(Error::new(Kind::System, message).hint("ask for fewer"))
}

/// The error for a thread or process that did not start, with advice if the system has no more of them.
pub fn cannot_start(what: &str, error: io::Error) -> Error {
    let scarce = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory);
    let failed = Error::new(Kind::System, format!("cannot start {what}")).because(error);
    if scarce { failed.hint(MORE_THREADS) } else { failed }
}

/// Advice for a system that has no thread left.
pub const MORE_THREADS: &str =
    "raise the limits of processes and of memory (ulimit -u, ulimit -v, pids.max)";

/// Descriptors without which no command gets far.
const LEAST: u64 = 32;

/// Checks that the program can begin under `limit` descriptors.
///
/// # Errors
/// If it cannot; the message has both numbers.
pub fn check_beginning(limit: Option<u64>) -> Result<(), Error> {
    let Some(limit) = limit.filter(|&limit| limit < LEAST) else { return Ok(()) };
    let message =
        format!("the limit of file descriptors is {limit}, and the program alone needs {LEAST}");
    Err(Error::new(Kind::System, message).hint("raise it (ulimit -n)"))
}

/// Requests that can be open at once under `limit` descriptors.
pub fn room(limit: Option<u64>) -> u64 {
    limit.map_or(u64::MAX, |limit| limit.saturating_sub(RESERVE))
}

/// Checks that `requests` can be open at once under `limit` descriptors.
///
/// # Errors
/// If they cannot; the message has both numbers.
pub fn check_descriptors(requests: u64, limit: Option<u64>) -> Result<(), Error> {
    let Some(limit) = limit else { return Ok(()) };
    let need = requests.saturating_add(RESERVE);
    if need <= limit {
        return Ok(());
    }
    let room = room(Some(limit));
    Err(Error::new(
        Kind::System,
        format!("{requests} requests at once need {need} file descriptors, and the limit is {limit}"),
    )
    .hint(format!("set --max-concurrency to {room} or less"))
    .hint("or raise the hard limit (ulimit -Hn, /etc/security/limits.conf, or LimitNOFILE= of the service)"))
}

/// Local ports that the system gives to connections: first and last. `None` if it does not tell.
pub fn local_ports() -> Option<(u16, u16)> {
    ports(&std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?)
}

fn ports(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    let (first, last) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (first <= last).then_some((first, last))
}

/// How long a port cannot be used again for the same server after its connection was closed, in seconds.
const TIME_WAIT_S: f64 = 60.0;

/// Checks that `connections` can be open at once to each server, when local ports are those of `range`.
///
/// # Errors
/// If they cannot; the message has the numbers.
pub fn check_ports(connections: u64, range: Option<(u16, u16)>) -> Result<(), Error> {
    let Some((first, last)) = range else { return Ok(()) };
    let ports = u64::from(last - first) + 1;
    if connections <= ports {
        return Ok(());
    }
    let message = format!(
        "{connections} connections at once to one server need as many local ports, and there are {ports} ({first} to {last})"
    );
    Err(port_hints(Error::new(Kind::System, message), ports))
}

/// Checks that a connection for each of `rate` requests per second to each server leaves ports to use.
///
/// # Errors
/// If it does not; the message has the numbers.
pub fn check_port_rate(rate: f64, range: Option<(u16, u16)>) -> Result<(), Error> {
    let Some((first, last)) = range else { return Ok(()) };
    let ports = u64::from(last - first) + 1;
    if rate * TIME_WAIT_S <= ports as f64 {
        return Ok(());
    }
    let message = format!(
        "--connection-per-request closes {rate} connections per second, each of which holds its local port for {TIME_WAIT_S} s more, and there are {ports} ({first} to {last})"
    );
    Err(port_hints(Error::new(Kind::System, message), ports))
}

fn port_hints(error: Error, ports: u64) -> Error {
    error
        .hint(format!("set --max-concurrency to {ports} or less, or --request-rate lower"))
        .hint("or name more servers, or more addresses of the same one, with --base-url")
        .hint("or widen the range: sysctl net.ipv4.ip_local_port_range=\"1024 65535\"")
}

/// Memory that this process can still have in bytes; `None` if the system does not tell.
///
/// That is the least of what the machine has, what its control groups leave it, and what its own limits (`ulimit -v`,
/// `ulimit -d`) do.
pub fn free_memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| available(&text));
    let status = read("/proc/self/status").unwrap_or_default();
    let own = [(Resource::As, "VmSize:"), (Resource::Data, "VmData:")].map(|(resource, key)| {
        let used = kib(&status, key).unwrap_or(0);
        getrlimit(resource).current.map(|most| most.saturating_sub(used))
    });
    let groups = read("/proc/self/cgroup").map(|text| groups(&text)).unwrap_or_default();
    let groups = groups.into_iter().filter_map(|group| group.free(|path| read(path)));
    machine.into_iter().chain(own.into_iter().flatten()).chain(groups).min()
}

/// A control group that the process is in: its folder, and whether it is one of version 1.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    folder: String,
    old: bool,
}

/// The groups that limit the memory of the process by its `/proc/self/cgroup`: its own and those around it.
fn groups(text: &str) -> Vec<Group> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let old = controllers.split(',').any(|name| name == "memory");
        if !old && !controllers.is_empty() {
            continue;
        }
        let root = if old { "/sys/fs/cgroup/memory" } else { "/sys/fs/cgroup" };
        // Within a container the path may be that of the host, and the folder is the root.
        let mut path = path.trim_end_matches('/');
        loop {
            found.push(Group { folder: format!("{root}{path}"), old });
            let Some((parent, _)) = path.rsplit_once('/') else { break };
            path = parent;
        }
    }
    found
}

impl Group {
    /// Returns what it leaves its processes, as `read` tells what is in its files; `None` without a limit.
    fn free(&self, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
        let file = |name: &str| read(&format!("{}/{name}", self.folder));
        let number = |name: &str| file(name)?.trim().parse::<u64>().ok();
        let (most, used, cache) = if self.old {
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
        } else {
            ("memory.max", "memory.current", "inactive_file ")
        };
        let most = number(most)?;
        // Files that nobody reads are given up for whoever needs memory.
        let stat = file("memory.stat").unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok());
        let used = number(used).unwrap_or(0).saturating_sub(cache.unwrap_or(0));
        Some(most.saturating_sub(used))
    }
}

/// Returns what `/proc/meminfo` tells.
fn available(text: &str) -> Option<u64> {
    kib(text, "MemAvailable:")
}

/// The bytes on the line of `text` that begins with `key` and counts kB.
fn kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Checks that `need` bytes of `free` ones can be had; a note if they are more than half.
///
/// # Errors
/// If they cannot; the message has the numbers.
pub fn check_memory(need: u64, free: Option<u64>) -> Result<Option<String>, Error> {
    let Some(free) = free else { return Ok(None) };
    let mib = |bytes: u64| bytes >> 20;
    let what = format!(
        "the run needs about {} MiB for what it finds, and {} MiB are free",
        mib(need),
        mib(free)
    );
    if need > free {
        return Err(Error::new(Kind::System, what)
            .hint("--low-memory keeps nothing of requests that have ended; --records has them on disk")
            .hint("or send fewer requests, or ask for fewer tokens"));
    }
    Ok((need > free / 2).then_some(what))
}

/// More memory than any machine has, for where the system does not tell what is free.
const ANY_MACHINE: u64 = 1 << 44;

/// Checks that `need` bytes for `what` can be had of `free` ones, before anything is made.
///
/// # Errors
/// If they cannot; the message has the numbers.
pub fn check_room(what: &str, need: u64, free: Option<u64>) -> Result<(), Error> {
    let most = free.unwrap_or(ANY_MACHINE);
    if need <= most {
        return Ok(());
    }
    let (need, most) = (need >> 20, most >> 20);
    Err(Error::new(
        Kind::System,
        format!("{what} need about {need} MiB or more, and {most} MiB are free"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_counted() {
        assert_eq!(ports("32768\t60999\n"), Some((32768, 60999)));
        for text in ["", "1", "x y", "9 8", "1 70000"] {
            assert_eq!(ports(text), None, "{text}");
        }
        let range = Some((100, 149));
        assert!(check_ports(50, range).is_ok() && check_ports(1 << 40, None).is_ok());
        let error = check_ports(51, range).unwrap_err();
        assert!(error.message.contains("51") && error.message.contains("50"), "{error}");
        assert!(check_port_rate(0.8, range).is_ok());
        let error = check_port_rate(0.9, range).unwrap_err();
        assert!(error.message.contains("0.9 connections per second"), "{error}");
    }

    #[test]
    fn memory_is_counted() {
        let text = "MemTotal:       24576 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(available(text), Some(2 << 20));
        assert_eq!(available("MemFree: 1 kB"), None);
        let mib = |n: u64| n << 20;
        assert_eq!(check_memory(mib(1), Some(mib(4))).unwrap(), None);
        assert!(check_memory(mib(3), Some(mib(4))).unwrap().unwrap().contains("3 MiB"));
        let error = check_memory(mib(5), Some(mib(4))).unwrap_err();
        assert!(error.message.contains("5 MiB") && error.message.contains("4 MiB"), "{error}");
        assert_eq!(check_memory(u64::MAX, None).unwrap(), None);
    }

    #[test]
    fn groups_and_those_around_them_are_looked_at() {
        let folders = |text: &str| -> Vec<String> {
            groups(text).into_iter().map(|group| group.folder).collect()
        };
        assert_eq!(
            folders("0::/a/b\n"),
            ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"]
        );
        assert_eq!(folders("0::/\n"), ["/sys/fs/cgroup"]);
        assert_eq!(
            folders("4:memory:/j\n3:cpu,cpuacct:/\n"),
            ["/sys/fs/cgroup/memory/j", "/sys/fs/cgroup/memory"]
        );
        let files = [
            ("/g/memory.max", "1000\n"),
            ("/g/memory.current", "700\n"),
            ("/g/memory.stat", "anon 600\ninactive_file 50\n"),
            ("/o/memory.limit_in_bytes", "90"),
            ("/o/memory.usage_in_bytes", "100"),
            ("/u/memory.max", "max\n"),
        ];
        let read = |path: &str| {
            let text = files.iter().find(|(name, _)| *name == path)?.1;
            Some(text.to_owned())
        };
        for (folder, old, want) in
            [("/g", false, Some(350)), ("/o", true, Some(0)), ("/u", false, None)]
        {
            assert_eq!(Group { folder: folder.into(), old }.free(read), want, "{folder}");
        }
    }

    #[test]
    fn threads_and_copies_have_what_they_need() {
        let (limit, free) = (Some(1000), Some(1 << 30));
        assert!(
            check_threads(468, limit, free).is_ok() && check_threads(1 << 60, None, None).is_ok()
        );
        for (threads, limit, free, says) in [
            (469, limit, free, "need 1002 file descriptors, and the limit is 1000"),
            (u64::MAX, limit, free, "the limit is 1000"),
            (3000, None, free, "need 1500 MiB of memory, and 1024 MiB are free"),
        ] {
            let message = check_threads(threads, limit, free).unwrap_err().message;
            assert!(message.contains(says) && message.contains("--worker-threads"), "{message}");
        }
        assert!(check_copies("--x", 1 << 10, 1 << 20, free).is_ok());
        let message = check_copies("--x", u64::MAX, 2, free).unwrap_err().message;
        assert!(message.starts_with("--x 18446744073709551615: "), "{message}");
    }

    #[test]
    fn room_is_checked_before_anything_is_made() {
        assert!(check_room("prompts", 1 << 30, Some(1 << 30)).is_ok());
        assert!(check_room("prompts", 1 << 40, None).is_ok());
        assert!(check_room("prompts", u64::MAX, None).is_err());
        let error = check_room("prompts", 3 << 20, Some(2 << 20)).unwrap_err();
        assert_eq!(error.message, "prompts need about 3 MiB or more, and 2 MiB are free");
    }

    #[test]
    fn the_message_has_the_numbers() {
        assert!(check_descriptors(936, Some(1000)).is_ok());
        assert!(check_descriptors(1_000_000, None).is_ok());
        let error = check_descriptors(937, Some(1000)).unwrap_err();
        assert!(error.message.contains("937") && error.message.contains("1000"), "{error}");
        assert!(error.hints[0].contains("936"), "{:?}", error.hints);
    }
}
