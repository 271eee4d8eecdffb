//! A group of heads that share keys and values, and a few of its queries side by side.

use super::super::{AttentionShape, row_of, visible};
use crate::kernels::cpu::LANES;
use std::ops::Range;

/// Lanes that a block of queries fills, of all heads of a group, where heads are neither too few nor too many.
const BLOCK_LANES: usize = 96;

/// Queries of each head of a group of `heads` that are taken at a time: more would compute more above the diagonal, fewer
/// would read keys and values more often.
pub(super) fn queries_of_a_block(heads: usize) -> usize {
    (BLOCK_LANES / heads / 8 * 8).clamp(8, 48)
}

/// The heads of one row that share a head of keys and values.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    /// From the group's part of the row's first query, key, value.
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    /// From query to query, and from key to key.
    pub q_stride: usize,
    pub kv_stride: usize,
    /// Query heads.
    pub heads: usize,
    pub head_dim: usize,
    pub length: usize,
    pub seen: usize,
    pub scale: f32,
    pub first: Option<&'a [u32]>,
}

impl<'a> Group<'a> {
    /// Of `row`, whose queries, keys and values are part of these.
    pub fn new(shape: &'a AttentionShape, [q, k, v]: [&'a [f32]; 3], row: usize, kv_head: usize) -> Self {
        let AttentionShape { rows, heads, kv_heads, head_dim, scale, .. } = *shape;
        let (q_stride, kv_stride, heads) = (heads * head_dim, kv_heads * head_dim, heads / kv_heads);
        let (length, seen) = (q.len() / q_stride / rows, k.len() / kv_stride / rows);
        let kv = row * seen * kv_stride + kv_head * head_dim;
        Self {
            q: &q[row * length * q_stride + kv_head * heads * head_dim..],
            k: &k[kv..],
            v: &v[kv..],
            q_stride,
            kv_stride,
            heads,
            head_dim,
            length,
            seen,
            scale,
            first: row_of(&shape.first, row, length),
        }
    }

    /// The keys that the query at `t` sees.
    fn keys(&self, t: usize) -> Range<usize> {
        visible(t, self.seen, self.seen - self.length, self.first.map(|first| first[t]))
    }

    /// Copies `queries` of `from`, which lies as the group's queries do, times `factor`: a row a lane, `[lanes, head_dim]`.
    #[inline(always)]
    pub fn gather(&self, from: &[f32], queries: &Range<usize>, factor: f32, to: &mut [f32]) {
        let rows = (0..self.heads).flat_map(|head| queries.clone().map(move |t| (head, t)));
        for (to, (head, t)) in to.chunks_exact_mut(self.head_dim).zip(rows) {
            let from = &from[t * self.q_stride + head * self.head_dim..][..self.head_dim];
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * factor);
        }
    }
}

/// The queries of a block: each of every head has a lane, and a lane more is there where they do not fill vectors.
pub(super) struct Lanes {
    /// In use.
    pub count: usize,
    /// All: a multiple of [`LANES`].
    pub width: usize,
    /// The keys that any of the queries sees.
    pub keys: Range<usize>,
    /// The keys that all of them see.
    common: Range<usize>,
    /// By lane: the first key that its query sees, and the one after the last.
    begin: Vec<u32>,
    end: Vec<u32>,
}

impl Lanes {
    pub fn new(group: &Group<'_>, queries: &Range<usize>) -> Self {
        let count = group.heads * queries.len();
        let width = count.next_multiple_of(LANES);
        let keys = (0..width).map(|lane| group.keys(queries.start + lane % queries.len()));
        let (begin, end): (Vec<u32>, Vec<u32>) = keys.map(|keys| (keys.start as u32, keys.end as u32)).unzip();
        let least = |of: &[u32]| of.iter().min().map_or(0, |key| *key as usize);
        let most = |of: &[u32]| of.iter().max().map_or(0, |key| *key as usize);
        let (keys, common) = (least(&begin)..most(&end), most(&begin)..least(&end));
        Self { count, width, keys, common, begin, end }
    }

    /// Whether there is one of `keys` that one of the queries does not see.
    pub fn hide_some(&self, keys: &Range<usize>) -> bool {
        keys.start < self.common.start || keys.end > self.common.end
    }

    /// −∞ where the score of a query and a key is that of a key that it does not see; `scores: [keys, width]`.
    #[inline(always)]
    pub fn hide(&self, scores: &mut [f32], keys: &Range<usize>) {
        for (key, row) in keys.clone().zip(scores.chunks_exact_mut(self.width)) {
            let key = key as u32;
            for ((score, begin), end) in row.iter_mut().zip(&self.begin).zip(&self.end) {
                *score = if (key >= *begin) & (key < *end) { *score } else { f32::NEG_INFINITY };
            }
        }
    }
}

/// Turns `rows` of `depth` values over: `[depth, width]`, of which columns without a row become zero.
#[inline(always)]
pub(super) fn turn(rows: &[f32], depth: usize, width: usize, to: &mut [f32]) {
    let count = rows.len() / depth;
    for first in (0..width).step_by(LANES) {
        if first + LANES <= count {
            let rows: [&[f32]; LANES] = std::array::from_fn(|j| &rows[(first + j) * depth..][..depth]);
            for (k, line) in to.chunks_exact_mut(width).enumerate() {
                let line: &mut [f32; LANES] = (&mut line[first..first + LANES]).try_into().expect("that many");
                *line = std::array::from_fn(|j| rows[j][k]);
            }
        } else {
            for (k, line) in to.chunks_exact_mut(width).enumerate() {
                for (j, value) in (first..).zip(&mut line[first..first + LANES]) {
                    *value = if j < count { rows[j * depth + k] } else { 0.0 };
                }
            }
        }
    }
}
