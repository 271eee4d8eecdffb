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
mod update;

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
use crate::data::Batch;
use crate::error::Result;
use crate::hash::hex;
use crate::kernels::{self, FirstKeys};
use burn::tensor::{Device, Int, Tensor};
use sha2::{Digest, Sha256};

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
    /// Where in its row the example of each token begins, `[rows * length]`; `None` where every row is one example.
    pub starts: FirstKeys,
}

impl Tokens {
    /// Moves `ids`, `rows` rows of one length, to `device`.
    ///
    /// # Panics
    /// If the ids do not divide into `rows` rows.
    pub fn new(ids: &[i32], rows: usize, device: &Device) -> Self {
        assert!(rows > 0 && ids.len().is_multiple_of(rows), "{} ids in {rows} rows", ids.len());
        Self { ids: Tensor::from_data(ids, device), rows, length: ids.len() / rows, starts: None }
    }

    /// The ids of `batch`, examples of packed rows kept apart.
    pub fn of_batch(batch: &Batch, device: &Device) -> Self {
        Self { starts: batch.starts.clone(), ..Self::new(&batch.input_ids, batch.rows, device) }
    }
}

impl Model {
    /// The device that holds the weights.
    pub fn device(&self) -> Device {
        self.embedding.device()
    }

    /// Hidden states after the final norm, `[rows * length, hidden]`.
    ///
    /// `adapters` must have been asked for their [`effective`](Adapters::effective) model first.
    /// With a `cache`, tokens continue what it holds, and their keys and values are added to it.
    /// Rows need no attention mask but where they are packed: padding stands at the right, where a causal query never
    /// looks.
    pub fn forward(&self, tokens: &Tokens, adapters: Option<&Adapters>, cache: Option<&mut Cache>) -> Tensor<2> {
        let device = self.device();
        let mut x = self.embedding.clone().select(0, tokens.ids.clone()); // [rows * length, hidden]
        let mut cache = cache;
        let start = cache.as_ref().map_or(0, |cache| cache.length());
        let rotary = match &tokens.starts {
            None => Rotary::new(&self.config, start..start + tokens.length, &device),
            Some(starts) => {
                let position = |(at, first): (usize, &u32)| at % tokens.length - *first as usize;
                Rotary::new(&self.config, starts.iter().enumerate().map(position), &device)
            }
        };
        for (index, layer) in self.layers.iter().enumerate() {
            let rotary = if self.config.nope_layers.contains(&index) { &Rotary::IDENTITY } else { &rotary };
            let adapters = adapters.and_then(|adapters| adapters.layer(index));
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

    /// A hash over some of the weights, by which a model is told from others of its shape.
    ///
    /// # Errors
    /// If the device is lost.
    pub async fn fingerprint(&self) -> Result<String> {
        let first = self.embedding.clone().narrow(0, 0, 1).flatten(0, 1);
        let mut hash = Sha256::new();
        for values in [self.norm.weight.clone(), first] {
            let values: Vec<f32> = crate::train::read(values).await?;
            hash.update(bytemuck::cast_slice(&values));
        }
        if let Some(layer) = self.layers.last() {
            let values = crate::train::read(layer.mlp.down.weight.clone().narrow(0, 0, 1)).await?;
            hash.update(bytemuck::cast_slice(&values));
        }
        Ok(hex(hash.finalize()))
    }

    /// Logits of `hidden: [n, hidden]`, `[n, vocab]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        kernels::linear(hidden, self.head.clone().unwrap_or_else(|| self.embedding.clone()))
    }
}
