//! The process between rbench and a server that it started.
//!
//! It ends the server when its standard input ends, and that ends however rbench dies.
//! It leads a process group of its own, so that a Ctrl-C which is meant for rbench does not reach it,
//! and adopts what the server leaves behind, so that nothing gets away by leaving the server's group.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, kill_process_group, test_kill_process_group, wait,
};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::cli::launch::SuperviseArgs;
use crate::error::{Error, Kind};
use crate::ui::Ui;

/// Comes before the id of the server's process group on the standard output.
pub(super) const STARTED: &str = "started ";
/// Comes before how the server ended by itself.
pub(super) const ENDED: &str = "ended ";

/// Pause between two looks at processes that are ending.
const LOOK: Duration = Duration::from_millis(10);

/// Runs the server until it ends or the standard input does.
pub(super) fn supervise(args: &SuperviseArgs, ui: Ui) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::System, "can not start the server of --launch").because(error)
    };
    // Without it only what stays in the server's group is found again.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Pid::from_raw(1));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let grace = Duration::from_secs_f64(args.grace.0);
    let group = runtime.block_on(run(&args.command, ui)).map_err(failed)?;
    runtime.block_on(async {
        if let Some(group) = group {
            end_group(group, grace).await;
        }
        end_adopted().await;
    });
    Ok(())
}

/// Starts the command and waits for a reason to end it; returns its process group.
async fn run(command: &str, ui: Ui) -> std::io::Result<Option<Pid>> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    let output = std::io::stderr().as_fd().try_clone_to_owned()?;
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(output)
        .process_group(0)
        .spawn()?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        // Nobody is left to tell if rbench is gone, which the input tells as well.
        let _ = ui.data(&format!("{STARTED}{}\n", group.as_raw_nonzero()));
    }
    let (tell, input_ended) = oneshot::channel();
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        let _ = tell.send(());
    });
    tokio::select! {
        status = child.wait() => {
            let _ = ui.data(&format!("{ENDED}{}\n", status?));
        }
        _ = input_ended => {}
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
        _ = hangups.recv() => {}
    }
    Ok(group)
}

/// Asks all processes of the group to end, and kills those that have not after `grace`.
async fn end_group(group: Pid, grace: Duration) {
    // What has ended can not be asked to; that the group is gone is what this is for.
    let _ = kill_process_group(group, Signal::TERM);
    let asked = Instant::now();
    while gone(group).is_none() {
        if asked.elapsed() >= grace {
            let _ = kill_process_group(group, Signal::KILL);
            break;
        }
        sleep(LOOK).await;
    }
    // A process may take a moment to die, and longer if it waits for a disk or a device.
    let killed = Instant::now();
    while gone(group).is_none() && killed.elapsed() < Duration::from_secs(5) {
        sleep(LOOK).await;
    }
}

/// Buries what has died; something if no process of the group is left.
fn gone(group: Pid) -> Option<()> {
    bury();
    test_kill_process_group(group).err().map(drop)
}

/// Takes note of children that have died, which are processes until then.
fn bury() {
    while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
}

/// Kills what left the server's group and lost its parent, and what that leaves behind.
async fn end_adopted() {
    let started = Instant::now();
    loop {
        bury();
        let children = children();
        if children.is_empty() || started.elapsed() > Duration::from_secs(5) {
            return;
        }
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
        sleep(LOOK).await;
    }
}

/// The children of this process; none where the system does not tell.
fn children() -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists = threads
        .filter_map(Result::ok)
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let ids: Vec<i32> = lists
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
        .collect();
    ids.into_iter().filter_map(Pid::from_raw).collect()
}
