//! Tokenizer files made from the metadata of GGUF files.

use super::gguf::{SPECIAL, model, open};
use super::*;
use crate::weights::gguf::testing::GgufWriter;
use tokenizers::Tokenizer;

#[test]
fn tokenizers_that_are_refused() {
    let with = |key: &str, change: fn(&mut GgufWriter)| {
        let mut writer = model(TensorType::F32);
        change(writer.remove_key(key));
        error(open(writer.finish()))
    };
    let pre = "tokenizer.ggml.pre";
    assert!(
        with(pre, |_| ())
            .contains("pre-tokenizer \"default\" (\"tokenizer.ggml.pre\") is not supported; supported: smollm, gpt-2")
    );
    assert!(
        with(pre, |w| {
            w.string("tokenizer.ggml.pre", "viking");
        })
        .contains("pre-tokenizer \"viking\"")
    );
    let model = "tokenizer.ggml.model";
    assert!(
        with(model, |w| {
            w.string("tokenizer.ggml.model", "llama");
        })
        .contains("tokenizer \"llama\" is not supported in a GGUF file")
    );
    let tokens = "tokenizer.ggml.tokens";
    assert!(
        with(tokens, |w| {
            w.strings("tokenizer.ggml.tokens", &["a", "b", "a"]);
        })
        .contains("token \"a\" is in the vocabulary twice")
    );
    assert!(
        with(tokens, |w| {
            w.strings("tokenizer.ggml.tokens", &["a", "b"]);
        })
        .contains("2 tokens, but 40 token types")
    );
    let eos = "tokenizer.ggml.eos_token_id";
    assert!(
        with(eos, |w| {
            w.u32("tokenizer.ggml.eos_token_id", 40);
        })
        .contains("\"tokenizer.ggml.eos_token_id\" is 40, but there are 40 tokens")
    );
    assert!(with("tokenizer.ggml.merges", |_| ()).contains("no key \"tokenizer.ggml.merges\""));
}

#[test]
fn text_is_cut_as_by_the_original_tokenizer() {
    let pieces = |pre: &str, text: &str, special: bool| {
        let mut writer = model(TensorType::F32);
        writer.remove_key("tokenizer.ggml.pre").string("tokenizer.ggml.pre", pre);
        let source = open(writer.finish()).unwrap();
        let tokenizer = Tokenizer::from_bytes(&source.assets.tokenizer_json).unwrap();
        assert_eq!(tokenizer.get_vocab_size(true), VOCAB);
        let encoding = tokenizer.encode(text, special).unwrap();
        assert_eq!(tokenizer.decode(encoding.get_ids(), false).unwrap().trim_start_matches(SPECIAL[1]), text);
        encoding.get_tokens().join("|")
    };
    assert_eq!(pieces("smollm", "is 5", true), "is|Ġ|5");
    assert_eq!(pieces("gpt-2", "is 5", true), "is|Ġ5");
    assert_eq!(pieces("smollm", "5555", false), "5|5|5|5");
    assert_eq!(pieces("gpt-2", "5555", false), "55|55");
    assert_eq!(pieces("qwen2", "5555", false), "5|5|5|5");
    assert_eq!(pieces("llama-bpe", "5555", false), "555|5");
    assert_eq!(pieces("llama-bpe", "is 5", true), "<|im_start|>|is|Ġ|5");
    assert_eq!(pieces("smollm", "is<|im_end|><tool>5", false), "is|<|im_end|>|<tool>|5");
}

#[test]
fn tokenizer_files() {
    let assets = open(model(TensorType::F32).finish()).unwrap().assets;
    let special = json!({
        "bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>", "pad_token": "<|im_end|>"
    });
    assert_eq!(assets.special_tokens_map, Some(special));
    let config = assets.tokenizer_config.unwrap();
    assert_eq!(config["eos_token"], "<|im_end|>");
    assert_eq!(config["model_max_length"], 256);
    assert_eq!(config["chat_template"], "{{ messages }}");
    let added = config["added_tokens_decoder"].as_object().unwrap();
    assert_eq!(added.keys().collect::<Vec<_>>(), ["0", "1", "2", "11"]);
    assert_eq!(added["2"]["special"], true);
    assert_eq!(
        added["11"],
        json!({
            "content": "<tool>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false
        })
    );
}
