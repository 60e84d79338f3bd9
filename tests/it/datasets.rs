//! Rows of every dataset, made with the bundled files and with tokenizers that are built here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use rbench::cli::{self, Input};
use rbench::config::Job;
use rbench::error::{Error, Kind};
use rbench::model::{Prompt, Row};
use rbench::workload::bundled;
use rbench::workload::dataset::{self, Context, Reading, Rows};
use rbench::workload::hub::Hub;
use rbench::workload::tokenizer::Tokenizer;
use tempfile::TempDir;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::normalizers::{
    NormalizerWrapper, Prepend, Replace, Sequence as NormalizerSequence,
};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::Metaspace;
use tokenizers::pre_tokenizers::split::Split;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer as Raw};

// -- Tokenizers ------------------------------------------------------------------------------------------------------

/// A tokenizer as a user would have it: in a file.
fn through_a_file(raw: &Raw) -> Tokenizer {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokenizer.json");
    raw.save(&path, false).unwrap();
    Tokenizer::load(&[path.display().to_string()], &Hub::from_env(false)).unwrap()
}

pub(crate) fn bundled() -> Tokenizer {
    Tokenizer::load(&[bundled::NAME.to_owned()], &Hub::from_env(false)).unwrap()
}

/// Input that [`words`] knows; of other words it knows that they are one token.
const KNOWN: [&str; 3] = ["<unk>", "alpha", "beta"];

/// One token per word, known or not.
pub(crate) fn words() -> Tokenizer {
    let text = std::str::from_utf8(bundled::CONVERSATIONS).unwrap();
    let mut known: Vec<&str> = text.split_whitespace().filter(|word| word.is_ascii()).collect();
    known.sort_unstable();
    known.dedup();
    let known = known.into_iter().filter(|word| !KNOWN.contains(word)).take(500);
    let vocabulary = KNOWN.into_iter().chain(known).zip(0..);
    let model = WordLevel::builder()
        .vocab(vocabulary.map(|(word, id)| (word.to_owned(), id)).collect())
        .unk_token("<unk>".to_owned())
        .build()
        .unwrap();
    let mut raw = Raw::new(model);
    raw.with_pre_tokenizer(Some(WhitespaceSplit));
    through_a_file(&raw)
}

/// Bytes and a few merges; each text begins with a special token.
pub(crate) fn bytes_with_bos() -> Tokenizer {
    let mut alphabet: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
    alphabet.sort_unstable();
    let merges = [("t", "h"), ("th", "e"), ("i", "n"), ("Ġ", "the"), ("e", "r"), ("Ġ", "a")]
        .map(|(left, right)| (left.to_owned(), right.to_owned()));
    let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
    let vocabulary: Vocab =
        alphabet.into_iter().chain(merged.collect::<Vec<_>>()).zip(0..).collect();
    let model = BPE::builder().vocab_and_merges(vocabulary, merges.into()).build().unwrap();
    let mut raw = Raw::new(model);
    raw.add_special_tokens([AddedToken::from("<s>", true)]).unwrap();
    let bos = raw.token_to_id("<s>").unwrap();
    raw.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)));
    raw.with_decoder(Some(ByteLevel::default()));
    let template = TemplateProcessing::builder()
        .try_single("<s> $A")
        .unwrap()
        .special_tokens(vec![("<s>", bos)])
        .build()
        .unwrap();
    raw.with_post_processor(Some(template));
    through_a_file(&raw)
}

/// Each tokenizer and the special tokens that it adds.
fn tokenizers() -> [(&'static str, Tokenizer, usize); 3] {
    [("bundled", bundled(), 0), ("words", words(), 0), ("bytes with BOS", bytes_with_bos(), 1)]
}

// -- Loading ---------------------------------------------------------------------------------------------------------

/// What a test wants.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) dataset: &'a str,
    pub(crate) flags: &'a [&'a str],
    pub(crate) path: &'a Path,
    pub(crate) n: usize,
    pub(crate) seed: u64,
    pub(crate) ids: bool,
    pub(crate) server_templates: bool,
}

pub(crate) fn ask<'a>(dataset: &'a str, flags: &'a [&'a str]) -> Ask<'a> {
    Ask {
        dataset,
        flags,
        path: Path::new(bundled::NAME),
        n: 40,
        seed: 42,
        ids: false,
        server_templates: false,
    }
}

/// The dataset as the command line builds it.
fn parse(name: &str, flags: &[&str]) -> Job {
    let words =
        ["rbench", "serve", "--dataset-name", name].into_iter().chain(flags.iter().copied());
    match cli::parse(words.map(OsString::from)).unwrap() {
        Input::Serve(words) => *words,
        _ => panic!("not the words of serve"),
    }
}

impl Ask<'_> {
    pub(crate) fn load(&self, tokenizer: &Tokenizer) -> Result<Rows, Error> {
        let spec = parse(self.dataset, self.flags).spec;
        let reading = Reading {
            template: spec.prompts.apply_chat_template,
            suffix: spec.prompts.prompt_suffix.clone(),
            skip_bad_rows: spec.prompts.skip_bad_rows,
            repeat: spec.prompts.allow_repeat,
            server_templates: self.server_templates,
            ..Reading::default()
        };
        spec.dataset().unwrap().build().unwrap().load(&Context {
            tokenizer,
            hub: &Hub::from_env(false),
            path: Some(self.path),
            n: self.n,
            seed: self.seed,
            ids: self.ids,
            reading: &reading,
        })
    }

    pub(crate) fn rows(&self, tokenizer: &Tokenizer) -> Vec<Row> {
        self.load(tokenizer).unwrap().rows
    }
}

