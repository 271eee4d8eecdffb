//! `swiglu` (arXiv 2002.05202): `silu(gate) · up` in one pass, and its gradients.

use super::cpu::{exp, in_chunks, owned, tensor, values, vectorised};
use super::launch::{self, Form, Shader, contiguous, empty_like};
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
    wgpu::{CubeBackend, CubeTensor},
};
use burn::tensor::Tensor;
use rayon::prelude::*;

/// `gate / (1 + e^−gate) · up`, both `[n, width]`.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::swiglu(gate.into_dispatch(), up.into_dispatch()))
}

/// The same from plain Burn operations: an oracle.
#[cfg(test)]
pub(crate) fn composed(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    burn::tensor::activation::silu(gate) * up
}

/// The activation, on primitives.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait SwiGlu: Backend {
    /// See [`swiglu`].
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradients to gate and up from `g`; with s = sigmoid(gate), `g·up·s·(1 + gate·(1 − s))` and `g·gate·s`.
    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        g: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl<B: SwiGlu, C: CheckpointStrategy> SwiGlu for Autodiff<B, C> {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct SwiGluBackward;

        impl<B: SwiGlu> Backward<B, 2> for SwiGluBackward {
            type State = (FloatTensor<B>, FloatTensor<B>);

            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node_gate, node_up] = ops.parents;
                let (gate, up) = ops.state;
                let g = grads.consume::<B>(&ops.node);
                let (d_gate, d_up) = B::swiglu_backward(gate, up, g);
                if let Some(node) = node_gate {
                    grads.register::<B>(node.id, d_gate);
                }
                if let Some(node) = node_up {
                    grads.register::<B>(node.id, d_up);
                }
            }
        }

        match SwiGluBackward.prepare::<C>([gate.node(), up.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (gate, up) = (gate.into_primitive(), up.into_primitive());
                prep.finish((gate.clone(), up.clone()), B::swiglu(gate, up))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::swiglu(gate.into_primitive(), up.into_primitive())),
        }
    }

    fn swiglu_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        super::no_second_derivative("swiglu")
    }
}

/// Values a thread takes at a time.
const CHUNK: usize = 1 << 14;

impl SwiGlu for Flex {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let [n, width] = gate.shape().dims::<2>();
        let (gate, up) = (gate.to_contiguous(), up.to_contiguous());
        let (gate, up) = (values(&gate), values(&up));
        let y = in_chunks(n * width, CHUNK, |at, y| {
            let at = at * CHUNK..at * CHUNK + y.len();
            forward(y, &gate[at.clone()], &up[at]);
        });
        tensor(y, [n, width])
    }

    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        g: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (mut gate, mut up, g) = (owned(gate), owned(up), g.to_contiguous());
        let gate_chunks = gate.storage_mut::<f32>().par_chunks_mut(CHUNK);
        let up_chunks = up.storage_mut::<f32>().par_chunks_mut(CHUNK);
        gate_chunks.zip(up_chunks).zip(values(&g).par_chunks(CHUNK)).for_each(|((gate, up), g)| {
            backward(gate, up, g);
        });
        (gate, up)
    }
}

#[inline(always)]
fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    // Of −|x|, so that the exponential stays below one on both sides.
    let e = exp::<FMA>(-x.abs());
    let small = e / (1.0 + e);
    if x < 0.0 { small } else { 1.0 - small }
}

vectorised! {
    fn forward(y: &mut [f32], gate: &[f32], up: &[f32]) {
        for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
            *y = gate * sigmoid::<FMA>(*gate) * up;
        }
    }
}

vectorised! {
    /// Writes the gradients over gate and up.
    fn backward(gate: &mut [f32], up: &mut [f32], g: &[f32]) {
        for ((gate, up), g) in gate.iter_mut().zip(up).zip(g) {
            let s = sigmoid::<FMA>(*gate);
            let d_gate = g * *up * s * (1.0 + *gate * (1.0 - s));
            *up = g * *gate * s;
            *gate = d_gate;
        }
    }
}

/// Uniform block of `swiglu.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub length: u32,
    pub pad0: u32,
    pub pad1: u32,
    pub pad2: u32,
}

/// `swiglu.wgsl`, the activation or its gradients; it needs no workgroup memory, so both forms are one.
pub(crate) fn shader(form: Form, backward: bool) -> Shader {
    let text = include_str!("../../shaders/swiglu.wgsl");
    let constants = vec![("BACKWARD", u32::from(backward))];
    Shader { name: "swiglu", text, form, constants, workgroup: [256, 1, 1] }
}

/// Runs the shader over gate, up and what it binds after them.
fn run(backward: bool, gate: &CubeTensor, up: &CubeTensor, third: &CubeTensor) {
    let length = gate.shape().num_elements() as u32;
    let shader = shader(Form::of(&gate.client), backward);
    let count = shader.for_elements(length);
    shader.launch(&gate.client, count, &[gate, up, third], Params { length, pad0: 0, pad1: 0, pad2: 0 });
}

impl SwiGlu for CubeBackend {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate, up) = (contiguous(gate), contiguous(up));
        let y = empty_like(&gate, gate.shape());
        run(false, &gate, &up, &y);
        y
    }

    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        g: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (gate, up) = (launch::owned(gate), launch::owned(up));
        run(true, &gate, &up, &contiguous(g));
        (gate, up)
    }
}
