//! The configuration in a GGUF file's metadata.

use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use crate::model::RopeScaling;
use crate::model::config::{Architecture, ModelConfig};
use crate::model::hf_config::{NOPE_INTERVAL, every_nth_layer};
use crate::weights::gguf::Metadata;
use crate::weights::{TensorInfo, quoted};
use std::collections::BTreeMap;

/// The rotary base of a file that does not name one, as in llama.cpp.
const DEFAULT_ROPE_BASE: f64 = 10_000.0;

/// Reads the configuration and refuses what would change the model's answers and is not supported.
pub(super) fn read(
    metadata: &Metadata,
    tensors: &BTreeMap<String, TensorInfo>,
    tokenizer: &Tokenizer<'_>,
    place: &str,
) -> Result<ModelConfig> {
    let wrong = |what: String| Error::model(place, what);
    let family = metadata.required("general.architecture", Metadata::string)?;
    let architecture = Architecture::from_name(family, place)?;
    let key = |key: &str| format!("{family}.{key}");
    let size = |name: &str| metadata.required(&key(name), Metadata::size);
    let optional_size = |name: &str| metadata.size(&key(name));

    let hidden_size = size("embedding_length")?;
    let num_attention_heads = size("attention.head_count")?;
    let head_dim = match optional_size("attention.key_length")? {
        Some(head_dim) => head_dim,
        None => hidden_size.checked_div(num_attention_heads).unwrap_or(0), // no heads: refused below
    };
    for name in ["attention.value_length", "rope.dimension_count"] {
        if let Some(other) = optional_size(name)?.filter(|other| *other != head_dim) {
            return Err(wrong(format!(
                "\"{}\" is {other}, but heads are {head_dim} wide; only equal widths are supported",
                key(name)
            )));
        }
    }
    if let Some(experts) = optional_size("expert_count")?.filter(|experts| *experts > 0) {
        return Err(wrong(format!("a mixture of {experts} experts, which is not supported")));
    }
    if let Some(window) = optional_size("attention.sliding_window")?.filter(|window| *window > 0) {
        return Err(wrong(format!("attention to a sliding window of {window} tokens, which is not supported")));
    }

    let vocab_size = optional_size("vocab_size")?.unwrap_or(tokenizer.tokens.len());
    if tokenizer.tokens.len() > vocab_size {
        return Err(wrong(format!("{} tokens, but \"{}\" is {vocab_size}", tokenizer.tokens.len(), key("vocab_size"))));
    }
    let num_hidden_layers = size("block_count")?;
    // As in the families' `config.json`: but for Qwen2, there is one switch for all four biases.
    let bias = architecture != Architecture::Qwen2 && tensors.contains_key("blk.0.attn_q.bias");
    ModelConfig {
        architecture,
        vocab_size,
        hidden_size,
        intermediate_size: size("feed_forward_length")?,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads: optional_size("attention.head_count_kv")?.unwrap_or(num_attention_heads),
        head_dim,
        rms_norm_eps: metadata.required(&key("attention.layer_norm_rms_epsilon"), Metadata::number)?,
        rope_theta: metadata.number(&key("rope.freq_base"))?.unwrap_or(DEFAULT_ROPE_BASE),
        rope_scaling: linear_scaling(metadata, family, place)?,
        nope_layers: match architecture {
            Architecture::SmolLm3 => every_nth_layer(num_hidden_layers, NOPE_INTERVAL),
            _ => vec![],
        },
        max_position_embeddings: size("context_length")?,
        qkv_bias: bias || architecture == Architecture::Qwen2,
        o_bias: bias,
        qk_norm: architecture == Architecture::Qwen3,
        tie_word_embeddings: !tensors.contains_key("output.weight"),
        eos_token_ids: tokenizer.eos.clone(),
        bos_token_id: tokenizer.bos,
    }
    .checked(place)
}

/// What the metadata say of scaling; Llama 3's is in the tensor `rope_freqs.weight` instead.
fn linear_scaling(metadata: &Metadata, family: &str, place: &str) -> Result<Option<RopeScaling>> {
    let key = |name: &str| format!("{family}.{name}");
    let kind = metadata.string(&key("rope.scaling.type"))?;
    if let Some(other) = kind.filter(|kind| !["none", "linear"].contains(kind)) {
        let other = quoted(other);
        return Err(Error::model(
            place,
            format!("rotary embedding of type {other} is not supported; supported: none, linear"),
        ));
    }
    let factor = match metadata.number(&key("rope.scaling.factor"))? {
        Some(factor) => Some(factor),
        None => metadata.number(&key("rope.scale_linear"))?, // what older files call it
    };
    let factor = factor.filter(|factor| kind != Some("none") && ![0.0, 1.0].contains(factor));
    Ok(factor.map(|factor| RopeScaling::Linear { factor }))
}