pub(crate) fn text(row: &Row) -> &str {
    match &row.prompt {
        Prompt::Text(text) => text,
        other => panic!("{other:?} where text was asked for"),
    }
}

/// The file that a dataset needs of its own, in its true format, if it cannot be made from the bundled ones.
pub(crate) fn fixture(name: &str) -> Option<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/datasets"));
    ["json", "jsonl"]
        .map(|end| folder.join(format!("{name}.{end}")))
        .into_iter()
        .find(|p| p.exists())
}

fn on_bundled_data() -> impl Iterator<Item = &'static dataset::Entry> {
    // `mmmu` reads Parquet, and has tests of its own.
    dataset::ALL.iter().filter(|entry| fixture(entry.name).is_none() && entry.name != "mmmu")
}

// -- Every dataset ---------------------------------------------------------------------------------------------------

/// Short random prompts and small images; a dataset ignores the flags of others.
/// The images are PNG, whose bytes are the same on every machine.
const SHORT: &[&str] = &[
    "--random-input-len",
    "60",
    "--random-output-len",
    "30",
    "--gsp-system-prompt-len",
    "60",
    "--gsp-question-len",
    "20",
    "--image-resolution",
    "random:8x8-16x24",
    "--image-format",
    "png",
    "--image-count",
    "2",
    "--random-image-count",
];

#[test]
fn the_seed_alone_decides_the_rows() {
    let tokenizer = bundled();
    for entry in on_bundled_data() {
        let ask = ask(entry.name, SHORT);
        let rows = ask.rows(&tokenizer);
        assert_eq!(rows.len(), ask.n, "{}", entry.name);
        assert_eq!(ask.rows(&tokenizer), rows, "{}", entry.name);
        let other = Ask { seed: 43, ..ask }.rows(&tokenizer);
        let same = rows.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same < ask.n / 4, "{}: {same} rows are the same with another seed", entry.name);
    }
}

#[test]
fn rows_do_not_depend_on_how_many_are_asked_for() {
    let tokenizer = bundled();
    for entry in on_bundled_data() {
        let ask = ask(entry.name, SHORT);
        let few = Ask { n: 20, ..ask }.rows(&tokenizer);
        let many = Ask { n: 50, ..ask }.rows(&tokenizer);
        assert_eq!(few[..], many[..20], "{}", entry.name);
    }
}

#[test]
fn prompts_are_no_copies_of_each_other() {
    let tokenizer = bundled();
    for entry in on_bundled_data() {
        let rows = ask(entry.name, SHORT).rows(&tokenizer);
        let mut texts: Vec<&str> = rows.iter().map(text).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), rows.len(), "{}", entry.name);
    }
}

#[test]
fn files_of_their_own_give_these_rows() {
    let tokenizer = bundled();
    for entry in dataset::ALL {
        let Some(path) = fixture(entry.name) else { continue };
        let ask = Ask { path: &path, n: 3, ..ask(entry.name, &[]) };
        let rows = ask.rows(&tokenizer);
        assert_eq!(ask.rows(&tokenizer), rows, "{}", entry.name);
        let golden = format!("../data/datasets/{}.rows.txt", entry.name);
        expect_file![golden].assert_eq(&format!("{rows:#?}\n"));
    }
}

/// FNV-1a over prompts, images and lengths.
fn fingerprint(rows: &[Row]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for row in rows {
        match &row.prompt {
            Prompt::Text(text) => take(text.as_bytes()),
            Prompt::Texts(texts) => texts.iter().for_each(|text| take(text.as_bytes())),
            Prompt::Ids(ids) => ids.iter().for_each(|id| take(&id.to_le_bytes())),
            Prompt::Messages(messages) => {
                for message in messages {
                    take(message.to_string().as_bytes());
                }
            }
            Prompt::Rounds(rounds) => {
                rounds.iter().flatten().for_each(|message| take(message.to_string().as_bytes()));
            }
        }
        row.images.iter().for_each(|image| take(image.as_bytes()));
        take(&[0xff]);
        take(&(row.prompt_len as u64).to_le_bytes());
        take(&(row.output_len as u64).to_le_bytes());
    }
    hash
}

#[test]
fn generated_bytes_change_only_by_intent() {
    let tokenizer = bundled();
    let mut found = String::new();
    let mut add = |name: &str, ask: Ask<'_>| {
        let rows = ask.rows(&tokenizer);
        found += &format!("{name:<15} {:>3} rows  {:016x}\n", rows.len(), fingerprint(&rows));
    };
    for entry in on_bundled_data() {
        add(entry.name, Ask { n: 100, ..ask(entry.name, SHORT) });
    }
    for name in ["random", "random-ids"] {
        add(&format!("{name} ids"), Ask { n: 100, ids: true, ..ask(name, SHORT) });
    }
    expect_file!["../data/fingerprints.txt"].assert_eq(&found);
}

// -- random and random-ids -------------------------------------------------------------------------------------------

const RANDOM: [&str; 2] = ["random", "random-ids"];

