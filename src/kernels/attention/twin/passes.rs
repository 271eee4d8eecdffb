//! Forward and backward of a block of queries, some keys at a time.
//!
//! Scores stand key by key, each with a lane for every query of every head of the group: keys and values are read as they
//! lie, and maxima and sums over the keys run down the lanes, never across a vector.

use super::group::{Group, Lanes, turn};
use crate::kernels::cpu::{LANES, exp2, mul_add, vectorised};
use crate::kernels::tiles::{Operand, add_product, product};
use std::cell::Cell;
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// Keys that are taken at a time: they, their scores, and the queries stay in a core's second cache.
const KEYS: usize = 128;

/// To `dk` as [`backward`] leaves it: its queries are scaled for powers of two.
pub(super) const KEY_FACTOR: f32 = LN_2;

/// How far the largest score may rise above the one that powers are taken relative to, before that is replaced.
const MARGIN: f32 = 8.0;

/// Not above any score, and finite, so that what is −∞ stays below it.
const LEAST: f32 = f32::MIN;

fn cut(keys: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let end = keys.end;
    keys.clone().step_by(KEYS).map(move |from| from..(from + KEYS).min(end))
}

/// `LANES` values of every row, from `first` on.
#[inline(always)]
fn lanes(rows: &[f32], width: usize, first: usize) -> impl Iterator<Item = &[f32; LANES]> {
    rows.chunks_exact(width).map(move |row| row[first..first + LANES].try_into().expect("that many"))
}

#[inline(always)]
fn lanes_mut(rows: &mut [f32], width: usize, first: usize) -> impl Iterator<Item = &mut [f32; LANES]> {
    rows.chunks_exact_mut(width).map(move |row| (&mut row[first..first + LANES]).try_into().expect("that many"))
}

/// Raises `largest`, by lane, to the largest of `scores`.
#[inline(always)]
fn raise(largest: &mut [f32], scores: &[f32]) {
    let width = largest.len();
    for (largest, first) in largest.chunks_exact_mut(LANES).zip((0..).step_by(LANES)) {
        let mut most: [f32; LANES] = (&*largest).try_into().expect("that many");
        for scores in lanes(scores, width, first) {
            for (most, score) in most.iter_mut().zip(scores) {
                *most = if *score > *most { *score } else { *most };
            }
        }
        largest.copy_from_slice(&most);
    }
}

/// `2^(score − largest)` in place, added to `sums`, by lane.
#[inline(always)]
fn exponentials<const FMA: bool>(scores: &mut [f32], largest: &[f32], sums: &mut [f32]) {
    let width = largest.len();
    for ((largest, sums), first) in
        largest.chunks_exact(LANES).zip(sums.chunks_exact_mut(LANES)).zip((0..).step_by(LANES))
    {
        let largest: [f32; LANES] = largest.try_into().expect("that many");
        let mut sum: [f32; LANES] = (&*sums).try_into().expect("that many");
        for scores in lanes_mut(scores, width, first) {
            for lane in 0..LANES {
                scores[lane] = exp2::<FMA>(scores[lane] - largest[lane]);
                sum[lane] += scores[lane];
            }
        }
        sums.copy_from_slice(&sum);
    }
}

/// Adds `Σ a·b` over the keys to `sums`, by lane.
#[inline(always)]
fn add_products<const FMA: bool>(a: &[f32], b: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    for (sums, first) in sums.chunks_exact_mut(LANES).zip((0..).step_by(LANES)) {
        let mut sum: [f32; LANES] = (&*sums).try_into().expect("that many");
        for (a, b) in lanes(a, width, first).zip(lanes(b, width, first)) {
            for lane in 0..LANES {
                sum[lane] += a[lane] * b[lane];
            }
        }
        sums.copy_from_slice(&sum);
    }
}

/// `p·(g·inverse − mean)`, in place of g, by lane.
#[inline(always)]
fn differentiate<const FMA: bool>(p: &[f32], g: &mut [f32], inverse: &[f32], mean: &[f32]) {
    let width = inverse.len();
    for (p, g) in p.chunks_exact(width).zip(g.chunks_exact_mut(width)) {
        for (((p, g), inverse), mean) in p.iter().zip(g).zip(inverse).zip(mean) {
            *g = p * mul_add::<FMA>(*g, *inverse, -mean);
        }
    }
}

