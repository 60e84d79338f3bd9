//! Processes: the server, and programs that are measured.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::Value;

/// What a process cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// CPU time, the program's own and the kernel's on its behalf.
    pub(crate) cpu: Duration,
    /// Most memory at one instant, in bytes.
    pub(crate) memory: u64,
}

/// Runs `command` with its output in a file, and prints what it cost.
///
/// This is the whole work of a process of its own: what the system says of ended children is then of this one alone.
///
/// # Errors
/// If it can not be started, or fails.
pub(crate) fn measure(output: &Path, command: &[String]) -> Result<(), Box<dyn Error>> {
    let file = File::create(output)?;
    let (program, words) = command.split_first().ok_or("no command")?;
    let status = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    // macOS counts in bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    println!("{cpu} {}", usage.max_rss() * unit);
    if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
}

/// Has `command` measured by another process of this program.
///
/// # Errors
/// If it fails; the message has the end of what it printed.
pub(crate) fn cost(output: &Path, command: &[String]) -> Result<Cost, Box<dyn Error>> {
    let ran = Command::new(std::env::current_exe()?)
        .arg("measure")
        .arg(output)
        .arg("--")
        .args(command)
        .stderr(Stdio::piped())
        .output()?;
    if !ran.status.success() {
        let why = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
        return Err(format!("{why}\n{}", tail(output)).into());
    }
    let told = String::from_utf8(ran.stdout)?;
    let mut told = told.split_whitespace().map(str::parse::<u64>);
    match (told.next(), told.next()) {
        (Some(Ok(cpu)), Some(Ok(memory))) => Ok(Cost { cpu: Duration::from_micros(cpu), memory }),
        _ => Err("the measuring process told no figures".into()),
    }
}

/// The last lines of a file.
pub(crate) fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// The server, which ends when this is dropped, and when this process dies.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    /// It ends when this does.
    _input: Option<ChildStdin>,
}

/// What the server has sent so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    pub(crate) answers: u64,
    pub(crate) tokens: u64,
}

impl Server {
    /// Starts a server whose answers have these times, in ms.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn start(ttft: u64, itl: u64) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["server", &ttft.to_string(), &itl.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let input = child.stdin.take();
        let mut server = Self { child, port: 0, _input: input };
        server.port = line.trim().parse().map_err(|_| "the server did not start")?;
        Ok(server)
    }

    /// What it has sent so far.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) fn served(&self) -> Result<Served, Box<dyn Error>> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        socket.write_all(b"GET /served HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        // The body is one object, and the only one.
        while !answer.ends_with(b"}") {
            match socket.read(&mut buffer)? {
                0 => return Err("the server broke off".into()),
                read => answer.extend_from_slice(&buffer[..read]),
            }
        }
        let body = answer.iter().position(|&byte| byte == b'{').ok_or("no figures")?;
        let body: Value = serde_json::from_slice(&answer[body..])?;
        let count = |key: &str| body[key].as_u64().ok_or_else(|| format!("no count of {key}"));
        Ok(Served { answers: count("answers")?, tokens: count("tokens")? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and nobody is left to tell of a failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
