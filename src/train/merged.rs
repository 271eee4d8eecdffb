//! An adapter that lies in the weights of its model.

use crate::adapter::Slot;
use crate::kernels::{diagonal_blocks, merge_blocks};
use crate::model::Model;
use burn::tensor::Tensor;

/// What the adapted weights hold in their diagonal blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// What the base has there.
    Base,
    /// The base's values with the update as it was before the last change.
    Stale,
    /// The base's values with the update.
    Update,
}

/// Writes DiaBlo's blocks into the weights they lie on, and takes them out again without a trace.
#[derive(Debug)]
pub struct Merged {
    /// The base's diagonal blocks, one for each slot, `[n, di, do]`; none where the weight is stored, which is read with
    /// its blocks and never written.
    originals: Vec<Option<Tensor<3>>>,
    holds: Holds,
}

impl Merged {
    /// Keeps what the base has in the blocks of `slots`.
    pub fn new(model: &Model, slots: &[Slot]) -> Self {
        let original = |slot: &Slot| {
            let (layer, projection) = slot.matrix.expect("the slot of a matrix");
            let weight = model.layers[layer].linear(projection).weight.dense()?;
            Some(diagonal_blocks(weight.clone(), slot.shape[0]))
        };
        Self { originals: slots.iter().map(original).collect(), holds: Holds::Base }
    }

    /// Whether a weight needs its blocks each time that it is read.
    pub fn reads_blocks(&self) -> bool {
        self.originals.iter().any(Option::is_none)
    }

    /// The update changed.
    pub fn outdate(&mut self) {
        if self.holds == Holds::Update {
            self.holds = Holds::Stale;
        }
    }

    /// Brings the base's own weights back, bit by bit; `tensors` as for [`Merged::show_update`], which are not read.
    pub fn show_base(&mut self, model: &mut Model, slots: &[Slot], tensors: impl FnOnce() -> Vec<Tensor<1>>) {
        if self.holds != Holds::Base {
            self.write(model, slots, tensors(), false);
            self.holds = Holds::Base;
        }
    }

    /// Makes the weights those of the update, whose flat tensors, one for each slot, `tensors` gives.
    pub fn show_update(&mut self, model: &mut Model, slots: &[Slot], tensors: impl FnOnce() -> Vec<Tensor<1>>) {
        if self.holds != Holds::Update {
            self.write(model, slots, tensors(), true);
            self.holds = Holds::Update;
        }
    }

    fn write(&self, model: &mut Model, slots: &[Slot], updates: Vec<Tensor<1>>, with_update: bool) {
        // Stands in for a weight while it is written, so that nothing else holds it.
        let stand_in = Tensor::empty([1, 1], &model.device());
        for ((slot, original), update) in slots.iter().zip(&self.originals).zip(updates) {
            let (layer, projection) = slot.matrix.expect("the slot of a matrix");
            let place = model.layers[layer].linear_mut(projection).weight.dense_mut();
            let (Some(place), Some(original)) = (place, original) else { continue };
            let weight = std::mem::replace(place, stand_in.clone());
            *place = merge_blocks(weight, original.clone(), update.reshape(original.dims()), with_update);
        }
    }
}