/// Room for a block's passes.
#[derive(Default)]
struct Room {
    /// Queries, and gradients to the result, in lanes, as `[lanes, head_dim]` and turned.
    q: Vec<f32>,
    q_turned: Vec<f32>,
    g: Vec<f32>,
    g_turned: Vec<f32>,
    /// Result, or gradient to the queries: `[lanes, head_dim]`.
    out: Vec<f32>,
    /// Scores, then weights, and gradients to them: `[keys, lanes]`.
    p: Vec<f32>,
    ds: Vec<f32>,
    /// By lane: the largest score, the one that powers are relative to, their sum, and the mean gradient to the weights.
    largest: Vec<f32>,
    base: Vec<f32>,
    sums: Vec<f32>,
    means: Vec<f32>,
}

thread_local! {
    /// Kept from block to block, and from layer to layer: fresh memory would be cleared first.
    static ROOM: Cell<Option<Box<Room>>> = const { Cell::new(None) };
}

impl Group<'_> {
    /// A product of `keys` or values `of` the group with what is turned: `[keys, lanes]`.
    #[inline(always)]
    fn times<S: pulp::Simd>(
        &self,
        simd: S,
        of: &[f32],
        keys: &Range<usize>,
        turned: &[f32],
        width: usize,
        to: &mut [f32],
    ) {
        let a = Operand { data: &of[keys.start * self.kv_stride..], step: 1, lane_step: self.kv_stride };
        let b = Operand { data: turned, step: width, lane_step: 1 };
        product(simd, to, width, [keys.len(), width, self.head_dim], a, b);
    }

    /// Adds to every lane the sum of keys or values `of` the group, times the lane's `weights: [keys, width]`.
    #[inline(always)]
    fn add_to_lanes<S: pulp::Simd>(
        &self,
        simd: S,
        of: &[f32],
        keys: &Range<usize>,
        weights: &[f32],
        lanes: &Lanes,
        to: &mut [f32],
    ) {
        let a = Operand { data: weights, step: lanes.width, lane_step: 1 };
        let b = Operand { data: &of[keys.start * self.kv_stride..], step: self.kv_stride, lane_step: 1 };
        add_product(simd, to, self.head_dim, [lanes.count, self.head_dim, keys.len()], a, b);
    }

    /// Adds to every key the sum of the lanes' `rows`, times their `weights: [keys, width]`.
    #[inline(always)]
    fn add_to_keys<S: pulp::Simd>(
        &self,
        simd: S,
        rows: &[f32],
        keys: &Range<usize>,
        weights: &[f32],
        lanes: &Lanes,
        to: &mut [f32],
    ) {
        let a = Operand { data: weights, step: 1, lane_step: lanes.width };
        let b = Operand { data: rows, step: self.head_dim, lane_step: 1 };
        add_product(
            simd,
            &mut to[keys.start * self.head_dim..],
            self.head_dim,
            [keys.len(), self.head_dim, lanes.count],
            a,
            b,
        );
    }

    /// Writes the lanes' rows where their queries are, each times a factor.
    #[inline(always)]
    fn scatter(&self, from: &[f32], factor: impl Fn(usize) -> f32, to: &mut [&mut [f32]]) {
        let dim = self.head_dim;
        for (lane, from) in from.chunks_exact(dim).enumerate() {
            let (head, query) = (lane / to.len(), lane % to.len());
            let factor = factor(lane);
            to[query][head * dim..(head + 1) * dim].iter_mut().zip(from).for_each(|(to, from)| *to = from * factor);
        }
    }
}

/// The first `length` of `values`, which become as many as that, at least.
fn some(values: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if values.len() < length {
        *values = vec![0.0; length];
    }
    &mut values[..length]
}

/// The same, all of them `value`.
fn filled(values: &mut Vec<f32>, length: usize, value: f32) -> &mut [f32] {
    let values = some(values, length);
    values.fill(value);
    values
}