#[test]
fn random_prompts_have_the_length_that_they_claim() {
    for (kind, tokenizer, special) in tokenizers() {
        for dataset in RANDOM {
            for (ratio, shortest) in [("0", 1), ("0.5", 64), ("1", 128)] {
                let flags = ["--random-input-len", "128", "--random-range-ratio", ratio];
                let loaded = ask(dataset, &flags).load(&tokenizer).unwrap();
                let what = format!("{dataset}, {kind}, ratio {ratio}");
                assert_eq!(loaded.notes, [""; 0], "{what}");
                assert_eq!(loaded.rows.len(), 40, "{what}");
                for row in &loaded.rows {
                    assert_eq!(row.prompt_len, tokenizer.count(text(row)), "{what}");
                    let with_special = tokenizer.count_with_special(text(row));
                    assert_eq!(with_special, row.prompt_len + special, "{what}");
                    let asked = shortest.max(1 + special)..=128;
                    let one = row.prompt_len == 1;
                    assert!(asked.contains(&with_special) || one, "{what}: {with_special}");
                    assert!(ratio != "1" || row.prompt_len == 128 - special, "{what}");
                }
                if ratio == "0" {
                    let mean = loaded.rows.iter().map(|r| r.prompt_len).sum::<usize>() / 40;
                    assert!((32..96).contains(&mean), "{what}: mean {mean}");
                }
            }
        }
    }
}

#[test]
fn random_prompts_of_one_token_are_possible() {
    for (kind, tokenizer, special) in tokenizers() {
        for dataset in RANDOM {
            for len in [1, 2, 3] {
                let len_text = len.to_string();
                let flags = ["--random-input-len", &len_text, "--random-range-ratio", "1"];
                let want = (len - special.min(len)).max(1);
                for row in ask(dataset, &flags).rows(&tokenizer) {
                    let count = tokenizer.count(text(&row));
                    assert_eq!((row.prompt_len, count), (want, want), "{dataset} {kind}");
                }
            }
        }
    }
}

#[test]
fn ids_have_the_whole_length_and_lie_in_the_vocabulary() {
    for (kind, tokenizer, special) in tokenizers() {
        for dataset in RANDOM {
            let flags = ["--random-input-len", "128", "--random-range-ratio", "1"];
            let plain = tokenizer.plain_ids();
            for row in (Ask { ids: true, ..ask(dataset, &flags) }).rows(&tokenizer) {
                let Prompt::Ids(ids) = &row.prompt else { panic!("{dataset}: text") };
                assert_eq!((ids.len(), row.prompt_len), (128, 128), "{dataset} {kind}");
                let strange = ids.iter().filter(|id| plain.binary_search(id).is_err()).count();
                // Real text is sent as the server would have tokenized it, with its special tokens.
                let allowed = if dataset == "random" { special } else { 0 };
                assert_eq!(strange, allowed, "{dataset} {kind}");
            }
        }
    }
}

#[test]
fn output_lengths_follow_the_ratio_and_may_be_zero() {
    let tokenizer = words();
    for dataset in RANDOM {
        for (len, ratio, want) in
            [("50", "1", 50..=50), ("50", "0.5", 25..=50), ("50", "0", 1..=50), ("0", "0", 0..=0)]
        {
            let flags = [
                "--random-input-len",
                "20",
                "--random-output-len",
                len,
                "--random-range-ratio",
                ratio,
            ];
            for row in ask(dataset, &flags).rows(&tokenizer) {
                assert!(want.contains(&row.output_len), "{dataset} {len} {ratio}: {row:?}");
            }
        }
    }
}

#[test]
fn random_text_is_that_of_questions() {
    let folder = TempDir::new().unwrap();
    let path =
        write(&folder, r#"[{"conversations": [{"value": "one two three"}, {"value": "x"}]}]"#);
    let flags = ["--random-input-len", "7", "--random-range-ratio", "1"];
    let rows = Ask { path: &path, n: 1, ..ask("random", &flags) }.rows(&bundled());
    assert!(text(&rows[0]).starts_with("one two three"), "{rows:?}");
    let flags = ["--random-input-len", "2", "--random-range-ratio", "1"];
    let rows = Ask { path: &path, n: 1, ..ask("random", &flags) }.rows(&bundled());
    assert_eq!(text(&rows[0]), "one two");
}

#[test]
fn questions_without_a_token_are_left_out_of_random() {
    let folder = TempDir::new().unwrap();
    let path = write(
        &folder,
        r#"[{"conversations": [{"value": "   "}, {"value": "x"}]},
            {"conversations": [{"value": ""}, {"value": "x"}]},
            {"conversations": [{"value": "alpha beta"}, {"value": "x"}]}]"#,
    );
    // To this tokenizer blanks are nothing.
    let tokenizer = words();
    let flags = ["--random-input-len", "3", "--random-range-ratio", "1"];
    let ask = Ask { path: &path, n: 1, ..ask("random", &flags) };
    for seed in 0..8 {
        let rows = Ask { seed, ..ask }.rows(&tokenizer);
        assert_eq!(text(&rows[0]), "alpha beta alpha", "seed {seed}");
    }
    let error = Ask { n: 2, ..ask }.load(&tokenizer).unwrap_err();
    assert!(error.message.contains("2 asks") && error.message.contains("the 1 "), "{error}");
}

