//! Writes to stderr without ever waiting long for whoever reads it: a pipe that nobody empties, or a terminal that was
//! stopped with Ctrl-S, must hold up neither a run nor the signal that is to end it.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Bytes that a pipe takes without blocking once it says that it takes any (`PIPE_BUF` of POSIX).
const PIECE: usize = 512;

/// Longest wait for a reader that has read everything so far, in ms.
const TIMEOUT_MS: u16 = 1000;

/// What became of earlier messages.
static STATE: Mutex<State> = Mutex::new(State { blocked: false, within_line: false, left_out: 0 });

struct State {
    /// Nobody read when the last message was written.
    blocked: bool,
    /// The last message was cut.
    within_line: bool,
    /// Messages that were left out or cut since the last one that was written.
    left_out: u64,
}

/// Writes `message`, which has its line ends, or leaves it out if nobody reads; the next one that is read says how many
/// were left out.
///
/// The lock of the standard library is not used: a progress line on a stopped terminal may hold it for good.
pub(super) fn write(message: &str) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if state.left_out > 0 {
        let start = if state.within_line { "\n" } else { "" };
        let note =
            format!("{start}({} messages were left out: nobody read stderr)\n", state.left_out);
        if !is_ready(0) || put(note.as_bytes(), 0).is_err() {
            state.left_out += 1;
            return;
        }
        (state.left_out, state.within_line, state.blocked) = (0, false, false);
    }
    let timeout = if state.blocked { 0 } else { TIMEOUT_MS };
    if let Err(written) = put(message.as_bytes(), timeout) {
        state.blocked = true;
        state.within_line = written > 0;
        state.left_out += 1;
    }
}

/// Writes all of `bytes`, waiting up to `timeout` ms for each piece.
///
/// # Errors
/// The number of bytes that were written, if the wait was for nothing. Nobody is left to tell if stderr is gone.
fn put(bytes: &[u8], timeout: u16) -> Result<(), usize> {
    let mut written = 0;
    while let Some(piece) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        if !is_ready(timeout) {
            return Err(written);
        }
        match nix::unistd::write(io::stderr(), &piece[..piece.len().min(PIECE)]) {
            Ok(n) => written += n,
            // Another process filled the pipe first, and has made it one that does not block.
            Err(Errno::EAGAIN) if timeout == 0 => return Err(written),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Whether stderr takes bytes, or is gone, within `timeout` ms.
fn is_ready(timeout: u16) -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    loop {
        match poll(&mut fds, PollTimeout::from(timeout)) {
            Ok(ready) => return ready > 0,
            Err(Errno::EINTR) => {}
            // What cannot be asked is written to as it is.
            Err(_) => return true,
        }
    }
}
