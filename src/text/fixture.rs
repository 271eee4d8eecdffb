//! A tokenizer small enough to write down, for tests.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ChatTemplate, Tokenizer};

/// The id of `<|end|>`, the end of text.
pub(crate) const END: u32 = 0;

/// A template like ChatML, with the fixture's special tokens.
pub(crate) const TEMPLATE: &str = "{% for message in messages %}{{ '<|turn|>' + message.role + '\n' + message.content + '<|end|>\n' }}\
     {% endfor %}{% if add_generation_prompt %}{{ '<|turn|>assistant\n' }}{% endif %}";

/// The JSON of a byte-level BPE: special tokens 0 and 1, the 256 bytes from 2 on, then the merges.
pub(crate) fn tokenizer_json() -> Value {
    let merges =
        [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"), ("o", "r"), ("Ġw", "or"), ("l", "d")];
    let mut vocab = BTreeMap::from([("<|end|>".to_owned(), 0), ("<|turn|>".to_owned(), 1)]);
    // As GPT-2 does, bytes that do not print are spelled with characters from 256 on.
    let prints = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut other = 256;
    for byte in 0..=u8::MAX {
        let spelled = if prints(byte) {
            char::from(byte)
        } else {
            other += 1;
            char::from_u32(other - 1).unwrap()
        };
        vocab.insert(spelled.to_string(), 2 + u32::from(byte));
    }
    for (id, (left, right)) in (258..).zip(merges) {
        vocab.insert([left, right].concat(), id);
    }
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(0, "<|end|>"), special(1, "<|turn|>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": merges.map(|(left, right)| [left, right]),
        },
    })
}

pub(crate) fn tokenizer() -> Tokenizer {
    read(&tokenizer_json())
}

pub(crate) fn read(json: &Value) -> Tokenizer {
    Tokenizer::from_bytes(json.to_string().as_bytes(), "tokenizer.json").unwrap()
}

pub(crate) fn template() -> ChatTemplate {
    ChatTemplate::new(TEMPLATE, "<|turn|>", "<|end|>").unwrap()
}
