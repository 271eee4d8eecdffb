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
mod weight;

pub use attention::Attention;
pub use cache::Cache;
pub(crate) use cache::Memory;
pub use config::{Architecture, ModelConfig};
pub use frequencies::RopeScaling;
pub use head::{Targets, next_token_loss};
pub use linear::Linear;
pub use mlp::Mlp;
pub use norm::RmsNorm;
pub use projection::Projection;
pub use rotary::Rotary;
use rotary::RotaryTables;
pub use weight::Weight;

use crate::adapter::Adapters;
use crate::data::Batch;
use crate::error::Result;
use crate::hash::hex;
use crate::kernels::{FirstKeys, KeyStarts};
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

impl Layer {
    /// The layer's weight matrix of that name.
    pub fn linear(&self, projection: Projection) -> &Linear {
        let Self { attention, mlp, .. } = self;
        match projection {
            Projection::Q => &attention.q,
            Projection::K => &attention.k,
            Projection::V => &attention.v,
            Projection::O => &attention.o,
            Projection::Gate => &mlp.gate,
            Projection::Up => &mlp.up,
            Projection::Down => &mlp.down,
        }
    }

    /// The same, to be changed.
    pub fn linear_mut(&mut self, projection: Projection) -> &mut Linear {
        let Self { attention, mlp, .. } = self;
        match projection {
            Projection::Q => &mut attention.q,
            Projection::K => &mut attention.k,
            Projection::V => &mut attention.v,
            Projection::O => &mut attention.o,
            Projection::Gate => &mut mlp.gate,
            Projection::Up => &mut mlp.up,
            Projection::Down => &mut mlp.down,
        }
    }
}

/// A pretrained model on a device; its weights stay frozen.
#[derive(Debug, Clone)]
pub struct Model {
    /// Sizes and constants.
    pub config: ModelConfig,
    /// `[vocab, hidden]`.
    pub embedding: Weight,
    /// First to last.
    pub layers: Vec<Layer>,
    /// Norm before the head.
    pub norm: RmsNorm,
    /// `[vocab, hidden]`; `None` where the head is the embedding.
    pub head: Option<Weight>,
    /// Angles that every batch needs.
    tables: RotaryTables,
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
        Self { starts: batch.starts.clone().map(KeyStarts::from), ..Self::new(&batch.input_ids, batch.rows, device) }
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
        self.forward_from(self.embed(tokens), tokens, adapters, cache)
    }

    /// What the first layer takes, `[rows * length, hidden]`.
    pub fn embed(&self, tokens: &Tokens) -> Tensor<2> {
        self.embedding.select(tokens.ids.clone())
    }

    /// As [`Model::forward`], from embedded tokens.
    pub fn forward_from(
        &self,
        mut x: Tensor<2>,
        tokens: &Tokens,
        adapters: Option<&Adapters>,
        mut cache: Option<&mut Cache>,
    ) -> Tensor<2> {
        let rotary = self.rotary(tokens, cache.as_ref().map_or(0, |cache| cache.length()));
        for index in 0..self.layers.len() {
            let memory = cache.as_deref_mut().map_or(Memory::Nothing, |cache| Memory::Cache(cache.layer(index)));
            x = self.layer(index, x, tokens, &rotary, adapters, memory);
        }
        if let Some(cache) = cache {
            cache.advance(tokens.length);
        }
        self.norm.forward(x)
    }

    /// The angles of `tokens`, which come after `start` others.
    pub(crate) fn rotary(&self, tokens: &Tokens, start: usize) -> Rotary {
        let device = self.device();
        match &tokens.starts {
            None if start == 0 => self.tables.first(&self.config, tokens.length, &device),
            None => Rotary::new(&self.config, start..start + tokens.length, &device),
            Some(starts) => {
                let position = |(at, first): (usize, &u32)| at % tokens.length - *first as usize;
                Rotary::new(&self.config, starts.all().iter().enumerate().map(position), &device)
            }
        }
    }

    /// Layer `index` alone.
    pub(crate) fn layer(
        &self,
        index: usize,
        x: Tensor<2>,
        tokens: &Tokens,
        rotary: &Rotary,
        adapters: Option<&Adapters>,
        memory: Memory<'_>,
    ) -> Tensor<2> {
        let layer = &self.layers[index];
        let rotary = if self.config.nope_layers.contains(&index) { &Rotary::IDENTITY } else { rotary };
        let adapters = adapters.and_then(|adapters| adapters.layer(index));
        let h = layer.input_norm.forward(x.clone());
        let x = x + layer.attention.forward(h, tokens, rotary, adapters, memory);
        let h = layer.post_attention_norm.forward(x.clone());
        x + layer.mlp.forward(h, adapters)
    }

    /// All of its matrices: embedding, layers, and the head where it has one of its own.
    pub fn matrices(&self) -> impl Iterator<Item = &Weight> {
        let in_layers = self.layers.iter().flat_map(|layer| Projection::ALL.map(|p| &layer.linear(p).weight));
        std::iter::once(&self.embedding).chain(in_layers).chain(&self.head)
    }

    /// A hash over some of the weights, by which a model is told from others of its shape.
    ///
    /// # Errors
    /// If the device is lost.
    pub async fn fingerprint(&self) -> Result<String> {
        let first = self.embedding.first_row().flatten(0, 1);
        let mut hash = Sha256::new();
        for values in [self.norm.weight.clone(), first] {
            let values: Vec<f32> = crate::train::read(values).await?;
            hash.update(bytemuck::cast_slice(&values));
        }
        if let Some(layer) = self.layers.last() {
            let values = crate::train::read(layer.mlp.down.weight.first_row()).await?;
            hash.update(bytemuck::cast_slice(&values));
        }
        Ok(hex(hash.finalize()))
    }

    /// Logits of `hidden: [n, hidden]`, `[n, vocab]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head_weight().linear(hidden)
    }

    /// The weight of the head, `[vocab, hidden]`; the embedding where they are tied.
    pub fn head_weight(&self) -> &Weight {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}
