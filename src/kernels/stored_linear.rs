//! `stored_linear`: a linear layer whose weight stays as its file has it, with or without an adapter in it.
//!
//! The weight exists as f32 for the length of a product only, a stretch of rows at a time, and an adapter's blocks
//! (DiaBlo, arXiv 2506.03230) are added while it is made: forward and the gradient to the input are still the base's own
//! two products. What a graph keeps is the file's bytes, which it shares with the model.

use super::block_matmul::BlockMatmul;
use super::dequantize::{Dequantize, Stored, StoredWeight};
use super::matmul::{Multiply, Product};
use super::merged_linear::blocks_gradient;
use burn::backend::{
    Autodiff, Backend, Dispatch, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    flex::Flex,
    tensor::FloatTensor,
    wgpu::CubeBackend,
};
use burn::tensor::{Slice, Tensor};
use std::ops::Range;

/// `x·Wᵀ`, `[tokens, out]` from `x: [tokens, in]` and a stored weight `[out, in]`.
///
/// With `blocks: [n, in / n, out / n]` it is `x·(W + diag(blocks))ᵀ`. Differentiable in `x` and in the blocks.
///
/// # Panics
/// If the shapes do not fit together.
pub fn stored_linear(x: Tensor<2>, weight: &StoredWeight, blocks: Option<Tensor<3>>) -> Tensor<2> {
    assert!(x.dims()[1] == weight.shape[1], "stored_linear: x {:?}, weight {:?}", x.dims(), weight.shape);
    let (x, weight) = (x, weight.clone());
    Tensor::from_dispatch(match blocks {
        None => Dispatch::stored_linear(x.into_dispatch(), weight),
        Some(blocks) => {
            weight.check_blocks(blocks.dims());
            Dispatch::stored_merged_linear(x.into_dispatch(), weight, blocks.into_dispatch())
        }
    })
}

