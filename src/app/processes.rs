//! Processes below this one, as Linux tells them; other systems tell none.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, wait};
use tokio::time::sleep;

/// Pause between two looks at processes that are ending.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// Programs that run others: what a command starts is below them.
const SHELLS: &[&str] = &["sh", "dash", "bash", "ash", "busybox", "ksh", "mksh", "zsh"];

/// Has orphans below this process become its children.
pub(super) fn adopt_orphans() {
    // Without it only what stays in the server's group is found again.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Pid::from_raw(1));
}

/// Gives this process a name of its own, so that those who kill all of a name spare it.
pub(super) fn set_name(name: &str) {
    // Elsewhere than on Linux there is no such file.
    let _ = std::fs::write("/proc/self/comm", name);
}

/// Takes note of children that have died, which are processes until then.
pub(super) fn bury() {
    while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
}

/// Kills all children of this process, and those that they leave to it.
pub(super) async fn end_adopted() {
    let started = Instant::now();
    loop {
        bury();
        let children = children("self");
        if children.is_empty() || started.elapsed() > Duration::from_secs(5) {
            return;
        }
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
        sleep(LOOK).await;
    }
}

/// Whether a process of that id is there.
pub(super) fn is_there(process: Pid) -> bool {
    test_kill_process(process).is_ok()
}

/// The processes that a command is about, of which `first` is the first: below a shell that just waits for them,
/// else `first` itself.
pub(super) fn workers(first: Pid) -> Vec<Pid> {
    let name = first.as_raw_nonzero().to_string();
    if !is_shell(&name) || catches_termination(&name) {
        return vec![first];
    }
    match children(&name) {
        below if below.is_empty() => vec![first],
        below => below.into_iter().flat_map(workers).collect(),
    }
}

fn folder(process: &str) -> PathBuf {
    PathBuf::from("/proc").join(process)
}

fn is_shell(process: &str) -> bool {
    let program = std::fs::read_link(folder(process).join("exe")).unwrap_or_default();
    program.file_name().and_then(|name| name.to_str()).is_some_and(|name| SHELLS.contains(&name))
}

/// Whether a process does something of its own on SIGTERM.
fn catches_termination(process: &str) -> bool {
    let status = std::fs::read_to_string(folder(process).join("status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (Signal::TERM.as_raw() - 1)) != 0
}

/// The children of a process.
fn children(process: &str) -> Vec<Pid> {
    let threads = std::fs::read_dir(folder(process).join("task"));
    let Ok(threads) = threads else { return Vec::new() };
    let lists = threads
        .filter_map(Result::ok)
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let ids: Vec<i32> = lists
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
        .collect();
    ids.into_iter().filter_map(Pid::from_raw).collect()
}
