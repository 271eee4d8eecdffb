//! Adapters: what is trained beside the frozen weights.
//!
//! - DiaBlo (arXiv 2506.03230): `y = x·W0 + x·diag(D_1 … D_N)`, D zero at start, no scaling factor.
//! - LoRA (arXiv 2106.09685): `y = x·W0 + (alpha / r) · (x·Aᵀ)·Bᵀ`, as PEFT has it.
//! - Full: DiaBlo with one block, which is the whole matrix; with all weights, every tensor of the model.

mod config;
mod dropout;
mod file;
mod merge;
mod norms;
mod slots;

pub use config::{AdapterConfig, DEFAULT_RANK, Method, common_divisors, divisors_of_all};
pub use dropout::Dropout;
#[cfg(not(target_family = "wasm"))]
pub(crate) use file::header_metadata;
pub use file::{CONFIG_FILE, StoredAdapter, WEIGHTS_FILE};
pub use merge::add_update;
pub use norms::{MatrixNorms, update_norms};
#[cfg(not(target_family = "wasm"))]
pub(crate) use norms::{norm, product_norm};
pub use slots::{Slot, slots};

use crate::kernels::{self, block_matmul, merged_linear, merged_linear_in_place, stored_linear};
use crate::model::{Linear, Model, Projection, Weight};
use burn::tensor::{Tensor, TensorData};
use std::borrow::Cow;

/// The adapter of one linear layer.
#[derive(Debug, Clone)]
pub struct LinearAdapter {
    /// Its trained tensors.
    pub weights: AdapterWeights,
    /// Dropout on the adapter's input; only in training.
    pub dropout: Option<Dropout>,
}

/// The trained tensors of one linear layer's adapter.
#[derive(Debug, Clone)]
// A model has a few hundred of them at most; boxing the factors would save nothing.
#[allow(clippy::large_enum_variant)]
pub enum AdapterWeights {
    /// Diagonal blocks, `[n, in / n, out / n]`.
    Diablo(Tensor<3>),
    /// The same. A weight in f32 holds their values already, and they are here to be trained; a stored one is made with
    /// them each time.
    Merged(Tensor<3>),
    /// As [`AdapterWeights::Merged`], with the memory for their gradient instead of the values, which it is written to.
    Place(Tensor<3>),
    /// Low-rank factors.
    Lora {
        /// `[rank, in]`.
        a: Tensor<2>,
        /// `[out, rank]`.
        b: Tensor<2>,
        /// alpha / rank.
        scale: f64,
    },
}

impl LinearAdapter {
    /// `x·Wᵀ` plus the adapter's part, without bias: `[n, in] -> [n, out]`.
    pub(crate) fn forward(&self, linear: &Linear, x: Tensor<2>) -> Tensor<2> {
        let dropped = |x: Tensor<2>| match &self.dropout {
            None => x,
            Some(dropout) => dropout.apply(x),
        };
        match &self.weights {
            AdapterWeights::Merged(blocks) => merged(linear, x, blocks),
            AdapterWeights::Place(place) => {
                let weight =
                    linear.weight.dense().expect("only a weight that holds its blocks does without their values");
                merged_linear_in_place(x, weight.clone(), place.clone())
            }
            // One block is the whole matrix: added to the weight it costs no second product.
            AdapterWeights::Diablo(blocks) if blocks.dims()[0] == 1 && self.dropout.is_none() => match &linear.weight {
                Weight::Dense(weight) => x.matmul(weight.clone().transpose() + blocks.clone().squeeze_dim(0)),
                Weight::Stored(weight) => stored_linear(x, weight, Some(blocks.clone())),
            },
            AdapterWeights::Diablo(blocks) => block_matmul(linear.base(x.clone()), dropped(x), blocks.clone()),
            AdapterWeights::Lora { a, b, scale } => {
                let update = kernels::linear(kernels::linear(dropped(x.clone()), a.clone()), b.clone());
                linear.base(x) + if *scale == 1.0 { update } else { update * *scale }
            }
        }
    }
}

/// `x·(W + diag(blocks))ᵀ`, where a weight in f32 holds the blocks already; to one that is stored they are added while it
/// becomes f32.
fn merged(linear: &Linear, x: Tensor<2>, blocks: &Tensor<3>) -> Tensor<2> {
    match &linear.weight {
        Weight::Dense(weight) => merged_linear(x, weight.clone(), blocks.clone()),
        Weight::Stored(weight) => stored_linear(x, weight, Some(blocks.clone())),
    }
}

/// The adapters of one layer, at most one for each projection.
#[derive(Debug, Clone, Default)]
pub struct LayerAdapters {
    by_projection: [Option<LinearAdapter>; Projection::ALL.len()],
}

