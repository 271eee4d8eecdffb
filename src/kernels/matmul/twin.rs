//! `x·Wᵀ` and `g·W` on the CPU, the products that every frozen layer runs on.
//!
//! Of the first, the terms of a sum lie side by side in both matrices, so one of them must be turned over before tiles can run through
//! it. A general matmul turns the right one, piece by piece; here that is the weight, which is large, and mostly read
//! once. So the left one is turned, rows of the weight are read as they lie, and each small tile of the result is turned
//! back on its way out. Of the second, rows of the weight lie as tiles want them: nothing is turned or packed.

use crate::kernels::cpu::{columns_of, vectorised, zeros};
use crate::kernels::tiles::{Operand, add_product};
use rayon::prelude::*;
use std::cell::Cell;

/// Sizes below which the work around the tiles costs more than it saves.
const FEW_TOKENS: usize = 8;
const FEW_ROWS: usize = 64;

/// Rows of the weight that fill a tile.
const TILE: usize = 8;
/// Vectors of tokens in a tile, and values of the widest vector there is.
const VECTORS: usize = 3;
const MOST_LANES: usize = 16;
/// Terms of a sum that are added before the next tile's turn: of all tokens of a tile 384 KiB at most, which stay in a
/// core's cache, as do the rows of the weight that meet them.
const DEPTH: usize = 2048;
/// Rows of the weight whose sums are taken side by side.
const BLOCK: usize = 64;

/// Columns of the weight that are multiplied with [`TOKENS`] tokens at a time, at most, and terms of a sum that are added
/// before the next tile's turn: the weight's part stays in a core's cache from tile to tile.
const STRETCH: usize = 192;
const TOKENS: usize = 64;
const TERMS: usize = 256;
/// Beyond so many terms, as a head has, rows lie too far from each other: what is packed first is faster.
const MOST_TERMS: usize = 16_384;

