//! Reads files of JSON records: one per line, or the elements of one array.
//!
//! What the datasets of such files have in common: order, batches, and what is told of rows left out.
//! A file is read as a stream; what is not kept of a record is gone before the next is read.

mod array;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Context, Rows};
use crate::error::{Error, Kind};
use crate::model::Row;
use crate::rng;
use crate::workload::bundled;
use crate::workload::filetype;

/// An array of up to so many bytes is read at once, which is several times faster than as a stream.
/// Its text is gone before the prompts are made.
const AT_ONCE: u64 = 1 << 30;

const BUFFER: usize = 1 << 20;

/// Elements of an array that are read at the same time, on all cores.
const BATCH: usize = 1 << 12;

/// Fewest records that are worth a batch when rows are made.
const SMALLEST_BATCH: usize = 64;

/// What was kept of a file.
#[derive(Debug)]
pub struct Records<T> {
    /// What the records became, in the order of the file.
    pub items: Vec<T>,
    /// Where they come from, for messages.
    pub name: String,
    /// What the user should know.
    pub note: Option<String>,
    /// What was left out because it is of no use here, for users who want to know.
    pub told: Option<String>,
}

/// What becomes of a record that is well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken<T> {
    /// It is used.
    Row(T),
    /// It is of another form than the dataset's: the reason, to stand after "3 rows".
    Strange(&'static str),
    /// It is of no use to the dataset, or to what the user wants: the reason in the same way.
    Unused(&'static str),
}

/// Rows that were left out, by the reason.
#[derive(Debug, Default)]
pub(super) struct LeftOut(BTreeMap<&'static str, (usize, Option<String>)>);

impl LeftOut {
    /// Counts one more, which is at `place`.
    pub(super) fn add(&mut self, reason: &'static str, place: Option<&dyn Fn() -> String>) {
        self.0.entry(reason).or_insert_with(|| (0, place.map(|place| place()))).0 += 1;
    }

    fn count(&self) -> usize {
        self.0.values().map(|(n, _)| n).sum()
    }

    /// The reasons with their numbers.
    fn reasons(&self) -> String {
        let one = |(reason, (n, first)): (&&str, &(usize, Option<String>))| match first {
            Some(place) => format!("{n} {reason} (the first: {place})"),
            None => format!("{n} {reason}"),
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// The note on them, of `seen` rows of the file `name`; nothing if there are none.
    pub(super) fn told(&self, seen: usize, name: &str) -> Option<String> {
        (!self.0.is_empty()).then(|| {
            format!("{} of {seen} rows of {name} are left out: {}", self.count(), self.reasons())
        })
    }
}

/// The path that a dataset cannot do without.
///
/// # Errors
/// If it was not given.
pub fn path<'a>(context: &Context<'a>, dataset: &str, expected: &str) -> Result<&'a Path, Error> {
    given(context.path, dataset, expected)
}

/// The same, of the path that was given.
///
/// # Errors
/// If none was.
pub(super) fn given<'a>(
    path: Option<&'a Path>,
    dataset: &str,
    expected: &str,
) -> Result<&'a Path, Error> {
    // The bundled file is of another format.
    path.filter(|path| *path != Path::new(bundled::NAME)).ok_or_else(|| {
        Error::new(Kind::Usage, format!("--dataset-name {dataset} needs --dataset-path"))
            .hint(format!("expected a file of JSON records: {expected}"))
    })
}

/// The records of the file at `path`; `convert` says what to keep of each, or what is wrong with it.
///
/// Reading ends when `most` are kept.
///
/// # Errors
/// If the file cannot be read, if a record is malformed and `--skip-bad-rows` is not given, or if nothing is kept.
pub fn read<R: DeserializeOwned, T: Send>(
    path: &Path,
    context: &Context<'_>,
    expected: &str,
    most: usize,
    convert: impl Fn(R) -> Result<Taken<T>, String> + Sync,
) -> Result<Records<T>, Error> {
    let name = path.display().to_string();
    let broken = |error: std::io::Error| {
        Error::new(Kind::Input, format!("cannot read --dataset-path {name}")).because(error)
    };
    let file = File::open(path).map_err(broken)?;
    let size = file.metadata().map_err(broken)?.len();
    let mut input = BufReader::with_capacity(BUFFER, file);
    let head = input.fill_buf().map_err(broken)?;
    if let Some(what) = filetype::of(&head[..head.len().min(filetype::HEAD)]) {
        return Err(Error::new(Kind::Input, format!("--dataset-path {name} is {what}"))
            .hint(format!("expected {expected}")));
    }
    let array = begins_array(&mut input).map_err(broken)?;
    let mut reader = Reader::new(name.clone(), context, expected, most, convert);
    if !array {
        reader.lines(input)?;
    } else if size <= AT_ONCE && size > 0 {
        let mut text = Vec::new();
        input.read_to_end(&mut text).map_err(broken)?;
        reader.array(&text)?;
    } else {
        reader.array_stream(input)?;
    }
    reader.finish()
}

