//! The rules of the source tree that no compiler checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rbench::analysis::aggregate::compute;
use rbench::analysis::metric;
use rbench::dialect;
use rbench::output::names::name;
use rbench::protocol::backend;
use rbench::workload::dataset;

/// The folders, lowest first: a module may use what stands above it in this list and is named in its line.
/// An entry with `::` allows that part of the module alone.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("health", &[]),
    ("mock", &[]),
    ("model", &[]),
    ("rng", &[]),
    ("sys", &[]),
    ("secrets", &["model"]),
    ("protocol", &["model", "sys"]),
    ("engine", &["error", "health", "model", "protocol", "secrets", "sys"]),
    ("workload", &["engine::transport", "error", "model", "protocol", "rng"]),
    ("analysis", &["engine", "error", "health", "model", "workload"]),
    ("output", &["analysis", "engine::system", "error", "health", "model", "secrets"]),
    (
        "journal",
        &[
            "analysis",
            "engine::event",
            "engine::outbox",
            "engine::system",
            "error",
            "health",
            "model",
            "output::door",
            "protocol::backend",
            "secrets",
            "workload",
        ],
    ),
    (
        "config",
        &[
            "analysis::comparison",
            "analysis::metric",
            "error",
            "protocol",
            "rng",
            "secrets",
            "workload",
        ],
    ),
    ("flags", &["config"]),
    (
        "dialect",
        &["analysis", "config", "error", "flags", "model", "output", "protocol", "rng", "workload"],
    ),
    ("selftest", &["analysis", "health", "mock::truth", "model"]),
    (
        "cli",
        &[
            "analysis::comparison",
            "analysis::metric",
            "config",
            "dialect",
            "error",
            "flags",
            "mock",
            "protocol::backend",
            "workload::dataset",
        ],
    ),
    ("control", &["config::profile", "engine::transport", "error", "protocol"]),
];