impl LayerAdapters {
    /// The adapter of `projection`, if it has one.
    pub fn get(&self, projection: Projection) -> Option<&LinearAdapter> {
        self.by_projection[projection as usize].as_ref()
    }
}

/// All adapters of a model.
#[derive(Debug, Clone)]
pub struct Adapters {
    layers: Vec<LayerAdapters>,
    /// One for each tensor of the model where all are trained, else none.
    updates: Vec<Tensor<1>>,
}

impl Adapters {
    /// Puts trained tensors in their places: `tensors` in the order of [`slots`], each flat.
    ///
    /// `dropout` gives rate and key; every adapted matrix draws its own mask from them.
    ///
    /// # Panics
    /// If a tensor does not have its slot's size.
    pub fn new(config: &AdapterConfig, slots: &[Slot], tensors: Vec<Tensor<1>>, dropout: Option<Dropout>) -> Self {
        Self::place(config, slots, tensors, dropout, AdapterWeights::Diablo)
    }

    /// Adapters that lie in the model's weights ([`AdapterWeights::Merged`]): those in f32 hold their values already.
    /// Otherwise as [`Adapters::new`].
    ///
    /// # Panics
    /// If a tensor does not have its slot's size, or the method has no blocks.
    pub fn merged(config: &AdapterConfig, slots: &[Slot], tensors: Vec<Tensor<1>>) -> Self {
        assert!(config.method.has_blocks(), "{} cannot be merged", config.method.name());
        Self::place(config, slots, tensors, None, AdapterWeights::Merged)
    }

    /// The same for training on a GPU with more than one block: `places`, in the order of [`slots`] and flat, are where the
    /// gradients are written.
    ///
    /// # Panics
    /// As [`Adapters::merged`].
    pub fn with_places(config: &AdapterConfig, slots: &[Slot], places: Vec<Tensor<1>>) -> Self {
        assert!(config.method.has_blocks(), "{} cannot be merged", config.method.name());
        Self::place(config, slots, places, None, AdapterWeights::Place)
    }

    fn place(
        config: &AdapterConfig,
        slots: &[Slot],
        tensors: Vec<Tensor<1>>,
        dropout: Option<Dropout>,
        blocks: fn(Tensor<3>) -> AdapterWeights,
    ) -> Self {
        assert_eq!(slots.len(), tensors.len(), "one tensor for each slot");
        if config.method == Method::AllWeights {
            return Self { layers: Vec::new(), updates: tensors };
        }
        let layers = slots.iter().filter_map(|slot| slot.matrix).map(|(layer, _)| layer + 1).max().unwrap_or(0);
        let mut layers = vec![LayerAdapters::default(); layers];
        let mut pairs = slots.iter().zip(tensors);
        let mut matrix = 0;
        while let Some((slot, tensor)) = pairs.next() {
            let (layer, projection) = slot.matrix.expect("the slot of a matrix");
            let weights = match config.method {
                Method::Diablo { .. } | Method::Full | Method::AllWeights => {
                    blocks(tensor.reshape(slot.shape_of::<3>()))
                }
                Method::Lora { rank, alpha } => {
                    let (slot_b, b) = pairs.next().expect("slots come as pairs of A and B");
                    AdapterWeights::Lora {
                        a: tensor.reshape(slot.shape_of::<2>()),
                        b: b.reshape(slot_b.shape_of::<2>()),
                        scale: alpha / rank as f64,
                    }
                }
            };
            let dropout = dropout.map(|dropout| dropout.for_matrix(matrix));
            layers[layer].by_projection[projection as usize] = Some(LinearAdapter { weights, dropout });
            matrix += 1;
        }
        Self { layers, updates: Vec::new() }
    }

    /// Puts a stored adapter on the device of its model.
    ///
    /// # Panics
    /// If it is of another model.
    pub fn of(stored: StoredAdapter, model: &Model) -> Self {
        let device = model.device();
        let tensor = |values: Vec<f32>| {
            let length = values.len();
            Tensor::from_data(TensorData::new(values, [length]), &device)
        };
        let slots = slots(&stored.config, &model.config);
        Self::new(&stored.config, &slots, stored.values.into_iter().map(tensor).collect(), None)
    }

    /// The model to run these adapters on: `model` itself, or where all of its weights are trained, their sums.
    pub fn effective<'a>(&self, model: &'a Model) -> Cow<'a, Model> {
        if self.updates.is_empty() { Cow::Borrowed(model) } else { Cow::Owned(model.updated(&self.updates)) }
    }

    /// The adapters of layer `index`, where its matrices have any.
    pub fn layer(&self, index: usize) -> Option<&LayerAdapters> {
        self.layers.get(index)
    }
}
