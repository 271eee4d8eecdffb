//! Dropout on an adapter's input, from a seed and counters, so that a run can be repeated and resumed exactly.

use crate::random::splitmix64;
use burn::tensor::{Tensor, TensorData};

/// Zeroes each input with probability `rate` and scales the others by `1 / (1 − rate)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    rate: f64,
    key: u64,
}

impl Dropout {
    /// Dropout for one forward pass, told apart from others of the same `seed` by `pass`; `None` at rate 0.
    pub fn new(rate: f64, seed: u64, pass: u64) -> Option<Self> {
        (rate > 0.0).then(|| Self { rate, key: splitmix64(splitmix64(seed) ^ pass) })
    }

    /// The same pass at another matrix.
    pub(super) fn for_matrix(self, index: u64) -> Self {
        Self { key: splitmix64(self.key ^ splitmix64(!index)), ..self }
    }

    /// `x` with entries dropped; the mask depends on nothing but rate, key and shape.
    pub(super) fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let scale = (1.0 / (1.0 - self.rate)) as f32;
        let threshold = (self.rate * 2f64.powi(53)) as u64;
        let mask: Vec<f32> = (0..(rows * width) as u64)
            .map(|at| if splitmix64(self.key.wrapping_add(at)) >> 11 < threshold { 0.0 } else { scale })
            .collect();
        let mask = Tensor::<2>::from_data(TensorData::new(mask, [rows, width]), &x.device().inner());
        x * mask
    }
}