/// Crates that only the modules beside them may name.
const CRATES: &[(&str, &[&str])] = &[
    ("argfile", &["app"]),
    ("axum", &["mock"]),
    (
        "base64",
        &[
            "analysis::stats",
            "engine::transport",
            "output::html",
            "secrets",
            "workload::dataset",
            "workload::tokenizer",
        ],
    ),
    ("clap", &["cli", "dialect", "flags", "mock", "workload::dataset"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("csv", &["output::csv", "output::history", "output::sweep", "workload::dataset"]),
    ("h2", &["engine::transport"]),
    ("httparse", &["engine::transport"]),
    ("hyper", &["engine::transport"]),
    ("hyper_util", &["engine::transport"]),
    ("image", &["workload::dataset"]),
    ("indicatif", &["app", "workload::hub"]),
    ("jpeg_encoder", &["workload::dataset"]),
    ("libc", &["engine::transport", "sys"]),
    ("minijinja", &["workload::tokenizer"]),
    ("minijinja_contrib", &["workload::tokenizer"]),
    ("mio", &["engine"]),
    ("nix", &["analysis::ceiling", "engine", "mock", "output::terminal"]),
    ("parquet", &["workload::dataset"]),
    ("prost", &["workload::tokenizer"]),
    ("rand_distr", &["mock", "workload::arrival", "workload::dataset", "workload::lengths"]),
    ("quick_junit", &["output::junit"]),
    ("ratatui", &["output::plot"]),
    ("reqwest", &["config", "control", "engine::transport", "workload::download"]),
    ("ring", &["app", "output::html"]),
    ("rustix", &["app", "engine::system"]),
    ("rustls", &["app", "engine::transport"]),
    ("rustls_platform_verifier", &["engine::transport"]),
    ("shlex", &["app"]),
    ("statrs", &["analysis::statistics"]),
    ("tokenizers", &["mock", "workload::tokenizer"]),
    ("tokio", &["app", "control", "engine::transport", "mock", "workload::download"]),
    ("webpki_roots", &["engine::transport"]),
    ("yaml_rust2", &["dialect::vllm"]),
];

/// Files that sleep: letting data gather, and waiting for due times, is what they are for.
const PAUSES: &[&str] = &["engine/worker/waiting.rs"];

/// Modules that may look at a clock.
const CLOCKS: &[&str] = &["app", "control::probe", "engine", "journal", "mock"];

/// The values of the process that change, by file, as nothing smaller than the process can own them.
/// The page on the architecture says why. Whatever else changes belongs to a session.
const STATICS: &[(&str, &str)] = &[
    ("app/signals.rs", "CAUGHT"),
    ("engine/transport/socket.rs", "STAMPED"),
    ("output/door.rs", "SECRETS"),
    ("output/terminal/stderr.rs", "STATE"),
];

/// The registries: their folder, and what a file declares that belongs on the list.
const REGISTRIES: &[(&str, &str)] = &[
    ("analysis/metric", "const METRIC"),
    ("dialect", "impl Dialect for"),
    ("protocol/backend", "const BACKEND"),
    ("workload/dataset", "const ENTRY"),
];

const LONGEST: usize = 600;

/// Phrases that the field has a word for, put together so that this file does not hold them.
const PHRASES: [&str; 6] = [
    concat!("can", " not"),
    concat!("tell", " of"),
    concat!("be", " told"),
    concat!("say", " of"),
    concat!("pat", "ience"),
    concat!("n", "ap"),
];

// -- Reading the tree ------------------------------------------------------------------------------------------------

struct Source {
    /// Below `src`, such as `backend/chat.rs`.
    name: String,
    /// The modules from the root, such as `["backend", "chat"]`; none for `lib.rs` and `main.rs`.
    module: Vec<String>,
    text: String,
    /// The text without comments.
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_ending(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let ending = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            files_ending(&path, endings, found);
        } else if ending.is_some_and(|ending| endings.contains(&ending)) {
            found.push(path);
        }
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let folder = root().join(folder);
    let mut files = Vec::new();
    files_ending(&folder, &["rs"], &mut files);
    files.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().replace('\\', "/");
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().map(uncommented).collect::<Vec<_>>().join("\n");
        let stem = name.trim_end_matches(".rs");
        let module = match stem {
            "lib" | "main" => Vec::new(),
            stem => stem.split('/').map(str::to_owned).collect(),
        };
        Source { name, module, text, code }
    };
    files.into_iter().map(read).collect()
}

/// A line without its comment. A `//` inside a string is no comment if it follows a colon, as in a URL.
fn uncommented(line: &str) -> &str {
    let starts = line.match_indices("//").map(|(at, _)| at);
    let mut comments = starts.filter(|&at| !line[..at].ends_with(':'));
    comments.next().map_or(line, |at| &line[..at])
}

impl Source {
    /// The module right below the root that the file belongs to.
    fn top(&self) -> &str {
        self.module.first().map_or("", String::as_str)
    }

    /// Whether the file is `module`, such as `engine::transport`, or lies in it.
    fn is_in(&self, module: &str) -> bool {
        let path = self.module.join("::");
        path == module || path.starts_with(&format!("{module}::"))
    }

    /// Everything of ours that the file names, as paths from the root.
    fn uses(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("crate::") {
            // Not the end of a longer word.
            if !self.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
                expand(&self.code[at + "crate::".len()..], "", &mut found);
            }
        }
        for (at, _) in self.code.match_indices("super::") {
            if self.code[..at].ends_with("super::") {
                continue;
            }
            let mut rest = &self.code[at..];
            let mut depth = self.module.len() + usize::from(in_inline_module(&self.code[..at]));
            while let Some(after) = rest.strip_prefix("super::") {
                rest = after;
                depth = depth.saturating_sub(1);
            }
            if depth == 0 {
                expand(rest, "", &mut found);
            }
        }
        found
    }
}

/// Whether a module with a body is open where `code` ends.
fn in_inline_module(code: &str) -> bool {
    code.lines().fold(false, |inside, line| {
        let opens = line.ends_with('{') && line.split_whitespace().any(|word| word == "mod");
        (inside || opens) && line != "}"
    })
}

