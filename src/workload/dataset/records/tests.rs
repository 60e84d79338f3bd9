//! Files of records, good and bad, on each of the ways they are read.

use std::io::Write;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::*;
use crate::workload::dataset::Reading;
use crate::workload::hub::Hub;
use crate::workload::tokenizer::Tokenizer;

fn file(text: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    file
}

fn with_context<T>(skip_bad_rows: bool, f: impl FnOnce(&Context<'_>) -> T) -> T {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        Tokenizer::load(&[bundled::NAME.to_owned()], &Hub::from_env(false)).unwrap()
    });
    let reading = Reading { skip_bad_rows, ..Reading::default() };
    f(&Context {
        tokenizer: &TOKENIZER,
        hub: &Hub::from_env(false),
        path: None,
        n: 1,
        seed: 1,
        ids: false,
        reading: &reading,
    })
}

#[derive(Clone, Copy, Deserialize)]
struct Line {
    x: u32,
}

/// Takes odd numbers and refuses 13.
fn odd(line: Line) -> Result<Taken<u32>, String> {
    match line.x {
        13 => Err("13 is unlucky".to_owned()),
        x if x % 2 == 1 => Ok(Taken::Row(x)),
        4 => Ok(Taken::Strange("that are 4")),
        _ => Ok(Taken::Unused("that are even")),
    }
}

fn load(text: &[u8], skip: bool, most: usize) -> Result<Records<u32>, Error> {
    let file = file(text);
    with_context(skip, |context| read(file.path(), context, "{\"x\": number}", most, odd))
}

/// The message without the folder of the file.
fn message(error: &Error) -> String {
    let at = error.message.find(", ").map_or(0, |at| at + 2);
    error.message[at..].to_owned()
}

#[test]
fn lines_and_arrays() {
    for text in [
        "{\"x\": 1}\n{\"x\": 2}\n{\"x\": 3}\n",
        "\n  \n{\"x\": 1}\r\n\r\n{\"x\": 2}\n{\"x\": 3}",
        "\u{feff}{\"x\": 1}\n{\"x\": 3}",
        "[{\"x\": 1}, {\"x\": 3}]",
        "\u{feff}\n\n [\n{\"x\": 1}, {\"x\": 2},{\"x\": 3}]\n",
    ] {
        let records = load(text.as_bytes(), false, usize::MAX).unwrap();
        assert_eq!((records.items, records.note), (vec![1, 3], None), "{text}");
    }
}

#[test]
fn reading_ends_when_enough_are_kept() {
    for text in ["{\"x\": 1}\n{\"x\": 3}\noops", "[{\"x\": 1}, {\"x\": 3}, {\"x\": 13}]"] {
        assert_eq!(load(text.as_bytes(), false, 2).unwrap().items, [1, 3], "{text}");
    }
}

#[test]
fn malformed_rows_are_named() {
    for (text, want) in [
        (&b"{\"x\": 1}\n\n{\"x\": }\n"[..], "line 3: expected value (at byte 7)"),
        (b"{\"x\": 1}\n{\"y\": 2}", "line 2: missing field `x` (at byte 8)"),
        (b"{\"x\": 1}\n{\"x\": 13}", "line 2: 13 is unlucky"),
        (b"{\"x\": 1}\n{\"x\": \"\xff\"}", "line 2: "),
        (b"{\"x\": 1}\n{\"x\": 1} {\"x\": 3}\n", "line 2: trailing characters (at byte 10)"),
        (
            b"[{\"x\": 1}, {\"x\": -1}]",
            "item 2: invalid value: integer `-1`, expected u32 (at byte 8)",
        ),
        (b"[{\"x\": 1}, 5]", "item 2: invalid type: integer `5`, expected struct Line (at byte 1)"),
    ] {
        let error = load(text, false, usize::MAX).unwrap_err();
        let shown = String::from_utf8_lossy(text);
        assert!(message(&error).starts_with(want), "{shown}: {}", error.message);
        assert!(error.hints[0].contains("{\"x\": number}"), "{shown}");
        let records = load(text, true, usize::MAX).unwrap();
        let note = records.note.unwrap();
        assert!(note.starts_with("1 of 2 rows of ") && note.contains(want), "{shown}: {note}");
    }
}

