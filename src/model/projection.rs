//! The linear projections of a layer, which adapters may adapt.

use super::config::ModelConfig;
use crate::error::{Error, Result, did_you_mean};
use serde::{Deserialize, Serialize};

/// One of a layer's weight matrices, in the order in which every list of adapters runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Projection {
    /// Queries.
    #[serde(rename = "q_proj")]
    Q,
    /// Keys.
    #[serde(rename = "k_proj")]
    K,
    /// Values.
    #[serde(rename = "v_proj")]
    V,
    /// Attention output.
    #[serde(rename = "o_proj")]
    O,
    /// Gate of the MLP.
    #[serde(rename = "gate_proj")]
    Gate,
    /// Up projection of the MLP.
    #[serde(rename = "up_proj")]
    Up,
    /// Down projection of the MLP.
    #[serde(rename = "down_proj")]
    Down,
}

impl Projection {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// What adapters train unless told otherwise (the paper's choice).
    pub const DEFAULT: [Self; 5] = [Self::Q, Self::K, Self::V, Self::Up, Self::Down];

    /// Name as in Hugging Face models and `--target-modules`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// Path inside a Hugging Face model: `model.layers.3.self_attn.q_proj`.
    pub fn path(self, layer: usize) -> String {
        let parent = match self {
            Self::Q | Self::K | Self::V | Self::O => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        };
        format!("model.layers.{layer}.{parent}.{}", self.name())
    }

    /// Input and output width.
    pub fn size(self, config: &ModelConfig) -> [usize; 2] {
        let (hidden, mlp) = (config.hidden_size, config.intermediate_size);
        match self {
            Self::Q => [hidden, config.q_size()],
            Self::K | Self::V => [hidden, config.kv_size()],
            Self::O => [config.q_size(), hidden],
            Self::Gate | Self::Up => [hidden, mlp],
            Self::Down => [mlp, hidden],
        }
    }

    /// Whether it has a bias.
    pub fn has_bias(self, config: &ModelConfig) -> bool {
        match self {
            Self::Q | Self::K | Self::V => config.qkv_bias,
            Self::O => config.o_bias,
            Self::Gate | Self::Up | Self::Down => false,
        }
    }

    /// The projection called `name`.
    ///
    /// # Errors
    /// If there is none; the message lists them.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name);
            let hint = did_you_mean(name, known);
            Error::Usage(format!("unknown module \"{name}\"{hint}; known: {}", known.join(", ")))
        })
    }

    /// A comma-separated list, sorted and without doubles.
    ///
    /// # Errors
    /// On an unknown name or an empty list.
    pub fn parse_list(list: &str) -> Result<Vec<Self>> {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let mut modules = names.map(Self::from_name).collect::<Result<Vec<_>>>()?;
        modules.sort();
        modules.dedup();
        if modules.is_empty() {
            return Err(Error::Usage("no target modules given".into()));
        }
        Ok(modules)
    }
}
