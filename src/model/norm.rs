//! RMS norm (arXiv 1910.07467).

use crate::kernels::rms_norm;
use burn::tensor::Tensor;

/// `x / sqrt(mean(x²) + eps) · weight`, over the last dimension, in f32.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// `[width]`.
    pub weight: Tensor<1>,
    /// Added to the mean square.
    pub eps: f64,
}

impl RmsNorm {
    /// `[n, width] -> [n, width]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        rms_norm(x, self.weight.clone(), self.eps)
    }
}
