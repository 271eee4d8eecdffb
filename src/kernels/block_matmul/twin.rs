//! The CPU twin: rows or blocks over threads, a register tile inside.

use crate::kernels::cpu::{Operand, owned, tensor, tile, values, vectorised};
use burn::backend::{TensorMetadata, flex::FlexTensor};
use rayon::prelude::*;

/// Rows (tokens, or inputs of a block) of a register tile.
const ROWS: usize = 4;
/// Columns of a register tile: two AVX2 registers, four NEON ones.
const COLUMNS: usize = 16;
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
        gradient_strip(strip, dd, tokens, a, b);
    });
    tensor(grad, [n, di, dd])
}

vectorised! {
    /// Adds up to `ROWS` rows of one block's gradient, `width` wide.
    fn gradient_strip(out: &mut [f32], width: usize, tokens: usize, a: Operand<'_>, b: Operand<'_>) {
        strip_of_tiles::<FMA>(out, width, width, tokens, a, b);
    }
}

/// `y += x·diag(d)` on contiguous slices; `d: [n, inner, outer]`.
fn product(y: &mut [f32], x: &[f32], d: &[f32], [n, inner, outer]: [usize; 3]) {
    let chunks = y.par_chunks_mut(CHUNK * n * outer).zip(x.par_chunks(CHUNK * n * inner));
    chunks.for_each(|(y, x)| product_rows(y, x, d, [n, inner, outer]));
}

vectorised! {
    fn product_rows(y: &mut [f32], x: &[f32], d: &[f32], sizes: [usize; 3]) {
        let [n, inner, outer] = sizes;
        let (d_in, d_out) = (n * inner, n * outer);
        for (y, x) in y.chunks_mut(ROWS * d_out).zip(x.chunks(ROWS * d_in)) {
            for i in 0..n {
                let a = Operand { data: &x[i * inner..], step: 1, lane_step: d_in };
                let b = Operand { data: &d[i * inner * outer..], step: outer, lane_step: 1 };
                strip_of_tiles::<FMA>(&mut y[i * outer..], outer, d_out, inner, a, b);
            }
        }
    }
}

/// Adds one strip of up to `ROWS` rows, `width` wide and `stride` apart, to `out`.
#[inline(always)]
fn strip_of_tiles<const FMA: bool>(
    out: &mut [f32],
    width: usize,
    stride: usize,
    depth: usize,
    a: Operand<'_>,
    b: Operand<'_>,
) {
    // The last row of a matrix ends with its own columns, not with a full stride.
    let rows = if out.len() < width { 0 } else { ((out.len() - width) / stride + 1).min(ROWS) };
    let mut column = 0;
    while column < width {
        let left = width - column;
        let b = Operand { data: &b.data[column..], ..b };
        column += match (rows, left) {
            (ROWS, 16..) => add::<FMA, ROWS, COLUMNS>(out, column, stride, depth, a, b),
            (ROWS, 8..) => add::<FMA, ROWS, 8>(out, column, stride, depth, a, b),
            (ROWS, 4..) => add::<FMA, ROWS, 4>(out, column, stride, depth, a, b),
            (ROWS, _) => add::<FMA, ROWS, 1>(out, column, stride, depth, a, b),
            (_, 8..) => (0..rows).map(|r| row::<FMA, 8>(out, r, column, stride, depth, a, b)).last().unwrap_or(8),
            _ => (0..rows).map(|r| row::<FMA, 1>(out, r, column, stride, depth, a, b)).last().unwrap_or(1),
        };
    }
}

/// Adds an `R × C` tile at `column`; returns `C`.
#[inline(always)]
fn add<const FMA: bool, const R: usize, const C: usize>(
    out: &mut [f32],
    column: usize,
    stride: usize,
    depth: usize,
    a: Operand<'_>,
    b: Operand<'_>,
) -> usize {
    for (r, sums) in tile::<FMA, R, C>(depth, a, b).iter().enumerate() {
        for (out, sum) in out[r * stride + column..][..C].iter_mut().zip(sums) {
            *out += sum;
        }
    }
    C
}

/// [`add`] for the single row `r`.
#[inline(always)]
fn row<const FMA: bool, const C: usize>(
    out: &mut [f32],
    r: usize,
    column: usize,
    stride: usize,
    depth: usize,
    a: Operand<'_>,
    b: Operand<'_>,
) -> usize {
    let a = Operand { data: &a.data[r * a.lane_step..], ..a };
    add::<FMA, 1, C>(&mut out[r * stride..], column, stride, depth, a, b)
}
