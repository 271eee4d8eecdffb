//! Small models and adapters for the tests here.

use crate::adapter::{AdapterConfig, Method, StoredAdapter, slots};
use crate::model::names::expected_tensors;
use crate::model::{ModelConfig, Projection};
use crate::random::Random;
use crate::source::Source;
use crate::weights::{FloatType, Storage, safetensors};
use pollster::block_on;
use serde_json::{Map, Value, json};

/// The `config.json`: rows of 64 and 96, heads of 16, three layers.
pub fn config() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "max_position_embeddings": 256,
        "tie_word_embeddings": false, "attention_bias": true, "bos_token_id": 1, "eos_token_id": [2, 0]
    })
}

/// A tokenizer with a few merges, an added token that is not special, and ids that stop before the model's.
pub fn tokenizer() -> Value {
    let specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool>"];
    let added = |(id, text): (usize, &&str)| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": id < 3})
    };
    let mut vocab: Map<String, Value> =
        specials.iter().zip(0..).map(|(text, id)| ((*text).into(), json!(id))).collect();
    // As GPT-2 does, bytes that do not print are spelled with characters from 256 on.
    let prints = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = (256..).filter_map(char::from_u32);
    for byte in 0..=u8::MAX {
        let spelled = if prints(byte) { char::from(byte) } else { others.next().unwrap() };
        vocab.insert(spelled.to_string(), json!(specials.len() + usize::from(byte)));
    }
    for (token, id) in ["he", "ll", "hell", "Ġw"].iter().zip(260..) {
        vocab.insert((*token).to_owned(), json!(id));
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": specials.iter().enumerate().map(added).collect::<Vec<_>>(),
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["h e", "l l", "he ll", "Ġ w"]},
    })
}

/// A model of `config` as a Hugging Face folder in memory, its values in ±1.
pub fn source(config: &Value, tokenizer: &Value) -> Source {
    let model = ModelConfig::from_hf(config, "config.json").unwrap();
    let tensors = expected_tensors(&model);
    let mut weights = safetensors::header(tensors.clone(), FloatType::F32, &[], "m").unwrap();
    let mut random = Random::new(5);
    for (_, shape) in &tensors {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| 2.0 * random.next_f32() - 1.0).collect();
        weights.extend(FloatType::F32.encode(&values).unwrap());
    }
    let settings = json!({"eos_token": "<|im_end|>", "pad_token": {"content": "<|endoftext|>"},
        "chat_template": "{{ messages }}"});
    let file = |name: &str, bytes: Vec<u8>| (name.to_owned(), Storage::from_bytes(name, bytes));
    let files = vec![
        file("config.json", config.to_string().into_bytes()),
        file("tokenizer.json", tokenizer.to_string().into_bytes()),
        file("tokenizer_config.json", settings.to_string().into_bytes()),
        file("model.safetensors", weights),
    ];
    block_on(Source::from_files("some/model", files)).unwrap()
}

/// A trained adapter: values in ±0.1.
pub fn adapter(method: Method, modules: &[Projection], model: &ModelConfig) -> StoredAdapter {
    let config = AdapterConfig { method, modules: modules.to_vec(), dropout: 0.0 }.checked(model).unwrap();
    let mut random = Random::new(9);
    let values = slots(&config, model)
        .iter()
        .map(|slot| (0..slot.len()).map(|_| 0.2 * random.next_f32() - 0.1).collect())
        .collect();
    StoredAdapter { config, base: "some/model".into(), values }
}
