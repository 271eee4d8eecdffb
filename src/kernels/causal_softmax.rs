//! `causal_softmax`: scale, causal mask and softmax of attention scores in one pass and in place, and its gradient.

use super::cpu::{exp, max, owned, sum2, values, vectorised};
use super::launch::{self, Form, Shader, contiguous};
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
    wgpu::{CubeBackend, CubeTensor},
};
use burn::tensor::Tensor;
use rayon::prelude::*;
use std::ops::Range;

mod starts;

pub use starts::{FirstKeys, KeyStarts};

/// `softmax(scale · scores)` over the last dimension, where the query at `t` sees the keys from `first` to
/// `start + t`, both included, and no other: `[rows, heads, length, start + length]`.
pub fn causal_softmax(scores: Tensor<4>, scale: f64, start: usize, first: FirstKeys) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::causal_softmax(scores.into_dispatch(), scale as f32, start, first))
}

/// The same from plain Burn operations: an oracle.
#[cfg(test)]
pub(crate) fn composed(scores: Tensor<4>, scale: f64, start: usize, first: Option<&[u32]>) -> Tensor<4> {
    let [_, _, length, seen] = scores.dims();
    let scores = scores * scale;
    // A single query, the last one, sees every key.
    let masked = if length == 1 && first.is_none() {
        scores
    } else {
        let mask = causal_mask(start, length, seen, first, &scores.device().inner());
        scores + mask
    };
    burn::tensor::activation::softmax(masked, 3)
}

/// 0 where the query at `t` may look, −∞ elsewhere: `[rows, 1, length, seen]`, one row for all where `first` is `None`.
#[cfg(test)]
fn causal_mask(
    start: usize,
    length: usize,
    seen: usize,
    first: Option<&[u32]>,
    device: &burn::tensor::Device,
) -> Tensor<4> {
    let rows = first.map_or(1, |first| first.len() / length);
    let mut values = vec![f32::NEG_INFINITY; rows * length * seen];
    for (query, keys) in values.chunks_exact_mut(seen).enumerate() {
        keys[visible(query % length, seen, start, first.map(|first| first[query]))].fill(0.0);
    }
    Tensor::from_data(burn::tensor::TensorData::new(values, [rows, 1, length, seen]), device)
}

/// The keys that the query at `t` sees, of `seen`.
#[inline(always)]
pub(super) fn visible(t: usize, seen: usize, start: usize, first: Option<u32>) -> Range<usize> {
    let end = (start + t + 1).min(seen);
    (first.unwrap_or(0) as usize).min(end - 1)..end
}

/// The softmax, on primitives.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait CausalSoftmax: Backend {
    /// See [`causal_softmax`].
    fn causal_softmax(scores: FloatTensor<Self>, scale: f32, start: usize, first: FirstKeys) -> FloatTensor<Self>;
    /// Gradient to the scores: `scale · p · (g − Σ p·g)`, row by row.
    fn causal_softmax_backward(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        scale: f32,
        start: usize,
        first: FirstKeys,
    ) -> FloatTensor<Self>;
}

impl<B: CausalSoftmax, C: CheckpointStrategy> CausalSoftmax for Autodiff<B, C> {
    fn causal_softmax(scores: FloatTensor<Self>, scale: f32, start: usize, first: FirstKeys) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct CausalSoftmaxBackward;

        impl<B: CausalSoftmax> Backward<B, 1> for CausalSoftmaxBackward {
            type State = (FloatTensor<B>, f32, usize, FirstKeys);

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node] = ops.parents;
                let (p, scale, start, first) = ops.state;
                let g = grads.consume::<B>(&ops.node);
                if let Some(node) = node {
                    grads.register::<B>(node.id, B::causal_softmax_backward(p, g, scale, start, first));
                }
            }
        }

        match CausalSoftmaxBackward.prepare::<C>([scores.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let p = B::causal_softmax(scores.into_primitive(), scale, start, first.clone());
                prep.finish((p.clone(), scale, start, first), p)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::causal_softmax(scores.into_primitive(), scale, start, first)),
        }
    }

    fn causal_softmax_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f32,
        _: usize,
        _: FirstKeys,
    ) -> FloatTensor<Self> {
        super::no_second_derivative("causal_softmax")
    }
}

impl CausalSoftmax for Flex {
    fn causal_softmax(scores: FloatTensor<Self>, scale: f32, start: usize, first: FirstKeys) -> FloatTensor<Self> {
        let [_, heads, length, seen] = scores.shape().dims::<4>();
        let mut scores = owned(scores);
        scores.storage_mut::<f32>().par_chunks_mut(length * seen).enumerate().for_each(|(index, head)| {
            forward_head(head, seen, scale, start, row_of(&first, index / heads, length));
        });
        scores
    }

