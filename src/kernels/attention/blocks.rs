//! Attention from dense products and [`causal_softmax`](crate::kernels::causal_softmax), a block of queries at a time.

use super::{AttentionShape, CausalSoftmax, FirstKeys, Multiply, Product};
use burn::backend::{Backend, TensorMetadata, tensor::FloatTensor};
use burn::tensor::{Shape, Slice};
use std::ops::Range;

/// Scores that exist at a time, about: 16 MiB.
const SCORES: usize = 1 << 22;
/// Queries of a block are a multiple of this one, the side of the largest tile of a product.
const STEP: usize = 16;

/// Queries of a block that see `seen` keys, for so many heads of all rows together.
pub(crate) fn queries_of_a_block(heads: usize, seen: usize) -> usize {
    (SCORES / (heads * seen)).max(1).next_multiple_of(STEP)
}

/// Queries, keys and values by head.
struct ByHead<'a, B: Backend> {
    shape: &'a AttentionShape,
    /// `[rows, kv_heads, group, length, head_dim]`.
    q: FloatTensor<B>,
    /// `[rows * kv_heads, seen, head_dim]`.
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    length: usize,
    seen: usize,
}

impl<'a, B: Multiply + CausalSoftmax> ByHead<'a, B> {
    /// From tensors of two dimensions, or as [`kept`] makes them.
    fn new(q: FloatTensor<B>, k: FloatTensor<B>, v: FloatTensor<B>, shape: &'a AttentionShape) -> Self {
        let AttentionShape { rows, heads, kv_heads, head_dim, .. } = *shape;
        let is_kept = |x: &FloatTensor<B>| x.shape().num_dims() == 3;
        let seen = if is_kept(&k) { k.shape()[1] } else { k.shape()[0] / rows };
        let of_keys = |x| match is_kept(&x) {
            true => x,
            false => {
                let flat = Shape::from([rows * kv_heads, seen, head_dim]);
                B::float_reshape(by_head::<B>(x, [rows, seen, kv_heads, 1, head_dim]), flat)
            }
        };
        let (k, v) = (of_keys(k), of_keys(v));
        let group = heads / kv_heads;
        let (q, length) = if is_kept(&q) {
            let length = q.shape()[1] / group;
            (B::float_reshape(q, Shape::from([rows, kv_heads, group, length, head_dim])), length)
        } else {
            let length = q.shape()[0] / rows;
            (Self::of_queries(q, length, shape), length)
        };
        Self { q, k, v, shape, length, seen }
    }

    fn of_queries(x: FloatTensor<B>, length: usize, shape: &AttentionShape) -> FloatTensor<B> {
        by_head::<B>(x, [shape.rows, length, shape.kv_heads, shape.heads / shape.kv_heads, shape.head_dim])
    }

    /// Queries at a time.
    fn step(&self) -> usize {
        queries_of_a_block(self.shape.rows * self.shape.heads, self.seen)
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let (length, step) = (self.length, self.step());
        (0..length).step_by(step).map(move |first| first..(first + step).min(length))
    }

    /// How many keys the last of `queries` sees.
    fn keys(&self, queries: &Range<usize>) -> usize {
        self.seen - self.length + queries.end
    }

    /// `queries` of `x`, which is shaped as `q`: `[rows * kv_heads, group * count, head_dim]`.
    fn queries(&self, x: &FloatTensor<B>, queries: &Range<usize>) -> FloatTensor<B> {
        let AttentionShape { rows, heads, kv_heads, head_dim, .. } = *self.shape;
        let block = slice::<B>(x, 3, queries, self.length);
        B::float_reshape(block, Shape::from([rows * kv_heads, heads / kv_heads * queries.len(), head_dim]))
    }

    /// Those keys, or their values, that the last of `queries` sees.
    fn seen_by(&self, x: &FloatTensor<B>, queries: &Range<usize>) -> FloatTensor<B> {
        slice::<B>(x, 1, &(0..self.keys(queries)), self.seen)
    }

    /// The shape of the block's scores, head by head.
    fn score_shape(&self, queries: &Range<usize>) -> [usize; 4] {
        [self.shape.rows, self.shape.heads, queries.len(), self.keys(queries)]
    }

    /// As [`Self::score_shape`], with the heads of a group one below the other.
    fn grouped_shape(&self, queries: &Range<usize>) -> [usize; 3] {
        let AttentionShape { rows, heads, kv_heads, .. } = *self.shape;
        [rows * kv_heads, heads / kv_heads * queries.len(), self.keys(queries)]
    }

    fn first_keys(&self, queries: &Range<usize>) -> FirstKeys {
        Some(self.shape.first.as_ref()?.of_queries(queries, self.length))
    }

    /// The weights of a block of queries `q`, as [`Self::score_shape`] says.
    fn weights(&self, q: FloatTensor<B>, k: FloatTensor<B>, queries: &Range<usize>) -> FloatTensor<B> {
        let scores = B::multiply_as(q, k, Product::Rows);
        let scores = B::float_reshape(scores, Shape::from(self.score_shape(queries)));
        let start = self.keys(queries) - queries.len();
        B::causal_softmax(scores, self.shape.scale, start, self.first_keys(queries))
    }
}

/// `[rows * length, kv_heads * group * head_dim]` to `[rows, kv_heads, group, length, head_dim]`.
fn by_head<B: Backend>(x: FloatTensor<B>, [rows, length, kv_heads, group, head_dim]: [usize; 5]) -> FloatTensor<B> {
    let x = B::float_reshape(x, Shape::from([rows, length, kv_heads, group, head_dim]));
    B::float_permute(x, &[0, 2, 3, 1, 4])
}