#[test]
fn too_few_conversations_for_random_name_both_counts() {
    let folder = TempDir::new().unwrap();
    let one = r#"{"conversations": [{"value": "a question"}, {"value": "an answer"}]}"#;
    let path = write(&folder, &format!("[{}]", [one; 13].join(",")));
    let ask = Ask { path: &path, n: 14, ..ask("random", &[]) };
    let error = ask.load(&bundled()).unwrap_err();
    assert_eq!(error.kind, Kind::Input);
    assert!(error.message.contains("14") && error.message.contains("13"), "{error}");
    assert!(!error.hints.is_empty());
    assert_eq!(Ask { n: 13, ..ask }.rows(&bundled()).len(), 13);
}

// -- generated-shared-prefix -----------------------------------------------------------------------------------------

const PREFIX: &str = "generated-shared-prefix";

/// Flags of a few short groups, and others.
fn groups<'a>(others: &[&'a str]) -> Vec<&'a str> {
    let mut flags = vec!["--gsp-num-groups", "4", "--gsp-prompts-per-group", "5"];
    flags.extend(["--gsp-system-prompt-len", "30", "--gsp-question-len", "9"]);
    flags.extend(["--gsp-output-len", "7"]);
    flags.extend(others);
    flags
}

/// System prompt and question of a row.
fn parts(row: &Row) -> (&str, &str) {
    text(row).split_once("\n\n").unwrap()
}

#[test]
fn shared_prefixes_of_a_seed_are_these() {
    let flags = groups(&["--gsp-send-routing-key", "--gsp-range-ratio", "0.3"]);
    let rows = Ask { n: 3, ..ask(PREFIX, &flags) }.rows(&bundled());
    expect_file!["../data/datasets/generated-shared-prefix.rows.txt"]
        .assert_eq(&format!("{rows:#?}\n"));
}

#[test]
fn shared_prefixes_have_their_exact_lengths() {
    for (kind, tokenizer, special) in tokenizers() {
        let flags = groups(&["--gsp-ordered"]);
        let loaded = ask(PREFIX, &flags).load(&tokenizer).unwrap();
        assert_eq!(loaded.notes, [""; 0], "{kind}");
        assert_eq!(loaded.rows.len(), 20, "{kind}");
        let mut prefixes = Vec::new();
        for (i, row) in loaded.rows.iter().enumerate() {
            let (system, question) = parts(row);
            assert_eq!(tokenizer.count(system), 30, "{kind}");
            assert_eq!(tokenizer.count(question), 9, "{kind}");
            assert_eq!(row.prompt_len, tokenizer.count_with_special(text(row)), "{kind} {special}");
            assert_eq!(row.output_len, 7);
            if i % 5 == 0 {
                prefixes.push(system);
            }
            assert_eq!(prefixes[i / 5], system, "{kind}");
        }
        prefixes.sort_unstable();
        prefixes.dedup();
        assert_eq!(prefixes.len(), 4, "{kind}");
    }
}

/// One token per word; a space is put before each text, so that a text that begins with one has two.
fn words_with_a_space_in_front() -> Tokenizer {
    let names = ('a'..='j').flat_map(|a| ('a'..='j').map(move |b| format!("\u{2581}{a}{b}")));
    let vocabulary = ["<unk>".to_owned(), "\u{2581}".to_owned()].into_iter().chain(names).zip(0..);
    let model = WordLevel::builder()
        .vocab(vocabulary.collect())
        .unk_token("<unk>".to_owned())
        .build()
        .unwrap();
    let mut raw = Raw::new(model);
    let prepend: NormalizerWrapper = Prepend::new("\u{2581}".to_owned()).into();
    let replace: NormalizerWrapper = Replace::new(" ", "\u{2581}").unwrap().into();
    raw.with_normalizer(Some(NormalizerSequence::new(vec![prepend, replace]))).unwrap();
    let behavior = SplitDelimiterBehavior::MergedWithNext;
    raw.with_pre_tokenizer(Some(Split::new("\u{2581}", behavior, false).unwrap()));
    raw.with_decoder(Some(Metaspace::default()));
    through_a_file(&raw)
}

#[test]
fn shared_prefixes_are_counted_as_a_whole_where_a_space_is_put_in_front() {
    let tokenizer = words_with_a_space_in_front();
    let flags = groups(&[]);
    let loaded = ask(PREFIX, &flags).load(&tokenizer).unwrap();
    assert_eq!(loaded.notes, [""; 0]);
    for row in &loaded.rows {
        let (system, question) = parts(row);
        assert!(!system.starts_with(' ') && question.starts_with(' '), "{row:?}");
        assert_eq!(tokenizer.count(system), 30);
        assert_eq!(question.split_whitespace().count(), 9);
        assert_eq!(row.prompt_len, tokenizer.count_with_special(text(row)));
    }
}

#[test]
fn shared_prefixes_are_shuffled_unless_they_are_to_be_ordered() {
    let tokenizer = bundled();
    let (plain, ordered) = (groups(&[]), groups(&["--gsp-ordered"]));
    let mut shuffled = ask(PREFIX, &plain).rows(&tokenizer);
    let mut ordered = ask(PREFIX, &ordered).rows(&tokenizer);
    assert_ne!(shuffled, ordered);
    let by_text = |a: &Row, b: &Row| text(a).cmp(text(b));
    shuffled.sort_by(by_text);
    ordered.sort_by(by_text);
    assert_eq!(shuffled, ordered);
}

