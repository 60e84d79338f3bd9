//! Models of SentencePiece against SentencePiece itself, and what is refused.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::workload::tokenizer::golden;

#[test]
fn ids_are_those_of_sentencepiece() {
    for name in ["pairs", "whole", "likely", "likely-bytes"] {
        let bytes = golden::bytes(&format!("{name}.model"));
        let json = convert(name, &bytes, &Map::new()).unwrap();
        golden::check(&format!("sentencepiece {name}"), json);
    }
}

#[test]
fn texts_begin_and_end_as_the_configuration_or_the_family_says() {
    let ids = |name: &str, config: Value, text: &str| {
        let bytes = golden::bytes(&format!("{name}.model"));
        let json = convert(name, &bytes, config.as_object().unwrap()).unwrap();
        let tokenizer = golden::tokenizer(&json);
        let ids = tokenizer.encode_fast(text, true).unwrap().get_ids().to_vec();
        let text = tokenizer.decode(&ids, true).unwrap();
        (ids, text)
    };
    let (plain, text) = ids("pairs", json!({"add_bos_token": false}), "Grüße 北京");
    assert_eq!(text, "Grüße 北京");
    assert_eq!(ids("pairs", json!({}), "Grüße 北京").0, [&[1], &plain[..]].concat());
    let both = json!({"add_bos_token": true, "add_eos_token": true});
    assert_eq!(ids("pairs", both, "Grüße 北京").0, [&[1], &plain[..], &[2]].concat());
    let (plain, _) = ids("likely", json!({}), "hello");
    assert_eq!(
        ids("likely", json!({"tokenizer_class": "T5Tokenizer"}), "hello").0,
        [&plain[..], &[2]].concat()
    );
    // Special tokens within a text are found.
    let (found, _) = ids("pairs", json!({"add_bos_token": false}), "<s></s>");
    assert_eq!(found, [1, 2]);
}

#[test]
fn spaces_before_text_are_those_of_the_configuration() {
    let pieces = |config: Value, text: &str| {
        let json =
            convert("pairs.model", &golden::bytes("pairs.model"), config.as_object().unwrap());
        let encoding = golden::tokenizer(&json.unwrap()).encode(text, false).unwrap();
        encoding.get_tokens().concat()
    };
    let legacy = |legacy: bool| json!({"legacy": legacy});
    for (config, text, want) in [
        (json!({}), "ab</s>cd", "▁ab</s>▁cd"),
        (legacy(true), "ab</s> cd", "▁ab</s>▁▁cd"),
        (legacy(true), " ab", "▁▁ab"),
        (legacy(false), "ab</s>cd", "▁ab</s>cd"),
        (legacy(false), "ab</s> cd", "▁ab</s>▁cd"),
        (legacy(false), " ab", "▁ab"),
        (legacy(false), "<s>ab", "<s>ab"),
    ] {
        assert_eq!(pieces(config, text), want, "{text}");
    }
}

#[test]
fn added_tokens_follow_the_pieces() {
    let bytes = golden::bytes("pairs.model");
    let pieces = Model::decode(&bytes[..]).unwrap().pieces.len();
    let config = |id: usize, text: &str| {
        let config =
            json!({"added_tokens_decoder": {id.to_string(): {"content": text, "special": true}}});
        convert("m.model", &bytes, config.as_object().unwrap())
    };
    let tokenizer = golden::tokenizer(&config(pieces, "<|user|>").unwrap());
    assert_eq!(tokenizer.token_to_id("<|user|>"), u32::try_from(pieces).ok());
    golden::tokenizer(&config(1, "<s>").unwrap());
    expect!["m.model has 700 pieces, and the first that tokenizer_config.json adds is 702"]
        .assert_eq(&config(pieces + 2, "<|user|>").unwrap_err().message);
    expect![[r#"m.model has "<s>" as token 1, where tokenizer_config.json has "<pad>""#]]
        .assert_eq(&config(1, "<pad>").unwrap_err().message);
}

fn check_refused(model: &Model, expect: &Expect) {
    let error = convert("m.model", &model.encode_to_vec(), &Map::new()).unwrap_err();
    expect.assert_eq(&error.message);
}

#[test]
fn what_is_not_supported_is_refused() {
    let model = Model::decode(&golden::bytes("pairs.model")[..]).unwrap();
    let trainer = |change: fn(&mut Trainer)| {
        let mut model = model.clone();
        change(model.trainer.as_mut().unwrap());
        model
    };
    check_refused(
        &trainer(|t| t.model_type = Some(4)),
        &expect!["m.model is a SentencePiece model of characters, which is not supported"],
    );
    check_refused(
        &trainer(|t| t.model_type = Some(9)),
        &expect!["m.model is a SentencePiece model of type 9, which is not known"],
    );
    check_refused(
        &trainer(|t| t.space_as_suffix = Some(true)),
        &expect![
            "m.model is a SentencePiece model with spaces at the ends of words, which is not supported"
        ],
    );
    let mut without = model.clone();
    without.normalizer.as_mut().unwrap().escape_spaces = Some(false);
    check_refused(
        &without,
        &expect![
            "m.model is a SentencePiece model that does not mark spaces, which is not supported"
        ],
    );
    let mut without = model.clone();
    without.pieces[0].purpose = Some(1);
    check_refused(&without, &expect!["m.model has no piece for unknown text"]);
    let mut without = model.clone();
    without.pieces[7].purpose = Some(1);
    check_refused(&without, &expect!["m.model has pieces for 255 of 256 bytes"]);
    let mut without = model.clone();
    without.trainer.as_mut().unwrap().model_type = Some(1);
    without.pieces[400].piece = None;
    check_refused(&without, &expect!["m.model has no text for piece 400"]);
    let mut twice = model.clone();
    twice.pieces[400].piece.clone_from(&model.pieces[401].piece);
    let error = convert("m.model", &twice.encode_to_vec(), &Map::new()).unwrap_err();
    assert!(error.message.ends_with("twice, as 400 and as 401"), "{error}");
    check_refused(
        &Model::default(),
        &expect!["m.model is not a SentencePiece model: it has no pieces"],
    );
    let error = convert("m.model", b"\xff\xff\xff", &Map::new()).unwrap_err();
    assert_eq!(error.message, "m.model is not a SentencePiece model");
}