#[test]
fn broken_arrays_and_empty_files_are_errors() {
    for (text, want) in [
        ("[{\"x\": 1}", "is not a JSON array"),
        ("[{\"x\": 1}] x", "is not a JSON array"),
        ("", "holds no usable rows"),
        ("\n\n", "holds no usable rows"),
        ("{\"x\": 2}", "holds no usable rows"),
        ("oops", "1 of 1 rows"),
    ] {
        let error = load(text.as_bytes(), true, usize::MAX).unwrap_err();
        assert!(error.message.contains(want), "{text}: {}", error.message);
    }
    let gone = with_context(false, |context| {
        read(Path::new("/nowhere/x.jsonl"), context, "", 1, odd).unwrap_err()
    });
    assert_eq!(gone.message, "cannot read --dataset-path /nowhere/x.jsonl");
}

#[test]
fn large_arrays_are_read_alike() {
    for (text, skip, most) in [
        ("[{\"x\": 1}, {\"x\": 2}, {\"x\": 3}] ", false, 9),
        ("[{\"x\": 1}, {\"x\": 13}, {\"x\": 3}]", true, 9),
        ("[{\"x\": 1}, {\"x\": 13}, {\"x\": 3}]", false, 9),
        ("[{\"x\": 1}, {\"x\": 3}, {\"x\": 13}]", false, 2),
        ("[{\"x\": 1}, {\"x\": }, {\"x\": NaN}, , {\"x\": 3}]", true, 9),
        ("[{\"x\": 1}, {\"x\": 3}", true, 9),
        ("[{\"x\": 1}] x", true, 9),
    ] {
        let read = |stream: bool| {
            with_context(skip, |context| {
                let mut reader = Reader::new("f".to_owned(), context, "", most, odd);
                let input = text.as_bytes();
                let read = if stream { reader.array_stream(input) } else { reader.array(input) };
                let records = read.and_then(|()| reader.finish());
                records.map(|r| (r.items, r.note)).map_err(|error| error.message)
            })
        };
        assert_eq!(read(true), read(false), "{text}");
    }
}

#[test]
fn the_first_two_of_a_list() {
    for (text, want) in [
        ("[1, 2, {\"deep\": [3]}]", Some((1, 2))),
        ("[1, 2]", Some((1, 2))),
        ("[1]", None),
        ("[]", None),
    ] {
        assert_eq!(serde_json::from_str::<FirstTwo<u8>>(text).unwrap().0, want, "{text}");
    }
    assert!(serde_json::from_str::<FirstTwo<u8>>("5").is_err());
}

proptest! {
    /// Forall bytes: reading them is an error or not, and never a panic; with or without the switch.
    #[test]
    fn any_bytes_can_be_read(text: Vec<u8>, skip: bool) {
        let _ = load(&text, skip, 3);
    }

    /// Forall values: written as lines or as an array, they are read as they were.
    #[test]
    fn what_is_written_is_read(numbers in prop::collection::vec(0_u32..1000, 1..20)) {
        let values: Vec<Value> = numbers.iter().map(|x| json!(x)).collect();
        let lines: String = values.iter().flat_map(|v| [v.to_string(), "\n".to_owned()]).collect();
        let array = Value::from(values).to_string();
        for text in [lines, array] {
            let file = file(text.as_bytes());
            let read = with_context(false, |context| {
                read(file.path(), context, "", usize::MAX, |x: u32| Ok(Taken::Row(x))).unwrap().items
            });
            prop_assert_eq!(&read, &numbers);
        }
    }
}
