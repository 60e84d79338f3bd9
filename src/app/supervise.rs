//! The process between rbench and a server that it started.
//!
//! It ends the server when its standard input ends, and that ends however rbench dies.
//! It leads a process group of its own, so that a Ctrl-C which is meant for rbench does not reach it,
//! and adopts what the server leaves behind, so that nothing gets away by leaving the server's group.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, kill_process_group, test_kill_process_group,
};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::processes::{self, LOOK};
use crate::cli::supervise::SuperviseArgs;
use crate::engine::system;
use crate::error::Error;
use crate::output::terminal::Ui;

/// What this process is called, so that `killall rbench` leaves it alone.
pub(super) const NAME: &str = "launch-guard";

/// How long what a server has started may take to end after the server.
const AFTER: Duration = Duration::from_secs(1);

/// Comes before the id of the server's process group on the standard output.
pub(super) const STARTED: &str = "started ";
/// Comes before how the server ended by itself.
pub(super) const ENDED: &str = "ended ";

/// Runs the server until it ends or the standard input does; with `--child-of`, becomes the server.
pub(super) fn supervise(args: &SuperviseArgs, ui: Ui) -> Result<(), Error> {
    let failed = |error: std::io::Error| system::cannot_start("the server of --launch", error);
    if let Some(parent) = args.child_of {
        return Err(failed(become_server(&args.command, parent)));
    }
    processes::set_name(NAME);
    processes::adopt_orphans();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let grace = Duration::from_secs_f64(args.grace.0);
    let group = runtime.block_on(run(&args.command, ui)).map_err(failed)?;
    runtime.block_on(async {
        if let Some(group) = group {
            end_group(group, grace).await;
        }
        processes::end_adopted().await;
    });
    Ok(())
}

/// Becomes the shell that runs the command, and the server where that is all there is to run.
/// It gets SIGTERM should the process `parent`, which started it, be killed.
fn become_server(command: &str, parent: i32) -> std::io::Error {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        return error.into();
    }
    if getppid().map(Pid::as_raw_nonzero).map(i32::from) != Some(parent) {
        return std::io::Error::other("the process that watches it was ended");
    }
    std::process::Command::new("/bin/sh").args(["-c", command]).exec()
}

/// Starts the command and waits for a reason to end it; returns its process group.
async fn run(command: &str, ui: Ui) -> std::io::Result<Option<Pid>> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    let output = std::io::stderr().as_fd().try_clone_to_owned()?;
    let (tell, input_ended) = oneshot::channel();
    // Before there is a server that nobody would end if no thread can be had.
    std::thread::Builder::new().name("rbench-input".into()).spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        let _ = tell.send(());
    })?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["supervise", "--grace", "1", "--child-of", &getpid().as_raw_nonzero().to_string()])
        .args(["--", command])
        .stdin(Stdio::null())
        .stdout(output)
        .process_group(0)
        .spawn()?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        // Nobody is left to tell if rbench is gone, which the input tells as well.
        let _ = ui.data(&format!("{STARTED}{}\n", group.as_raw_nonzero()));
    }
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

/// Asks the server to end, later all processes of its group, and kills those that have not ended after `grace`.
///
/// Servers end what they have started, and take the end of one of these for a crash. So they are asked alone first,
/// and the rest when they have ended or half of the time is over.
async fn end_group(group: Pid, grace: Duration) {
    let asked = Instant::now();
    let workers = processes::workers(group);
    for &worker in &workers {
        // What has ended cannot be asked to; that the group is gone is what this is for.
        let _ = kill_process(worker, Signal::TERM);
    }
    let mut ended = None;
    let mut all_asked = false;
    while gone(group).is_none() {
        if ended.is_none() && !workers.iter().any(|&worker| processes::is_there(worker)) {
            ended = Some(Instant::now());
        }
        if asked.elapsed() >= grace {
            let _ = kill_process_group(group, Signal::KILL);
            break;
        }
        let is_over = ended.is_some_and(|at| at.elapsed() >= AFTER.min(grace / 4));
        if !all_asked && (is_over || asked.elapsed() >= grace / 2) {
            all_asked = true;
            let _ = kill_process_group(group, Signal::TERM);
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
    processes::bury();
    test_kill_process_group(group).err().map(drop)
}