/// The same for the elements of an array in memory.
pub(super) fn of_array<R: DeserializeOwned, T: Send>(
    name: &str,
    text: &[u8],
    context: &Context<'_>,
    expected: &str,
    convert: impl Fn(R) -> Result<Taken<T>, String> + Sync,
) -> Result<Records<T>, Error> {
    let mut reader = Reader::new(name.to_owned(), context, expected, usize::MAX, convert);
    reader.array(text)?;
    reader.finish()
}

/// Skips a byte order mark and white space; whether a list begins there.
fn begins_array(input: &mut impl BufRead) -> std::io::Result<bool> {
    if input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    // Line ends are kept: they are counted.
    Ok(input.fill_buf()?.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'['))
}

impl<T> Records<T> {
    /// In an order that the run's seed decides.
    #[must_use]
    pub fn shuffled(mut self, context: &Context<'_>, consumer: &str) -> Self {
        self.items.shuffle(&mut rng::stream(context.seed, consumer, 0));
        self
    }

    /// The rows that `make` makes of the items in their order, as many as are wanted;
    /// of an item that is to be left out it gives the reason.
    ///
    /// # Errors
    /// If `make` fails, or if no row is left.
    pub(super) fn rows(
        self,
        context: &Context<'_>,
        make: impl Fn(T) -> Result<Result<Row, &'static str>, Error> + Sync,
    ) -> Result<Rows, Error>
    where
        T: Send,
    {
        let (mut rows, short) = self.some_rows(context, make)?;
        if let Some(Short { found, name, why }) = short {
            let usable = rows.rows.len();
            rows.notes.push(format!(
                "{usable} of the {found} rows of {name} are usable{why}, fewer than --num-prompts {}: the run has {usable} requests",
                context.n,
            ));
        }
        Ok(rows)
    }

    /// The same, with what is missing in the place of the note on it.
    ///
    /// # Errors
    /// If `make` fails, or if no row is left.
    pub fn some_rows(
        self,
        context: &Context<'_>,
        make: impl Fn(T) -> Result<Result<Row, &'static str>, Error> + Sync,
    ) -> Result<(Rows, Option<Short>), Error>
    where
        T: Send,
    {
        let found = self.items.len();
        let mut rows = Vec::with_capacity(context.n.min(found));
        let (mut seen, mut left_out) = (0, LeftOut::default());
        // No more is made than what is missing: counting tokens costs more than another batch.
        let mut left = self.items.into_iter();
        while rows.len() < context.n && left.len() > 0 {
            let missing = context.n - rows.len();
            let batch: Vec<T> = left.by_ref().take(missing.max(SMALLEST_BATCH)).collect();
            let made: Vec<Result<Row, &'static str>> =
                batch.into_par_iter().map(&make).collect::<Result<_, _>>()?;
            for row in made {
                if rows.len() == context.n {
                    break;
                }
                seen += 1;
                match row {
                    Ok(row) => rows.push(row),
                    Err(reason) => left_out.add(reason, None),
                }
            }
        }
        let filtered = left_out.told(seen, &self.name);
        if rows.is_empty() {
            let what = filtered.unwrap_or_default();
            let hint = if left_out.0.keys().any(|reason| reason.contains(CONTEXT_LEN)) {
                "raise --sharegpt-context-len, or use another --dataset-path"
            } else {
                "use another --dataset-path"
            };
            return Err(Error::new(
                Kind::Input,
                format!("none of the {found} rows of {} can be used: {what}", self.name),
            )
            .hint(hint));
        }
        let notes: Vec<String> = self.note.into_iter().collect();
        let mut told: Vec<String> = self.told.into_iter().collect();
        let short = if rows.len() < context.n {
            let why = match left_out.count() {
                0 => String::new(),
                _ => format!(" ({})", left_out.reasons()),
            };
            Some(Short { found, name: self.name, why })
        } else {
            told.extend(filtered);
            None
        };
        Ok((Rows { rows, notes, told, ..Rows::default() }, short))
    }
}

