//! Reads files of records, whole ones and those of runs that died.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use super::end::EndLine;
use super::header::{HeaderLine, check_layout};
use super::line::Seal;
use super::row::Row;
use super::{End, Header, line};
use crate::error::{Error, Kind};
use crate::model::{Outcome, RequestRecord};

/// A run as it was recorded.
#[derive(Debug)]
pub struct Recorded {
    /// What was known before it.
    pub header: Header,
    /// Its records, in the order of the plan.
    pub records: Vec<RequestRecord>,
    /// What only its end tells; `None` if the program died before.
    pub end: Option<End>,
    /// What rounds of conversations asked.
    pub asked: Asked,
    /// Whether its lines have checksums, which those of the first releases have not.
    sealed: bool,
}

/// The texts that rounds added to their conversations.
#[derive(Debug, Default)]
pub struct Asked(HashMap<(usize, usize), Vec<String>>);

impl Asked {
    /// Those of the round of `record`; `None` if it is part of no conversation.
    pub fn of(&self, record: &RequestRecord) -> Option<Vec<&str>> {
        let texts = self.0.get(&(record.index, record.round))?;
        Some(texts.iter().map(String::as_str).collect())
    }
}

/// What is wrong with a line.
enum Wrong {
    /// It is no JSON: whoever wrote it did not come to its end.
    Torn(String),
    /// It says what cannot be.
    Said(String),
}

impl From<serde_json::Error> for Wrong {
    fn from(error: serde_json::Error) -> Self {
        if error.is_data() { Self::Said(error.to_string()) } else { Self::Torn(error.to_string()) }
    }
}

/// Returns whether the file at `path` begins as files of records do.
///
/// # Errors
/// If it cannot be read.
pub fn is_records(path: &Path) -> io::Result<bool> {
    let mut beginning = Vec::with_capacity(line::HEADER.len());
    File::open(path)?.take(line::HEADER.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning == line::HEADER.as_bytes())
}

/// Reads the runs in the file at `path`, in its order.
///
/// A line that its writer could not finish ends its run, and counts for nothing.
///
/// # Errors
/// If there is no run, or a line is none of records; the message has the file and the line.
pub fn read(path: &Path) -> Result<Vec<Recorded>, Error> {
    let failed =
        |error| Error::new(Kind::Input, format!("cannot read {}", path.display())).because(error);
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut runs: Vec<Recorded> = Vec::new();
    let mut bytes = Vec::new();
    // A line that is no JSON, which is an error unless its run ends there.
    let mut torn: Option<Error> = None;
    let mut number = 0_u64;
    loop {
        bytes.clear();
        if file.read_until(b'\n', &mut bytes).map_err(failed)? == 0 {
            break;
        }
        number += 1;
        let wrong = |what: String| {
            Error::new(Kind::Input, format!("{} line {number}: {what}", path.display()))
        };
        let Some(line) = bytes.strip_suffix(b"\n") else { break };
        if line.starts_with(line::HEADER.as_bytes()) {
            torn = None;
            runs.push(begin(line).map_err(wrong)?);
            continue;
        }
        let Some(run) = runs.last_mut() else {
            return Err(wrong("this is not how a file of records begins".to_owned())
                .hint("give a file that --records has written, or one that was left beside a result with --output-details"));
        };
        if let Some(error) = torn {
            return Err(error);
        }
        let taken = if run.end.is_some() {
            Err(Wrong::Said("the run has ended before".to_owned()))
        } else if line.starts_with(line::END.as_bytes()) {
            sealed(line, run).and_then(|()| end(line, run))
        } else {
            sealed(line, run).and_then(|()| row(line, run))
        };
        match taken {
            Ok(()) => {}
            Err(Wrong::Said(what)) => return Err(wrong(what)),
            Err(Wrong::Torn(what)) => {
                torn = Some(
                    wrong(format!("expected a row of records: {what}"))
                        .hint("without that line the rest can be read; the report is partial then"),
                );
            }
        }
    }
    if runs.is_empty() {
        let message = format!("{} has no run: it has no whole line", path.display());
        return Err(Error::new(Kind::Input, message));
    }
    for run in &mut runs {
        complete(run).map_err(|what| {
            let date = &run.header.metadata.date;
            Error::new(Kind::Input, format!("{}, the run of {date}: {what}", path.display()))
        })?;
    }
    Ok(runs)
}

