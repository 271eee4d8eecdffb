//! The CPU twin: a few queries at a time against all keys they see, heads and stretches of queries over threads.
//!
//! The scores of those queries are the only thing that grows with the number of keys, and they stay in a core's cache.

use super::{AttentionShape, row_of, visible};
use crate::kernels::cpu::{exp, in_chunks, max, sum2, tensor, values, vectorised, zeros};
use crate::kernels::tiles::{Operand, add_product};
use burn::backend::{TensorMetadata, flex::FlexTensor};
use rayon::prelude::*;
use std::ops::Range;

/// Queries whose scores exist at a time.
const QUERIES: usize = 32;
/// Parts of a head's queries that are differentiated side by side, at most; each has gradients to keys and values of its
/// own, which are added in order.
const PARTS: usize = 4;
/// Queries of a part, at least.
const PART: usize = 128;

/// One head of one row: its queries, and the keys and values it attends to.
#[derive(Clone, Copy)]
struct Head<'a> {
    /// From the head's part of the row's first query, key, value.
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    /// Keys and values turned: `[head_dim, seen]`.
    k_turned: &'a [f32],
    v_turned: &'a [f32],
    /// From query to query, and from key to key.
    q_stride: usize,
    kv_stride: usize,
    length: usize,
    seen: usize,
    head_dim: usize,
    scale: f32,
    first: Option<&'a [u32]>,
}

impl Head<'_> {
    /// The keys that the query at `t` sees.
    #[inline(always)]
    fn keys(&self, t: usize) -> Range<usize> {
        visible(t, self.seen, self.seen - self.length, self.first.map(|first| first[t]))
    }

    /// The keys that any of these queries sees.
    #[inline(always)]
    fn all_keys(&self, queries: &Range<usize>) -> Range<usize> {
        let begin = queries.clone().map(|t| self.keys(t).start).min().unwrap_or(0);
        begin..self.keys(queries.end - 1).end
    }

    /// `scale·q·kᵀ` of `queries` and `keys`, into the beginning of `scores`, row by row.
    #[inline(always)]
    fn scores<S: pulp::Simd>(&self, simd: S, scores: &mut [f32], queries: &Range<usize>, keys: &Range<usize>) {
        let (count, width) = (queries.len(), keys.len());
        scores[..count * width].fill(0.0);
        let a = Operand { data: &self.q[queries.start * self.q_stride..], step: 1, lane_step: self.q_stride };
        let b = Operand { data: &self.k_turned[keys.start..], step: self.seen, lane_step: 1 };
        add_product(simd, scores, width, [count, width, self.head_dim], a, b);
        scores[..count * width].iter_mut().for_each(|score| *score *= self.scale);
    }

    /// Turns the scores of the query at `t` and `keys` into weights. Returns those keys that it sees, from the first.
    #[inline(always)]
    fn softmax<const FMA: bool>(&self, row: &mut [f32], t: usize, keys: &Range<usize>) -> Range<usize> {
        let seen = self.keys(t);
        let seen = seen.start - keys.start..seen.end - keys.start;
        row[..seen.start].fill(0.0);
        row[seen.end..].fill(0.0);
        let weights = &mut row[seen.clone()];
        let largest = max(weights);
        for value in weights.iter_mut() {
            *value = exp::<FMA>(*value - largest);
        }
        let inverse = 1.0 / sum2(weights, weights, |a, _| a);
        weights.iter_mut().for_each(|value| *value *= inverse);
        seen
    }
}

/// Every head's part of `[rows * seen, kv_heads * head_dim]`, turned: `[rows, kv_heads, head_dim, seen]`.
fn turned(x: &[f32], shape: &AttentionShape, seen: usize) -> Vec<f32> {
    let (dim, width) = (shape.head_dim, shape.kv_heads * shape.head_dim);
    in_chunks(x.len(), dim * seen, |head, out| {
        let from = head / shape.kv_heads * seen * width + head % shape.kv_heads * dim;
        for (d, lane) in out.chunks_exact_mut(seen).enumerate() {
            for (t, value) in lane.iter_mut().enumerate() {
                *value = x[from + t * width + d];
            }
        }
    })
}

/// All that the heads share.
struct Inputs<'a> {
    shape: &'a AttentionShape,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    k_turned: Vec<f32>,
    /// Empty in the forward pass, which does not need it.
    v_turned: Vec<f32>,
    length: usize,
    seen: usize,
}