/// The layer, on primitives.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait StoredLinear: Backend {
    /// See [`stored_linear`].
    fn stored_linear(x: FloatTensor<Self>, #[extension_type] weight: Stored<Self>) -> FloatTensor<Self>;
    /// The same with blocks in the weight.
    fn stored_merged_linear(
        x: FloatTensor<Self>,
        #[extension_type] weight: Stored<Self>,
        blocks: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// The f32 values of a stored weight, one stretch of rows after the other; the last one stays for the case that it is
/// asked for again.
pub(super) struct Scratch<B: Backend> {
    weight: Stored<B>,
    blocks: Option<FloatTensor<B>>,
    stretches: Vec<Range<usize>>,
    last: Option<(usize, FloatTensor<B>)>,
}

impl<B: Dequantize + Multiply> Scratch<B> {
    pub fn new(weight: Stored<B>, blocks: Option<FloatTensor<B>>) -> Self {
        let stretches = weight.stretches();
        Self { weight, blocks, stretches, last: None }
    }

    /// Rows of the weight.
    pub fn rows(&self) -> usize {
        self.weight.shape[0]
    }

    fn stretch(&mut self, index: usize) -> FloatTensor<B> {
        if let Some((known, values)) = &self.last
            && *known == index
        {
            return values.clone();
        }
        // The one before goes first, so that there are never two.
        self.last = None;
        let rows = self.stretches[index].clone();
        let values = match &self.blocks {
            None => B::stored_values(self.weight.clone(), rows),
            Some(blocks) => B::stored_values_merged(self.weight.clone(), rows, blocks.clone()),
        };
        self.last = Some((index, values.clone()));
        values
    }

    /// All stretches, from that end on whose stretch is there.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.stretches.len()).collect();
        if self.last.as_ref().is_some_and(|(last, _)| last + 1 == order.len()) {
            order.reverse();
        }
        order
    }

    /// `x·Wᵀ`.
    pub fn product(&mut self, x: FloatTensor<B>) -> FloatTensor<B> {
        let mut parts: Vec<Option<FloatTensor<B>>> = vec![None; self.stretches.len()];
        for index in self.order() {
            parts[index] = Some(B::multiply_as(x.clone(), self.stretch(index), Product::Rows));
        }
        let mut parts: Vec<FloatTensor<B>> = parts.into_iter().flatten().collect();
        if parts.len() == 1 { parts.remove(0) } else { B::float_cat(parts, 1) }
    }

    /// `g·W`.
    pub fn product_to_input(&mut self, g: FloatTensor<B>) -> FloatTensor<B> {
        let mut sum: Option<FloatTensor<B>> = None;
        for index in self.order() {
            let part = match &self.stretches[..] {
                [_] => g.clone(),
                stretches => B::float_slice(g.clone(), &[Slice::full(), Slice::from(stretches[index].clone())]),
            };
            let part = B::multiply_as(part, self.stretch(index), Product::Plain);
            sum = Some(match sum {
                None => part,
                Some(sum) => B::float_add(sum, part),
            });
        }
        sum.expect("a weight has rows")
    }
}

/// What an autodiff backend has from its own.
pub(super) fn inner<B: Backend, C: CheckpointStrategy>(weight: Stored<Autodiff<B, C>>) -> Stored<B> {
    weight.map(|words| words)
}

impl<B, C> StoredLinear for Autodiff<B, C>
where
    B: StoredLinear + Dequantize + Multiply + BlockMatmul,
    C: CheckpointStrategy,
{
    fn stored_linear(x: FloatTensor<Self>, weight: Stored<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct StoredLinearBackward;

        impl<B: Dequantize + Multiply> Backward<B, 1> for StoredLinearBackward {
            type State = Stored<B>;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node] = ops.parents;
                let g = grads.consume::<B>(&ops.node);
                if let Some(node) = node {
                    grads.register::<B>(node.id, Scratch::new(ops.state, None).product_to_input(g));
                }
            }
        }

        let weight = inner(weight);
        match StoredLinearBackward.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = Scratch::new(weight.clone(), None).product(x.into_primitive());
                prep.finish(weight, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::stored_linear(x.into_primitive(), weight)),
        }
    }

    fn stored_merged_linear(
        x: FloatTensor<Self>,
        weight: Stored<Self>,
        blocks: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct StoredMergedLinearBackward;

        impl<B: Dequantize + Multiply + BlockMatmul> Backward<B, 2> for StoredMergedLinearBackward {
            /// Weight and blocks, and the input, each kept only where the gradient that needs it is asked for; number of
            /// blocks.
            type State = (Option<(Stored<B>, FloatTensor<B>)>, Option<FloatTensor<B>>, usize);

            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node_x, node_blocks] = ops.parents;
                let (weight, x, n) = ops.state;
                let g = grads.consume::<B>(&ops.node);
                if let (Some(node), Some((weight, blocks))) = (node_x, weight) {
                    grads.register::<B>(node.id, Scratch::new(weight, Some(blocks)).product_to_input(g.clone()));
                }
                if let (Some(node), Some(x)) = (node_blocks, x) {
                    grads.register::<B>(node.id, blocks_gradient::<B>(x, g, n, None));
                }
            }
        }

        let n = blocks.primitive().shape()[0];
        let (x_tracked, blocks_tracked) = (x.is_tracked(), blocks.is_tracked());
        let weight = inner(weight);
        match StoredMergedLinearBackward.prepare::<C>([x.node(), blocks.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (x, blocks) = (x.into_primitive(), blocks.into_primitive());
                let y = Scratch::new(weight.clone(), Some(blocks.clone())).product(x.clone());
                prep.finish((x_tracked.then_some((weight, blocks)), blocks_tracked.then_some(x), n), y)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::stored_merged_linear(x.into_primitive(), weight, blocks.into_primitive()))
            }
        }
    }
}

impl StoredLinear for Flex {
    fn stored_linear(x: FloatTensor<Self>, weight: Stored<Self>) -> FloatTensor<Self> {
        Scratch::new(weight, None).product(x)
    }

    fn stored_merged_linear(
        x: FloatTensor<Self>,
        weight: Stored<Self>,
        blocks: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Scratch::new(weight, Some(blocks)).product(x)
    }
}

impl StoredLinear for CubeBackend {
    fn stored_linear(x: FloatTensor<Self>, weight: Stored<Self>) -> FloatTensor<Self> {
        Scratch::new(weight, None).product(x)
    }

    fn stored_merged_linear(
        x: FloatTensor<Self>,
        weight: Stored<Self>,
        blocks: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Scratch::new(weight, Some(blocks)).product(x)
    }
}

#[cfg(test)]
mod tests;
