//! Rows of `mmmu`, from Parquet files that are written here.

use std::ffi::OsString;
use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rbench::cli::{self, Input};
use rbench::error::{Error, Kind};
use rbench::model::{Prompt, Row};
use rbench::workload::bundled;
use rbench::workload::dataset::{Context, Reading, Rows};
use rbench::workload::hub::Hub;
use rbench::workload::tokenizer::Tokenizer;
use tempfile::TempDir;

/// The columns of MMMU's files that matter, and one more.
const SCHEMA: &str = "message schema {
    OPTIONAL BYTE_ARRAY id (STRING);
    OPTIONAL BYTE_ARRAY question (STRING);
    OPTIONAL group image_1 {
        OPTIONAL BYTE_ARRAY bytes;
        OPTIONAL BYTE_ARRAY path (STRING);
    }
}";

/// A file with the questions and images of `rows` in row groups of `group` rows.
fn write(path: &Path, rows: &[(&str, Option<Vec<u8>>)], group: usize, codec: Compression) {
    let properties = WriterProperties::builder().set_compression(codec).build();
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(group) {
        let mut out = writer.next_row_group().unwrap();
        let images: Vec<ByteArray> =
            rows.iter().filter_map(|(_, image)| image.clone().map(ByteArray::from)).collect();
        let questions: Vec<ByteArray> = rows.iter().map(|(text, _)| (*text).into()).collect();
        let there = vec![1_i16; rows.len()];
        let levels: Vec<i16> =
            rows.iter().map(|(_, image)| if image.is_some() { 2 } else { 0 }).collect();
        // A path is not given where an image is.
        let paths: Vec<i16> = levels.iter().map(|level| level / 2).collect();
        for (values, levels) in
            [(&questions, &there), (&questions, &there), (&images, &levels), (&Vec::new(), &paths)]
        {
            let mut column = out.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(values, Some(levels), None).unwrap();
            column.close().unwrap();
        }
        out.close().unwrap();
    }
    writer.close().unwrap();
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Half transparent red.
fn transparent() -> Vec<u8> {
    let image = RgbaImage::from_pixel(56, 84, Rgba([255, 0, 0, 128]));
    encoded(&image.into(), ImageFormat::Png)
}

fn jpeg() -> Vec<u8> {
    let image = RgbImage::from_pixel(28, 56, Rgb([9, 9, 9]));
    encoded(&image.into(), ImageFormat::Jpeg)
}

/// Questions `q0`, `q1`, ..., of which each third has no image.
fn questions(path: &Path, n: usize) {
    let texts: Vec<String> = (0..n).map(|i| format!("q{i}?")).collect();
    let image = |i: usize| match i % 3 {
        0 => Some(transparent()),
        1 => Some(jpeg()),
        _ => None,
    };
    let rows: Vec<_> = texts.iter().enumerate().map(|(i, q)| (q.as_str(), image(i))).collect();
    write(path, &rows, 4, Compression::SNAPPY);
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(&[bundled::NAME.to_owned()], &Hub::from_env(false)).unwrap()
}

fn load(path: &Path, tokenizer: &Tokenizer, n: usize, seed: u64) -> Result<Rows, Error> {
    let words = ["rbench", "serve", "--dataset-name", "mmmu", "--random-output-len", "9"];
    let Input::Serve(words) = cli::parse(words.map(OsString::from)).unwrap() else {
        panic!("not the words of serve")
    };
    let reading = Reading { server_templates: true, ..Reading::default() };
    let hub = Hub::from_env(false);
    let path = Some(path);
    words.spec.dataset().unwrap().build().unwrap().load(&Context {
        tokenizer,
        hub: &hub,
        path,
        n,
        seed,
        ids: false,
        reading: &reading,
    })
}

fn text(row: &Row) -> &str {
    let Prompt::Text(text) = &row.prompt else { panic!("{row:?}") };
    text
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("questions.parquet")
}

#[test]
fn questions_come_with_their_image_as_png() {
    let folder = TempDir::new().unwrap();
    let tokenizer = tokenizer();
    for codec in
        [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())]
    {
        let rows = [("What?", Some(transparent())), ("no image", None)];
        write(&file(&folder), &rows, 2, codec);
        let loaded = load(&file(&folder), &tokenizer, 2, 1).unwrap();
        let [row] = &loaded.rows[..] else { panic!("{loaded:?}") };
        assert_eq!(text(row), "Question: What?\n\nAnswer: ");
        assert_eq!(row.prompt_len, tokenizer.count(text(row)));
        assert_eq!((row.output_len, row.vision_len), (9, 0));
        // The alpha channel is dropped, not blended.
        let image = RgbImage::from_pixel(56, 84, Rgb([255, 0, 0]));
        let data = row.images[0].strip_prefix("data:image/png;base64,").unwrap();
        let back = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data);
        let back = image::load_from_memory(&back.unwrap()).unwrap();
        assert_eq!(back, DynamicImage::from(image));
        assert!(loaded.notes[0].contains("1 questions"), "{:?}", loaded.notes);
    }
}

