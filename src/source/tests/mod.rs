//! Small models in memory, well-formed and broken.

mod folder;
mod gguf;
mod holding;
mod tokenizer;

use super::*;
use crate::model::names::expected_tensors;
use crate::weights::gguf::testing::{encode, exact_values};
use pollster::block_on;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const VOCAB: usize = 40;
const HIDDEN: usize = 64;
const MLP: usize = 96;
const LAYERS: usize = 2;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 16;

/// The `config.json` of the models here.
fn config() -> Value {
    json!({
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": MLP,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM, "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "max_position_embeddings": 256,
        "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2
    })
}

fn expected(config: &Value) -> Vec<(String, Vec<usize>)> {
    expected_tensors(&ModelConfig::from_hf(config, "config.json").unwrap())
}

/// Other values for each tensor.
fn values_of(name: &str, shape: &[usize]) -> Vec<f32> {
    let seed = name.bytes().fold(1u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    exact_values(shape.iter().product(), seed)
}

fn read(source: &Source, name: &str) -> Vec<f32> {
    block_on(source.read_f32(name)).unwrap()
}

fn error(source: Result<Source>) -> String {
    source.unwrap_err().to_string()
}

/// So that a program may read models on another thread.
#[test]
fn futures_can_be_sent() {
    fn sent<T: Send>(_: T) {}
    sent(Source::open("none"));
    sent(Source::from_files("none", vec![]));
    let _ = |source: &Source| sent(source.read_f32("x"));
}