#[test]
fn shared_prefixes_as_ids_have_no_separator() {
    let flags = groups(&["--gsp-ordered"]);
    for (kind, tokenizer, _) in tokenizers() {
        let rows = Ask { ids: true, ..ask(PREFIX, &flags) }.rows(&tokenizer);
        let ids = |row: &Row| match &row.prompt {
            Prompt::Ids(ids) => ids.clone(),
            other => panic!("{other:?}"),
        };
        for (i, row) in rows.iter().enumerate() {
            assert_eq!((ids(row).len(), row.prompt_len), (39, 39), "{kind}");
            assert_eq!(ids(row)[..30], ids(&rows[i / 5 * 5])[..30], "{kind}");
        }
    }
}

#[test]
fn lengths_of_shared_prefixes_follow_the_ratio() {
    let flags = groups(&["--gsp-range-ratio", "0.5"]);
    let tokenizer = bundled();
    let rows = ask(PREFIX, &flags).rows(&tokenizer);
    let lengths = |of: &dyn Fn(&Row) -> usize| {
        let all: Vec<usize> = rows.iter().map(of).collect();
        (*all.iter().min().unwrap(), *all.iter().max().unwrap())
    };
    let (least, most) = lengths(&|row| tokenizer.count(parts(row).0));
    assert!(least >= 15 && most <= 30 && least < most);
    let (least, most) = lengths(&|row| tokenizer.count(parts(row).1));
    assert!(least >= 4 && most <= 9 && least < most);
    let (least, most) = lengths(&|row| row.output_len);
    assert!(least >= 3 && most <= 7 && least < most);
}

#[test]
fn turns_of_shared_prefixes_are_bare_questions() {
    let flags = groups(&["--gsp-num-turns", "3", "--gsp-ordered"]);
    let tokenizer = bundled();
    for row in ask(PREFIX, &flags).rows(&tokenizer) {
        let Prompt::Rounds(rounds) = &row.prompt else { panic!("{row:?}") };
        let lens: Vec<usize> = rounds
            .iter()
            .map(|messages| tokenizer.count(messages[0]["content"].as_str().unwrap()))
            .collect();
        assert_eq!(lens, [row.prompt_len, 9, 9]);
        assert!(row.prompt_len >= 39);
    }
}

#[test]
fn fast_prepare_makes_the_same_texts() {
    let (plain, fast) = (groups(&[]), groups(&["--gsp-fast-prepare"]));
    let tokenizer = bundled();
    assert_eq!(ask(PREFIX, &plain).rows(&tokenizer), ask(PREFIX, &fast).rows(&tokenizer));
}

#[test]
fn routing_keys_name_the_group() {
    let flags = groups(&["--gsp-ordered", "--gsp-send-routing-key"]);
    let rows = ask(PREFIX, &flags).rows(&words());
    let first = rows[0].routing_key.as_deref().unwrap();
    let run = first.strip_suffix("_0").unwrap();
    assert!(run.len() == 8 && run.bytes().all(|b| b.is_ascii_hexdigit()), "{run}");
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row.routing_key.as_deref(), Some(&*format!("{run}_{}", i / 5)));
    }
    assert!(ask(PREFIX, &groups(&[])).rows(&words()).iter().all(|row| row.routing_key.is_none()));
}

#[test]
fn groups_by_zipf_have_the_shares_of_its_formula() {
    let flags = [
        ("--gsp-num-groups", "8"),
        ("--gsp-prompts-per-group", "500"),
        ("--gsp-system-prompt-len", "2"),
        ("--gsp-question-len", "1"),
        ("--gsp-group-distribution", "zipf"),
    ];
    for alpha in [0.5, 1.0, 2.0] {
        let alpha_text = alpha.to_string();
        let mut flags: Vec<&str> = flags.iter().flat_map(|&(flag, value)| [flag, value]).collect();
        flags.extend(["--gsp-zipf-alpha", &alpha_text, "--gsp-send-routing-key"]);
        let rows = Ask { n: 4000, ids: true, ..ask(PREFIX, &flags) }.rows(&words());
        let mut counts = [0_usize; 8];
        for row in &rows {
            let key = row.routing_key.as_deref().unwrap();
            counts[key.rsplit('_').next().unwrap().parse::<usize>().unwrap()] += 1;
        }
        let weight = |rank: usize| (rank as f64).powf(-alpha);
        let sum: f64 = (1..=8).map(weight).sum();
        for (i, &count) in counts.iter().enumerate() {
            let share = weight(i + 1) / sum;
            // Six deviations of a count of that share.
            let bound = 6.0 * (4000.0 * share * (1.0 - share)).sqrt();
            let want = 4000.0 * share;
            assert!((count as f64 - want).abs() < bound, "alpha {alpha}: {counts:?}, want {want}");
        }
    }
}

#[test]
fn how_many_shared_prefixes_are_sent() {
    let count = |flags: &[&str]| {
        parse(PREFIX, &groups(flags)).spec.dataset().unwrap().build().unwrap().count(1000)
    };
    assert_eq!(count(&[]), 20);
    assert_eq!(count(&["--num-prompts", "3"]), 3);
    assert_eq!(count(&["--num-prompts", "1000"]), 20);
    let flags = groups(&["--num-prompts", "1000"]);
    let notes = Ask { n: 20, ..ask(PREFIX, &flags) }.load(&words()).unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains("--num-prompts 1000"), "{notes:?}");
}

