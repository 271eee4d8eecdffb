//! `causal_softmax`: scale, causal mask and softmax of attention scores in one pass, and its gradient.

use super::cpu::{exp, max, owned, sum2, values, vectorised};
use burn::backend::{
    Autodiff, Backend, Dispatch, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    flex::Flex,
    tensor::FloatTensor,
};
use burn::tensor::{Device, Tensor, TensorData, activation::softmax};
use rayon::prelude::*;

/// `softmax(scale · scores)` over the last dimension, where the query at `t` sees the first `start + t + 1` keys and
/// nothing after: `[rows, heads, length, start + length]`.
pub fn causal_softmax(scores: Tensor<4>, scale: f64, start: usize) -> Tensor<4> {
    if super::on_cpu(&scores.device()) {
        return Tensor::from_dispatch(Dispatch::causal_softmax(scores.into_dispatch(), scale as f32, start));
    }
    composed(scores, scale, start)
}

/// The same from plain Burn operations: what GPUs run, and an oracle for the fused form.
pub(crate) fn composed(scores: Tensor<4>, scale: f64, start: usize) -> Tensor<4> {
    let [_, _, length, seen] = scores.dims();
    let scores = scores * scale;
    // A single query, the last one, sees every key.
    let masked = if length == 1 {
        scores
    } else {
        let mask = causal_mask(start, length, seen, &scores.device().inner());
        scores + mask
    };
    softmax(masked, 3)
}

/// 0 where the query at `t` may look, −∞ after it: `[1, 1, length, seen]`.
fn causal_mask(start: usize, length: usize, seen: usize, device: &Device) -> Tensor<4> {
    let row = |t: usize| (0..seen).map(move |s| if s <= start + t { 0.0 } else { f32::NEG_INFINITY });
    let values: Vec<f32> = (0..length).flat_map(row).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, length, seen]), device)
}

/// The softmax, on primitives.
#[backend_extension(Autodiff, Flex)]
pub trait CausalSoftmax: Backend {
    /// See [`causal_softmax`].
    fn causal_softmax(scores: FloatTensor<Self>, scale: f32, start: usize) -> FloatTensor<Self>;
    /// Gradient to the scores: `scale · p · (g − Σ p·g)`, row by row.
    fn causal_softmax_backward(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        scale: f32,
        start: usize,
    ) -> FloatTensor<Self>;
}

impl<B: CausalSoftmax, C: CheckpointStrategy> CausalSoftmax for Autodiff<B, C> {
    fn causal_softmax(scores: FloatTensor<Self>, scale: f32, start: usize) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct CausalSoftmaxBackward;

        impl<B: CausalSoftmax> Backward<B, 1> for CausalSoftmaxBackward {
            type State = (FloatTensor<B>, f32, usize);

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node] = ops.parents;
                let (p, scale, start) = ops.state;
                let g = grads.consume::<B>(&ops.node);
                if let Some(node) = node {
                    grads.register::<B>(node.id, B::causal_softmax_backward(p, g, scale, start));
                }
            }
        }

        match CausalSoftmaxBackward.prepare::<C>([scores.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let p = B::causal_softmax(scores.into_primitive(), scale, start);
                prep.finish((p.clone(), scale, start), p)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::causal_softmax(scores.into_primitive(), scale, start)),
        }
    }

    fn causal_softmax_backward(_: FloatTensor<Self>, _: FloatTensor<Self>, _: f32, _: usize) -> FloatTensor<Self> {
        super::no_second_derivative("causal_softmax")
    }
}

impl CausalSoftmax for Flex {
    fn causal_softmax(scores: FloatTensor<Self>, scale: f32, start: usize) -> FloatTensor<Self> {
        let [_, _, length, seen] = scores.shape().dims::<4>();
        let mut scores = owned(scores);
        scores.storage_mut::<f32>().par_chunks_mut(length * seen).for_each(|head| {
            forward_head(head, seen, scale, start);
        });
        scores
    }

    fn causal_softmax_backward(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        scale: f32,
        start: usize,
    ) -> FloatTensor<Self> {
        let [_, _, length, seen] = p.shape().dims::<4>();
        let p = p.to_contiguous();
        let mut g = owned(g);
        let heads = g.storage_mut::<f32>().par_chunks_mut(length * seen).zip(values(&p).par_chunks(length * seen));
        heads.for_each(|(g, p)| backward_head(g, p, seen, scale, start));
        g
    }
}

vectorised! {
    fn forward_head(head: &mut [f32], seen: usize, scale: f32, start: usize) {
        for (t, row) in head.chunks_exact_mut(seen).enumerate() {
            let (row, hidden) = row.split_at_mut((start + t + 1).min(seen));
            let largest = max(row) * scale;
            for value in row.iter_mut() {
                *value = exp::<FMA>(*value * scale - largest);
            }
            let norm = 1.0 / sum2(row, row, |a, _| a);
            row.iter_mut().for_each(|value| *value *= norm);
            hidden.fill(0.0);
        }
    }
}

vectorised! {
    fn backward_head(g: &mut [f32], p: &[f32], seen: usize, scale: f32, start: usize) {
        for (t, (g, p)) in g.chunks_exact_mut(seen).zip(p.chunks_exact(seen)).enumerate() {
            let visible = (start + t + 1).min(seen);
            let (g, hidden) = g.split_at_mut(visible);
            let p = &p[..visible];
            let mean = sum2(p, g, |p, g| p * g);
            for (g, p) in g.iter_mut().zip(p) {
                *g = scale * p * (*g - mean);
            }
            hidden.fill(0.0);
        }
    }
}
