//! The metadata of a GGUF file.

use super::{GgufType, tokenizer};
use crate::error::{Error, Result};
use crate::model::hf_config::{NOPE_INTERVAL, every_nth_layer};
use crate::model::{Architecture, ModelConfig, RopeScaling};
use crate::source::Source;
use crate::weights::Storage;
use crate::weights::gguf::{HeaderWriter, Metadata};
use std::path::Path;

const FILE_TYPE: &str = "general.file_type";
const QUANTIZATION_VERSION: &str = "general.quantization_version";

/// Takes over the base's metadata byte for byte, but for what says how its tensors were stored.
pub async fn copy(storage: &Storage, metadata: &Metadata, ty: GgufType, header: &mut HeaderWriter) -> Result<()> {
    for (key, range) in metadata.entries() {
        let is_storage = [FILE_TYPE, QUANTIZATION_VERSION, "general.alignment"].contains(&key.as_str());
        if !is_storage && !key.starts_with("quantize.") {
            header.entry(&storage.read(range.clone()).await?);
        }
    }
    storage_keys(ty, header);
    Ok(())
}

/// Makes the metadata of a model that came as a Hugging Face folder.
pub fn write(source: &Source, ty: GgufType, header: &mut HeaderWriter) -> Result<()> {
    let config = &source.config;
    let family = config.architecture.name();
    header.string("general.architecture", family);
    header.string("general.type", "model");
    let name = Path::new(&source.name).file_name().map_or_else(|| source.name.as_str().into(), |n| n.to_string_lossy());
    header.string("general.name", &name);
    storage_keys(ty, header);

    let mut size =
        |key: &str, value: usize| header.u32(&format!("{family}.{key}"), u32::try_from(value).unwrap_or(u32::MAX));
    size("block_count", config.num_hidden_layers);
    size("context_length", config.max_position_embeddings);
    size("embedding_length", config.hidden_size);
    size("feed_forward_length", config.intermediate_size);
    size("attention.head_count", config.num_attention_heads);
    size("attention.head_count_kv", config.num_key_value_heads);
    size("attention.key_length", config.head_dim);
    size("attention.value_length", config.head_dim);
    size("rope.dimension_count", config.head_dim);
    size("vocab_size", config.vocab_size);
    header.f32(&format!("{family}.rope.freq_base"), config.rope_theta as f32);
    header.f32(&format!("{family}.attention.layer_norm_rms_epsilon"), config.rms_norm_eps as f32);
    if let Some(RopeScaling::Linear { factor }) = config.rope_scaling {
        header.string(&format!("{family}.rope.scaling.type"), "linear");
        header.f32(&format!("{family}.rope.scaling.factor"), factor as f32);
    }
    // Which layers have no rotary embedding is fixed for each family there.
    let fixed = match config.architecture {
        Architecture::SmolLm3 => every_nth_layer(config.num_hidden_layers, NOPE_INTERVAL),
        _ => Vec::new(),
    };
    if config.nope_layers != fixed {
        let what = format!(
            "layers {:?} have no rotary embedding, which a GGUF file of {family} cannot say; export a folder",
            config.nope_layers
        );
        return Err(Error::model(&source.name, what));
    }
    tokenizer::write(source, header)
}

/// What Llama 3's scaling divides the frequencies of the rotary embedding by: in a GGUF file a tensor, `[head_dim / 2]`.
pub fn rope_divisors(config: &ModelConfig) -> Option<Vec<f32>> {
    let scaling = config.rope_scaling.filter(|scaling| matches!(scaling, RopeScaling::Llama3 { .. }))?;
    let unscaled = ModelConfig { rope_scaling: None, ..config.clone() };
    Some(unscaled.rope_frequencies().into_iter().map(|frequency| scaling.divisor(frequency) as f32).collect())
}

fn storage_keys(ty: GgufType, header: &mut HeaderWriter) {
    header.u32(FILE_TYPE, ty.file_type());
    header.u32(QUANTIZATION_VERSION, 2); // of ggml's block formats
}
