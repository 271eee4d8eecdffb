//! The CPU twin: rows or blocks over threads, a register tile inside.

use crate::kernels::cpu::{owned, tensor, values, vectorised};
use crate::kernels::tiles::{Operand, add_product};
use burn::backend::{TensorMetadata, flex::FlexTensor};
use rayon::prelude::*;

/// Rows (tokens, or inputs of a block) that are summed together: those of the largest register tile.
const ROWS: usize = 8;
/// Tokens a thread takes at a time.
const CHUNK: usize = 32;

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
    let mut dx = vec![0.0; tokens * n * di];
    product(&mut dx, values(&g), &transposed, [n, dd, di]);
    tensor(dx, [tokens, n * di])
}

/// `x_iᵀ·g_i`, summed over tokens from first to last.
pub(super) fn block_matmul_dd(x: FlexTensor, g: FlexTensor, n: usize) -> FlexTensor {
    let ([tokens, d_in], [_, d_out]) = (x.shape().dims::<2>(), g.shape().dims::<2>());
    let (di, dd) = (d_in / n, d_out / n);
    let (x, g) = (x.to_contiguous(), g.to_contiguous());
    let (x, g) = (values(&x), values(&g));
    let mut grad = vec![0.0; n * di * dd];
    // One task is a strip of ROWS inputs of one block.
    let strips = grad.chunks_mut(di * dd).enumerate().flat_map(|(i, block)| {
        block.chunks_mut(ROWS * dd).enumerate().map(move |(s, strip)| (i, i * di + s * ROWS, strip))
    });
    let strips: Vec<(usize, usize, &mut [f32])> = strips.collect();
    strips.into_par_iter().for_each(|(i, first, strip)| {
        let a = Operand { data: &x[first..], step: d_in, lane_step: 1 };
        let b = Operand { data: &g[i * dd..], step: d_out, lane_step: 1 };
        let rows = strip.len() / dd;
        gradient_strip(strip, [rows, dd, tokens], a, b);
    });
    tensor(grad, [n, di, dd])
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
