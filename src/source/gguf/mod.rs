//! A GGUF file.

mod config;
mod tokenizer;

#[cfg(not(target_family = "wasm"))]
pub(crate) use tokenizer::pre_tokenizer_name;

use super::Source;
use super::assets::Assets;
use super::tensors::{Found, Layout, Tensors};
use crate::error::{Error, Result};
use crate::model::RopeScaling;
use crate::model::config::{Architecture, ModelConfig};
use crate::weights::gguf::Gguf;
use crate::weights::{FloatType, Storage, TensorInfo, TensorType};
use serde_json::json;
use std::sync::Arc;

/// The tensor with what the frequencies of the rotary embedding are divided by.
pub(crate) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// Reads the header and makes from it what a Hugging Face folder would hold.
pub(super) async fn read(name: String, storage: Storage) -> Result<Source> {
    let storage = Arc::new(storage);
    let Gguf { metadata, tensors } = Gguf::read(&storage).await?;
    let place = storage.place();
    let tokenizer = tokenizer::Tokenizer::read(&metadata, place)?;
    let mut config = config::read(&metadata, &tensors, &tokenizer, place)?;
    if let Some(info) = tensors.get(ROPE_DIVISORS) {
        config.rope_scaling = Some(llama3_scaling(&storage, info, &config).await?);
    }

    let found = tensors.into_iter().map(|(name, info)| (name, Found { storage: storage.clone(), info })).collect();
    let permuted = is_permuted(config.architecture);
    let layout = Layout { place, config_place: "the file's metadata", stored_name, permuted };
    let tensors = Tensors::select(found, &config, &layout)?;

    let mut config_json = config.to_hf();
    config_json["pad_token_id"] = json!(tokenizer.pad);
    config_json["torch_dtype"] = json!(FloatType::from(tensors.main_type()).torch_name());
    let assets = Assets {
        config_json,
        tokenizer_json: tokenizer.tokenizer_json().to_string().into_bytes(),
        tokenizer_config: Some(tokenizer.tokenizer_config(config.max_position_embeddings)),
        generation_config: Some(tokenizer.generation_config()),
        special_tokens_map: Some(tokenizer.special_tokens_map()),
        chat_template: tokenizer.chat_template.map(str::to_owned),
    };
    Ok(Source { name, config, assets, tensors, gguf: Some(storage.clone()) })
}

/// Whether GGUF files of this family hold the rows of q and k permuted within each head: what llama.cpp's converter
/// does, and undoes in its rotary embedding.
pub(crate) fn is_permuted(architecture: Architecture) -> bool {
    match architecture {
        Architecture::Llama | Architecture::SmolLm3 => true,
        Architecture::Qwen2 | Architecture::Qwen3 => false,
    }
}

/// The scaling of the rotary embedding that a file holds as one divisor for each frequency.
async fn llama3_scaling(storage: &Storage, info: &TensorInfo, config: &ModelConfig) -> Result<RopeScaling> {
    let wrong = |what: &str| Error::model(storage.place(), format!("tensor \"{ROPE_DIVISORS}\" {what}"));
    if info.ty != Ok(TensorType::F32) || info.shape != [config.head_dim / 2] {
        return Err(wrong("is not a number in F32 for each pair of a head"));
    }
    if config.rope_scaling.is_some() {
        return Err(wrong("scales the rotary embedding a second time"));
    }
    let bytes = storage.read(info.range.clone()).await?;
    let divisors: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    RopeScaling::llama3_from_divisors(&config.rope_frequencies(), &divisors).ok_or_else(|| {
        wrong(
            "scales the rotary embedding in another way than Llama 3.1 to 3.3, which is not supported; use the \
               Hugging Face folder of this model instead",
        )
    })
}

/// What a GGUF file calls the tensor that Hugging Face calls `name`.
pub(crate) fn stored_name(name: &str) -> String {
    let (path, kind) = name.rsplit_once('.').unwrap_or((name, ""));
    let stored = match path {
        "model.embed_tokens" => "token_embd".to_owned(),
        "model.norm" => "output_norm".to_owned(),
        "lm_head" => "output".to_owned(),
        _ => match path.strip_prefix("model.layers.").and_then(|path| path.split_once('.')) {
            Some((layer, part)) => format!("blk.{layer}.{}", stored_part(part)),
            None => path.to_owned(),
        },
    };
    format!("{stored}.{kind}")
}

fn stored_part(part: &str) -> &str {
    match part {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::stored_name;

    #[test]
    fn names() {
        assert_eq!(stored_name("model.embed_tokens.weight"), "token_embd.weight");
        assert_eq!(stored_name("model.norm.weight"), "output_norm.weight");
        assert_eq!(stored_name("lm_head.weight"), "output.weight");
        assert_eq!(stored_name("model.layers.12.self_attn.q_proj.bias"), "blk.12.attn_q.bias");
        assert_eq!(stored_name("model.layers.0.mlp.down_proj.weight"), "blk.0.ffn_down.weight");
    }
}
