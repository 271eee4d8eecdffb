//! Rotary position embedding (arXiv 2104.09864) in the rotate-half form of Hugging Face checkpoints.

use super::config::ModelConfig;
use crate::kernels::rotary;
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::{Arc, Mutex, PoisonError};

/// Cosines and sines for a stretch of positions; none where nothing is rotated.
#[derive(Debug, Clone)]
pub struct Rotary(Option<[Tensor<2>; 2]>); // both [positions, head_dim / 2]

impl Rotary {
    /// Rotates nothing: for layers without rotary embedding.
    pub const IDENTITY: Self = Self(None);

    /// Tables for these positions, computed in f64: those of one row, which then hold for all, or those of every row.
    pub fn new(config: &ModelConfig, positions: impl ExactSizeIterator<Item = usize>, device: &Device) -> Self {
        let frequencies = config.rope_frequencies();
        let length = positions.len();
        let angles: Vec<f64> = positions
            .flat_map(|position| frequencies.iter().map(move |frequency| position as f64 * frequency))
            .collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| f(*angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, [length, frequencies.len()]), device)
        };
        Self(Some([table(f64::cos), table(f64::sin)]))
    }

    /// The tables of its first `length` positions; `None` if it has fewer.
    fn first(&self, length: usize) -> Option<Self> {
        let tables = self.0.as_ref().filter(|[cos, _]| cos.dims()[0] >= length)?;
        Some(Self(Some(tables.clone().map(|table| table.narrow(0, 0, length)))))
    }

    /// Rotates every head of `x: [rows * length, heads * head_dim]`.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.0 {
            None => x,
            Some([cos, sin]) => rotary(x, cos.clone(), sin.clone()),
        }
    }
}

/// The tables that rows begin with, which every batch needs: made once for the longest rows so far.
#[derive(Debug, Clone, Default)]
pub struct RotaryTables(Arc<Mutex<Option<Rotary>>>);

impl RotaryTables {
    /// The tables of positions 0 to `length`, without autodiff.
    pub fn first(&self, config: &ModelConfig, length: usize, device: &Device) -> Rotary {
        let mut longest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = longest.as_ref().and_then(|tables| tables.first(length));
        known.unwrap_or_else(|| longest.insert(Rotary::new(config, 0..length, &device.clone().inner())).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gpu, random, tiny_config};

    #[test]
    fn shorter_rows_use_the_tables_of_longer_ones() {
        let config = tiny_config();
        for device in [Device::flex(), gpu()] {
            let tables = RotaryTables::default();
            for length in [5, 1, 9, 3, 9, 8] {
                let values = random(length as u64, length * config.hidden_size);
                let x = Tensor::from_data(TensorData::new(values, [length, config.hidden_size]), &device);
                let kept = tables.first(&config, length, &device).apply(x.clone());
                let fresh = Rotary::new(&config, 0..length, &device).apply(x);
                assert_eq!(kept.into_data(), fresh.into_data(), "{length} positions");
            }
            let longest = tables.0.lock().expect("a table").as_ref().map(|tables| tables.first(9).is_some());
            assert_eq!(longest, Some(true), "those of nine positions were kept");
        }
    }
}
