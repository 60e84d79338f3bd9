//! The thread that writes: what it is sent, as soon as it is sent, and never half a line.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::end::EndLine;
use super::header::HeaderLine;
use super::row::Row;
use super::sync::Syncer;
use super::{End, Header, VERSION, failed, line};
use crate::engine::event::{Ends, RunEvent, Wants};
use crate::engine::outbox::{Backlog, Inbox};
use crate::model::{PlannedRequest, RequestRecord};
use crate::secrets::Secrets;
use crate::workload::conversation;

/// How often what was written is brought to the disk itself. What a killed program has written is kept anyway;
/// this is for machines that die.
const SYNC: Duration = Duration::from_secs(1);

/// Bytes that are gathered for one write while more rows wait.
const GATHER: usize = 256 * 1024;

/// Why a file cannot be used for records.
#[derive(Debug)]
pub enum Refusal {
    /// It holds something else.
    NoRecords,
    /// A newer program has written there, in the layout of this number.
    Newer(u64),
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
    file.seek(SeekFrom::Start(0))?;
    let newest = newest_layout(&file)?;
    if newest > VERSION { Err(Refusal::Newer(newest)) } else { Ok(file) }
}

/// The highest number of a layout of the runs in `file`, 0 without a whole one.
fn newest_layout(file: &File) -> Result<u64, Refusal> {
    /// Digits that a number has at most.
    const DIGITS: u64 = 20;
    let mut lines = BufReader::new(file);
    let (mut newest, mut first) = (0, true);
    loop {
        let mut begin = Vec::new();
        let length = line::HEADER.len() as u64 + DIGITS;
        Read::by_ref(&mut lines).take(length).read_until(b'\n', &mut begin)?;
        let begin = begin.as_slice();
        if begin.is_empty() {
            return Ok(newest);
        }
        let header = begin.strip_prefix(line::HEADER.as_bytes());
        if first && header.is_none() && !line::HEADER.as_bytes().starts_with(begin) {
            return Err(Refusal::NoRecords);
        }
        first = false;
        let digits = header.map(|rest| rest.iter().take_while(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| {
            String::from_utf8(digits.copied().collect()).ok()?.parse::<u64>().ok()
        });
        newest = newest.max(number.unwrap_or(0));
        if !begin.ends_with(b"\n") {
            lines.skip_until(b'\n')?;
        }
    }
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

/// Called with a warning, once for each file that cannot be written any more.
type Warn = Box<dyn Fn(&str) + Send>;

/// One file that lines are appended to.
#[derive(Debug)]
struct Appender {
    path: PathBuf,
    file: File,
    /// Whether it is a regular file, which others can be deaf to `fsync`.
    regular: bool,
    /// Whether nobody else writes to it.
    alone: bool,
    /// Bytes that it has to have: what was there and what was written.
    long: u64,
    /// Brings it to the disk.
    syncer: Option<Syncer>,
    /// Whole lines that are to be written next.
    lines: Vec<u8>,
    /// Why it is not written to any more.
    lost: Option<String>,
}

impl Appender {
    fn new(path: &Path, mut file: File, alone: bool) -> io::Result<Self> {
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
        let syncer = regular.then(|| Syncer::start(&file)).transpose()?;
        let (path, long) = (path.to_owned(), metadata.len());
        Ok(Self { path, file, regular, alone, long, syncer, lines, lost: None })
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
        if !self.lines.is_empty() && self.is_whole(warn) {
            match self.file.write_all(&self.lines) {
                Ok(()) => self.long += self.lines.len() as u64,
                Err(error) => {
                    self.take_back();
                    self.lose(&error.to_string(), warn);
                }
            }
        }
        self.lines.clear();
    }

    /// Takes out what was written of a line that could not be ended.
    fn take_back(&mut self) {
        let Ok(metadata) = self.file.metadata() else { return };
        if self.regular && self.alone {
            let written = usize::try_from(metadata.len().saturating_sub(self.long)).unwrap_or(0);
            let written = &self.lines[..written.min(self.lines.len())];
            let whole = memchr::memrchr(b'\n', written).map_or(0, |end| end + 1);
            // The error of the write is the one to report.
            let _ = self.file.set_len(self.long + whole as u64);
        }
    }

    /// Returns whether the file is still what it was with what was added, as a look at it and the last syncs tell.
    fn is_whole(&mut self, warn: &Warn) -> bool {
        if self.lost.is_some() || !self.regular {
            return self.lost.is_none();
        }
        let synced = self.syncer.as_ref().map_or(Ok(()), Syncer::last);
        match synced.and_then(|()| self.file.metadata().map_err(|error| error.to_string())) {
            Err(error) => self.lose(&error, warn),
            Ok(metadata) if metadata.nlink() == 0 => self.lose("it was removed", warn),
            Ok(metadata) if metadata.len() < self.long => {
                let (is, was) = (metadata.len(), self.long);
                self.lose(
                    &format!("it was cut to {is} bytes, of {was}, while the run wrote to it"),
                    warn,
                );
            }
            // Others may write to a file that is not locked.
            Ok(metadata) => self.long = metadata.len(),
        }
        self.lost.is_none()
    }

    /// Brings what was written to the disk, and looks whether the file is still whole.
    fn sync(&mut self, warn: &Warn) {
        if self.is_whole(warn)
            && let Some(syncer) = &self.syncer
        {
            syncer.ask();
        }
    }

    /// Brings what was written to the disk, and waits for that.
    fn close(&mut self, warn: &Warn) {
        self.sync(warn);
        let synced = self.syncer.take().map_or(Ok(()), Syncer::finish);
        if let Err(error) = synced
            && self.lost.is_none()
        {
            self.lose(&error, warn);
        }
    }

    fn lose(&mut self, why: &str, warn: &Warn) {
        let told = format!("cannot write to {}: {why}", self.path.display());
        warn(&format!("{told}; the run goes on, and keeps its records in memory alone"));
        self.lost = Some(told);
    }

    /// Notes at the end that rows are missing, if it was written to until then.
    fn lack(&mut self, why: &str, warn: &Warn) {
        if self.lost.is_none() {
            let told = format!("{} is not whole: {why}", self.path.display());
            warn(&told);
            self.lost = Some(told);
        }
    }
}

/// What the thread owns.
struct Writer {
    records: Option<Appender>,
    failed: Option<Appender>,
    /// What the rounds of conversations ask.
    plan: Arc<[PlannedRequest]>,
    /// Rounds of each request of the plan that have come; they end one after the other. What goes around has no last
    /// request, and of it nothing is left at the end.
    rounds: Vec<u32>,
    /// Rows that could not wait until they were written.
    backlog: Backlog,
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
            records.add(|out| line::push_sealed(out, &Row::new(record, asked)), &self.warn);
        }
        if let Some(file) = self.failed.as_mut().filter(|_| failed::belongs(record)) {
            file.add(|out| failed::push(out, record, &self.date), &self.warn);
        }
        if let Some(rounds) = self.rounds.get_mut(record.index) {
            *rounds = (*rounds).max(u32::try_from(record.round + 1).unwrap_or(u32::MAX));
        }
        self.rows += 1;
    }

    /// Returns whether enough was gathered for a write.
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

    fn close(&mut self) {
        for appender in self.records.iter_mut().chain(&mut self.failed) {
            appender.close(&self.warn);
        }
    }

    fn hear(&mut self, event: RunEvent) {
        if let RunEvent::Ended { record, .. } = event {
            self.take_clean(record);
        }
    }

    /// Writes what comes until nothing can come any more.
    fn run(mut self, mut events: Inbox<RunEvent>) -> Self {
        let mut synced = Instant::now();
        let mut dirty = false;
        loop {
            let next = if dirty {
                events.recv_timeout(SYNC.saturating_sub(synced.elapsed()))
            } else {
                events.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match next {
                Ok(event) => {
                    self.hear(event);
                    // What has come meanwhile goes into the same write; what comes later does not hold it back.
                    while !self.full()
                        && let Ok(event) = events.try_recv()
                    {
                        self.hear(event);
                    }
                    self.write();
                    events.done();
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
    backlog: Backlog,
}

impl Drop for Journal {
    fn drop(&mut self) {
        // What was sent is written, if nothing else.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Journal {
    /// What it hears of a run.
    pub const WANTS: Wants = Wants { sends: false, ends: Some(Ends::Copies), ticks: false };

    /// Begins the run of `header` and `plan` in `files`, whose `events` it hears.
    /// `warn` is called, once for each file, when it cannot be written to any more.
    ///
    /// # Errors
    /// If a file cannot be opened, or no thread can be made; the path is that of the file.
    pub fn start(
        files: &Files,
        header: &Header,
        plan: Arc<[PlannedRequest]>,
        events: Inbox<RunEvent>,
        warn: Warn,
    ) -> Result<Self, (PathBuf, Refusal)> {
        type Open = fn(&Path) -> Result<File, Refusal>;
        let opened = |path: &Option<PathBuf>, open: Open, alone: bool| {
            let Some(path) = path else { return Ok(None) };
            let appender = open(path).and_then(|file| Ok(Appender::new(path, file, alone)?));
            appender.map(Some).map_err(|refusal| (path.clone(), refusal))
        };
        let backlog = events.backlog();
        let mut writer = Writer {
            records: opened(&files.records, open, true)?,
            failed: opened(&files.failed, |path| Ok(append_to(path)?), false)?,
            backlog: backlog.clone(),
            rounds: vec![0; plan.len()],
            plan,
            rows: 0,
            secrets: files.secrets.clone(),
            date: header.metadata.date.clone(),
            warn,
        };
        if let Some(records) = &mut writer.records {
            records.add(|out| line::push_sealed(out, &HeaderLine::new(header)), &writer.warn);
        }
        writer.write();
        for path in files.records.iter().chain(&files.failed) {
            keep_name(path);
        }
        let thread = std::thread::Builder::new()
            .name("rbench-records".into())
            .spawn(move || writer.run(events))
            .map_err(|error| (files.records.clone().unwrap_or_default(), error.into()))?;
        Ok(Self { thread: Some(thread), backlog })
    }

    /// Returns what is not written yet.
    pub fn backlog(&self) -> Backlog {
        self.backlog.clone()
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
        let missed: HashSet<_> = writer.backlog.missed().into_iter().collect();
        let mut made_up = 0;
        let is_new = |record: &&RequestRecord| {
            written.get(record.index).is_some_and(|&rounds| record.round >= rounds as usize)
        };
        let is_missed = |record: &&RequestRecord| missed.contains(&(record.index, record.round));
        for record in records.iter().filter(|record| is_missed(record) || is_new(record)) {
            made_up += u64::from(is_missed(&record));
            writer.take(record);
            if writer.full() {
                writer.write();
            }
        }
        let rows = writer.rows;
        if let Some(records) = &mut writer.records {
            records.add(|out| line::push_sealed(out, &EndLine::new(end, rows)), &writer.warn);
        }
        writer.write();
        writer.close();
        let left_out = writer.backlog.left_out().saturating_sub(made_up);
        if left_out > 0 {
            let why = format!("{left_out} requests ended faster than their rows could be written");
            for appender in writer.records.iter_mut().chain(&mut writer.failed) {
                appender.lack(&why, &writer.warn);
            }
        }
        let lost = Lost {
            records: writer.records.and_then(|records| records.lost),
            failed: writer.failed.and_then(|failed| failed.lost),
        };
        if lost == Lost::default() { Ok(()) } else { Err(lost) }
    }
}