#[test]
fn flags_of_shared_prefixes_that_contradict_each_other() {
    for (flags, named) in [
        (&["--gsp-group-distribution", "zipf"][..], "needs --gsp-zipf-alpha"),
        (&["--gsp-zipf-alpha", "1.2"], "does not apply to --gsp-group-distribution uniform"),
        (&["--gsp-num-turns", "2", "--tokenize-prompt"], "--gsp-num-turns above 1"),
        (&["--gsp-num-groups", "99999999999"], "is above"),
        (&["--gsp-num-groups", "0"], "--gsp-num-groups"),
        (&["--gsp-range-ratio", "2"], "from 0 to 1"),
        (&["--gsp-group-distribution", "zipf", "--gsp-zipf-alpha", "0"], "above 0"),
    ] {
        let words = ["rbench", "serve", "--dataset-name", PREFIX].iter().chain(flags);
        let error = cli::parse(words.map(OsString::from)).map(|_| ()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{flags:?}");
        assert!(error.to_string().contains(named), "{flags:?}: {error}");
    }
}

// -- image -----------------------------------------------------------------------------------------------------------

/// Small images and prompts of fixed length.
const SMALL: &[&str] = &[
    "--image-resolution",
    "24x32",
    "--random-input-len",
    "20",
    "--random-output-len",
    "7",
    "--random-range-ratio",
    "1",
];

/// The flags above and more; of a flag that is given twice the last counts.
fn small(more: &[&'static str]) -> Vec<&'static str> {
    [SMALL, more].concat()
}

/// The dataset for a server that finds the places of images itself.
fn image<'a>(flags: &'a [&'a str]) -> Ask<'a> {
    Ask { server_templates: true, ..ask("image", flags) }
}

#[test]
fn images_go_with_text_of_the_asked_length() {
    for (kind, tokenizer, _) in tokenizers() {
        let loaded = image(SMALL).load(&tokenizer).unwrap();
        assert_eq!(loaded.notes, [""; 0], "{kind}");
        for row in &loaded.rows {
            // Special tokens are not taken off here.
            assert_eq!((tokenizer.count(text(row)), row.prompt_len), (20, 20), "{kind}");
            assert_eq!((row.output_len, row.vision_len), (7, 0), "{kind}");
            assert_eq!(row.images.len(), 1, "{kind}");
            assert!(row.images[0].starts_with("data:image/jpeg;base64,"), "{kind}");
        }
    }
}

#[test]
fn prompts_of_images_may_be_empty() {
    let flags = small(&["--random-input-len", "0"]);
    for row in image(&flags).rows(&bundled()) {
        assert_eq!((text(&row), row.prompt_len), ("", 0));
    }
}

#[test]
fn image_counts_are_fixed_or_drawn() {
    let counts = |more: &[&'static str]| {
        let rows = image(&small(more)).rows(&bundled());
        let mut counts: Vec<usize> = rows.iter().map(|row| row.images.len()).collect();
        counts.sort_unstable();
        counts.dedup();
        counts
    };
    assert_eq!(counts(&["--image-count", "3"]), [3]);
    assert_eq!(counts(&["--image-count", "3", "--random-image-count"]), [1, 2, 3]);
}

#[test]
fn no_two_images_of_noise_are_the_same() {
    let flags = small(&["--image-count", "3"]);
    let rows = image(&flags).rows(&bundled());
    let mut images: Vec<_> = rows.iter().flat_map(|row| &row.images).collect();
    images.sort_unstable();
    images.dedup();
    assert_eq!(images.len(), 120);
    // White ones are.
    let flags = small(&["--image-count", "3", "--image-content", "blank"]);
    let rows = image(&flags).rows(&bundled());
    let first = &rows[0].images[0];
    assert!(rows.iter().flat_map(|row| &row.images).all(|image| image == first));
}

#[test]
fn the_format_changes_nothing_else() {
    let jpeg = image(SMALL).rows(&bundled());
    let png = image(&small(&["--image-format", "png"])).rows(&bundled());
    for (jpeg, png) in jpeg.iter().zip(&png) {
        assert_eq!(text(jpeg), text(png));
        assert!(png.images[0].starts_with("data:image/png;base64,"));
    }
}

#[test]
fn many_large_images_are_warned_of() {
    let flags = ["--image-content", "blank", "--random-input-len", "20"];
    let notes = |n| Ask { n, ..image(&flags) }.load(&bundled()).unwrap().notes;
    assert_eq!(notes(99), [""; 0]);
    let told = notes(100);
    assert!(told.len() == 1 && told[0].contains("1080x1920"), "{told:?}");
}

/// The bundled tokenizer with the files of a model beside it.
fn with_processor(folder: &TempDir, config: &str) -> Tokenizer {
    std::fs::write(folder.path().join("tokenizer.json"), bundled::TOKENIZER).unwrap();
    std::fs::write(folder.path().join("preprocessor_config.json"), config).unwrap();
    Tokenizer::load(&[folder.path().display().to_string()], &Hub::from_env(false)).unwrap()
}

const QWEN2_VL: &str = r#"{"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "merge_size": 2,
    "image_processor_type": "Qwen2VLImageProcessor"}"#;

#[test]
fn image_tokens_follow_the_rule_of_the_model() {
    let folder = TempDir::new().unwrap();
    let tokenizer = with_processor(&folder, QWEN2_VL);
    let flags = small(&["--image-resolution", "112x84", "--image-count", "2"]);
    for row in image(&flags).rows(&tokenizer) {
        assert_eq!((row.vision_len, row.prompt_len), (2 * 4 * 3, 20 + 2 * 4 * 3));
        assert_eq!(tokenizer.count(text(&row)), 20);
    }
    // The file of the tokenizer is as good as its folder.
    let path = folder.path().join("tokenizer.json").display().to_string();
    let tokenizer = Tokenizer::load(&[path], &Hub::from_env(false)).unwrap();
    assert_eq!(image(&flags).rows(&tokenizer)[0].vision_len, 24);
}

#[test]
fn images_that_the_model_refuses_are_refused() {
    let folder = TempDir::new().unwrap();
    let tokenizer = with_processor(&folder, QWEN2_VL);
    let flags = small(&["--image-resolution", "2x500"]);
    let error = image(&flags).load(&tokenizer).unwrap_err();
    assert_eq!(error.kind, Kind::Usage);
    assert!(error.message.contains("2x500"), "{error}");
    let tokenizer = with_processor(&folder, "{");
    let error = image(SMALL).load(&tokenizer).unwrap_err();
    assert!(error.message.contains("preprocessor_config.json"), "{error}");
}

#[test]
fn prompts_say_where_their_images_are_where_no_template_does() {
    let flags = small(&["--image-count", "2"]);
    let ask = ask("image", &flags);
    let tokenizer = bundled();
    for (tagged, plain) in
        ask.rows(&tokenizer).iter().zip(Ask { server_templates: true, ..ask }.rows(&tokenizer))
    {
        assert_eq!(text(tagged), format!("<image><image>{}", text(&plain)));
        assert_eq!(tagged.prompt_len, plain.prompt_len);
    }
    let folder = TempDir::new().unwrap();
    let row = &ask.rows(&with_processor(&folder, QWEN2_VL))[0];
    let tag = "<|vision_start|><|image_pad|><|vision_end|>";
    assert!(text(row).starts_with(&tag.repeat(2)), "{row:?}");
}

#[test]
fn images_have_no_ids() {
    let error = Ask { ids: true, ..image(SMALL) }.load(&bundled()).unwrap_err();
    assert_eq!(error.kind, Kind::Usage);
    assert!(error.message.contains("--tokenize-prompt"), "{error}");
}

#[test]
fn flags_of_images_are_checked_at_the_edge() {
    for (flag, value, says) in [
        ("--image-format", "gif", "[possible values: jpeg, png]"),
        ("--image-content", "cats", "[possible values: random, blank]"),
        ("--image-count", "0", "1.."),
        ("--image-count", "70000", "1.."),
        ("--image-resolution", "8k", "4k, 1080p, 720p, 360p"),
        ("--image-resolution", "random:720p-360p", "exceeds"),
    ] {
        let words = ["rbench", "serve", "--dataset-name", "image", flag, value];
        let error = cli::parse(words.map(OsString::from)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{flag} {value}");
        let told = error.to_string();
        assert!(told.contains(flag) && told.contains(says), "{told}");
    }
}

// -- sharegpt --------------------------------------------------------------------------------------------------------

fn write(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("conversations.json");
    std::fs::write(&path, text).unwrap();
    path
}

/// Questions and answers of one, two and more words, and items that are not conversations of two turns.
const CONVERSATIONS: &str = r#"[
    {"conversations": [{"from": "human", "value": "three words here"}, {"value": "two words"}]},
    {"conversations": [{"value": "alone"}, {"value": "its question has one token"}]},
    {"conversations": [{"value": "its answer has one"}, {"value": "token"}]},
    {"conversations": [{"value": "nobody answers this"}]},
    {"conversations": []},
    {"id": "no turns at all"},
    {"conversations": null},
    {"conversation": [{"value": "the other spelling"}, {"value": "is read as well"}, {"value": "third"}]},
    {"conversations": [{"value": "a question of six words exactly"}, {"value": "and five words of answer"}]},
    {"conversations": [{"from": "human"}, {"value": "to a turn without text"}]}
]"#;

/// The rows of the file above under `flags`, as question, prompt and output length, in the order of their texts.
fn sharegpt(flags: &[&str]) -> Vec<(String, usize, usize)> {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, CONVERSATIONS);
    let rows = Ask { path: &path, ..ask("sharegpt", flags) }.rows(&words());
    let mut rows: Vec<_> =
        rows.iter().map(|row| (text(row).to_owned(), row.prompt_len, row.output_len)).collect();
    rows.sort();
    rows
}

#[test]
fn sharegpt_leaves_out_what_is_short_and_what_is_not_two_turns() {
    let want = [
        ("a question of six words exactly", 6, 5),
        ("the other spelling", 3, 4),
        ("three words here", 3, 2),
    ];
    assert_eq!(sharegpt(&[]), want.map(|(text, prompt, output)| (text.to_owned(), prompt, output)));
}

#[test]
fn sharegpt_takes_a_fixed_output_length() {
    let rows = sharegpt(&["--sharegpt-output-len", "9"]);
    assert!(rows.iter().all(|(_, _, output)| *output == 9), "{rows:?}");
    // The answer's own length no longer matters.
    let texts: Vec<&str> = rows.iter().map(|(text, ..)| text.as_str()).collect();
    let want = [
        "a question of six words exactly",
        "its answer has one",
        "the other spelling",
        "three words here",
    ];
    assert_eq!(texts, want);
}

#[test]
fn sharegpt_leaves_out_what_exceeds_the_context() {
    let texts = |limit: &str| -> Vec<String> {
        let rows = sharegpt(&["--sharegpt-context-len", limit]);
        rows.into_iter().map(|(text, ..)| text).collect()
    };
    let all = ["a question of six words exactly", "the other spelling", "three words here"];
    assert_eq!(texts("11"), all);
    assert_eq!(texts("10"), all[1..]);
    assert_eq!(texts("6"), all[2..]);
    // No limit, as in the reference.
    assert_eq!(texts("0"), all);
}

#[test]
fn sharegpt_tells_of_rows_that_it_could_not_make() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, CONVERSATIONS);
    let ask = Ask { path: &path, n: 3, ..ask("sharegpt", &[]) };
    let loaded = ask.load(&words()).unwrap();
    assert_eq!((loaded.rows.len(), loaded.notes.len()), (3, 1));
    let (strange, unused) = (&loaded.notes[0], &loaded.told[0]);
    assert!(strange.contains("3 of 10 rows") && strange.contains("1 with a turn without `value`"));
    assert!(unused.contains("2 with fewer than two turns"), "{unused}");
    let loaded = Ask { n: 70, ..ask }.load(&words()).unwrap();
    assert_eq!((loaded.rows.len(), loaded.notes.len()), (3, 2));
    let note = &loaded.notes[1];
    assert!(note.starts_with("3 of the 5 ") && note.contains("70"), "{note}");
    let flags = ["--sharegpt-context-len", "3"];
    let error = Ask { flags: &flags, ..ask }.load(&words()).unwrap_err();
    assert!(error.message.contains("none of the 5"), "{error}");
}

