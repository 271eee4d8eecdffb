//! The shape of a decoder-only transformer: one struct for every family.

use super::frequencies::RopeScaling;
use crate::error::{Error, Result};
use crate::weights::quoted;
use serde::{Deserialize, Serialize};

/// The model families this crate can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Llama and everything shaped like it: Llama 3.2, SmolLM2, TinyLlama.
    Llama,
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2,
    /// Qwen3: norms of queries and keys, heads of a width of their own.
    Qwen3,
    /// SmolLM3: every fourth layer without rotary embedding.
    SmolLm3,
}

impl Architecture {
    /// Every family by its name in `model_type` (`config.json`) and `general.architecture` (GGUF).
    pub const KNOWN: [(&'static str, Self); 4] =
        [("llama", Self::Llama), ("qwen2", Self::Qwen2), ("qwen3", Self::Qwen3), ("smollm3", Self::SmolLm3)];

    /// Its name there.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::SmolLm3 => "smollm3",
        }
    }

    /// The family called `name`, or an error at `place` that lists those that are supported.
    pub fn from_name(name: &str, place: &str) -> Result<Self> {
        Self::KNOWN.iter().find(|(known, _)| *known == name).map(|(_, family)| *family).ok_or_else(|| {
            let known: Vec<_> = Self::KNOWN.iter().map(|(known, _)| *known).collect();
            Error::model(
                place,
                format!("model type {} is not supported; supported: {}", quoted(name), known.join(", ")),
            )
        })
    }
}

/// Sizes and constants of a model, named as in Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head; need not be `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// Added to the mean square in RMS norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary embedding's frequencies.
    pub rope_theta: f64,
    /// What is done to those frequencies for long contexts.
    pub rope_scaling: Option<RopeScaling>,
    /// Layers without rotary embedding (NoPE, arXiv 2305.19466), ascending.
    pub nope_layers: Vec<usize>,
    /// Longest sequence the model was made for.
    pub max_position_embeddings: usize,
    /// Whether the q, k and v projections have a bias.
    pub qkv_bias: bool,
    /// Whether the output projection of attention has a bias.
    pub o_bias: bool,
    /// Whether queries and keys are RMS-normalised per head before the rotary embedding.
    pub qk_norm: bool,
    /// Whether the head is the embedding itself.
    pub tie_word_embeddings: bool,
    /// Tokens that end a text or a turn.
    pub eos_token_ids: Vec<u32>,
    /// Token put before a text, where the model has one.
    pub bos_token_id: Option<u32>,
}

/// Caps that keep a hostile file from asking for absurd allocations; far above any model this crate can train.
const MAX_SIZE: usize = 1 << 20;
pub(super) const MAX_LAYERS: usize = 1024;

impl ModelConfig {
    /// The config itself if its sizes fit together, else an error at `place`.
    ///
    /// # Errors
    /// On zero or absurd sizes, heads that do not divide, or an odd head width (rotate-half needs an even one).
    pub fn checked(self, place: &str) -> Result<Self> {
        let wrong = |what: String| Err(Error::model(place, what));
        let sizes = [
            ("vocab_size", self.vocab_size, MAX_SIZE * 4),
            ("hidden_size", self.hidden_size, MAX_SIZE),
            ("intermediate_size", self.intermediate_size, MAX_SIZE),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("num_attention_heads", self.num_attention_heads, MAX_SIZE),
            ("num_key_value_heads", self.num_key_value_heads, MAX_SIZE),
            ("head_dim", self.head_dim, MAX_SIZE),
            ("num_attention_heads\" × \"head_dim", self.num_attention_heads.saturating_mul(self.head_dim), MAX_SIZE),
            ("max_position_embeddings", self.max_position_embeddings, usize::MAX),
        ];
        for (key, size, max) in sizes {
            if size == 0 || size > max {
                return wrong(format!("\"{key}\" is {size}; expected 1 to {max}"));
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return wrong(format!(
                "{} attention heads do not divide among {} key/value heads",
                self.num_attention_heads, self.num_key_value_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return wrong(format!("\"head_dim\" is {}; the rotary embedding needs an even one", self.head_dim));
        }
        if !(self.rms_norm_eps.is_finite()
            && self.rms_norm_eps >= 0.0
            && self.rope_theta.is_finite()
            && self.rope_theta > 0.0)
        {
            return wrong(format!(
                "\"rms_norm_eps\" {} or \"rope_theta\" {} is out of range",
                self.rms_norm_eps, self.rope_theta
            ));
        }
        if let Some(fault) = self.rope_scaling.and_then(RopeScaling::fault) {
            return wrong(fault);
        }
        Ok(self)
    }

    /// Width of all query heads together.
    pub fn q_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }
}
