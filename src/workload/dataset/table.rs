//! Rows of tables as JSON objects: files of JSON lines, a JSON array, CSV or Parquet.
//!
//! Columns of bytes that are the file of an image or a sound are read as data URIs.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use parquet::record::{Field, List, Row};
use serde_json::{Map, Value};

use super::records::{self, Taken};
use super::{Context, picture};
use crate::error::{Error, Kind};

/// A row by the names of its columns.
pub type Cells = Map<String, Value>;

/// What a file may be, for messages.
const EXPECTED: &str = "JSON lines, a JSON array of objects, CSV with a line of names, or Parquet";

/// At most `most` rows of the file at `path`, from its beginning.
///
/// # Errors
/// If it cannot be read, or is none of these.
pub fn table(path: &Path, context: &Context<'_>, most: usize) -> Result<Vec<Cells>, Error> {
    let broken = |error: std::io::Error| unusable(path, "cannot be read").because(error);
    let mut file = File::open(path).map_err(broken)?;
    let mut head = Vec::new();
    (&mut file).take(4).read_to_end(&mut head).map_err(broken)?;
    file.rewind().map_err(broken)?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension {
        _ if head == b"PAR1" => parquet(path, file, most),
        Some("csv" | "tsv") => csv(path, file, extension == Some("tsv"), most),
        _ => {
            let keep = |cells: Cells| Ok(Taken::Row(cells));
            Ok(records::read(path, context, EXPECTED, most, keep)?.items)
        }
    }
}

fn unusable(path: &Path, what: &str) -> Error {
    Error::new(Kind::Input, format!("{} {what}", path.display()))
        .hint(format!("expected {EXPECTED}"))
}

fn csv(path: &Path, file: File, tabs: bool, most: usize) -> Result<Vec<Cells>, Error> {
    let broken = |error: ::csv::Error| unusable(path, "is not CSV").because(error);
    let delimiter = if tabs { b'\t' } else { b',' };
    let mut reader = ::csv::ReaderBuilder::new().delimiter(delimiter).from_reader(file);
    let names = reader.headers().map_err(broken)?.clone();
    let row = |record: Result<::csv::StringRecord, ::csv::Error>| {
        let record = record.map_err(broken)?;
        let cells = names.iter().zip(&record).map(|(name, text)| (name.to_owned(), text.into()));
        Ok(cells.collect())
    };
    reader.records().take(most).map(row).collect()
}

fn parquet(path: &Path, file: File, most: usize) -> Result<Vec<Cells>, Error> {
    let broken = |error: ParquetError| unusable(path, "is not a Parquet file").because(error);
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let rows = RowIter::from_file_into(Box::new(reader));
    let row = |row: Result<Row, ParquetError>| row.map(object).map_err(broken);
    rows.take(most).map(row).collect()
}

fn object(row: Row) -> Cells {
    row.into_columns().into_iter().map(|(name, field)| (name, value(field))).collect()
}

fn value(field: Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => flag.into(),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) | Field::Date(n) | Field::TimeMillis(n) => n.into(),
        Field::Long(n)
        | Field::TimeMicros(n)
        | Field::TimestampMillis(n)
        | Field::TimestampMicros(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        Field::Float(x) => x.into(),
        Field::Double(x) => x.into(),
        Field::Str(text) => text.into(),
        Field::Bytes(bytes) => match picture::of_file(bytes.data()) {
            Some(uri) => uri.into(),
            None => String::from_utf8_lossy(bytes.data()).into(),
        },
        Field::Group(row) => object(row).into(),
        Field::ListInternal(list) => elements(&list),
        // What no prompt is made of keeps its form for people.
        other => other.to_string().into(),
    }
}

fn elements(list: &List) -> Value {
    list.elements().iter().cloned().map(value).collect()
}
