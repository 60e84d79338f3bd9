//! The templates of models, rendered; what the engine offers them; where templates are found.

use expect_test::{expect, expect_file};
use serde_json::json;

use super::*;

/// Templates of models, and of ours with the constructs of others, by the names of their files in `tests/data/templates`.
const FAMILIES: &[&str] = &[
    "chatml",
    "content-parts",
    "dated-tools",
    "gpt-oss",
    "labels",
    "mistral-nemo",
    "namespaces",
    "qwen2.5",
    "qwen3",
    "signatures",
    "strict-turns",
];

fn now() -> Zoned {
    "2026-02-03T04:05:06[UTC]".parse().unwrap()
}

fn data(file: &str) -> String {
    let path = format!("{}/tests/data/templates/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn template(text: &str) -> ChatTemplate {
    ChatTemplate::new("model", &[(DEFAULT.into(), text.into())], Map::new(), now()).unwrap()
}

fn render(text: &str) -> String {
    let value = json!({"b": [1, 2.5, true, null], "a": "é<'\"\n", "items": {}});
    template(text).render(&[value], None, true).unwrap()
}

/// Forall templates of [`FAMILIES`] and cases: the text is that of `rendered/`,
/// which Python's Jinja made of the same template and case.
#[test]
fn templates_as_models_have_them() {
    let cases: Value = serde_json::from_str(&data("cases.json")).unwrap();
    let for_tools = cases["tool_templates"].as_array().unwrap();
    for family in FAMILIES {
        let tokens = tokens(cases["tokens"][family].as_object().unwrap());
        let texts = [(DEFAULT.to_owned(), data(&format!("{family}.jinja")))];
        let template = ChatTemplate::new(family, &texts, tokens, now()).unwrap();
        let mut all = String::new();
        for case in cases["cases"].as_array().unwrap() {
            let messages = case["messages"].as_array().unwrap();
            let tools = case.get("tools").map(|_| &cases["tools"]);
            if tools.is_none() && for_tools.contains(&json!(family)) {
                continue;
            }
            let text = match template.render(messages, tools, case["prompted"] == true) {
                Ok(text) => text,
                Err(error) => match error.message.split_once(" refuses the messages: ") {
                    Some((_, message)) => format!("refused: {message}"),
                    None => "unusable".to_owned(),
                },
            };
            all += &format!("=== {}\n{text}\n", case["name"].as_str().unwrap());
        }
        let golden = format!("tests/data/templates/rendered/{family}.txt");
        expect_file![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(golden)].assert_eq(&all);
    }
}

#[test]
fn what_a_template_raises_is_the_message() {
    let error =
        template("{{ raise_exception('System role not supported') }}").render(&[], None, true);
    expect!["the chat template of model refuses the messages: System role not supported"]
        .assert_eq(&error.unwrap_err().to_string());
    let error = template("{{ messages[0].a.b.c }}").render(&[json!({})], None, true).unwrap_err();
    assert_eq!(error.message, "the chat template of model cannot be used");
    assert!(error.cause.is_some());
}

#[test]
fn a_template_that_is_no_jinja_is_an_error() {
    let texts = [(DEFAULT.to_owned(), "{% if %}".to_owned())];
    let error = ChatTemplate::new("model", &texts, Map::new(), now()).unwrap_err();
    assert_eq!(error.message, "the chat template of model cannot be read");
}

#[test]
fn what_templates_may_use() {
    for (text, want) in [
        (
            "{{ messages[0] | tojson }}",
            r#"{"b": [1, 2.5, true, null], "a": "é<'\"\n", "items": {}}"#,
        ),
        (
            "{{ messages[0] | tojson(indent=2) }}",
            "{\n  \"b\": [\n    1,\n    2.5,\n    true,\n    null\n  ],\n  \"a\": \"é<'\\\"\\n\",\n  \"items\": {}\n}",
        ),
        (
            "{{ messages[0] | tojson(separators=(',', ':'), sort_keys=true, ensure_ascii=true) }}",
            r#"{"a":"\u00e9<'\"\n","b":[1,2.5,true,null],"items":{}}"#,
        ),
        ("{% for k, v in messages[0].items() %}{{ k }} {% endfor %}", "b a items "),
        ("{{ messages[0].get('x', 'none') }} {{ none }} {{ true }}", "none None True"),
        ("{{ ' x '.strip() + 'a-b'.split('-')[-1].upper() }}", "xB"),
        (
            "{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
            "13",
        ),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        (
            "{% set ns = namespace(n=1) %}{% for i in [1] %}{% set ns.n = 2 %}{% endfor %}{{ ns.n }}",
            "2",
        ),
        ("{{ strftime_now('%d %b %Y') }}", "03 Feb 2026"),
        ("{% generation %}x{%- endgeneration -%} y", "xy"),
        ("{{ 'generation' }}{% if true %} {% endif %}", "generation "),
        ("  {% if true %}\n  x\n  {% endif %}\n", "  x\n"),
        ("[{{ bos_token }}{{ nothing }}]", "[]"),
        ("{{ tools is none }} {{ add_generation_prompt }}", "True True"),
    ] {
        assert_eq!(render(text), want, "{text}");
    }
}

#[test]
fn tools_choose_their_own_template() {
    let list = json!([
        {"name": "tool_use", "template": "with {{ tools[0] }}"},
        {"name": "default", "template": "without"},
    ]);
    let template = ChatTemplate::new("model", &texts(Some(&list)), Map::new(), now()).unwrap();
    assert_eq!(template.render(&[], Some(&json!(["t"])), true).unwrap(), "with t");
    assert_eq!(template.render(&[], None, true).unwrap(), "without");
}

#[test]
fn files_of_a_folder() {
    let config = r#"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "config {{ bos_token }}{{ eos_token }}"}"#;
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[(CONFIG, config)], "config <s></s>"),
        (&[(CONFIG, config), (JINJA, "jinja {{ bos_token }}")], "jinja <s>"),
        (&[(JSON, r#"{"chat_template": "json"}"#)], "json"),
        (&[(CONFIG, config), (JSON, r#"{"chat_template": "json"}"#)], "config <s></s>"),
        (&[(CONFIG, r#"{"chat_template": [{"name": "rag", "template": "only"}]}"#)], "only"),
        // Special tokens that the configuration lacks; null is what it says.
        (
            &[
                (CONFIG, r#"{"unk_token": null, "eos_token": "</s>"}"#),
                (
                    SPECIAL,
                    r#"{"bos_token": {"content": "<b>"}, "eos_token": "<e>", "unk_token": "<u>", "additional_special_tokens": ["x"]}"#,
                ),
                (JINJA, "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ pad_token }}"),
            ],
            "<b></s>",
        ),
    ];
    for (files, want) in cases {
        let folder = tempfile::TempDir::new().unwrap();
        for (name, text) in *files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let beside = Beside::Folder(folder.path().to_owned());
        assert_eq!(beside.has_template(), Some(true));
        let template = ChatTemplate::load("model", &beside, now()).unwrap();
        assert_eq!(template.render(&[], None, true).unwrap(), *want);
    }
}

#[test]
fn without_a_template() {
    let folder = tempfile::TempDir::new().unwrap();
    let beside = Beside::Folder(folder.path().to_owned());
    assert_eq!(beside.has_template(), Some(false));
    let error = ChatTemplate::load("model", &beside, now()).unwrap_err();
    assert_eq!(error.message, "the tokenizer model has no chat template");
    std::fs::write(folder.path().join(CONFIG), "[]").unwrap();
    let error = ChatTemplate::load("model", &beside, now()).unwrap_err();
    assert_eq!(error.message, "tokenizer_config.json of model is not a JSON object");
}

#[test]
fn the_bundled_template() {
    let template = ChatTemplate::load("bundled", &Beside::Bundled, now()).unwrap();
    assert_eq!(template.bos(), Some("<|begin|>"));
    let text = template.render(&[json!({"role": "user", "content": "hi"})], None, true).unwrap();
    expect![[r"
        <|begin|><|user|>
        hi<|end|>
        <|assistant|>
    "]]
    .assert_eq(&text);
}

/// What the engine says against a template.
fn refusal(text: &str) -> String {
    chain(&template(text).render(&[json!({"a": "b"})], None, true).unwrap_err())
}

fn chain(error: &Error) -> String {
    let first: &(dyn std::error::Error + 'static) = error;
    let all = std::iter::successors(Some(first), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Forall ways to a name: a text that doubles is refused before it fills the memory.
#[test]
fn texts_that_double_are_refused() {
    let captures = "{% set s %}{{ s }}{{ s }}{% endset %}".repeat(60);
    let loops = format!("{}{}", "{% for s in [s ~ s] %}".repeat(40), "{% endfor %}".repeat(40));
    for text in [
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) -%} {%- set ns.s = ns.s + ns.s -%} {%- endfor %}",
        "{% macro f(n, s='ab') %}{{ f(n + 1, s ~ s) }}{% endmacro %}{{ f(0) }}",
        &format!("{{% set s = 'ab' %}}{captures}"),
        &format!("{{% set s = 'ab' %}}{loops}"),
    ] {
        let why = refusal(text);
        assert!(why.contains("it builds a text of more than 64 MiB"), "{text}: {why}");
    }
}

#[test]
fn long_outputs_and_long_runs_are_refused() {
    let why = refusal("{% for i in range(70) %}{{ 'x' * 1000000 }}{% endfor %}");
    assert!(why.contains("it writes more than 64 MiB"), "{why}");
    let mut template =
        template("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}");
    assert_eq!(template.environment.fuel(), Some(FUEL));
    // As far as that, sooner.
    template.environment.set_fuel(Some(FUEL / 1000));
    let error = template.render(&[], None, true).unwrap_err();
    assert!(chain(&error).contains("fuel"), "{error:?}");
}

/// Calls to measure change nothing about the text around tags.
#[test]
fn measuring_writes_nothing() {
    for (text, want) in [
        ("{% set x = 1 -%}\n  y{% set z = '%}' %}\n{{ x }}{{ z }}", "y1%}"),
        ("  {% set x = 1 %}\n{{ x }}\n", "1"),
    ] {
        assert_eq!(render(text), want, "{text}");
    }
}