    fn causal_softmax_backward(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        scale: f32,
        start: usize,
        first: FirstKeys,
    ) -> FloatTensor<Self> {
        let [_, heads, length, seen] = p.shape().dims::<4>();
        let p = p.to_contiguous();
        let mut g = owned(g);
        let pairs = g.storage_mut::<f32>().par_chunks_mut(length * seen).zip(values(&p).par_chunks(length * seen));
        pairs.enumerate().for_each(|(index, (g, p))| {
            backward_head(g, p, seen, scale, start, row_of(&first, index / heads, length));
        });
        g
    }
}

/// The first keys of one row's queries.
pub(super) fn row_of(first: &FirstKeys, row: usize, length: usize) -> Option<&[u32]> {
    first.as_ref().map(|first| first.of_row(row, length))
}

vectorised! {
    fn forward_head(head: &mut [f32], seen: usize, scale: f32, start: usize, first: Option<&[u32]>) {
        for (t, row) in head.chunks_exact_mut(seen).enumerate() {
            let keys = visible(t, seen, start, first.map(|first| first[t]));
            row[..keys.start].fill(0.0);
            row[keys.end..].fill(0.0);
            let row = &mut row[keys];
            let largest = max(row) * scale;
            for value in row.iter_mut() {
                *value = exp::<FMA>(*value * scale - largest);
            }
            let norm = 1.0 / sum2(row, row, |a, _| a);
            row.iter_mut().for_each(|value| *value *= norm);
        }
    }
}

vectorised! {
    fn backward_head(g: &mut [f32], p: &[f32], seen: usize, scale: f32, start: usize, first: Option<&[u32]>) {
        for (t, (g, p)) in g.chunks_exact_mut(seen).zip(p.chunks_exact(seen)).enumerate() {
            let keys = visible(t, seen, start, first.map(|first| first[t]));
            g[..keys.start].fill(0.0);
            g[keys.end..].fill(0.0);
            let (g, p) = (&mut g[keys.clone()], &p[keys]);
            let mean = sum2(p, g, |p, g| p * g);
            for (g, p) in g.iter_mut().zip(p) {
                *g = scale * p * (*g - mean);
            }
        }
    }
}

/// Uniform block of `causal_softmax.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    /// Rows of scores in all.
    pub score_rows: u32,
    /// Queries of a row of tokens.
    pub length: u32,
    /// Rows of scores that a row of tokens has.
    pub rows_per_row: u32,
    /// Keys.
    pub seen: u32,
    /// Keys before those of the first query.
    pub start: u32,
    pub scale: f32,
    /// First keys that a row of tokens has, and which of them is the first query's.
    pub all_queries: u32,
    pub first_query: u32,
}

/// `causal_softmax.wgsl`, the softmax or its gradient, with a first key for every query or without.
pub(crate) fn shader(form: Form, backward: bool, packed: bool) -> Shader {
    let workgroup = match form {
        Form::Register => [8, 1, 1],
        Form::Workgroup => [64, 1, 1],
    };
    let first_keys = 1 + u32::from(backward);
    let constants = vec![
        ("BACKWARD", u32::from(backward)),
        ("PACKED", if packed { first_keys } else { 0 }),
        ("PARAMS", first_keys + u32::from(packed)),
    ];
    let text = include_str!("../../shaders/causal_softmax.wgsl");
    Shader { name: "causal_softmax", text, form, constants, workgroup }
}

/// Writes the softmax over `scores`, or where there is `g` the gradient over that.
fn run(scores: &CubeTensor, g: Option<&CubeTensor>, scale: f32, start: usize, first: FirstKeys) {
    let [rows, heads, length, seen] = scores.shape().dims::<4>();
    let (all_queries, first_query) = first.as_ref().map_or((0, 0), |first| first.part(length));
    let params = Params {
        score_rows: (rows * heads * length) as u32,
        length: length as u32,
        rows_per_row: (heads * length) as u32,
        seen: seen as u32,
        start: start as u32,
        scale,
        all_queries: all_queries as u32,
        first_query: first_query as u32,
    };
    let first = first.map(|first| first.beside(scores));
    let shader = shader(Form::of(&scores.client), g.is_some(), first.is_some());
    let count = shader.for_rows(params.score_rows);
    let buffers: Vec<&CubeTensor> = [scores].into_iter().chain(g).chain(&first).collect();
    shader.launch(&scores.client, count, &buffers, params);
}

impl CausalSoftmax for CubeBackend {
    fn causal_softmax(scores: FloatTensor<Self>, scale: f32, start: usize, first: FirstKeys) -> FloatTensor<Self> {
        let scores = launch::owned(scores);
        run(&scores, None, scale, start, first);
        scores
    }

    fn causal_softmax_backward(
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        scale: f32,
        start: usize,
        first: FirstKeys,
    ) -> FloatTensor<Self> {
        let (p, g) = (contiguous(p), launch::owned(g));
        run(&p, Some(&g), scale, start, first);
        g
    }
}
