//! The shape of a decoder-only transformer: one struct for every family.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The model families this crate can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Llama and everything shaped like it: SmolLM2, TinyLlama, Llama 3.2 without scaled rotary embedding.
    Llama,
}

impl Architecture {
    /// Every family by its name in `model_type` (`config.json`) and `general.architecture` (GGUF).
    pub const KNOWN: [(&'static str, Self); 1] = [("llama", Self::Llama)];

    /// The family called `name`, or an error at `place` that lists those that are supported.
    pub fn from_name(name: &str, place: &str) -> Result<Self> {
        Self::KNOWN.iter().find(|(known, _)| *known == name).map(|(_, family)| *family).ok_or_else(|| {
            let known: Vec<_> = Self::KNOWN.iter().map(|(known, _)| *known).collect();
            Error::model(place, format!("model type \"{name}\" is not supported; supported: {}", known.join(", ")))
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
    /// Longest sequence the model was made for.
    pub max_position_embeddings: usize,
    /// Whether the q, k and v projections have a bias.
    pub qkv_bias: bool,
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
const MAX_LAYERS: usize = 1024;

impl ModelConfig {
    /// Reads a Hugging Face `config.json`; `place` names the file in errors.
    ///
    /// # Errors
    /// On a missing or mistyped key, an unsupported family or feature, or sizes that do not fit together.
    pub fn from_hf(config: &Value, place: &str) -> Result<Self> {
        let model_type = config["model_type"]
            .as_str()
            .ok_or_else(|| Error::model(place, "no \"model_type\"; is this the config.json of a language model?"))?;
        let size = |key: &str| size_of(config, key, place);
        let optional_size = |key: &str| match &config[key] {
            Value::Null => Ok(None),
            _ => size(key).map(Some),
        };
        let float = |key: &str, default: f64| match &config[key] {
            Value::Null => Ok(default),
            value => value.as_f64().ok_or_else(|| Error::model(place, format!("\"{key}\" is not a number"))),
        };
        let flag = |key: &str| config[key].as_bool().unwrap_or(false);

        // Newer files keep the rotary settings in "rope_parameters".
        let rope = &config["rope_parameters"];
        let rope_kind = [&config["rope_scaling"], rope]
            .into_iter()
            .find_map(|r| r["rope_type"].as_str().or_else(|| r["type"].as_str()))
            .unwrap_or("default");
        if rope_kind != "default" {
            return Err(Error::model(place, format!("rotary embedding of type \"{rope_kind}\" is not supported yet")));
        }
        if flag("mlp_bias") {
            return Err(Error::model(place, "a bias in the MLP is not supported"));
        }
        if let Some(act) = config["hidden_act"].as_str().filter(|act| *act != "silu") {
            return Err(Error::model(place, format!("activation \"{act}\" is not supported; supported: silu")));
        }

        let hidden_size = size("hidden_size")?;
        let num_attention_heads = size("num_attention_heads")?;
        Self {
            architecture: Architecture::from_name(model_type, place)?,
            vocab_size: size("vocab_size")?,
            hidden_size,
            intermediate_size: size("intermediate_size")?,
            num_hidden_layers: size("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: optional_size("num_key_value_heads")?.unwrap_or(num_attention_heads),
            head_dim: optional_size("head_dim")?.unwrap_or(hidden_size / num_attention_heads),
            rms_norm_eps: float("rms_norm_eps", 1e-6)?,
            rope_theta: float("rope_theta", rope["rope_theta"].as_f64().unwrap_or(10_000.0))?,
            max_position_embeddings: optional_size("max_position_embeddings")?.unwrap_or(2048),
            qkv_bias: flag("attention_bias"),
            qk_norm: false,
            tie_word_embeddings: flag("tie_word_embeddings"),
            eos_token_ids: eos_token_ids(config),
            bos_token_id: token_id(&config["bos_token_id"]),
        }
        .checked(place)
    }

    /// The same model as Hugging Face's `config.json`, for a model that came without one (GGUF).
    pub fn to_hf(&self) -> Value {
        serde_json::json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": null,
            "attention_bias": self.qkv_bias,
            "mlp_bias": false,
            "attention_dropout": 0.0,
            "tie_word_embeddings": self.tie_word_embeddings,
            "vocab_size": self.vocab_size,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": match self.eos_token_ids.as_slice() {
                [] => Value::Null,
                [one] => serde_json::json!(one),
                many => serde_json::json!(many),
            },
            "torch_dtype": "float32",
        })
    }

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

/// The ids in `eos_token_id` of a `config.json` or `generation_config.json`: one or a list, without doubles. Anything
/// else has none.
pub(crate) fn eos_token_ids(config: &Value) -> Vec<u32> {
    let all: Vec<u32> = match &config["eos_token_id"] {
        Value::Array(ids) => ids.iter().filter_map(token_id).collect(),
        id => token_id(id).into_iter().collect(),
    };
    let mut ids = Vec::new();
    for id in all {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn token_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn size_of(config: &Value, key: &str, place: &str) -> Result<usize> {
    let value = config.get(key).ok_or_else(|| Error::model(place, format!("no \"{key}\"")))?;
    value
        .as_u64()
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| Error::model(place, format!("\"{key}\" is {value}; expected a positive whole number")))
}
