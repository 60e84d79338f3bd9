//! The thread that writes: what it is sent, as soon as it is sent, and never half a line.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::end::EndLine;
use super::header::HeaderLine;
use super::row::Row;
use super::{End, Header, failed, line};
use crate::conversation;
use crate::model::{PlannedRequest, RequestRecord};
use crate::secrets::Secrets;

/// How often what was written is brought to the disk itself. What a killed program has written is kept anyway;
/// this is for machines that die.
const SYNC: Duration = Duration::from_secs(1);

/// Bytes that are gathered for one write while more rows wait.
const GATHER: usize = 256 * 1024;

/// Why a file can not be used for records.
#[derive(Debug)]
pub enum Refusal {
    /// It holds something else.
    NoRecords,
    /// Another program writes to it.
    InUse,
    /// The system says no.
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Checks that the file at `path` holds records or nothing, and that nobody else writes to it.
///
/// # Errors
/// If that is not so.
pub fn check(path: &Path) -> Result<(), Refusal> {
    if path.is_file() { open(path).map(drop) } else { Ok(()) }
}

/// Opens the file of records at `path` to write after what it holds, and keeps others from doing so.
fn open(path: &Path) -> Result<File, Refusal> {
    let mut file = append_to(path)?;
    if !file.metadata()?.is_file() {
        return Ok(file);
    }
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(Refusal::InUse),
        // A file system without locks has files all the same.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    let mut begin = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::by_ref(&mut file).take(line::HEADER.len() as u64).read_to_end(&mut begin)?;
    if line::HEADER.as_bytes().starts_with(&begin) { Ok(file) } else { Err(Refusal::NoRecords) }
}

#[cfg(test)]
pub(super) fn hold(path: &Path) -> Result<File, Refusal> {
    open(path)
}

/// Opens a file to write after what it holds; pipes and the like are not read.
fn append_to(path: &Path) -> io::Result<File> {
    let special = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    OpenOptions::new().create(true).append(true).read(!special).open(path)
}

/// Brings the name of a file to the disk: it is part of the folder, which not every file system can do this for.
fn keep_name(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let _ = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
}

/// The files that a run is to leave.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The records.
    pub records: Option<PathBuf>,
    /// The failed requests.
    pub failed: Option<PathBuf>,
    /// What must not be written.
    pub secrets: Secrets,
}

/// What could not be written, with the file and the reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Of the records.
    pub records: Option<String>,
    /// Of the failed requests.
    pub failed: Option<String>,
}

/// Called with what is to be told, once for each file that can not be written any more.
type Warn = Box<dyn Fn(&str) + Send>;

/// One file that lines are appended to.
#[derive(Debug)]
struct Appender {
    path: PathBuf,
    file: File,
    /// Whether it is a regular file, which others can be deaf to `fsync`.
    regular: bool,
    /// Whole lines that are to be written next.
    lines: Vec<u8>,
    /// Why it is not written to any more.
    lost: Option<String>,
}

impl Appender {
    fn new(path: &Path, mut file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let regular = metadata.is_file();
        let mut lines = Vec::new();
        if regular && metadata.len() > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                // Who wrote before died within a line: it stays alone.
                lines.push(b'\n');
            }
        }
        Ok(Self { path: path.to_owned(), file, regular, lines, lost: None })
    }

    /// Adds to the lines that are to be written.
    fn add(&mut self, add: impl FnOnce(&mut Vec<u8>) -> io::Result<()>, warn: &Warn) {
        if self.lost.is_none()
            && let Err(error) = add(&mut self.lines)
        {
            self.lose(&error.to_string(), warn);
        }
    }

    /// Writes the lines that wait.
    fn write(&mut self, warn: &Warn) {
        if self.lost.is_none()
            && !self.lines.is_empty()
            && let Err(error) = self.file.write_all(&self.lines)
        {
            self.lose(&error.to_string(), warn);
        }
        self.lines.clear();
    }

    /// Brings what was written to the disk, and looks whether the file is still there.
    fn sync(&mut self, warn: &Warn) {
        if !self.regular || self.lost.is_some() {
            return;
        }
        match self.file.sync_data().and_then(|()| self.file.metadata()) {
            Err(error) => self.lose(&error.to_string(), warn),
            Ok(metadata) if metadata.nlink() == 0 => self.lose("it was removed", warn),
            Ok(_) => {}
        }
    }

    fn lose(&mut self, why: &str, warn: &Warn) {
        let told = format!("can not write to {}: {why}", self.path.display());
        warn(&format!("{told}; the run goes on, and keeps its records in memory alone"));
        self.lost = Some(told);
    }
}

/// What the thread owns.
struct Writer {
    records: Option<Appender>,
    failed: Option<Appender>,
    /// What the rounds of conversations ask.
    plan: Arc<[PlannedRequest]>,
    /// Rounds of each request of the plan that were written; they end one after the other. What goes around has no last
    /// request, and of it nothing is left at the end.
    rounds: Vec<u32>,
    rows: u64,
    secrets: Secrets,
    /// Start of the run, in RFC 3339.
    date: String,
    warn: Warn,
}

impl Writer {
    fn take_clean(&mut self, mut record: RequestRecord) {
        self.secrets.take_out_of_record(&mut record);
        self.take(&record);
    }

