//! Rotary position embedding (arXiv 2104.09864) in the rotate-half form of Hugging Face checkpoints.

use super::config::ModelConfig;
use crate::kernels::rotary;
use burn::tensor::{Device, Tensor, TensorData};

/// Cosines and sines for a stretch of positions.
#[derive(Debug, Clone)]
pub struct Rotary {
    cos: Tensor<2>, // [positions, head_dim / 2]
    sin: Tensor<2>, // the same
}

impl Rotary {
    /// Tables for these positions, computed in f64: those of one row, which then hold for all, or those of every row.
    pub fn new(config: &ModelConfig, positions: impl ExactSizeIterator<Item = usize>, device: &Device) -> Self {
        let half = config.head_dim / 2;
        let length = positions.len();
        let angles: Vec<f64> = positions
            .flat_map(|position| {
                (0..half).map(move |i| {
                    let exponent = 2.0 * i as f64 / config.head_dim as f64;
                    position as f64 * config.rope_theta.powf(-exponent)
                })
            })
            .collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| f(*angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, [length, half]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Rotates every head of `x: [rows * length, heads * head_dim]`.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        rotary(x, self.cos.clone(), self.sin.clone())
    }
}