impl<'a> Inputs<'a> {
    fn new(shape: &'a AttentionShape, q: &'a FlexTensor, k: &'a FlexTensor, v: &'a FlexTensor, backward: bool) -> Self {
        let (length, seen) = (q.shape()[0] / shape.rows, k.shape()[0] / shape.rows);
        let (q, k, v) = (values(q), values(k), values(v));
        let v_turned = if backward { turned(v, shape, seen) } else { Vec::new() };
        Self { shape, q, k, v, k_turned: turned(k, shape, seen), v_turned, length, seen }
    }

    fn head(&self, row: usize, head: usize) -> Head<'_> {
        let AttentionShape { heads, kv_heads, head_dim, scale, first, .. } = self.shape;
        let (kv_head, q_stride, kv_stride) = (head * kv_heads / heads, heads * head_dim, kv_heads * head_dim);
        let kv = row * self.seen * kv_stride + kv_head * head_dim;
        let of_head = (row * kv_heads + kv_head) * head_dim * self.seen;
        Head {
            q: &self.q[row * self.length * q_stride + head * head_dim..],
            k: &self.k[kv..],
            v: &self.v[kv..],
            k_turned: &self.k_turned[of_head..],
            v_turned: self.v_turned.get(of_head..).unwrap_or(&[]),
            q_stride,
            kv_stride,
            length: self.length,
            seen: self.seen,
            head_dim: *head_dim,
            scale: *scale,
            first: row_of(first, row, self.length),
        }
    }
}

/// Result `[rows * length, heads * head_dim]`.
pub(super) fn attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, shape: &AttentionShape) -> FlexTensor {
    let (q, k, v) = (q.to_contiguous(), k.to_contiguous(), v.to_contiguous());
    let inputs = Inputs::new(shape, &q, &k, &v, false);
    let [tokens, width] = q.shape().dims::<2>();
    let mut y = vec![0.0; tokens * width];
    // Rows are cut on their own, so that no block of queries reaches into the next one.
    y.par_chunks_mut(inputs.length * width).enumerate().for_each(|(row, y)| {
        let blocks = y.par_chunks_mut(QUERIES * width).enumerate();
        blocks.for_each_init(
            || vec![0.0; QUERIES * inputs.seen],
            |scores, (block, y)| {
                let queries = block * QUERIES..block * QUERIES + y.len() / width;
                for head in 0..shape.heads {
                    forward(&mut y[head * shape.head_dim..], inputs.head(row, head), scores, &queries);
                }
            },
        );
    });
    tensor(y, [tokens, width])
}

vectorised! {
    fn forward(simd; y: &mut [f32], head: Head<'_>, scores: &mut [f32], queries: &Range<usize>) {
        let keys = head.all_keys(queries);
        let width = keys.len();
        head.scores(simd, scores, queries, &keys);
        for (t, row) in queries.clone().zip(scores.chunks_exact_mut(width)) {
            head.softmax::<FMA>(row, t, &keys);
        }
        let a = Operand { data: &*scores, step: 1, lane_step: width };
        let b = Operand { data: &head.v[keys.start * head.kv_stride..], step: head.kv_stride, lane_step: 1 };
        add_product(simd, y, head.q_stride, [queries.len(), head.head_dim, width], a, b);
    }
}

fn queries_of_a_part(length: usize) -> usize {
    length.div_ceil(PARTS).max(PART).next_multiple_of(QUERIES)
}

/// Parts of a head's queries in a row of `length` tokens.
pub(crate) fn parts(length: usize) -> usize {
    length.div_ceil(queries_of_a_part(length))
}

/// Gradients of one part of a head's queries: to these, `[queries, head_dim]`, and to all keys and values,
/// `[seen, head_dim]` each.
struct PartGradient<'a> {
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

