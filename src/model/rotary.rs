//! Rotary position embedding (arXiv 2104.09864) in the rotate-half form of Hugging Face checkpoints.

use super::config::ModelConfig;
use crate::kernels::rotary;
use burn::tensor::{Device, Tensor, TensorData};

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

    /// Rotates every head of `x: [rows * length, heads * head_dim]`.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.0 {
            None => x,
            Some([cos, sin]) => rotary(x, cos.clone(), sin.clone()),
        }
    }
}