/// Why there are fewer rows than are wanted.
#[derive(Debug)]
pub struct Short {
    /// How many there were.
    pub found: usize,
    /// Where they come from.
    pub name: String,
    /// How many were left out for which reasons, in parentheses after a space; empty if none was.
    pub why: String,
}

/// The flag that rows can be too long for.
pub(super) const CONTEXT_LEN: &str = "--sharegpt-context-len";

struct Reader<'a, T, F> {
    name: String,
    expected: &'a str,
    most: usize,
    skip: bool,
    convert: F,
    items: Vec<T>,
    seen: usize,
    strange: LeftOut,
    unused: LeftOut,
    skipped: usize,
    first_bad: Option<String>,
}

impl<'a, T, F> Reader<'a, T, F> {
    fn new(
        name: String,
        context: &Context<'_>,
        expected: &'a str,
        most: usize,
        convert: F,
    ) -> Self {
        Self {
            name,
            expected,
            most,
            skip: context.reading.skip_bad_rows,
            convert,
            items: Vec::new(),
            seen: 0,
            strange: LeftOut::default(),
            unused: LeftOut::default(),
            skipped: 0,
            first_bad: None,
        }
    }

    /// Takes what one record became, which is at `place`.
    fn take(
        &mut self,
        place: &dyn Fn() -> String,
        record: Result<Taken<T>, String>,
    ) -> Result<ControlFlow<()>, Error> {
        self.seen += 1;
        match record {
            Ok(Taken::Row(item)) => self.items.push(item),
            Ok(Taken::Strange(reason)) => self.strange.add(reason, Some(place)),
            Ok(Taken::Unused(reason)) => self.unused.add(reason, Some(place)),
            Err(what) if self.skip => {
                self.skipped += 1;
                self.first_bad.get_or_insert_with(|| format!("{}: {what}", place()));
            }
            Err(what) => {
                return Err(Error::new(Kind::Input, format!("{}, {}: {what}", self.name, place()))
                    .hint(format!("expected {}", self.expected))
                    .hint("--skip-bad-rows leaves out what is malformed"));
            }
        }
        Ok(if self.items.len() < self.most {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    }

    fn lines<R>(&mut self, mut input: impl BufRead) -> Result<(), Error>
    where
        R: DeserializeOwned,
        F: Fn(R) -> Result<Taken<T>, String>,
    {
        let mut line = Vec::new();
        let mut number = 0_usize;
        loop {
            line.clear();
            let length = input.read_until(b'\n', &mut line).map_err(|error| {
                Error::new(Kind::Input, format!("cannot read {}, line {}", self.name, number + 1))
                    .because(error)
            })?;
            if length == 0 {
                return Ok(());
            }
            number += 1;
            let json = line.trim_ascii();
            if json.is_empty() {
                continue;
            }
            let record = parse(&self.convert, json);
            if self.take(&|| format!("line {number}"), record)?.is_break() {
                return Ok(());
            }
        }
    }

    fn array<R>(&mut self, text: &[u8]) -> Result<(), Error>
    where
        R: DeserializeOwned,
        T: Send,
        F: Fn(R) -> Result<Taken<T>, String> + Sync,
    {
        let items: Vec<&RawValue> = match serde_json::from_slice(text) {
            Ok(items) => items,
            Err(error) if self.skip => return self.elements(text, error),
            Err(error) => return Err(self.no_array(error)),
        };
        for (batch, items) in items.chunks(BATCH).enumerate() {
            let parse = |item: &&RawValue| parse(&self.convert, item.get().as_bytes());
            let parsed: Vec<_> = items.par_iter().map(parse).collect();
            for (i, item) in parsed.into_iter().enumerate() {
                if self.take(&|| format!("item {}", batch * BATCH + i + 1), item)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Takes an array that has malformed elements; `error` is what is wrong if it is none at all.
    fn elements<R>(&mut self, input: impl BufRead, error: serde_json::Error) -> Result<(), Error>
    where
        R: DeserializeOwned,
        F: Fn(R) -> Result<Taken<T>, String>,
    {
        let mut number = 0_usize;
        let read = array::elements(input, |element| {
            number += 1;
            let record = parse(&self.convert, element);
            self.take(&|| format!("item {number}"), record)
        });
        let unreadable = |error: std::io::Error| {
            Error::new(Kind::Input, format!("cannot read {}", self.name)).because(error)
        };
        let whole = read.map_err(unreadable)??;
        if whole { Ok(()) } else { Err(self.no_array(error)) }
    }

    fn array_stream<R>(&mut self, input: impl BufRead) -> Result<(), Error>
    where
        R: DeserializeOwned,
        F: Fn(R) -> Result<Taken<T>, String>,
    {
        if self.skip {
            let cut = serde::de::Error::custom("it does not end as one");
            return self.elements(input, cut);
        }
        let mut number = 0_usize;
        let mut ended = None;
        let mut deserializer = serde_json::Deserializer::from_reader(input);
        let read = deserializer.deserialize_seq(Each(|item: Box<RawValue>| {
            number += 1;
            let record = parse(&self.convert, item.get().as_bytes());
            match self.take(&|| format!("item {number}"), record) {
                Ok(flow) if flow.is_continue() => ControlFlow::Continue(()),
                end => {
                    ended = Some(end.map(|_| ()));
                    ControlFlow::Break(())
                }
            }
        }));
        match ended {
            // The rest of the file has not been looked at.
            Some(end) => end,
            None => read.and_then(|()| deserializer.end()).map_err(|error| self.no_array(error)),
        }
    }

    fn no_array(&self, error: serde_json::Error) -> Error {
        let error = Error::new(Kind::Input, format!("{} is not a JSON array", self.name))
            .because(error)
            .hint(format!("expected {}", self.expected));
        if self.skip { error } else { error.hint("--skip-bad-rows leaves out what is malformed") }
    }

    fn finish(self) -> Result<Records<T>, Error> {
        let Self { name, items, seen, strange, unused, skipped, first_bad, .. } = self;
        let bad = first_bad.map(|first| {
            format!(
                "{skipped} of {seen} rows of {name} are malformed and left out; the first: {first}"
            )
        });
        let notes: Vec<String> = bad.into_iter().chain(strange.told(seen, &name)).collect();
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        let told = unused.told(seen, &name);
        if items.is_empty() {
            let all: Vec<String> = note.into_iter().chain(told).collect();
            let what = if all.is_empty() {
                format!("{name} holds no usable rows: it is empty")
            } else {
                format!("{name} holds no usable rows: {}", all.join("; "))
            };
            return Err(Error::new(Kind::Input, what).hint(format!("expected {}", self.expected)));
        }
        Ok(Records { items, name, note, told })
    }
}

/// What one record becomes, or what is wrong with it.
fn parse<R: DeserializeOwned, T>(
    convert: &impl Fn(R) -> Result<Taken<T>, String>,
    json: &[u8],
) -> Result<Taken<T>, String> {
    serde_json::from_slice(json).map_err(|error| without_line(&error)).and_then(convert)
}

/// What is wrong with a record, without the line, which is that of the record and not of the file.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) => format!("{what} (at byte {})", error.column()),
        None => text,
    }
}

/// Hands on each element of a list until told to stop.
struct Each<F>(F);

impl<'de, F: FnMut(Box<RawValue>) -> ControlFlow<()>> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            if (self.0)(item).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The first two elements of a list; the others are skipped unread.
#[derive(Debug)]
pub(super) struct FirstTwo<T>(pub(super) Option<(T, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FirstTwo<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Two<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Two<T> {
            type Value = FirstTwo<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of turns")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut turns: A) -> Result<FirstTwo<T>, A::Error> {
                let first = turns.next_element()?;
                let second = turns.next_element()?;
                while turns.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(FirstTwo(first.zip(second)))
            }
        }
        deserializer.deserialize_seq(Two(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests;
