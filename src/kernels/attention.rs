//! `causal_attention`: causal grouped-query attention (arXiv 2305.13245) without the square of the sequence.
//!
//! Scores exist for a block of queries at a time. Nothing but queries, keys and values is kept for the backward pass, which
//! makes the weights anew. Keys and values are not repeated for the heads that share them.

use super::causal_softmax::{CausalSoftmax, FirstKeys, row_of, visible};
use super::matmul::{Multiply, Product};
use burn::backend::{
    Autodiff, Backend, Dispatch,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    flex::Flex,
    tensor::FloatTensor,
    wgpu::CubeBackend,
};
use burn::tensor::Tensor;

mod blocks;
mod twin;

pub(crate) use blocks::queries_of_a_block;
pub(crate) use twin::keys_of_parts;

#[cfg(test)]
mod tests;

/// What the two dimensions of queries, keys and values are made of.
#[derive(Debug, Clone)]
pub struct AttentionShape {
    /// Rows of tokens.
    pub rows: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values, which `heads / kv_heads` query heads share, each.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Factor of the scores, before the softmax.
    pub scale: f32,
    /// The first key that each query sees.
    pub first: FirstKeys,
}

/// `softmax(scale · q·kᵀ)·v` for every head, where a query sees the keys up to its own token, and from its first key on.
///
/// `q: [rows * length, heads * head_dim]`, `k` and `v`: `[rows * seen, kv_heads * head_dim]`; the queries are those of the
/// last `length` tokens of `seen`. Result as `q`.
///
/// # Panics
/// If the shapes do not fit together.
pub fn causal_attention(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, shape: AttentionShape) -> Tensor<2> {
    let AttentionShape { rows, heads, kv_heads, head_dim, .. } = shape;
    let ([queries, width], [keys, kv_width]) = (q.dims(), k.dims());
    assert!(
        k.dims() == v.dims()
            && [width, kv_width] == [heads * head_dim, kv_heads * head_dim]
            && heads.is_multiple_of(kv_heads)
            && queries.is_multiple_of(rows)
            && keys.is_multiple_of(rows)
            && queries <= keys,
        "causal_attention: q {:?}, k {:?}, v {:?}, {shape:?}",
        q.dims(),
        k.dims(),
        v.dims()
    );
    Tensor::from_dispatch(Dispatch::causal_attention(q.into_dispatch(), k.into_dispatch(), v.into_dispatch(), shape))
}

/// [`causal_attention`] where its `result` for the same inputs is at hand, and is not made anew: that result, with the
/// gradients of making it.
///
/// # Panics
/// If the result has another shape than `q`.
pub fn known_causal_attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    result: Tensor<2>,
    shape: AttentionShape,
) -> Tensor<2> {
    assert!(result.dims() == q.dims(), "known_causal_attention: q {:?}, result {:?}", q.dims(), result.dims());
    let [q, k, v, result] = [q, k, v, result].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::known_causal_attention(q, k, v, result, shape))
}

/// Attention, on primitives.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait Attention: Backend {
    /// See [`causal_attention`].
    fn causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> FloatTensor<Self>;
    /// See [`known_causal_attention`].
    fn known_causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        result: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> FloatTensor<Self> {
        // Without gradients there is nothing to it.
        let _ = (q, k, v, shape);
        result
    }
    /// Queries, keys and values in the form in which they are best kept for the backward pass; both passes take them so,
    /// too.
    fn kept_attention_inputs(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let _ = shape;
        (q, k, v)
    }
    /// Gradients to queries, keys and values from `g`, that of the result.
    fn causal_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        g: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// The operation with its gradients, its result `known` or to be made.
fn differentiable<B: Attention, C: CheckpointStrategy>(
    [q, k, v]: [FloatTensor<Autodiff<B, C>>; 3],
    known: Option<FloatTensor<B>>,
    shape: AttentionShape,
) -> FloatTensor<Autodiff<B, C>> {
    #[derive(Debug)]
    struct AttentionBackward;

    impl<B: Attention> Backward<B, 3> for AttentionBackward {
        type State = ([FloatTensor<B>; 3], AttentionShape);

        fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
            let nodes = ops.parents;
            let ([q, k, v], shape) = ops.state;
            let g = grads.consume::<B>(&ops.node);
            let (dq, dk, dv) = B::causal_attention_backward(q, k, v, g, shape);
            for (node, gradient) in nodes.into_iter().zip([dq, dk, dv]) {
                if let Some(node) = node {
                    grads.register::<B>(node.id, gradient);
                }
            }
        }
    }

    let nodes = [q.node(), k.node(), v.node()];
    let [q, k, v] = [q, k, v].map(|input| input.into_primitive());
    let result = |q, k, v, shape| known.unwrap_or_else(|| B::causal_attention(q, k, v, shape));
    match AttentionBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (q, k, v) = B::kept_attention_inputs(q, k, v, shape.clone());
            let y = result(q.clone(), k.clone(), v.clone(), shape.clone());
            prep.finish(([q, k, v], shape), y)
        }
        OpsKind::UnTracked(prep) => prep.finish(result(q, k, v, shape)),
    }
}

impl<B: Attention, C: CheckpointStrategy> Attention for Autodiff<B, C> {
    fn causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> FloatTensor<Self> {
        differentiable::<B, C>([q, k, v], None, shape)
    }

    fn known_causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        result: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> FloatTensor<Self> {
        differentiable::<B, C>([q, k, v], Some(result.into_primitive()), shape)
    }

    fn causal_attention_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: AttentionShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        super::no_second_derivative("causal_attention")
    }
}

impl Attention for Flex {
    fn causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> FloatTensor<Self> {
        twin::attention(q, k, v, &shape)
    }

    fn causal_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        g: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        twin::attention_backward(q, k, v, g, &shape)
    }
}

impl Attention for CubeBackend {
    fn causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> FloatTensor<Self> {
        blocks::attention::<Self>(q, k, v, &shape)
    }

    fn kept_attention_inputs(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        blocks::kept::<Self>(q, k, v, &shape)
    }

    fn causal_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        g: FloatTensor<Self>,
        shape: AttentionShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        blocks::attention_backward::<Self>(q, k, v, g, &shape)
    }
}
