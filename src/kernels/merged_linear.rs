//! `merged_linear`: a linear layer whose adapter lies in its weight (DiaBlo, arXiv 2506.03230).
//!
//! With `W = W0 + diag(D_1 … D_N)` resident, forward and the gradient to the input are the base's own two products, and
//! the blocks' gradient `x_iᵀ·g_i` is all that training adds: one N-th of a dense weight gradient.

use super::block_matmul::BlockMatmul;
use super::matmul::{Multiply, Product};
use burn::backend::{
    Autodiff, Backend, Dispatch, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    flex::Flex,
    ops::FloatTensorOps,
    tensor::FloatTensor,
    wgpu::CubeBackend,
};
use burn::tensor::{Shape, Tensor};

/// `x·Wᵀ`, `[tokens, n·do]` from `x: [tokens, n·di]` and `weight: [n·do, n·di]`, all f32.
///
/// Differentiable in `x` and in `blocks: [n, di, do]`, whose values are taken to lie in the weight already: they are not
/// read. The weight gets no gradient.
///
/// # Panics
/// If the shapes do not fit together.
pub fn merged_linear(x: Tensor<2>, weight: Tensor<2>, blocks: Tensor<3>) -> Tensor<2> {
    layer(x, weight, blocks, false)
}

/// As [`merged_linear`]; on a GPU, where there is more than one block, the gradient to `blocks` is written over them,
/// whoever else holds that memory, so that the gradients of many layers come to lie where a flat buffer wants them. Such
/// blocks may stand in one layer only.
///
/// # Panics
/// If the shapes do not fit together.
pub fn merged_linear_in_place(x: Tensor<2>, weight: Tensor<2>, blocks: Tensor<3>) -> Tensor<2> {
    layer(x, weight, blocks, true)
}

fn layer(x: Tensor<2>, weight: Tensor<2>, blocks: Tensor<3>, in_place: bool) -> Tensor<2> {
    let ([_, width], shape, [n, di, dd]) = (x.dims(), weight.dims(), blocks.dims());
    assert!(
        width == n * di && shape == [n * dd, n * di],
        "merged_linear: x {:?}, weight {shape:?}, blocks {:?}",
        x.dims(),
        blocks.dims()
    );
    let (x, weight, blocks) = (x.into_dispatch(), weight.into_dispatch(), blocks.into_dispatch());
    Tensor::from_dispatch(Dispatch::merged_linear(x, weight, blocks, in_place))
}

/// The layer, on primitives.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait MergedLinear: Backend {
    /// See [`merged_linear`] and [`merged_linear_in_place`].
    fn merged_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        blocks: FloatTensor<Self>,
        in_place: bool,
    ) -> FloatTensor<Self>;
}

/// Gradient to the blocks, `[n, di, do]`, over `place` where there is one; one block is the whole matrix, and a dense
/// product.
pub(super) fn blocks_gradient<B: Multiply + BlockMatmul>(
    x: FloatTensor<B>,
    g: FloatTensor<B>,
    n: usize,
    place: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    match place {
        _ if n == 1 => {
            let shape = Shape::from([1, x.shape()[1], g.shape()[1]]);
            <B as FloatTensorOps<B>>::float_reshape(B::multiply_as(x, g, Product::Columns), shape)
        }
        Some(place) => B::block_matmul_dd_into(x, g, place),
        None => B::block_matmul_dd(x, g, n),
    }
}

impl<B: MergedLinear + Multiply + BlockMatmul, C: CheckpointStrategy> MergedLinear for Autodiff<B, C> {
    fn merged_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        blocks: FloatTensor<Self>,
        in_place: bool,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct MergedLinearBackward;

        impl<B: Multiply + BlockMatmul> Backward<B, 2> for MergedLinearBackward {
            /// Weight and input, each kept only where the gradient that needs it is asked for; number of blocks, and the
            /// place for their gradient, if it has one.
            type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>, usize, Option<FloatTensor<B>>);

            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node_x, node_blocks] = ops.parents;
                let (weight, x, n, place) = ops.state;
                let g = grads.consume::<B>(&ops.node);
                if let (Some(node), Some(weight)) = (node_x, weight) {
                    grads.register::<B>(node.id, B::multiply_as(g.clone(), weight, Product::Plain));
                }
                if let (Some(node), Some(x)) = (node_blocks, x) {
                    grads.register::<B>(node.id, blocks_gradient::<B>(x, g, n, place));
                }
            }
        }

        let n = blocks.primitive().shape()[0];
        let (x_tracked, blocks_tracked) = (x.is_tracked(), blocks.is_tracked());
        let weight = weight.into_primitive();
        let place = in_place.then(|| blocks.primitive().clone());
        match MergedLinearBackward.prepare::<C>([x.node(), blocks.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                let state = (x_tracked.then(|| weight.clone()), blocks_tracked.then(|| x.clone()), n, place);
                prep.finish(state, B::multiply_as(x, weight, Product::Rows))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::multiply_as(x.into_primitive(), weight, Product::Rows)),
        }
    }
}

impl MergedLinear for Flex {
    fn merged_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: bool,
    ) -> FloatTensor<Self> {
        Self::multiply_as(x, weight, Product::Rows)
    }
}

impl MergedLinear for CubeBackend {
    fn merged_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: bool,
    ) -> FloatTensor<Self> {
        Self::multiply_as(x, weight, Product::Rows)
    }
}

#[cfg(test)]
mod tests;