/// Writes out the paths of a use tree such as `a::{b, c::{self, d}}`, and returns what follows it.
fn expand<'a>(tree: &'a str, prefix: &str, found: &mut Vec<String>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut list) = tree.strip_prefix('{') {
        loop {
            list = list.trim_start().trim_start_matches(',').trim_start();
            match list.strip_prefix('}') {
                Some(rest) => return rest,
                None if list.is_empty() => return list,
                None => list = expand(list, prefix, found),
            }
        }
    }
    let end = tree
        .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*')
        .unwrap_or(tree.len())
        .max(usize::from(!tree.is_empty() && !tree.starts_with(['}', ','])));
    let (word, rest) = tree.split_at(end);
    let path = format!("{prefix}{word}");
    if let Some(deeper) = rest.strip_prefix("::") {
        return expand(deeper, &format!("{path}::"), found);
    }
    found.push(path.trim_end_matches("::self").to_owned());
    // A new name is of no interest.
    match rest.trim_start().strip_prefix("as ") {
        Some(renamed) => {
            renamed.trim_start().trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
        }
        None => rest,
    }
}

#[test]
fn use_trees_are_read() {
    let mut found = Vec::new();
    let rest = expand("a::{self, b::C, d::{e as f, g}, h::*}; rest", "", &mut found);
    assert_eq!(found, ["a", "a::b::C", "a::d::e", "a::d::g", "a::h::*"]);
    assert_eq!(rest, "; rest");
    let source = |name: &str, code: &str| Source {
        name: String::new(),
        module: name.split("::").map(str::to_owned).collect(),
        text: String::new(),
        code: code.to_owned(),
    };
    let code = "use super::{x, y};\nuse super::super::sse::Reader;\nmod tests {\nuse super::super::z;\n}\nuse super::super::w;";
    assert_eq!(source("backend::chat", code).uses(), ["sse::Reader", "w"]);
    assert_eq!(source("plan", "use super::model::Row;").uses(), ["model::Row"]);
    assert_eq!(source("plan", "f(crate::model::Row::new)").uses(), ["model::Row::new"]);
    assert_eq!(uncommented("let url = \"http://x\"; // crate::app"), "let url = \"http://x\"; ");
}

// -- The rules -------------------------------------------------------------------------------------------------------

#[test]
fn modules_know_only_what_they_may() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let top = source.top();
        if top == "app" {
            continue;
        }
        let allowed = match LAYERS.iter().find(|(module, _)| *module == top) {
            Some((_, allowed)) => *allowed,
            // The roots declare modules and call `run`.
            None if top.is_empty() => &[],
            None => panic!("{} has no line in the table of dependencies", source.name),
        };
        for path in source.uses() {
            let used = path.split("::").next().unwrap();
            let permits = |entry: &str| {
                used == entry || path == entry || path.starts_with(&format!("{entry}::"))
            };
            if used != top && !allowed.iter().any(|entry| permits(entry)) {
                wrong.push(format!("{} uses {path}", source.name));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn layers_use_what_is_below_them() {
    let sources = sources("src");
    let mut unused = Vec::new();
    for (at, (module, allowed)) in LAYERS.iter().enumerate() {
        assert!(sources.iter().any(|source| source.top() == *module), "no module {module}");
        for entry in *allowed {
            let used = entry.split("::").next().unwrap();
            assert!(LAYERS[..at].iter().any(|(below, _)| *below == used), "{module}: {used}");
            let is_used = sources.iter().filter(|source| source.top() == *module).any(|source| {
                source
                    .uses()
                    .iter()
                    .any(|path| path == entry || path.starts_with(&format!("{entry}::")))
            });
            if !is_used {
                unused.push(format!("{module} does not use {entry}"));
            }
        }
    }
    assert_eq!(unused, [""; 0]);
}

/// The modules of ours that `source` names outside of its tests, each as the file that holds it.
fn named_files<'a>(source: &Source, all: &'a [Source]) -> Vec<&'a [String]> {
    let code = source.code.split("#[cfg(test)]").next().unwrap();
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            expand(&code[at + "crate::".len()..], "", &mut paths);
        }
    }
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let (mut rest, mut above) = (&code[at..], &source.module[..]);
        while let Some(after) = rest.strip_prefix("super::") {
            rest = after;
            above = &above[..above.len().saturating_sub(1)];
        }
        let above = above.iter().fold(String::new(), |path, part| path + part + "::");
        expand(rest, &above, &mut paths);
    }
    let file_of = |path: String| {
        let parts: Vec<&str> = path.split("::").collect();
        let holds = |other: &&Source| {
            !other.module.is_empty()
                && other.module.len() <= parts.len()
                && other.module.iter().zip(&parts).all(|(a, b)| a == b)
        };
        let longest = all.iter().filter(holds).max_by_key(|other| other.module.len())?;
        Some(longest.module.as_slice())
    };
    paths.into_iter().filter_map(file_of).collect()
}