#[test]
fn sharegpt_counts_what_the_server_will_count() {
    // A server adds the BOS token to a prompt that comes as text.
    let tokenizer = bytes_with_bos();
    for row in ask("sharegpt", &[]).rows(&tokenizer) {
        assert_eq!(row.prompt_len, tokenizer.count(text(&row)) + 1);
    }
}

#[test]
fn sharegpt_has_no_ids() {
    let error = Ask { ids: true, ..ask("sharegpt", &[]) }.load(&bundled()).unwrap_err();
    assert_eq!(error.kind, Kind::Usage);
    assert!(error.message.contains("--tokenize-prompt"), "{error}");
}

// -- Files that cannot be used --------------------------------------------------------------------------------------

/// The error with its cause, as the user reads it.
fn told(error: &Error) -> String {
    format!("{} {}", error.message, error.cause.as_ref().map_or(String::new(), ToString::to_string))
}

#[test]
fn files_that_can_not_be_read_are_named_with_the_place() {
    let folder = TempDir::new().unwrap();
    for dataset in ["sharegpt", "random"] {
        for (content, place) in [
            ("[\n{\"conversations\": [}\n]", "line 2 column"),
            ("", "holds no usable rows"),
            ("[{\"conversations\": 3}]", "item 1: "),
            ("{\"conversations\": []}", "holds no usable rows"),
            ("[{\"conversations\": [{\"value\": 3}, {}]}]", "item 1: "),
            ("oops", "line 1: "),
        ] {
            let path = write(&folder, content);
            let error = Ask { path: &path, ..ask(dataset, &[]) }.load(&bundled()).unwrap_err();
            let said = told(&error);
            assert_eq!(error.kind, Kind::Input, "{said}");
            assert!(said.contains("conversations.json") && said.contains(place), "{said}");
        }
        let path = folder.path().join("nowhere.json");
        let error = Ask { path: &path, ..ask(dataset, &[]) }.load(&bundled()).unwrap_err();
        assert!(told(&error).contains("nowhere.json"), "{error}");
        let path = write(&folder, r#"[{"conversations": [{"value": "alone"}]}]"#);
        let error = Ask { path: &path, ..ask(dataset, &[]) }.load(&bundled()).unwrap_err();
        assert!(error.hints[0].contains("two turns"), "{error:?}");
    }
}

#[test]
fn bytes_that_are_no_text_are_an_error() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("latin1.json");
    std::fs::write(
        &path,
        b"[{\"conversations\": [{\"value\": \"caf\xe9 two\"}, {\"value\": \"a b\"}]}]",
    )
    .unwrap();
    let error = Ask { path: &path, ..ask("sharegpt", &[]) }.load(&bundled()).unwrap_err();
    assert!(told(&error).contains("latin1.json"), "{error}");
}