/// Gradients to queries, keys and values, in their own shapes.
pub(super) fn attention_backward(
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    g: FlexTensor,
    shape: &AttentionShape,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let (q, k, v, g) = (q.to_contiguous(), k.to_contiguous(), v.to_contiguous(), g.to_contiguous());
    let inputs = Inputs::new(shape, &q, &k, &v, true);
    let g = values(&g);
    let AttentionShape { rows, heads, kv_heads, head_dim, .. } = *shape;
    let (length, seen) = (inputs.length, inputs.seen);
    let part = queries_of_a_part(length);
    let parts = parts(length);

    // What all parts write is allocated here and not by each: what a thread allocates stays with that thread.
    let (per_head, per_part) = (length * head_dim, seen * head_dim);
    let mut dq_parts = zeros(rows * heads * per_head);
    let mut kv_parts = zeros(rows * heads * parts * 2 * per_part);
    let of_queries = dq_parts.chunks_mut(per_head).flat_map(|dq| dq.chunks_mut(part * head_dim));
    let tasks: Vec<_> = of_queries.zip(kv_parts.chunks_mut(2 * per_part)).collect();
    tasks.into_par_iter().enumerate().for_each(|(task, (dq, kv))| {
        let (row, head, part_index) = (task / parts / heads, task / parts % heads, task % parts);
        let g = &g[row * length * heads * head_dim + head * head_dim..];
        let queries = part_index * part..((part_index + 1) * part).min(length);
        let (dk, dv) = kv.split_at_mut(per_part);
        backward(&mut PartGradient { dq, dk, dv }, inputs.head(row, head), g, queries);
    });

    let dq = in_chunks(q.shape().num_elements(), heads * head_dim, |token, out| {
        let (row, t) = (token / length, token % length);
        for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
            out.copy_from_slice(&dq_parts[(row * heads + head) * per_head + t * head_dim..][..head_dim]);
        }
    });
    let (mut dk, mut dv) = (vec![0.0; k.shape().num_elements()], vec![0.0; v.shape().num_elements()]);
    let group = heads / kv_heads * parts;
    let sums = dk.par_chunks_mut(kv_heads * head_dim).zip(dv.par_chunks_mut(kv_heads * head_dim));
    sums.enumerate().for_each(|(token, (dk, dv))| {
        let (row, at) = (token / seen, token % seen * head_dim);
        for kv_head in 0..kv_heads {
            let out = kv_head * head_dim..(kv_head + 1) * head_dim;
            let of_group = &kv_parts[(row * kv_heads + kv_head) * group * 2 * per_part..][..group * 2 * per_part];
            for gradient in of_group.chunks_exact(2 * per_part) {
                add(&mut dk[out.clone()], &gradient[at..][..head_dim]);
                add(&mut dv[out.clone()], &gradient[per_part + at..][..head_dim]);
            }
        }
    });
    let shapes = [q.shape().dims::<2>(), k.shape().dims::<2>(), v.shape().dims::<2>()];
    (tensor(dq, shapes[0]), tensor(dk, shapes[1]), tensor(dv, shapes[2]))
}

fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

vectorised! {
    /// `g` is the result's gradient, from the head's part of the row's first query.
    fn backward(simd; gradient: &mut PartGradient<'_>, head: Head<'_>, g: &[f32], part: Range<usize>) {
        let dim = head.head_dim;
        let most = head.keys(part.end - 1).end;
        let (mut p, mut ds) = (vec![0.0; QUERIES * most], vec![0.0; QUERIES * most]);
        let mut begin = part.start;
        while begin < part.end {
            let queries = begin..(begin + QUERIES).min(part.end);
            let keys = head.all_keys(&queries);
            let (count, width) = (queries.len(), keys.len());
            head.scores(simd, &mut p, &queries, &keys);

            // Gradient to the weights: g·vᵀ.
            let of_queries = Operand { data: &g[begin * head.q_stride..], step: 1, lane_step: head.q_stride };
            let v = Operand { data: &head.v_turned[keys.start..], step: head.seen, lane_step: 1 };
            ds[..count * width].fill(0.0);
            add_product(simd, &mut ds, width, [count, width, dim], of_queries, v);

            let rows = p.chunks_exact_mut(width).zip(ds.chunks_exact_mut(width));
            for (t, (p, ds)) in queries.clone().zip(rows) {
                let seen = head.softmax::<FMA>(p, t, &keys);
                ds[..seen.start].fill(0.0);
                ds[seen.end..].fill(0.0);
                let (p, ds) = (&p[seen.clone()], &mut ds[seen]);
                let mean = sum2(p, ds, |p, g| p * g);
                for (ds, p) in ds.iter_mut().zip(p) {
                    *ds = head.scale * p * (*ds - mean);
                }
            }

            let k = Operand { data: &head.k[keys.start * head.kv_stride..], step: head.kv_stride, lane_step: 1 };
            let rows = Operand { data: &ds, step: 1, lane_step: width };
            let dq = &mut gradient.dq[(begin - part.start) * dim..];
            add_product(simd, dq, dim, [count, dim, width], rows, k);
            let columns = Operand { data: &ds, step: width, lane_step: 1 };
            let q = Operand { data: &head.q[begin * head.q_stride..], step: head.q_stride, lane_step: 1 };
            add_product(simd, &mut gradient.dk[keys.start * dim..], dim, [width, dim, count], columns, q);
            let columns = Operand { data: &p, step: width, lane_step: 1 };
            let g = Operand { data: &g[begin * head.q_stride..], step: head.q_stride, lane_step: 1 };
            add_product(simd, &mut gradient.dv[keys.start * dim..], dim, [width, dim, count], columns, g);
            begin = queries.end;
        }
    }
}