/// A circle among `edges`, as the modules that it goes through; `None` if there is none.
fn circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut left = edges.clone();
    // What names nobody that is left is in no circle.
    while let Some(done) = left.iter().find(|(_, to)| to.is_empty()).map(|(from, _)| from.clone()) {
        left.remove(&done);
        for to in left.values_mut() {
            to.remove(&done);
        }
    }
    let mut path = vec![left.keys().next()?.clone()];
    loop {
        let next = left[path.last().unwrap()].first().unwrap().clone();
        if let Some(begin) = path.iter().position(|one| *one == next) {
            return Some(path.split_off(begin));
        }
        path.push(next);
    }
}

/// A folder's modules are its files, each with the folder of the same name.
#[test]
fn imports_go_round_in_no_folder() {
    let sources = sources("src");
    let mut folders: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for source in &sources {
        for used in named_files(source, &sources) {
            let shared = source.module.iter().zip(used).take_while(|(a, b)| a == b).count();
            let (Some(from), Some(to)) = (source.module.get(shared), used.get(shared)) else {
                continue;
            };
            let edges = folders.entry(source.module[..shared].join("/")).or_default();
            edges.entry(to.clone()).or_default();
            edges.entry(from.clone()).or_default().insert(to.clone());
        }
    }
    assert!(folders.contains_key("analysis") && folders.contains_key("engine/worker"));
    let circles: Vec<String> = folders
        .iter()
        .filter_map(|(folder, edges)| Some(format!("{folder}: {}", circle(edges)?.join(" -> "))))
        .collect();
    assert_eq!(circles, [""; 0]);
}

