//! `mmmu`: questions about images, from the benchmark MMMU.
//!
//! The file is Parquet, with a column `question` and a column `image_1` of a struct whose field `bytes` has an image file.
//! The first image of a question is sent, as PNG without an alpha channel; the options of the question are not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::FromArgMatches;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row as Record};
use parquet::schema::types::Type;
use rand::Rng as _;
use rayon::prelude::*;

use super::lengths::{Draws, Opts};
use super::picture::{Format, Size, data_uri};
use super::placing::Placing;
use super::records::LeftOut;
use super::{Context, Dataset, Entry, Rows, Templates, Uses, of, params};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::rng;
use crate::workload::bundled;
use crate::workload::filetype;
use crate::workload::hub::{Holds, Hub};
use crate::workload::lengths::{Distribution, Drawn};

pub(super) const ENTRY: Entry = Entry {
    name: "mmmu",
    about: "questions about images, from the benchmark MMMU",
    // The one flag, --random-output-len, is that of `random`, which adds it.
    flags: |command| command,
    reads: &["dataset-path", "random-output-len", "output-len-dist"],
    params: |matches| params(Opts::from_arg_matches(matches)),
    build: |params| {
        let opts: Opts = of(params)?;
        match opts.distributions.input_len_dist {
            Some(_) => Err("--input-len-dist does not apply to --dataset-name mmmu, whose prompts are those of its file".to_owned()),
            None => Ok(Box::new(Mmmu(opts))),
        }
    },
    effective: |_| serde_json::Map::new(),
};

const REPO: &str = "MMMU/MMMU";
const FILE: &str = "Math/test-00000-of-00001.parquet";

/// The columns that are read.
const QUESTION: &str = "question";
const IMAGE: &str = "image_1";
const BYTES: &str = "bytes";

#[derive(Debug)]
struct Mmmu(Opts);

/// A question with its image.
struct Example {
    /// Row of the file, from 0.
    number: u64,
    question: String,
    image: ByteArray,
}

impl Dataset for Mmmu {
    fn fetch(&self, hub: &Hub, path: Option<&Path>) -> Result<(), Error> {
        file(hub, path).map(drop)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        super::refuse_ids(context, ENTRY.name)?;
        let path = file(context.hub, context.path)?;
        let placing = Placing::of(context)?;
        let (examples, bare) = read(&path, context.n, context.seed)?;
        let lengths = match &self.0.distributions.output_len_dist {
            Some(distribution) => distribution.clone(),
            None => Distribution::uniform(self.0.random_output_len, self.0.random_output_len),
        };
        let lengths = Draws::of(lengths, "mmmu/output-len")?;
        let row = |(i, example): (usize, &Example)| {
            let output_len = lengths.at(context.seed, i);
            row(context, &path, example, output_len, &placing)
        };
        let rows: Vec<Row> =
            examples.par_iter().enumerate().map(row).collect::<Result<_, Error>>()?;
        let note = (rows.len() < context.n).then(|| {
            format!(
                "{} has {} questions with an image, fewer than --num-prompts {}",
                path.display(),
                rows.len(),
                context.n
            )
        });
        let output = lengths.summary(rows.iter().map(|row| row.output_len));
        let rows = Rows {
            rows,
            notes: note.into_iter().chain(placing.note()).collect(),
            told: bare.into_iter().collect(),
            ..Rows::default()
        };
        Ok(rows.with(Drawn { output, ..Drawn::default() }))
    }

    fn uses(&self) -> Uses {
        Uses { images: true, template: Templates::Always, ..Uses::default() }
    }
}

/// The row of a question.
fn row(
    context: &Context<'_>,
    path: &Path,
    example: &Example,
    output_len: usize,
    placing: &Placing<'_>,
) -> Result<Row, Error> {
    let (size, uri) = picture(example.image.data()).map_err(|error| {
        unusable(path, &format!("row {}: {IMAGE} is not a PNG or JPEG file", example.number))
            .because(error)
    })?;
    let text = format!("Question: {}\n\nAnswer: ", example.question);
    let len = context.tokenizer.count(&text);
    let row = Row { images: vec![uri], ..Row::new(Prompt::Text(text), len, output_len) };
    let vision = placing.rule.map_or(Ok(0), |rule| rule.tokens(size))?;
    placing.place(row, vision)
}