/// The run that a first line begins.
fn begin(line: &[u8]) -> Result<Recorded, String> {
    check_layout(line)?;
    let read = serde_json::from_slice::<HeaderLine>(line).map_err(|error| error.to_string());
    let header = read.and_then(HeaderLine::header);
    let header = header.map_err(|what| format!("expected the first line of a run: {what}"))?;
    let sealed = Seal::of(line);
    if sealed == Seal::Broken {
        return Err(CHANGED.to_owned());
    }
    let (records, asked) = (Vec::new(), Asked::default());
    Ok(Recorded { header, records, end: None, asked, sealed: sealed == Seal::Whole })
}

/// What is said of a line that is not as it was written.
const CHANGED: &str = "its checksum does not fit: the line was changed after it was written";

/// Returns whether a line of `run` is as it was written, as far as its checksum says.
fn sealed(line: &[u8], run: &Recorded) -> Result<(), Wrong> {
    match Seal::of(line) {
        Seal::Whole => Ok(()),
        Seal::Broken => Err(Wrong::Said(CHANGED.to_owned())),
        Seal::Absent if !run.sealed => Ok(()),
        Seal::Absent => {
            // Whoever wrote it may not have come to its end.
            serde_json::from_slice::<serde::de::IgnoredAny>(line)?;
            Err(Wrong::Said("it has no checksum, and the run has them".to_owned()))
        }
    }
}

/// Returns whether `record` can be one of the run of `header`.
fn possible(record: &RequestRecord, header: &Header) -> Result<(), String> {
    let RequestRecord { index, endpoint, .. } = *record;
    if let Some(planned) = header.requests.filter(|&planned| index as u64 >= planned) {
        return Err(format!("index is {index}, and {planned} requests were planned"));
    }
    if endpoint >= header.endpoints.len().max(1) {
        let known = header.endpoints.len();
        return Err(format!("endpoint is {endpoint}, and the run had {known}"));
    }
    if record.attempts == 0 {
        return Err("attempts is 0, and a request has one at least".to_owned());
    }
    let unsent = record.outcome == Outcome::NotSent;
    let instants = [
        ("sent_ns", record.sent, !unsent),
        ("done_ns", record.done, record.outcome == Outcome::Completed),
    ];
    for (key, at, wanted) in instants {
        match at {
            None if wanted => return Err(format!("{key} is missing, and the request was sent")),
            Some(_) if unsent => return Err(format!("{key} is there, and it was never sent")),
            _ => {}
        }
    }
    if unsent && !record.events.is_empty() {
        return Err("there are events, and the request was never sent".to_owned());
    }
    Ok(())
}

/// Puts the rows of a run in order, and checks that they can be those of a run.
fn complete(run: &mut Recorded) -> Result<(), String> {
    let records = &mut run.records;
    records.sort_by_key(|record| (record.index, record.round));
    let twice = |pair: &[RequestRecord]| match pair {
        [a, b] => (a.index, a.round) == (b.index, b.round),
        _ => false,
    };
    if let Some([record, ..]) = records.windows(2).find(|pair| twice(pair)) {
        let RequestRecord { index, round, .. } = record;
        return Err(format!("two rows are of request {index}, round {round}"));
    }
    let (rows, planned) = (records.len() as u64, run.header.requests);
    if let Some(planned) = planned
        && rows > planned
    {
        return Err(format!("it has {rows} rows, and planned {planned} requests"));
    }
    Ok(())
}

fn row(line: &[u8], run: &mut Recorded) -> Result<(), Wrong> {
    let row: Row<'_> = serde_json::from_slice(line)?;
    let (record, asked) = row.record().map_err(Wrong::Said)?;
    possible(&record, &run.header).map_err(Wrong::Said)?;
    if let Some(asked) = asked {
        run.asked.0.insert((record.index, record.round), asked);
    }
    run.records.push(record);
    Ok(())
}

fn end(line: &[u8], run: &mut Recorded) -> Result<(), Wrong> {
    let end: EndLine = serde_json::from_slice(line)?;
    let (told, rows) = (end.rows(), run.records.len() as u64);
    if told != rows {
        let what = format!("the run had {told} rows by its last line, and {rows} are here");
        return Err(Wrong::Said(what));
    }
    run.end = Some(end.end().map_err(Wrong::Said)?);
    Ok(())
}
