//! The CPU twin: rows or blocks over threads, a register tile inside.

use crate::kernels::cpu::{in_chunks, owned, tensor, values, vectorised};
use crate::kernels::tiles::{Operand, add_product};
use burn::backend::{TensorMetadata, flex::FlexTensor};
use rayon::prelude::*;

/// Rows (tokens, or inputs of a block) that are summed together: those of the largest register tile.
const ROWS: usize = 8;
/// Tokens a thread takes at a time.
const CHUNK: usize = 32;
/// Tokens whose values meet in all blocks of a thread before the next ones' turn, so that lines and pages that neighbouring
/// blocks share are still at hand.
const STRETCH: usize = 256;
/// Values of the widest vector there is.
const WIDE: usize = 16;

/// `y + x·diag(d)`.
pub(super) fn block_matmul(y: FlexTensor, x: FlexTensor, d: FlexTensor) -> FlexTensor {
    let [n, di, dd] = d.shape().dims::<3>();
    let (mut y, x, d) = (owned(y), x.to_contiguous(), d.to_contiguous());
    product(y.storage_mut(), values(&x), values(&d), [n, di, dd]);
    y
}

/// `g·diag(d)ᵀ`.
pub(super) fn block_matmul_dx(g: FlexTensor, d: FlexTensor) -> FlexTensor {
    let [n, di, dd] = d.shape().dims::<3>();
    let tokens = g.shape()[0];
    let (g, d) = (g.to_contiguous(), d.to_contiguous());
    let transposed: Vec<f32> = values(&d)
        .chunks_exact(di * dd)
        .flat_map(|block| (0..dd).flat_map(move |c| (0..di).map(move |b| block[b * dd + c])))
        .collect();
    let g = values(&g);
    let dx = in_chunks(tokens * n * di, CHUNK * n * di, |at, dx| {
        product_rows(dx, &g[at * CHUNK * n * dd..], &transposed, [n, dd, di]);
    });
    tensor(dx, [tokens, n * di])
}

/// `x_iᵀ·g_i`, summed over tokens from first to last.
pub(super) fn block_matmul_dd(x: FlexTensor, g: FlexTensor, n: usize) -> FlexTensor {
    let ([_, d_in], [_, d_out]) = (x.shape().dims::<2>(), g.shape().dims::<2>());
    let (di, dd) = (d_in / n, d_out / n);
    let (x, g) = (x.to_contiguous(), g.to_contiguous());
    let (x, g) = (values(&x), values(&g));
    // A block that is narrow but tall is computed lying down, so that its rows fill vectors.
    let grad = if dd < WIDE && di >= WIDE {
        let lying = gradients([g, x], [n, dd, di]);
        in_chunks(lying.len(), di * dd, |i, block| {
            let lying = &lying[i * di * dd..];
            for (b, row) in block.chunks_exact_mut(dd).enumerate() {
                row.iter_mut().enumerate().for_each(|(c, value)| *value = lying[c * di + b]);
            }
        })
    } else {
        gradients([x, g], [n, di, dd])
    };
    tensor(grad, [n, di, dd])
}

/// `left_iᵀ·right_i`, `[n, rows, columns]`.
fn gradients([left, right]: [&[f32]; 2], [n, rows, columns]: [usize; 3]) -> Vec<f32> {
    let tokens = left.len() / (n * rows);
    let mut grad = vec![0.0; n * rows * columns];
    // Strips of ROWS rows of one block; one task has some that are neighbours.
    let strips = grad.chunks_mut(rows * columns).enumerate().flat_map(|(i, block)| {
        block.chunks_mut(ROWS * columns).enumerate().map(move |(s, strip)| (i, i * rows + s * ROWS, strip))
    });
    let mut strips: Vec<(usize, usize, &mut [f32])> = strips.collect();
    let of_task = strips.len().div_ceil(4 * rayon::current_num_threads());
    strips.par_chunks_mut(of_task).for_each(|strips| {
        for token in (0..tokens).step_by(STRETCH) {
            for (i, first, strip) in &mut *strips {
                let a = Operand { data: &left[token * n * rows + *first..], step: n * rows, lane_step: 1 };
                let b = Operand { data: &right[(token * n + *i) * columns..], step: n * columns, lane_step: 1 };
                let sizes = [strip.len() / columns, columns, STRETCH.min(tokens - token)];
                gradient_strip(strip, sizes, a, b);
            }
        }
    });
    grad
}

vectorised! {
    /// Adds rows of one block's gradient.
    fn gradient_strip(simd; out: &mut [f32], sizes: [usize; 3], a: Operand<'_>, b: Operand<'_>) {
        add_product(simd, out, sizes[1], sizes, a, b);
    }
}

/// `y += x·diag(d)` on contiguous slices; `d: [n, inner, outer]`.
fn product(y: &mut [f32], x: &[f32], d: &[f32], [n, inner, outer]: [usize; 3]) {
    let chunks = y.par_chunks_mut(CHUNK * n * outer).zip(x.par_chunks(CHUNK * n * inner));
    chunks.for_each(|(y, x)| product_rows(y, x, d, [n, inner, outer]));
}

vectorised! {
    fn product_rows(simd; y: &mut [f32], x: &[f32], d: &[f32], sizes: [usize; 3]) {
        let [n, inner, outer] = sizes;
        let (d_in, d_out) = (n * inner, n * outer);
        for (y, x) in y.chunks_mut(ROWS * d_out).zip(x.chunks(ROWS * d_in)) {
            let rows = y.len() / d_out;
            for i in 0..n {
                let a = Operand { data: &x[i * inner..], step: 1, lane_step: d_in };
                let b = Operand { data: &d[i * inner * outer..], step: outer, lane_step: 1 };
                add_product(simd, &mut y[i * outer..], d_out, [rows, outer, inner], a, b);
            }
        }
    }
}
