//! Causal grouped-query self-attention (arXiv 2305.13245).

use super::cache::{Memory, extend};
use super::{Linear, Projection, RmsNorm, Rotary, Tokens};
use crate::adapter::LayerAdapters;
use crate::kernels::{AttentionShape, causal_attention, known_causal_attention};
use burn::tensor::Tensor;

/// Projections and head counts of one layer's attention.
#[derive(Debug, Clone)]
pub struct Attention {
    /// `hidden -> heads * head_dim`.
    pub q: Linear,
    /// `hidden -> kv_heads * head_dim`.
    pub k: Linear,
    /// `hidden -> kv_heads * head_dim`.
    pub v: Linear,
    /// `heads * head_dim -> hidden`.
    pub o: Linear,
    /// Norms of queries and keys per head, where the family has them.
    pub qk_norm: Option<(RmsNorm, RmsNorm)>,
    /// Width of a head.
    pub head_dim: usize,
}

impl Attention {
    /// `x: [rows * length, hidden]` to the same shape; with a cache, after what it holds.
    pub fn forward(
        &self,
        x: Tensor<2>,
        tokens: &Tokens,
        rotary: &Rotary,
        adapters: Option<&LayerAdapters>,
        mut memory: Memory<'_>,
    ) -> Tensor<2> {
        let adapter = |projection| adapters.and_then(|layer: &LayerAdapters| layer.get(projection));
        let (rows, head_dim) = (tokens.rows, self.head_dim);
        let (q_norm, k_norm) = (self.qk_norm.as_ref().map(|n| &n.0), self.qk_norm.as_ref().map(|n| &n.1));
        let q = normed(self.q.forward(x.clone(), adapter(Projection::Q)), q_norm, head_dim);
        let k = normed(self.k.forward(x.clone(), adapter(Projection::K)), k_norm, head_dim);
        let v = self.v.forward(x, adapter(Projection::V));
        let (q, k) = (rotary.apply(q), rotary.apply(k));
        let (k, v) = match &mut memory {
            Memory::Cache(cache) => extend(cache, k, v, rows),
            _ => (k, v),
        };
        let shape = AttentionShape {
            rows,
            heads: q.dims()[1] / head_dim,
            kv_heads: k.dims()[1] / head_dim,
            head_dim,
            scale: (head_dim as f32).powf(-0.5),
            first: tokens.starts.clone(),
        };
        let y = match memory {
            Memory::Take(results) => {
                known_causal_attention(q, k, v, results.pop().expect("a result for every layer"), shape)
            }
            Memory::Keep(results) => {
                let y = causal_attention(q, k, v, shape);
                results.push(y.clone());
                y
            }
            Memory::Nothing | Memory::Cache(_) => causal_attention(q, k, v, shape),
        };
        self.o.forward(y, adapter(Projection::O))
    }
}

/// Normalises every head of `x: [n, heads * head_dim]` on its own, where there is a norm.
fn normed(x: Tensor<2>, norm: Option<&RmsNorm>, head_dim: usize) -> Tensor<2> {
    let [n, width] = x.dims();
    match norm {
        None => x,
        Some(norm) => norm.forward(x.reshape([n * width / head_dim, head_dim])).reshape([n, width]),
    }
}