#[test]
fn tokenizers_that_can_not_be_read_are_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, "{}").unwrap();
    let names = [path.display().to_string(), "/no/such/folder".to_owned()];
    let error = Tokenizer::load(&names, &Hub::from_env(false)).unwrap_err();
    for name in &names {
        assert!(error.message.contains(name), "{error}");
    }
    // The first that works is taken.
    let names = [names[0].clone(), bundled::NAME.to_owned()];
    assert_eq!(Tokenizer::load(&names, &Hub::from_env(false)).unwrap().name(), bundled::NAME);
}

#[test]
fn limits_in_a_tokenizer_file_do_not_cut_or_pad() {
    let mut raw = Raw::from_bytes(bundled::TOKENIZER).unwrap();
    raw.with_padding(Some(tokenizers::PaddingParams {
        strategy: tokenizers::PaddingStrategy::Fixed(64),
        ..tokenizers::PaddingParams::default()
    }));
    raw.with_truncation(Some(tokenizers::TruncationParams {
        max_length: 8,
        ..tokenizers::TruncationParams::default()
    }))
    .unwrap();
    let limited = through_a_file(&raw);
    for text in
        ["short", "a text that has certainly more than eight tokens in any vocabulary, or so"]
    {
        assert_eq!(limited.count(text), bundled().count(text));
    }
}