thread_local! {
    /// The turned input, kept from product to product: fresh memory of that size would be cleared by the system first.
    static PANELS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Whether [`rows_times_rows`] is the faster one for this many tokens and rows of the weight.
pub(super) fn suits(tokens: usize, rows: usize) -> bool {
    tokens >= FEW_TOKENS && rows >= FEW_ROWS
}

/// `x·Wᵀ`, `[tokens, rows]`, from `x: [tokens, depth]` and `weight: [rows, depth]`. Every sum is taken in the same order on
/// any number of threads.
pub(super) fn rows_times_rows(x: &[f32], weight: &[f32], [tokens, depth, rows]: [usize; 3]) -> Vec<f32> {
    let width = panel_width();
    let mut y = zeros(tokens * rows);
    if depth == 0 {
        return y;
    }
    let mut panels = PANELS.take(); // [panel, depth, width]
    panels.resize(tokens.div_ceil(width) * width * depth, 0.0);
    let pairs = panels.par_chunks_mut(width * depth).zip(x.par_chunks(width * depth));
    pairs.for_each(|(panel, x)| turn(panel, x, depth));

    // As many stretches of weight rows for every thread, four where there are enough, so that the last one is not waited for
    // long.
    let threads = rayon::current_num_threads();
    let stretches = rows.div_ceil(BLOCK).min(4 * threads).next_multiple_of(threads);
    let stretch = rows.div_ceil(stretches).next_multiple_of(TILE);
    let mut columns = columns_of(&mut y, rows, stretch, 1, &[tokens]);
    let stretches = columns.par_iter_mut().zip(weight.par_chunks(stretch * depth));
    stretches.for_each(|(columns, weight)| multiply(columns, &panels, weight, depth));
    PANELS.set(panels);
    y
}

/// Whether [`rows_times_columns`] is the faster one for this many tokens, terms and columns of the weight.
pub(super) fn suits_columns(tokens: usize, terms: usize, width: usize) -> bool {
    suits(tokens, width) && terms <= MOST_TERMS
}

/// `g·W`, `[tokens, width]`, from `g: [tokens, terms]` and `weight: [terms, width]`. Every sum is taken in the same order on
/// any number of threads.
pub(super) fn rows_times_columns(g: &[f32], weight: &[f32], [tokens, terms, width]: [usize; 3]) -> Vec<f32> {
    let mut y = zeros(tokens * width);
    if terms == 0 {
        return y;
    }
    // As above, in whole tiles.
    let stretch = width.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(VECTORS * MOST_LANES).min(STRETCH);
    let columns = columns_of(&mut y, width, stretch, 1, &[tokens]);
    columns.into_par_iter().enumerate().for_each(|(at, mut columns)| {
        multiply_columns(&mut columns, g, &weight[at * stretch..], [terms, width]);
    });
    y
}

vectorised! {
    /// Writes the products of all tokens with the first columns of `weight`, `out[token][column]`.
    fn multiply_columns(simd; out: &mut [&mut [f32]], g: &[f32], weight: &[f32], sizes: [usize; 2]) {
        let [terms, width] = sizes;
        let stretch = out[0].len();
        let mut sums = [0.0f32; TOKENS * STRETCH]; // [token, column]
        for (out, g) in out.chunks_mut(TOKENS).zip(g.chunks(TOKENS * terms)) {
            let sums = &mut sums[..out.len() * stretch];
            sums.fill(0.0);
            for from in (0..terms).step_by(TERMS) {
                let depth = TERMS.min(terms - from);
                let left = Operand { data: &g[from..], step: 1, lane_step: terms };
                for first in (0..stretch).step_by(VECTORS * MOST_LANES) {
                    let columns = (stretch - first).min(VECTORS * MOST_LANES);
                    let right = Operand { data: &weight[from * width + first..], step: width, lane_step: 1 };
                    add_product(simd, &mut sums[first..], stretch, [out.len(), columns, depth], left, right);
                }
            }
            out.iter_mut().zip(sums.chunks_exact(stretch)).for_each(|(out, sums)| out.copy_from_slice(sums));
        }
    }
}

vectorised! {
    /// Tokens in a panel.
    fn panel_width(simd;) -> usize {
        let _: S = simd;
        VECTORS * size_of::<S::f32s>() / size_of::<f32>()
    }
}

vectorised! {
    /// Turns rows of `depth` values over; what is left of the panel becomes zero.
    fn turn(panel: &mut [f32], x: &[f32], depth: usize) {
        // As many rows as fill a cache line of the panel.
        const LINE: usize = 16;
        let width = panel.len() / depth;
        let rows = x.len() / depth;
        if rows < width {
            panel.chunks_exact_mut(width).for_each(|line| line[rows..].fill(0.0));
        }
        for (first, x) in (0..).step_by(LINE).zip(x.chunks(LINE * depth)) {
            if x.len() == LINE * depth && first + LINE <= width {
                let rows: [&[f32]; LINE] = std::array::from_fn(|j| &x[j * depth..][..depth]);
                for (k, line) in panel.chunks_exact_mut(width).enumerate() {
                    let line: &mut [f32; LINE] = (&mut line[first..first + LINE]).try_into().expect("a line");
                    *line = std::array::from_fn(|j| rows[j][k]);
                }
            } else {
                for (j, row) in (first..).zip(x.chunks_exact(depth)) {
                    panel[j..].iter_mut().step_by(width).zip(row).for_each(|(to, from)| *to = *from);
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
        let mut sums = [0.0f32; BLOCK * VECTORS * MOST_LANES]; // [row, token]
        // Blocks of equal size: a small one at the end would read all tokens for little.
        let all = weight.len() / depth;
        let at_once = all.div_ceil(all.div_ceil(BLOCK)).next_multiple_of(TILE);
        for (block, first) in weight.chunks(at_once * depth).zip((0..).step_by(at_once)) {
            let rows = block.len() / depth;
            for (panel, out) in panels.chunks_exact(width * depth).zip(out.chunks_mut(width)) {
                let sums = &mut sums[..rows * width];
                sums.fill(0.0);
                // The panel's unused columns are zeros, so the last vector is whole.
                let columns = out.len().next_multiple_of(lanes);
                for (terms, from) in panel.chunks(DEPTH * width).zip((0..depth).step_by(DEPTH)) {
                    let left = Operand { data: &block[from..], step: 1, lane_step: depth };
                    let right = Operand { data: terms, step: width, lane_step: 1 };
                    add_product(simd, sums, width, [rows, columns, terms.len() / width], left, right);
                }
                for (token, out) in out.iter_mut().enumerate() {
                    for (out, sums) in out[first..first + rows].iter_mut().zip(sums.chunks_exact(width)) {
                        *out = sums[token];
                    }
                }
            }
        }
    }
}
