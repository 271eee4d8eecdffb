//! The decoder-only transformer: Llama and everything shaped like it.
//!
//! Weights are plain tensors without autodiff; adapters are passed to [`Model::forward`] from outside, so that
//! the same base serves with and without them. Activations between layers are `[rows * length, hidden]`.

pub mod config;
pub mod names;

mod attention;
mod cache;
mod frequencies;
mod head;
pub(crate) mod hf_config;
mod linear;
mod load;
mod mlp;
mod norm;
mod projection;
mod random;
mod rotary;

pub use attention::Attention;
pub use cache::Cache;
pub use config::{Architecture, ModelConfig};
pub use frequencies::RopeScaling;
pub use head::{Targets, next_token_loss};
pub use linear::Linear;
pub use mlp::Mlp;
pub use norm::RmsNorm;
pub use projection::Projection;
pub use rotary::Rotary;

use crate::adapter::Adapters;
use burn::tensor::{Device, Int, Tensor};

/// One decoder layer: attention, then MLP, each behind an RMS norm and added to the residual stream.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Norm before attention.
    pub input_norm: RmsNorm,
    /// Self-attention.
    pub attention: Attention,
    /// Norm before the MLP.
    pub post_attention_norm: RmsNorm,
    /// The gated MLP.
    pub mlp: Mlp,
}

/// A pretrained model on a device; its weights stay frozen.
#[derive(Debug, Clone)]
pub struct Model {
    /// Sizes and constants.
    pub config: ModelConfig,
    /// `[vocab, hidden]`.
    pub embedding: Tensor<2>,
    /// First to last.
    pub layers: Vec<Layer>,
    /// Norm before the head.
    pub norm: RmsNorm,
    /// `[vocab, hidden]`; `None` where the head is the embedding.
    pub head: Option<Tensor<2>>,
}

/// A batch of token ids, rows padded at the right to one length.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// `[rows * length]`, row by row.
    pub ids: Tensor<1, Int>,
    /// Number of rows.
    pub rows: usize,
    /// Padded length of a row.
    pub length: usize,
}

impl Tokens {
    /// Moves `ids`, `rows` rows of one length, to `device`.
    ///
    /// # Panics
    /// If the ids do not divide into `rows` rows.
    pub fn new(ids: &[i32], rows: usize, device: &Device) -> Self {
        assert!(rows > 0 && ids.len().is_multiple_of(rows), "{} ids in {rows} rows", ids.len());
        Self { ids: Tensor::from_data(ids, device), rows, length: ids.len() / rows }
    }
}

impl Model {
    /// The device that holds the weights.
    pub fn device(&self) -> Device {
        self.embedding.device()
    }

    /// Hidden states after the final norm, `[rows * length, hidden]`.
    ///
    /// With a `cache`, tokens continue what it holds, and their keys and values are added to it.
    /// Rows need no attention mask: padding stands at the right, where a causal query never looks.
    pub fn forward(&self, tokens: &Tokens, adapters: Option<&Adapters>, cache: Option<&mut Cache>) -> Tensor<2> {
        let device = self.device();
        let mut x = self.embedding.clone().select(0, tokens.ids.clone()); // [rows * length, hidden]
        let mut cache = cache;
        let start = cache.as_ref().map_or(0, |cache| cache.length());
        let rotary = Rotary::new(&self.config, start, tokens.length, &device);
        for (index, layer) in self.layers.iter().enumerate() {
            let rotary = if self.config.nope_layers.contains(&index) { &Rotary::IDENTITY } else { &rotary };
            let adapters = adapters.map(|adapters| adapters.layer(index));
            let cached = cache.as_deref_mut().map(|cache| cache.layer(index));
            let h = layer.input_norm.forward(x.clone());
            x = x + layer.attention.forward(h, tokens, rotary, adapters, cached);
            let h = layer.post_attention_norm.forward(x.clone());
            x = x + layer.mlp.forward(h, adapters);
        }
        if let Some(cache) = cache {
            cache.advance(tokens.length);
        }
        self.norm.forward(x)
    }

    /// Logits of `hidden: [n, hidden]`, `[n, vocab]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.head.clone().unwrap_or_else(|| self.embedding.clone()).transpose())
    }
}