/// The way back, from `[rows, heads, length, head_dim]`.
fn by_token<B: Backend>(x: FloatTensor<B>, [rows, heads, length, head_dim]: [usize; 4]) -> FloatTensor<B> {
    let x = B::float_reshape(x, Shape::from([rows, heads, length, head_dim]));
    B::float_reshape(B::float_swap_dims(x, 1, 2), Shape::from([rows * length, heads * head_dim]))
}

/// `range` of dimension `dim`, which is `size` long.
fn slice<B: Backend>(x: &FloatTensor<B>, dim: usize, range: &Range<usize>, size: usize) -> FloatTensor<B> {
    if *range == (0..size) {
        return x.clone();
    }
    let mut slices = vec![Slice::full(); x.shape().num_dims()];
    slices[dim] = Slice::from(range.clone());
    B::float_slice(x.clone(), &slices)
}

/// One tensor of the blocks' parts along `dim`.
fn joined<B: Backend>(mut parts: Vec<FloatTensor<B>>, dim: usize) -> FloatTensor<B> {
    if parts.len() == 1 { parts.remove(0) } else { B::float_cat(parts, dim) }
}

/// What attention keeps for its backward pass: keys and values by head, `[rows * kv_heads, seen, head_dim]`, which spares
/// it turning them once more; queries likewise, unless they are cut into blocks, which copies them anyway.
pub(super) fn kept<B: Multiply + CausalSoftmax>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    shape: &AttentionShape,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let inputs = ByHead::<B>::new(q.clone(), k, v, shape);
    let all = 0..inputs.length;
    let q = if inputs.blocks().count() == 1 { inputs.queries(&inputs.q, &all) } else { q };
    (q, inputs.k, inputs.v)
}

pub(super) fn attention<B: Multiply + CausalSoftmax>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    shape: &AttentionShape,
) -> FloatTensor<B> {
    let inputs = ByHead::<B>::new(q, k, v, shape);
    let of_block = |queries: Range<usize>| {
        let (k, v) = (inputs.seen_by(&inputs.k, &queries), inputs.seen_by(&inputs.v, &queries));
        let weights = inputs.weights(inputs.queries(&inputs.q, &queries), k, &queries);
        let weights = B::float_reshape(weights, Shape::from(inputs.grouped_shape(&queries)));
        let y = B::multiply_as(weights, v, Product::Plain);
        B::float_reshape(y, Shape::from([shape.rows, shape.heads, queries.len(), shape.head_dim]))
    };
    let y = joined::<B>(inputs.blocks().map(of_block).collect(), 2);
    by_token::<B>(y, [shape.rows, shape.heads, inputs.length, shape.head_dim])
}

pub(super) fn attention_backward<B: Multiply + CausalSoftmax>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    g: FloatTensor<B>,
    shape: &AttentionShape,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let AttentionShape { rows, heads, kv_heads, head_dim, scale, .. } = *shape;
    let inputs = ByHead::<B>::new(q, k, v, shape);
    let g = ByHead::<B>::of_queries(g, inputs.length, shape);
    let (mut dq, mut sums) = (Vec::new(), None);
    // The last block sees all keys; what the ones before it add is shorter.
    let mut blocks: Vec<_> = inputs.blocks().collect();
    blocks.reverse();
    for queries in blocks {
        let (k, v) = (inputs.seen_by(&inputs.k, &queries), inputs.seen_by(&inputs.v, &queries));
        let (q, g) = (inputs.queries(&inputs.q, &queries), inputs.queries(&g, &queries));
        let weights = inputs.weights(q.clone(), k.clone(), &queries);
        let grouped = Shape::from(inputs.grouped_shape(&queries));

        let dp = B::multiply_as(g.clone(), v, Product::Rows);
        let dp = B::float_reshape(dp, Shape::from(inputs.score_shape(&queries)));
        let start = inputs.keys(&queries) - queries.len();
        let ds = B::causal_softmax_backward(weights.clone(), dp, scale, start, inputs.first_keys(&queries));
        let (weights, ds) = (B::float_reshape(weights, grouped.clone()), B::float_reshape(ds, grouped));

        let of_block = B::multiply_as(ds.clone(), k, Product::Plain);
        dq.push(B::float_reshape(of_block, Shape::from([rows, heads, queries.len(), head_dim])));
        let new = [B::multiply_as(ds, q, Product::Columns), B::multiply_as(weights, g, Product::Columns)];
        sums = Some(match sums {
            None => new,
            Some(sums) => add_to_beginning::<B>(sums, new, inputs.keys(&queries)),
        });
    }
    dq.reverse();
    let dq = by_token::<B>(joined::<B>(dq, 2), [rows, heads, inputs.length, head_dim]);
    let [dk, dv] = sums.expect("a block").map(|sum| by_token::<B>(sum, [rows, kv_heads, inputs.seen, head_dim]));
    (dq, dk, dv)
}

/// Adds gradients to the first `keys` keys to those of all.
fn add_to_beginning<B: Backend>(
    sums: [FloatTensor<B>; 2],
    new: [FloatTensor<B>; 2],
    keys: usize,
) -> [FloatTensor<B>; 2] {
    let slices = [Slice::full(), Slice::from(0..keys), Slice::full()];
    let mut new = new.into_iter();
    sums.map(|sum| {
        let beginning = B::float_slice(sum.clone(), &slices);
        let beginning = B::float_add(beginning, new.next().expect("two of each"));
        B::float_slice_assign(sum, &slices, beginning)
    })
}