#[test]
fn the_seed_alone_chooses_the_questions() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder);
    questions(&path, 30);
    let tokenizer = tokenizer();
    let rows = |n, seed| load(&path, &tokenizer, n, seed).unwrap().rows;
    let all = rows(20, 1);
    assert_eq!(all.len(), 20);
    assert_eq!(rows(20, 1), all);
    assert_eq!(rows(7, 1), all[..7]);
    assert_ne!(rows(20, 2), all);
    let mut texts: Vec<&str> = all.iter().map(text).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 20);
    assert_eq!(load(&path, &tokenizer, 20, 1).unwrap().notes, [""; 0]);
}

#[test]
fn image_tokens_follow_the_rule_of_the_model() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder);
    write(&path, &[("What?", Some(transparent()))], 1, Compression::SNAPPY);
    std::fs::write(folder.path().join("tokenizer.json"), bundled::TOKENIZER).unwrap();
    let config = r#"{"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "merge_size": 2,
        "image_processor_type": "Qwen2VLImageProcessor"}"#;
    std::fs::write(folder.path().join("preprocessor_config.json"), config).unwrap();
    let name = folder.path().display().to_string();
    let tokenizer = Tokenizer::load(&[name], &Hub::from_env(false)).unwrap();
    let row = &load(&path, &tokenizer, 1, 1).unwrap().rows[0];
    assert_eq!((row.vision_len, row.prompt_len), (6, tokenizer.count(text(row)) + 6));
}

#[test]
fn files_that_can_not_be_used_say_what_was_expected() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder);
    let tokenizer = tokenizer();
    let refused = |says: &str| {
        let error = load(&path, &tokenizer, 2, 1).unwrap_err();
        assert_eq!(error.kind, Kind::Input, "{error}");
        assert!(error.message.contains("questions.parquet"), "{error}");
        assert!(error.message.contains(says), "{error}");
        assert!(error.hints[0].contains("question and image_1.bytes"), "{error}");
    };
    refused("cannot be read");
    for bytes in [&b""[..], b"PAR1", b"{\"question\": 1}"] {
        std::fs::write(&path, bytes).unwrap();
        refused("is not a Parquet file");
    }
    write(&path, &[("What?", None)], 1, Compression::SNAPPY);
    refused("no question with an image");
    let rows = [("What?", Some(jpeg())), ("bad", Some(b"GIF89a".to_vec()))];
    write(&path, &rows, 1, Compression::SNAPPY);
    refused("row 1: image_1 is not a PNG or JPEG file");
    let schema = Arc::new(parse_message_type("message schema { OPTIONAL INT32 x; }").unwrap());
    let out = File::create(&path).unwrap();
    SerializedFileWriter::new(out, schema, Arc::default()).unwrap().close().unwrap();
    refused("has no column question");
}

#[test]
fn there_are_no_bundled_questions() {
    let error = load(Path::new(bundled::NAME), &tokenizer(), 1, 1).unwrap_err();
    assert_eq!(error.kind, Kind::Usage);
    assert!(error.hints[0].contains("Parquet"), "{error}");
}
