//! `linear`: the product with a frozen weight, and its gradient to the input; the weight has none.
//!
//! The dense products of a training step but attention's. On the CPU and on real GPUs they are Burn's matmul, which is
//! good there. Where a processor poses as a GPU it is not: its tiles meet at barriers, which cost more there than the
//! sums between them, so that form is a shader of our own.

use super::launch::{Form, Shader, contiguous, empty_like};
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
    wgpu::{CubeBackend, CubeTensor},
};
use burn::tensor::{Shape, Tensor, ops::PadMode};

#[cfg(test)]
mod tests;

/// `x·Wᵀ`, `[tokens, out]` from `x: [tokens, in]` and `weight: [out, in]` as Hugging Face stores it, all f32.
/// Differentiable in `x`.
///
/// # Panics
/// If the shapes do not fit together, or the weight is trained: its gradient would be lost.
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    assert_eq!(x.dims()[1], weight.dims()[1], "linear: x {:?}, weight {:?}", x.dims(), weight.dims());
    Tensor::from_dispatch(Dispatch::frozen_linear(x.into_dispatch(), weight.into_dispatch()))
}

/// The product with a frozen weight, on primitives.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait FrozenLinear: Backend {
    /// `x·Wᵀ`; see [`linear`].
    fn frozen_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradient to the input: `g·W`, `[tokens, in]` from `g: [tokens, out]`.
    fn frozen_linear_dx(g: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl<B: FrozenLinear, C: CheckpointStrategy> FrozenLinear for Autodiff<B, C> {
    fn frozen_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct LinearBackward;

        impl<B: FrozenLinear> Backward<B, 1> for LinearBackward {
            /// The weight.
            type State = FloatTensor<B>;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node] = ops.parents;
                let g = grads.consume::<B>(&ops.node);
                if let Some(node) = node {
                    grads.register::<B>(node.id, B::frozen_linear_dx(g, ops.state));
                }
            }
        }

        assert!(!weight.is_tracked(), "linear: the weight is frozen");
        match LinearBackward.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let weight = weight.into_primitive();
                prep.finish(weight.clone(), B::frozen_linear(x.into_primitive(), weight))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::frozen_linear(x.into_primitive(), weight.into_primitive())),
        }
    }

    fn frozen_linear_dx(_: FloatTensor<Self>, _: FloatTensor<Self>) -> FloatTensor<Self> {
        super::no_second_derivative("linear")
    }
}

/// `x·Wᵀ` through Burn.
fn product<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(x, B::float_swap_dims(weight, 0, 1))
}

impl FrozenLinear for Flex {
    fn frozen_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        product::<Self>(x, weight)
    }

    fn frozen_linear_dx(g: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(g, weight)
    }
}

/// Uniform block of `linear.wgsl`; vectors are of four values.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub tokens: u32,
    /// Columns of the result.
    pub width: u32,
    /// Vectors in a row of what is multiplied.
    pub depth: u32,
    /// The last vector of what is multiplied, and of the weight.
    pub x_last: u32,
    pub w_last: u32,
    /// Vectors of the weight from row to row, from four columns of the result to the next four, and from four terms of
    /// the sum to the next four.
    pub w_row: u32,
    pub w_block: u32,
    pub w_step: u32,
}

/// Side of an invocation's tile, and columns it takes of a single token.
const TILE: u32 = 16;
const SINGLE: u32 = 4;

/// `linear.wgsl`: the product, or with `forward` false the gradient to the input; for one token or for many.
pub(crate) fn shader(forward: bool, single: bool) -> Shader {
    let text = include_str!("../../shaders/linear.wgsl");
    let constants = vec![("FORWARD", u32::from(forward)), ("SINGLE", u32::from(single))];
    Shader { name: "linear", text, form: Form::Register, constants, workgroup: [16, 1, 1] }
}

/// Launches the shader: `x·Wᵀ`, or with `forward` false `x·W`.
fn run(x: CubeTensor, weight: CubeTensor, forward: bool) -> CubeTensor {
    let shader = shader(forward, x.shape()[0] == 1);
    launch(shader, x, weight, forward)
}

/// Launches `shader`, the variant for these sizes.
fn launch(shader: Shader, x: CubeTensor, weight: CubeTensor, forward: bool) -> CubeTensor {
    let [d_out, d_in] = weight.shape().dims::<2>();
    let tokens = x.shape()[0];
    let width = if forward { d_out } else { d_in };
    let y = empty_like(&x, Shape::from([tokens, width]));
    let (x, weight) = (whole_vectors(x), whole_vectors(weight));
    let vectors = |tensor: &CubeTensor| (tensor.shape().num_elements() / 4) as u32;
    let w_row = weight.shape()[1] as u32 / 4;
    let (w_block, w_step) = if forward { (4 * w_row, 1) } else { (1, 4 * w_row) };
    let params = Params {
        tokens: tokens as u32,
        width: width as u32,
        depth: x.shape()[1] as u32 / 4,
        x_last: vectors(&x).saturating_sub(1),
        w_last: vectors(&weight).saturating_sub(1),
        w_row,
        w_block,
        w_step,
    };
    let [wx, wy, _] = shader.workgroup;
    let tile = if tokens == 1 { SINGLE } else { TILE };
    let count = [params.width.div_ceil(tile).div_ceil(wx), params.tokens.div_ceil(TILE).div_ceil(wy), 1];
    shader.launch(&y.client, count, &[&x, &weight, &y], params);
    y
}

/// `tensor` with rows of whole vectors of four: itself, or where its width (a vocabulary's, say) is no multiple of four
/// a copy with zeros after every row.
fn whole_vectors(tensor: CubeTensor) -> CubeTensor {
    match tensor.shape()[1] % 4 {
        0 => contiguous(tensor),
        rest => contiguous(CubeBackend::float_pad(tensor, &[(0, 0), (0, 4 - rest)], PadMode::Constant(0.0))),
    }
}

impl FrozenLinear for CubeBackend {
    fn frozen_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        match Form::of(&x.client) {
            Form::Register => run(x, weight, true),
            Form::Workgroup => product::<Self>(x, weight),
        }
    }

    fn frozen_linear_dx(g: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        match Form::of(&g.client) {
            Form::Register => run(g, weight, false),
            Form::Workgroup => Self::float_matmul(g, weight),
        }
    }
}
