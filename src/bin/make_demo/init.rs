//! The untrained model: a small Llama with random weights.

use crate::tokenizer::{END_OF_TEXT, END_OF_TURN, VOCAB_SIZE};
use diablo::model::ModelConfig;
use diablo::random::Random;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// Longest sequence in tokens.
pub const CONTEXT: usize = 256;
const HIDDEN: usize = 192;
const INTERMEDIATE: usize = 448;
const LAYERS: usize = 4;
const HEADS: usize = 6;
const KV_HEADS: usize = 2;
/// Standard deviation of the weights.
const DEVIATION: f64 = 0.02;

/// `config.json`.
pub fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HIDDEN / HEADS,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": null,
        "attention_bias": false,
        "mlp_bias": false,
        "attention_dropout": 0.0,
        "initializer_range": DEVIATION,
        "tie_word_embeddings": true,
        "bos_token_id": null,
        "eos_token_id": END_OF_TURN,
        "pad_token_id": END_OF_TEXT,
        "torch_dtype": "float32",
    })
}

/// `generation_config.json`.
pub fn generation_config() -> Value {
    json!({"eos_token_id": [END_OF_TURN, END_OF_TEXT], "pad_token_id": END_OF_TEXT})
}

/// `model.safetensors`, a function of `seed`: weights from N(0, 0.02²), norms of one. What adds to the residual
/// stream is smaller by √(2·layers), so that the stream does not grow with depth (GPT-2's initialisation).
pub fn weights(seed: u64) -> diablo::Result<Vec<u8>> {
    let config = ModelConfig::from_hf(&config(), "config.json")?;
    let random = &mut Random::labelled(seed, 4);
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = diablo::model::names::expected_tensors(&config)
        .into_iter()
        .map(|(name, shape)| {
            let deviation = match name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
                true => DEVIATION / (2.0 * LAYERS as f64).sqrt(),
                false => DEVIATION,
            };
            let is_norm = shape.len() == 1;
            let count = shape.iter().product::<usize>();
            let values = (0..count).map(|_| if is_norm { 1.0 } else { (deviation * normal(random)) as f32 });
            let bytes = values.flat_map(f32::to_le_bytes).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes that fit the shape"))
    });
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(views, Some(metadata)).expect("tensors that can be written"))
}

/// One draw from N(0, 1), by the Box–Muller transform.
fn normal(random: &mut Random) -> f64 {
    // 1 − u is never 0, so the logarithm is finite.
    let radius = (-2.0 * f64::from(1.0 - random.next_f32()).ln()).sqrt();
    radius * (std::f64::consts::TAU * f64::from(random.next_f32())).cos()
}
