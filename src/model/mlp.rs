//! The gated MLP, SwiGLU (arXiv 2002.05202).

use super::{Linear, Projection};
use crate::adapter::LayerAdapters;
use crate::kernels::swiglu;
use burn::tensor::Tensor;

/// `down(silu(gate(x)) · up(x))`.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// `hidden -> intermediate`.
    pub gate: Linear,
    /// `hidden -> intermediate`.
    pub up: Linear,
    /// `intermediate -> hidden`.
    pub down: Linear,
}

impl Mlp {
    /// `[n, hidden] -> [n, hidden]`.
    pub fn forward(&self, x: Tensor<2>, adapters: Option<&LayerAdapters>) -> Tensor<2> {
        let adapter = |projection| adapters.and_then(|layer: &LayerAdapters| layer.get(projection));
        let gate = self.gate.forward(x.clone(), adapter(Projection::Gate));
        let up = self.up.forward(x, adapter(Projection::Up));
        self.down.forward(swiglu(gate, up), adapter(Projection::Down))
    }
}
