//! What files hold.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rbench::journal;
use rbench::model::Prompt;
use rbench::workload::bundled;
use rbench::workload::dataset::{self, Context, Dataset, Reading};
use rbench::workload::hub::Hub;
use rbench::workload::tokenizer::Tokenizer;

use crate::choices;

/// Rows that are wanted of a dataset.
const WANTED: usize = 4;

/// A folder of this process, in memory where the system has such a place.
fn folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let folder = base.join(format!("rbench-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for inputs");
    folder
}

/// Does `work` with a file that has this ending and these bytes.
fn with_file(ending: &str, bytes: &[u8], work: impl FnOnce(&Path)) {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(folder);
    let path = FOLDER.join(format!("input.{ending}"));
    std::fs::write(&path, bytes).expect("an input can be written");
    work(&path);
}

fn hub() -> Hub {
    Hub::from_env(false)
}

thread_local! {
    /// Every dataset that reads a file, without flags of its own.
    static DATASETS: Vec<Box<dyn Dataset>> = readers();
}

fn readers() -> Vec<Box<dyn Dataset>> {
    let readers = dataset::ALL.iter().filter(|entry| entry.reads.contains(&"dataset-path"));
    readers
        .map(|entry| {
            let spec = dataset::Spec::named(entry.name, []);
            spec.and_then(|spec| spec.build()).expect("defaults go together")
        })
        .collect()
}

/// The readers of all datasets that take a file: rows or an error, and as many rows as were wanted at most.
pub fn datasets(data: &[u8]) {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        Tokenizer::load(&[bundled::NAME.to_owned()], &hub()).expect("the bundled tokenizer")
    });
    let Some(([which, how], bytes)) = choices(data) else { return };
    let reading = Reading {
        template: how & 1 != 0,
        skip_bad_rows: how & 2 != 0,
        repeat: how & 4 != 0,
        server_templates: how & 8 != 0,
        suffix: if how & 16 != 0 { " please".to_owned() } else { String::new() },
        ..Reading::default()
    };
    let read = |datasets: &Vec<Box<dyn Dataset>>, path: &Path| {
        let dataset = &datasets[usize::from(which) % datasets.len()];
        let loaded = dataset.load(&Context {
            tokenizer: &TOKENIZER,
            hub: &hub(),
            path: Some(path),
            n: WANTED,
            seed: 1,
            ids: false,
            reading: &reading,
        });
        let Ok(loaded) = loaded else { return };
        assert!(loaded.rows.len() <= WANTED || loaded.replay, "{}", loaded.rows.len());
        for row in &loaded.rows {
            assert!(row.vision_len <= row.prompt_len, "{row:?}");
            assert!(!matches!(&row.prompt, Prompt::Rounds(rounds) if rounds.is_empty()), "{row:?}");
        }
    };
    with_file("jsonl", bytes, |path| DATASETS.with(|datasets| read(datasets, path)));
}

/// The readers of tokenizers: one that can be used, or an error.
pub fn tokenizers(data: &[u8]) {
    let Some(([which], bytes)) = choices(data) else { return };
    let endings = ["model", "gguf", "tiktoken"];
    with_file(endings[usize::from(which) % endings.len()], bytes, |path| {
        let Ok(tokenizer) = Tokenizer::load(&[path.display().to_string()], &hub()) else { return };
        let ids = tokenizer.encode_with_special("Hello, <s> wörld 漢\u{2581} 123");
        let _ = tokenizer.decode(&ids);
        let _ = (tokenizer.word_ids().len(), tokenizer.plain_ids().len());
        if let Ok(template) = tokenizer.chat_template(&Reading::default().now) {
            let _ = template.render(&[rbench::model::user_message("hi")], None, true);
        }
    });
}

/// The reader of records: runs or an error, and figures of what it read.
pub fn records(data: &[u8]) {
    with_file("records", data, |path| {
        let Ok(runs) = journal::read(path) else { return };
        for run in runs {
            let tokens: u64 =
                run.records.iter().flat_map(|r| &r.events.tokens).map(|&n| u64::from(n)).sum();
            for record in &run.records {
                let length: usize = record.texts().map(str::len).sum();
                assert!(record.pieces().map(str::len).sum::<usize>() <= length, "{record:?}");
                assert!(run.asked.of(record).is_none_or(|texts| texts.len() <= data.len()));
            }
            // Each of them becomes a latency of its own.
            if tokens < 100_000 {
                crate::streams::figures(&run.records);
            }
        }
    });
}
