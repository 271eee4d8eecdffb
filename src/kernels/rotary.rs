//! `rotary` (arXiv 2104.09864): rotates the halves of every head by its position's angles, in one pass and in place,
//! and the gradient, which is the rotation back.

use super::cpu::{owned, values};
use super::launch::{self, Form, Shader, contiguous};
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
use burn::tensor::Tensor;
use rayon::prelude::*;

/// Rotates `x: [rows * length, heads * 2 * half]` by `cos` and `sin: [length, half]`: with x1 and x2 the halves of a
/// head, `(x1·cos − x2·sin, x2·cos + x1·sin)`.
pub fn rotary(x: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::rotary(x.into_dispatch(), cos.into_dispatch(), sin.into_dispatch(), false))
}

/// The same from plain Burn operations: an oracle.
#[cfg(test)]
pub(crate) fn composed(x: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<2> {
    let ([n, width], [length, half]) = (x.dims(), cos.dims());
    let x = x.reshape([n / length, length, width / (2 * half), 2 * half]);
    let (first, second) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
    let table = |table: Tensor<2>| table.reshape([1, length, 1, half]);
    let (cos, sin) = (table(cos), table(sin));
    let rotated = vec![first.clone() * cos.clone() - second.clone() * sin.clone(), second * cos + first * sin];
    Tensor::cat(rotated, 3).reshape([n, width])
}

/// The rotation, on primitives.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait RotaryEmbedding: Backend {
    /// See [`rotary`]; `back` rotates by the negative angles.
    fn rotary(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>, back: bool) -> FloatTensor<Self>;
}

impl<B: RotaryEmbedding, C: CheckpointStrategy> RotaryEmbedding for Autodiff<B, C> {
    fn rotary(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>, back: bool) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct RotaryBackward;

        impl<B: RotaryEmbedding> Backward<B, 1> for RotaryBackward {
            type State = (FloatTensor<B>, FloatTensor<B>, bool);

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node] = ops.parents;
                let (cos, sin, back) = ops.state;
                let g = grads.consume::<B>(&ops.node);
                if let Some(node) = node {
                    grads.register::<B>(node.id, B::rotary(g, cos, sin, !back));
                }
            }
        }

        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        match RotaryBackward.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                prep.finish((cos.clone(), sin.clone(), back), B::rotary(x.into_primitive(), cos, sin, back))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::rotary(x.into_primitive(), cos, sin, back)),
        }
    }
}

/// Rows a thread takes at a time.
const ROWS: usize = 16;

impl RotaryEmbedding for Flex {
    fn rotary(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>, back: bool) -> FloatTensor<Self> {
        let ([_, width], [length, half]) = (x.shape().dims::<2>(), cos.shape().dims::<2>());
        let (cos, sin) = (cos.to_contiguous(), sin.to_contiguous());
        let (cos, sin) = (values(&cos), values(&sin));
        let sign = if back { -1.0 } else { 1.0 };
        let mut x = owned(x);
        x.storage_mut::<f32>().par_chunks_mut(ROWS * width).enumerate().for_each(|(chunk, rows)| {
            for (row, x) in rows.chunks_exact_mut(width).enumerate() {
                let at = (chunk * ROWS + row) % length * half;
                let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
                for head in x.chunks_exact_mut(2 * half) {
                    let (first, second) = head.split_at_mut(half);
                    for (((x1, x2), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                        let sin = sin * sign;
                        (*x1, *x2) = (*x1 * cos - *x2 * sin, *x2 * cos + *x1 * sin);
                    }
                }
            }
        });
        x
    }
}

/// Uniform block of `rotary.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub pairs: u32,
    pub pairs_per_row: u32,
    /// Rows of the tables.
    pub length: u32,
    /// Pairs of a head.
    pub half: u32,
    /// 1, or −1 to rotate back.
    pub sign: f32,
    pub pad0: u32,
    pub pad1: u32,
    pub pad2: u32,
}

/// `rotary.wgsl`; it needs no workgroup memory, so both forms are one.
pub(crate) fn shader(form: Form) -> Shader {
    let text = include_str!("../../shaders/rotary.wgsl");
    Shader { name: "rotary", text, form, constants: vec![], workgroup: [256, 1, 1] }
}

impl RotaryEmbedding for CubeBackend {
    fn rotary(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>, back: bool) -> FloatTensor<Self> {
        let ([rows, width], [length, half]) = (x.shape().dims::<2>(), cos.shape().dims::<2>());
        let (x, cos, sin) = (launch::owned(x), contiguous(cos), contiguous(sin));
        let params = Params {
            pairs: (rows * width / 2) as u32,
            pairs_per_row: (width / 2) as u32,
            length: length as u32,
            half: half as u32,
            sign: if back { -1.0 } else { 1.0 },
            pad0: 0,
            pad1: 0,
            pad2: 0,
        };
        let shader = shader(Form::of(&x.client));
        let count = shader.for_elements(params.pairs);
        shader.launch(&x.client, count, &[&x, &cos, &sin], params);
        x
    }
}