/// The file to read.
fn file(hub: &Hub, path: Option<&Path>) -> Result<PathBuf, Error> {
    let hint = "pass --dataset-path with a Parquet file of MMMU";
    match path {
        Some(path) if path == Path::new(bundled::NAME) => {
            let message = format!("--dataset-path {} has no questions about images", bundled::NAME);
            Err(Error::new(Kind::Usage, message).hint(hint))
        }
        Some(path) => Ok(path.to_owned()),
        None => hub.file(Holds::Dataset, REPO, FILE).map_err(|error| error.hint(hint)),
    }
}

fn unusable(path: &Path, what: &str) -> Error {
    Error::new(Kind::Input, format!("{}: {what}", path.display()))
        .hint("expected a Parquet file with the columns question and image_1.bytes")
}

/// At most `n` questions with an image, in an order that the seed draws.
///
/// No more than those are held, however long the file is. Also returns the note on rows that are left out.
fn read(path: &Path, n: usize, seed: u64) -> Result<(Vec<Example>, Option<String>), Error> {
    let mut file =
        File::open(path).map_err(|error| unusable(path, "cannot be read").because(error))?;
    let broken = |error: ParquetError| unusable(path, "is not a Parquet file").because(error);
    let mut head = Vec::new();
    let unreadable = |error: std::io::Error| unusable(path, "cannot be read").because(error);
    (&mut file).take(filetype::HEAD as u64).read_to_end(&mut head).map_err(unreadable)?;
    if let Some(what) = filetype::of(&head).filter(|_| !head.starts_with(b"PAR1")) {
        return Err(unusable(path, &format!("is {what}")));
    }
    file.rewind().map_err(unreadable)?;
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let columns: Vec<Arc<Type>> = [QUESTION, IMAGE]
        .iter()
        .map(|name| {
            let fields = reader.metadata().file_metadata().schema().get_fields();
            let field = fields.iter().find(|field| field.name() == *name);
            field.cloned().ok_or_else(|| unusable(path, &format!("has no column {name}")))
        })
        .collect::<Result<_, _>>()?;
    let schema = reader.metadata().file_metadata().schema();
    let wanted = Type::group_type_builder(schema.name());
    let wanted = wanted.with_fields(columns).build().map_err(broken)?;
    let mut chosen: BTreeMap<(u64, u64), Example> = BTreeMap::new();
    let (mut seen, mut left_out) = (0, LeftOut::default());
    for (number, record) in (0..).zip(reader.get_row_iter(Some(wanted)).map_err(broken)?) {
        let at = |what: &str| unusable(path, &format!("row {number}: {what}"));
        let record = record.map_err(|error| at("cannot be read").because(error))?;
        seen += 1;
        let Some((question, image)) = columns_of(record).map_err(|what| at(&what))? else {
            left_out.add("without an image", None);
            continue;
        };
        // Each row has a place of its own in the order, whatever rows there are beside it.
        let place = rng::stream(seed, "mmmu/order", number).next_u64();
        chosen.insert((place, number), Example { number, question, image });
        if chosen.len() > n {
            chosen.pop_last();
        }
    }
    if chosen.is_empty() {
        return Err(unusable(path, "has no question with an image"));
    }
    let told = left_out.told(seen, &path.display().to_string());
    Ok((chosen.into_values().collect(), told))
}

/// The question and the image file of a record; `None` if it has no image.
fn columns_of(record: Record) -> Result<Option<(String, ByteArray)>, String> {
    let (mut question, mut image) = (None, None);
    for (name, field) in record.into_columns() {
        match (name.as_str(), field) {
            (QUESTION, Field::Str(text)) => question = Some(text),
            (IMAGE, Field::Null) => {}
            (IMAGE, Field::Group(file)) => {
                let bytes = file.into_columns().into_iter().find(|(name, _)| name == BYTES);
                match bytes {
                    Some((_, Field::Bytes(bytes))) => image = Some(bytes),
                    Some((_, Field::Null)) => {}
                    _ => return Err(format!("{IMAGE} has no field {BYTES} of bytes")),
                }
            }
            (IMAGE, _) => return Err(format!("{IMAGE} is not a struct with the field {BYTES}")),
            _ => {}
        }
    }
    let Some(image) = image else { return Ok(None) };
    let question = question.ok_or_else(|| format!("{QUESTION} is not a text"))?;
    Ok(Some((question, image)))
}

/// An image file as PNG without an alpha channel, and its size.
fn picture(file: &[u8]) -> Result<(Size, Arc<str>), Box<dyn std::error::Error + Send + Sync>> {
    let image = image::load_from_memory(file)?.into_rgb8();
    let size = Size { width: image.width(), height: image.height() };
    let uri = data_uri(image.as_raw(), size, Format::Png).map_err(|error| error.message)?;
    Ok((size, uri))
}
