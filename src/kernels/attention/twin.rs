//! The CPU twin: a few queries at a time against all keys they see, groups of heads and stretches of queries over threads.

use super::AttentionShape;
use crate::kernels::cpu::{columns_of, tensor, values, zeros};
use burn::backend::{TensorMetadata, flex::FlexTensor};
use group::{Group, queries_of_a_block};
use passes::{Gradients, KEY_FACTOR, backward, forward};
use rayon::prelude::*;

mod group;
mod passes;

/// Parts of all queries that are differentiated side by side, at least, where they are many enough: some more than threads,
/// so that the last one is not waited for long. Each has gradients to keys and values of its own, which are added in order.
const PARTS: usize = 24;
/// Queries of a part, at least.
const PART: usize = 128;

/// Result `[rows * length, heads * head_dim]`.
pub(super) fn attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, shape: &AttentionShape) -> FlexTensor {
    let (q, k, v) = (q.to_contiguous(), k.to_contiguous(), v.to_contiguous());
    let [tokens, width] = q.shape().dims::<2>();
    let AttentionShape { rows, heads, kv_heads, .. } = *shape;
    let (length, block) = (tokens / rows, queries_of_a_block(heads / kv_heads));
    let mut y = zeros(tokens * width);
    // Rows are cut on their own, so that no block of queries reaches into the next one.
    let ends: Vec<usize> = (0..length).step_by(block).map(|from| (from + block).min(length)).collect();
    let tasks = columns_of(&mut y, width, width / kv_heads, rows, &ends);
    let inputs = [values(&q), values(&k), values(&v)];
    tasks.into_par_iter().enumerate().for_each(|(task, mut y)| {
        let (row, stretch, kv_head) = (task / kv_heads / ends.len(), task / kv_heads % ends.len(), task % kv_heads);
        let queries = ends[stretch] - y.len()..ends[stretch];
        forward(Group::new(shape, inputs, row, kv_head), queries, &mut y);
    });
    tensor(y, [tokens, width])
}

/// Where the parts of a row's queries end.
fn ends_of_parts(rows: usize, [heads, kv_heads]: [usize; 2], length: usize) -> Vec<usize> {
    let block = queries_of_a_block(heads / kv_heads);
    let parts = PARTS.div_ceil(rows * kv_heads).min(length.div_ceil(PART));
    // The work up to a query grows with its square.
    let end = |part: usize| (part as f64 / parts as f64).sqrt() * length as f64 / block as f64;
    let mut ends: Vec<usize> = (1..=parts).map(|part| (end(part).round() as usize * block).min(length)).collect();
    ends[parts - 1] = length;
    ends
}

/// Keys of all parts of all rows' queries, each of which has gradients to them of its own, where rows have `length` tokens
/// and no more are seen.
pub(crate) fn keys_of_parts(rows: usize, heads: [usize; 2], length: usize) -> usize {
    rows * ends_of_parts(rows, heads, length).iter().sum::<usize>()
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
    let AttentionShape { rows, heads, kv_heads, head_dim, .. } = *shape;
    let [tokens, width] = q.shape().dims::<2>();
    let (length, seen) = (tokens / rows, k.shape()[0] / rows);
    let block = queries_of_a_block(heads / kv_heads);
    let ends = ends_of_parts(rows, [heads, kv_heads], length);
    // What a part's queries see ends with its last one.
    let sizes: Vec<usize> = ends.iter().map(|end| 2 * (seen - length + end) * head_dim).collect();
    let of_row = kv_heads * sizes.iter().sum::<usize>();

    // What all parts write is allocated here and not by each: what a thread allocates stays with that thread.
    let mut dq = zeros(tokens * width);
    let mut kv_parts = zeros(rows * of_row); // [row, part, kv_head], keys' and then values'
    let mut left = &mut kv_parts[..];
    let mut tasks = Vec::new();
    for (task, dq) in columns_of(&mut dq, width, width / kv_heads, rows, &ends).into_iter().enumerate() {
        let (kv, rest) = left.split_at_mut(sizes[task / kv_heads % ends.len()]);
        tasks.push((dq, kv));
        left = rest;
    }
    let (inputs, g) = ([values(&q), values(&k), values(&v)], values(&g));
    tasks.into_par_iter().with_max_len(1).enumerate().for_each(|(task, (mut dq, kv))| {
        let (row, part, kv_head) = (task / kv_heads / ends.len(), task / kv_heads % ends.len(), task % kv_heads);
        let group = Group::new(shape, inputs, row, kv_head);
        let g = &g[row * length * width + kv_head * group.heads * head_dim..];
        let (dk, dv) = kv.split_at_mut(kv.len() / 2);
        let mut begin = ends[part] - dq.len();
        for dq in dq.chunks_mut(block) {
            let queries = begin..begin + dq.len();
            begin = queries.end;
            backward(group, queries, Gradients { g, dq, dk: &mut *dk, dv: &mut *dv });
        }
    });

    let (mut dk, mut dv) = (zeros(k.shape().num_elements()), zeros(v.shape().num_elements()));
    let sums = dk.par_chunks_mut(kv_heads * head_dim).zip(dv.par_chunks_mut(kv_heads * head_dim));
    sums.enumerate().for_each(|(token, (dk, dv))| {
        let (row, at) = (token / seen, token % seen * head_dim);
        let mut left = &kv_parts[row * of_row..];
        for size in &sizes {
            let (part, rest) = left.split_at(kv_heads * size);
            left = rest;
            if at < size / 2 {
                let heads = dk.chunks_exact_mut(head_dim).zip(dv.chunks_exact_mut(head_dim));
                for ((dk, dv), part) in heads.zip(part.chunks_exact(*size)) {
                    add(dk, &part[at..][..head_dim]);
                    add(dv, &part[size / 2 + at..][..head_dim]);
                }
            }
        }
        dk.iter_mut().for_each(|dk| *dk *= KEY_FACTOR);
    });
    let shapes = [q.shape().dims::<2>(), k.shape().dims::<2>(), v.shape().dims::<2>()];
    (tensor(dq, shapes[0]), tensor(dk, shapes[1]), tensor(dv, shapes[2]))
}

fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}
