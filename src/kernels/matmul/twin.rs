//! `x·Wᵀ` on the CPU, the product that every frozen layer runs on.
//!
//! The terms of a sum lie side by side in both matrices, so one of them must be turned over before tiles can run through
//! it. A general matmul turns the right one, piece by piece; here that is the weight, which is large, and mostly read
//! once. So the left one is turned, rows of the weight are read as they lie, and each small tile of the result is turned
//! back on its way out.

use crate::kernels::cpu::vectorised;
use crate::kernels::tiles::{Operand, add_product};
use rayon::prelude::*;

/// Sizes below which the work around the tiles costs more than it saves.
const FEW_TOKENS: usize = 8;
const FEW_ROWS: usize = 64;

/// Rows of the weight in a tile, at most.
const TALL: usize = 8;
/// Vectors of tokens in a tile, and values of the widest vector there is.
const VECTORS: usize = 3;
const MOST_LANES: usize = 16;
/// Terms of a sum that are added before the next tile's turn: a panel of as many is 384 KiB at most, and stays in a
/// core's cache.
const DEPTH: usize = 2048;
/// Values of the weight that are multiplied with all tokens before the next ones: 256 KiB.
const BLOCK: usize = 1 << 16;

/// Whether [`rows_times_rows`] is the faster one for this many tokens and rows of the weight.
pub(super) fn suits(tokens: usize, rows: usize) -> bool {
    tokens >= FEW_TOKENS && rows >= FEW_ROWS
}

/// `x·Wᵀ`, `[tokens, rows]`, from `x: [tokens, depth]` and `weight: [rows, depth]`. Every sum is taken in the same order on
/// any number of threads.
pub(super) fn rows_times_rows(x: &[f32], weight: &[f32], [tokens, depth, rows]: [usize; 3]) -> Vec<f32> {
    let width = panel_width();
    let mut y = vec![0.0; tokens * rows];
    if depth == 0 {
        return y;
    }
    let mut panels = vec![0.0; tokens.div_ceil(width) * width * depth]; // [panel, depth, width]
    panels.par_chunks_mut(width * depth).zip(x.par_chunks(width * depth)).for_each(|(panel, x)| turn(panel, x, depth));

    // Some more stretches of weight rows than threads, so that the last one is not waited for long.
    let stretch = rows.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(TALL).max(4 * TALL);
    let mut columns: Vec<Vec<&mut [f32]>> = Vec::new(); // of y: one slice a token
    columns.resize_with(rows.div_ceil(stretch), || Vec::with_capacity(tokens));
    for row in y.chunks_exact_mut(rows) {
        row.chunks_mut(stretch).zip(&mut columns).for_each(|(part, columns)| columns.push(part));
    }
    let stretches = columns.par_iter_mut().zip(weight.par_chunks(stretch * depth));
    stretches.for_each(|(columns, weight)| multiply(columns, &panels, weight, depth));
    y
}

vectorised! {
    /// Tokens in a panel.
    fn panel_width(simd;) -> usize {
        let _: S = simd;
        VECTORS * size_of::<S::f32s>() / size_of::<f32>()
    }
}

vectorised! {
    /// Turns rows of `depth` values over; what is left of the panel stays zero.
    fn turn(panel: &mut [f32], x: &[f32], depth: usize) {
        // As many values of a row as fill a cache line, so that neither side is read or written twice.
        const LINE: usize = 16;
        let width = panel.len() / depth;
        for (lines, first) in panel.chunks_mut(LINE * width).zip((0..depth).step_by(LINE)) {
            for (j, row) in x.chunks_exact(depth).enumerate() {
                let row = &row[first..(first + LINE).min(depth)];
                for (line, value) in lines.chunks_exact_mut(width).zip(row) {
                    line[j] = *value;
                }
            }
        }
    }
}

vectorised! {
    /// Writes the products of some rows of `weight` with all tokens, `out[token][row]`.
    fn multiply(simd; out: &mut [&mut [f32]], panels: &[f32], weight: &[f32], depth: usize) {
        let lanes = size_of::<S::f32s>() / size_of::<f32>();
        let width = VECTORS * lanes;
        let mut tile = [0.0f32; TALL * VECTORS * MOST_LANES];
        let tile = &mut tile[..TALL * width];
        let rows = weight.len() / depth;
        let block = (BLOCK / depth / TALL * TALL).max(TALL);
        for first in (0..rows).step_by(block) {
            let block = first..(first + block).min(rows);
            for (panel, out) in panels.chunks_exact(width * depth).zip(out.chunks_mut(width)) {
                // The panel's unused columns are zeros, so the last vector is whole.
                let columns = out.len().next_multiple_of(lanes);
                for (terms, from) in panel.chunks(DEPTH * width).zip((0..depth).step_by(DEPTH)) {
                    let right = Operand { data: terms, step: width, lane_step: 1 };
                    for row in block.clone().step_by(TALL) {
                        let tall = TALL.min(block.end - row);
                        let left = Operand { data: &weight[row * depth + from..], step: 1, lane_step: depth };
                        tile.fill(0.0);
                        add_product(simd, tile, width, [tall, columns, terms.len() / width], left, right);
                        turn_back(out, tile, row..row + tall, from > 0);
                    }
                }
            }
        }
    }
}

/// Moves a tile, a row for each of `rows`, to where it belongs, or adds it to what is there.
#[inline(always)]
fn turn_back(out: &mut [&mut [f32]], tile: &[f32], rows: std::ops::Range<usize>, adds: bool) {
    let width = tile.len() / TALL;
    for (j, out) in out.iter_mut().enumerate() {
        let out = &mut out[rows.clone()];
        if !adds && let Ok(out) = <&mut [f32; TALL]>::try_from(&mut *out) {
            *out = std::array::from_fn(|i| tile[i * width + j]);
        } else {
            for (i, out) in out.iter_mut().enumerate() {
                let value = tile[i * width + j];
                *out = if adds { *out + value } else { value };
            }
        }
    }
}