vectorised! {
    /// Writes the results of some queries, a slice each.
    pub(super) fn forward(simd; group: Group<'_>, queries: Range<usize>, y: &mut [&mut [f32]]) {
        let mut room = ROOM.take().unwrap_or_default();
        let of = Lanes::new(&group, &queries);
        let (dim, width) = (group.head_dim, of.width);
        let q = some(&mut room.q, of.count * dim);
        let q_turned = some(&mut room.q_turned, dim * width);
        let scores = some(&mut room.p, KEYS * width);
        let out = filled(&mut room.out, of.count * dim, 0.0);
        let sums = filled(&mut room.sums, width, 0.0);
        let largest = filled(&mut room.largest, width, LEAST);
        let base = filled(&mut room.base, width, LEAST);
        group.gather(group.q, &queries, group.scale * LOG2_E, q);
        turn(q, dim, width, q_turned);
        for keys in cut(&of.keys) {
            let p = &mut scores[..keys.len() * width];
            group.times(simd, group.k, &keys, q_turned, width, p);
            if of.hide_some(&keys) {
                of.hide(p, &keys);
            }
            raise(largest, p);
            if largest.iter().zip(&*base).any(|(largest, base)| largest - base > MARGIN) {
                for ((base, sum), largest) in base.iter_mut().zip(&mut *sums).zip(&*largest) {
                    *base = exp2::<FMA>(*base - largest);
                    *sum *= *base;
                }
                for (out, factor) in out.chunks_exact_mut(dim).zip(&*base) {
                    out.iter_mut().for_each(|out| *out *= factor);
                }
                base.copy_from_slice(largest);
            }
            exponentials::<FMA>(p, base, sums);
            group.add_to_lanes(simd, group.v, &keys, p, &of, out);
        }
        group.scatter(out, |lane| 1.0 / sums[lane], y);
        ROOM.set(Some(room));
    }
}

/// What goes back through a block of queries, and where it goes.
pub(super) struct Gradients<'a, 'q> {
    /// To the result, from the group's part of the row's first query.
    pub g: &'a [f32],
    /// To the queries, a slice each, written.
    pub dq: &'a mut [&'q mut [f32]],
    /// To all keys and values that they see, `[keys, head_dim]`, added to what is there; that to the keys still lacks
    /// [`KEY_FACTOR`].
    pub dk: &'a mut [f32],
    pub dv: &'a mut [f32],
}

vectorised! {
    /// Gradients to some queries, and what these add to those to keys and values.
    pub(super) fn backward(
        simd;
        group: Group<'_>,
        queries: Range<usize>,
        gradients: Gradients<'_, '_>,
    ) {
        let Gradients { g, dq, dk, dv } = gradients;
        let mut room = ROOM.take().unwrap_or_default();
        let of = Lanes::new(&group, &queries);
        let (dim, width) = (group.head_dim, of.width);
        let q = some(&mut room.q, of.count * dim);
        let q_turned = some(&mut room.q_turned, dim * width);
        let g_rows = some(&mut room.g, of.count * dim);
        let g_turned = some(&mut room.g_turned, dim * width);
        let p = some(&mut room.p, of.keys.len() * width);
        let ds = some(&mut room.ds, of.keys.len() * width);
        let out = filled(&mut room.out, of.count * dim, 0.0);
        let sums = filled(&mut room.sums, width, 0.0);
        let means = filled(&mut room.means, width, 0.0);
        let largest = filled(&mut room.largest, width, LEAST);
        group.gather(group.q, &queries, group.scale * LOG2_E, q);
        turn(q, dim, width, q_turned);
        group.gather(g, &queries, 1.0, g_rows);
        turn(g_rows, dim, width, g_turned);

        for (keys, p) in cut(&of.keys).zip(p.chunks_mut(KEYS * width)) {
            group.times(simd, group.k, &keys, q_turned, width, p);
            if of.hide_some(&keys) {
                of.hide(p, &keys);
            }
            raise(largest, p);
        }
        for ((keys, p), ds) in cut(&of.keys).zip(p.chunks_mut(KEYS * width)).zip(ds.chunks_mut(KEYS * width)) {
            exponentials::<FMA>(p, largest, sums);
            group.times(simd, group.v, &keys, g_turned, width, ds);
            add_products::<FMA>(p, ds, means);
        }
        for (sum, mean) in sums.iter_mut().zip(&mut *means) {
            *sum = 1.0 / *sum;
            *mean *= *sum * *sum;
        }
        // The weights stay without it: what is summed with them gets it instead.
        for (g, inverse) in g_rows.chunks_exact_mut(dim).zip(&*sums) {
            g.iter_mut().for_each(|g| *g *= inverse);
        }
        for ((keys, p), ds) in cut(&of.keys).zip(p.chunks_mut(KEYS * width)).zip(ds.chunks_mut(KEYS * width)) {
            differentiate::<FMA>(p, ds, sums, means);
            group.add_to_lanes(simd, group.k, &keys, ds, &of, out);
            group.add_to_keys(simd, q, &keys, ds, &of, dk);
            group.add_to_keys(simd, g_rows, &keys, p, &of, dv);
        }
        group.scatter(out, |_| group.scale, dq);
        ROOM.set(Some(room));
    }
}