#[test]
fn circles_are_found() {
    let edges = |pairs: &[(&str, &str)]| {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            edges.entry((*to).to_owned()).or_default();
            edges.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        edges
    };
    assert_eq!(circle(&edges(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let round = circle(&edges(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")])).unwrap();
    assert_eq!(round, ["b", "c"]);
}

#[test]
fn crates_stay_behind_their_modules() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        for (name, modules) in CRATES {
            let named = source.code.match_indices(&format!("{name}::")).any(|(at, _)| {
                !source.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
            });
            if named && !modules.iter().any(|module| source.is_in(module)) {
                wrong.push(format!("{} names {name}", source.name));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn few_values_of_the_process_change() {
    const CHANGE: [&str; 6] = ["Atomic", "Cell<", "Lazy", "Mutex", "Once", "RwLock"];
    let mut found = Vec::new();
    for source in sources("src") {
        // Tests may share what is dear to make.
        let tested = source.code.find("#[cfg(test)]").unwrap_or(source.code.len());
        if source.name.ends_with("tests.rs") {
            continue;
        }
        for line in source.code[..tested].lines().map(str::trim) {
            let rest = line
                .split_once("static ")
                .filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
            let Some((name, kind)) = rest.and_then(|(_, rest)| rest.split_once(": ")) else {
                continue;
            };
            if CHANGE.iter().any(|word| kind.contains(word)) {
                found.push((source.name.clone(), name.to_owned()));
            }
        }
        assert!(!source.code.contains("thread_local!"), "{}", source.name);
    }
    let known: Vec<(String, String)> =
        STATICS.iter().map(|(file, name)| ((*file).to_owned(), (*name).to_owned())).collect();
    assert_eq!(found, known);
}

#[test]
fn few_modules_look_at_a_clock() {
    for source in sources("src") {
        let looks = ["Instant::now", "SystemTime::now", "UNIX_EPOCH.elapsed", ".elapsed()"]
            .iter()
            .any(|call| source.code.contains(call));
        let may = CLOCKS.iter().any(|module| source.is_in(module));
        assert!(!looks || may, "{} looks at a clock", source.name);
    }
}

/// The modules that a file declares in files of their own.
fn declared(source: &Source) -> impl Iterator<Item = &str> {
    source.code.lines().filter_map(|line| {
        let line = line.trim();
        let line =
            line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';')
    })
}

#[test]
fn every_file_is_part_of_the_program() {
    let sources = sources("src");
    let mut reached: BTreeSet<String> = ["lib.rs".to_owned(), "main.rs".to_owned()].into();
    let mut left: Vec<&Source> = sources.iter().filter(|s| reached.contains(&s.name)).collect();
    while let Some(source) = left.pop() {
        for child in declared(source) {
            let folder = source.module.iter().fold(String::new(), |path, part| path + part + "/");
            let name = format!("{folder}{child}.rs");
            let file = sources.iter().find(|other| other.name == name);
            left.push(file.unwrap_or_else(|| panic!("{} declares {name}", source.name)));
            reached.insert(name);
        }
    }
    let lost: Vec<&str> = sources
        .iter()
        .map(|source| source.name.as_str())
        .filter(|name| !reached.contains(*name))
        .collect();
    assert_eq!(lost, [""; 0]);
}

#[test]
fn every_test_file_is_part_of_the_tests() {
    let sources = sources("tests/it");
    let main = sources.iter().find(|source| source.name == "main.rs").unwrap();
    let declared: Vec<&str> = declared(main).collect();
    for source in &sources {
        let top = source.name.split('/').next().unwrap().trim_end_matches(".rs");
        assert!(top == "main" || declared.contains(&top), "{} is not declared", source.name);
    }
}

#[test]
fn registries_name_every_file_of_their_folders() {
    for (folder, marker) in REGISTRIES {
        let sources = sources("src");
        let registry = sources.iter().find(|source| source.name == format!("{folder}.rs")).unwrap();
        let children: Vec<&Source> = sources
            .iter()
            .filter(|source| {
                let [above @ .., _] = &source.module[..] else { return false };
                above.join("/") == *folder
            })
            .collect();
        assert!(!children.is_empty(), "{folder}");
        for source in children {
            let name = source.module.last().unwrap();
            assert!(declared(registry).any(|module| module == name), "{folder}.rs: {name}");
            if source.code.contains(marker) {
                let listed = registry.code.contains(&format!("{name}::"));
                assert!(listed, "{} is on no list of {folder}.rs", source.name);
            }
        }
    }
}

#[test]
fn files_stay_short() {
    for source in sources("src") {
        let lines = source.text.lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", source.name);
    }
}

#[test]
fn unsafe_code_has_one_place() {
    let allows: Vec<String> = sources("src")
        .into_iter()
        .filter(|source| source.text.contains("unsafe_code") || source.text.contains("unsafe {"))
        .map(|source| source.name)
        .collect();
    assert_eq!(allows, ["sys.rs"]);
}

#[test]
fn every_file_says_what_it_is_for() {
    for folder in ["src", "tests/it", "benches"] {
        for source in sources(folder) {
            assert!(source.text.starts_with("//! "), "{folder}/{}", source.name);
        }
    }
}

#[test]
fn nothing_is_left_half_done() {
    // Put together, so that this file does not hold them.
    let banned = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
    ];
    for source in sources("src") {
        for word in banned {
            assert!(!source.text.contains(word), "{} has {word}", source.name);
        }
    }
}

/// Where `phrase`, in small letters, stands in `text` as whole words, whatever line breaks and comment marks lie between.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(phrase).any(|(at, _)| {
        !text[..at].ends_with(is_word) && !text[at + phrase.len()..].starts_with(is_word)
    })
}

/// `text` in small letters on one line, without the marks of comments.
fn running(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| !matches!(*word, "//" | "///" | "//!"));
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Whether a doc comment begins as if somebody else did what the item does.
fn has_it_done(line: &str) -> bool {
    let line = line.trim_start();
    let doc = line.strip_prefix("/// Has ").or_else(|| line.strip_prefix("//! Has "));
    doc.is_some_and(|doc| {
        doc.split(|c: char| !c.is_alphabetic())
            .any(|word| matches!(word, "be" | "fetched" | "written"))
    })
}

#[test]
fn the_fields_words_are_used() {
    assert!(has_phrase("it cannot, and so can\tnot", "can\tnot") && !has_phrase("a napkin", "nap"));
    assert_eq!(running("/// It can\n    /// Not."), "it can not.");
    assert!(has_it_done("    /// Has the file be written.") && !has_it_done("/// Has no clock."));

    let mut wrong = Vec::new();
    let mut look = |name: &str, text: &str| {
        let running = running(text);
        let phrases = PHRASES.iter().filter(|phrase| has_phrase(&running, phrase));
        wrong.extend(phrases.map(|phrase| format!("{name}: {phrase}")));
        wrong.extend(text.lines().filter(|line| has_it_done(line)).map(|l| format!("{name}: {l}")));
    };
    for source in sources("src") {
        look(&source.name, &source.text);
    }
    let mut pages = vec![root().join("README.md"), root().join("METHODOLOGY.md")];
    for folder in ["docs", "tests/data"] {
        files_ending(&root().join(folder), &["md", "txt"], &mut pages);
    }
    for page in pages {
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        let is_help = page.file_name().unwrap().to_str().unwrap().starts_with("help");
        if !name.starts_with("tests") || is_help {
            look(&name, &std::fs::read_to_string(&page).unwrap());
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn tests_neither_wait_nor_hide() {
    let banned = [concat!("#[ig", "nore"), concat!("fn te", "st_"), concat!("thread::sl", "eep(")];
    for folder in ["src", "tests/it"] {
        for source in sources(folder) {
            for word in banned {
                let may = PAUSES.contains(&source.name.as_str());
                assert!(may || !source.code.contains(word), "{folder}/{} has {word}", source.name);
            }
        }
    }
}

#[test]
fn the_version_is_in_the_changelog() {
    // Until the first release there may be none.
    if let Ok(text) = std::fs::read_to_string(root().join("CHANGELOG.md")) {
        assert!(text.contains(env!("CARGO_PKG_VERSION")), "no {}", env!("CARGO_PKG_VERSION"));
    }
}

fn unique_words<'a>(kind: &str, names: impl Iterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    for name in names {
        let word =
            name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c));
        assert!(word && !name.is_empty(), "{kind} {name:?}");
        assert!(seen.insert(name.to_owned()), "two of {kind} {name}");
    }
    assert!(!seen.is_empty(), "{kind}");
}

#[test]
fn registered_names_are_words_and_unique() {
    unique_words("backend", backend::ALL.iter().map(|backend| backend.name));
    unique_words("dataset", dataset::ALL.iter().map(|entry| entry.name));
    unique_words("output", dialect::ALL.iter().map(|dialect| dialect.name()));
    for entry in dataset::ALL {
        let about = entry.about;
        assert!(!about.is_empty() && !about.ends_with('.') && !about.contains('\n'), "{about}");
    }
}

#[test]
fn no_two_metrics_give_the_same_figure() {
    let close = metric::Close::default();
    let stats = compute(&std::iter::empty(), &metric::Terms::default(), &close).stats;
    let measures = stats.iter().map(|stat| stat.measure);
    let unique: std::collections::HashSet<_> = measures.clone().collect();
    assert_eq!(unique.len(), measures.len());
    let names: Vec<_> = stats.iter().filter_map(|stat| name(stat.measure)).collect();
    for (i, name) in names.iter().enumerate() {
        assert!(!names[..i].contains(name), "{name:?}");
    }
}