    fn take(&mut self, record: &RequestRecord) {
        if let Some(records) = &mut self.records {
            let asked = conversation::asked(&self.plan, record);
            records.add(|out| line::push(out, &Row::new(record, asked)), &self.warn);
        }
        if let Some(file) = self.failed.as_mut().filter(|_| failed::belongs(record)) {
            file.add(|out| failed::push(out, record, &self.date), &self.warn);
        }
        if let Some(rounds) = self.rounds.get_mut(record.index) {
            *rounds += 1;
        }
        self.rows += 1;
    }

    /// Whether enough was gathered for a write.
    fn full(&self) -> bool {
        let mut appenders = self.records.iter().chain(&self.failed);
        appenders.any(|appender| appender.lines.len() >= GATHER)
    }

    fn write(&mut self) {
        for appender in self.records.iter_mut().chain(&mut self.failed) {
            appender.write(&self.warn);
        }
    }

    fn sync(&mut self) {
        for appender in self.records.iter_mut().chain(&mut self.failed) {
            appender.sync(&self.warn);
        }
    }

    /// Writes what comes until nothing can come any more.
    fn run(mut self, records: &Receiver<RequestRecord>) -> Self {
        let mut synced = Instant::now();
        let mut dirty = false;
        loop {
            let next = if dirty {
                records.recv_timeout(SYNC.saturating_sub(synced.elapsed()))
            } else {
                records.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match next {
                Ok(record) => {
                    self.take_clean(record);
                    // What has come meanwhile goes into the same write; what comes later does not hold it back.
                    while !self.full()
                        && let Ok(record) = records.try_recv()
                    {
                        self.take_clean(record);
                    }
                    self.write();
                    dirty = true;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self,
            }
            if dirty && synced.elapsed() >= SYNC {
                self.sync();
                synced = Instant::now();
                dirty = false;
            }
        }
    }
}

/// The thread that writes a run. Dropping it waits until every sender is gone, and leaves what they sent, without an end.
#[derive(Debug)]
pub struct Journal {
    /// `None` when it has been waited for.
    thread: Option<JoinHandle<Writer>>,
}

impl Drop for Journal {
    fn drop(&mut self) {
        // What was sent is written, if nothing else.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Journal {
    /// Begins the run of `header` and `plan` in `files`, and returns where its records are to be sent.
    /// `warn` is called, once for each file, when it can not be written to any more.
    ///
    /// # Errors
    /// If a file can not be opened, or no thread can be made; the path is that of the file.
    pub fn start(
        files: &Files,
        header: &Header,
        plan: Arc<[PlannedRequest]>,
        warn: Warn,
    ) -> Result<(Self, Sender<RequestRecord>), (PathBuf, Refusal)> {
        let opened = |path: &Option<PathBuf>, open: fn(&Path) -> Result<File, Refusal>| {
            let Some(path) = path else { return Ok(None) };
            let appender = open(path).and_then(|file| Ok(Appender::new(path, file)?));
            appender.map(Some).map_err(|refusal| (path.clone(), refusal))
        };
        let mut writer = Writer {
            records: opened(&files.records, open)?,
            failed: opened(&files.failed, |path| Ok(append_to(path)?))?,
            rounds: vec![0; plan.len()],
            plan,
            rows: 0,
            secrets: files.secrets.clone(),
            date: header.facts.date.clone(),
            warn,
        };
        if let Some(records) = &mut writer.records {
            records.add(|out| line::push(out, &HeaderLine::new(header)), &writer.warn);
        }
        writer.write();
        for path in files.records.iter().chain(&files.failed) {
            keep_name(path);
        }
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("rbench-records".into())
            .spawn(move || writer.run(&receiver))
            .map_err(|error| (files.records.clone().unwrap_or_default(), error.into()))?;
        Ok((Self { thread: Some(thread) }, sender))
    }

    /// Ends the run, whose `records` are in the order of the plan: those that were not sent are written now, and the
    /// end. Every sender is to be dropped before.
    ///
    /// # Errors
    /// If not everything was written, which was told when it happened.
    pub fn finish(mut self, records: &[RequestRecord], end: &End) -> Result<(), Lost> {
        let Some(Ok(mut writer)) = self.thread.take().map(JoinHandle::join) else {
            let records = Some("the thread that writes the records has a defect".to_owned());
            return Err(Lost { records, failed: None });
        };
        let written = std::mem::take(&mut writer.rounds);
        let is_new = |record: &&RequestRecord| {
            written.get(record.index).is_some_and(|&rounds| record.round >= rounds as usize)
        };
        for record in records.iter().filter(is_new) {
            writer.take(record);
            if writer.full() {
                writer.write();
            }
        }
        let rows = writer.rows;
        if let Some(records) = &mut writer.records {
            records.add(|out| line::push(out, &EndLine::new(end, rows)), &writer.warn);
        }
        writer.write();
        writer.sync();
        let lost = Lost {
            records: writer.records.and_then(|records| records.lost),
            failed: writer.failed.and_then(|failed| failed.lost),
        };
        if lost == Lost::default() { Ok(()) } else { Err(lost) }
    }
}
