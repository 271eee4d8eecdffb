//! `rms_norm` (arXiv 1910.07467) in one pass, and its gradient.

use super::cpu::{in_chunks, sum2, tensor, values, vectorised};
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
use burn::tensor::{DType, Shape, Tensor};

/// `x / sqrt(mean(x²) + eps) · weight` over the last dimension: `x: [n, width]`, `weight: [width]`.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::rms_norm(x.into_dispatch(), weight.into_dispatch(), eps as f32))
}

/// The same from plain Burn operations: an oracle.
#[cfg(test)]
pub(crate) fn composed(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    let mean_square = x.clone().square().mean_dim(1); // [n, 1]
    x * (mean_square + eps).sqrt().recip() * weight.unsqueeze()
}

/// The norm, on primitives.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait RmsNorm: Backend {
    /// See [`rms_norm`].
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
    /// Gradient to `x`: with r = 1 / sqrt(mean(x²) + eps) and h = g · weight, `r·h − x · r³ · mean(h·x)`.
    fn rms_norm_dx(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        g: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;
    /// Gradient to `weight`: `Σ g · x · r` over rows.
    fn rms_norm_dw(x: FloatTensor<Self>, g: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
}

impl<B: RmsNorm, C: CheckpointStrategy> RmsNorm for Autodiff<B, C> {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct RmsNormBackward;

        impl<B: RmsNorm> Backward<B, 2> for RmsNormBackward {
            type State = (FloatTensor<B>, FloatTensor<B>, f32);

            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node_x, node_w] = ops.parents;
                let (x, weight, eps) = ops.state;
                let g = grads.consume::<B>(&ops.node);
                if let Some(node) = node_w {
                    grads.register::<B>(node.id, B::rms_norm_dw(x.clone(), g.clone(), eps));
                }
                if let Some(node) = node_x {
                    grads.register::<B>(node.id, B::rms_norm_dx(x, weight, g, eps));
                }
            }
        }

        match RmsNormBackward.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (x, weight) = (x.into_primitive(), weight.into_primitive());
                prep.finish((x.clone(), weight.clone(), eps), B::rms_norm(x, weight, eps))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::rms_norm(x.into_primitive(), weight.into_primitive(), eps)),
        }
    }

    fn rms_norm_dx(_: FloatTensor<Self>, _: FloatTensor<Self>, _: FloatTensor<Self>, _: f32) -> FloatTensor<Self> {
        super::no_second_derivative("rms_norm")
    }

    fn rms_norm_dw(_: FloatTensor<Self>, _: FloatTensor<Self>, _: f32) -> FloatTensor<Self> {
        super::no_second_derivative("rms_norm")
    }
}

/// Rows a thread takes at a time.
const ROWS: usize = 16;

impl RmsNorm for Flex {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        let [n, width] = x.shape().dims::<2>();
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let (x, weight) = (values(&x), values(&weight));
        let y = in_chunks(n * width, ROWS * width, |at, y| {
            forward_rows(y, &x[at * ROWS * width..][..y.len()], weight, eps);
        });
        tensor(y, [n, width])
    }

    fn rms_norm_dx(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        g: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        let [n, width] = x.shape().dims::<2>();
        let (x, weight, g) = (x.to_contiguous(), weight.to_contiguous(), g.to_contiguous());
        let (x, weight, g) = (values(&x), values(&weight), values(&g));
        let dx = in_chunks(n * width, ROWS * width, |at, dx| {
            let at = at * ROWS * width..at * ROWS * width + dx.len();
            dx_rows(dx, &x[at.clone()], weight, &g[at], eps);
        });
        tensor(dx, [n, width])
    }

    fn rms_norm_dw(x: FloatTensor<Self>, g: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        let [_, width] = x.shape().dims::<2>();
        let (x, g) = (x.to_contiguous(), g.to_contiguous());
        let mut dw = vec![0.0; width];
        for (x, g) in values(&x).chunks_exact(width).zip(values(&g).chunks_exact(width)) {
            let r = inverse_rms(x, eps);
            dw.iter_mut().zip(x).zip(g).for_each(|((dw, x), g)| *dw += g * x * r);
        }
        tensor(dw, [width])
    }
}

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (sum2(x, x, |a, b| a * b) / x.len() as f32 + eps).sqrt()
}

vectorised! {
    fn forward_rows(y: &mut [f32], x: &[f32], weight: &[f32], eps: f32) {
        let width = weight.len();
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let r = inverse_rms(x, eps);
            for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                *y = x * r * w;
            }
        }
    }
}

vectorised! {
    fn dx_rows(dx: &mut [f32], x: &[f32], weight: &[f32], g: &[f32], eps: f32) {
        let width = weight.len();
        for ((dx, x), g) in dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(g.chunks_exact(width)) {
            let r = inverse_rms(x, eps);
            for ((h, g), w) in dx.iter_mut().zip(g).zip(weight) {
                *h = g * w;
            }
            let along = r * r * r * sum2(dx, x, |h, x| h * x) / width as f32;
            for (h, x) in dx.iter_mut().zip(x) {
                *h = r * *h - x * along;
            }
        }
    }
}

/// Uniform block of `rms_norm.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub width: u32,
    pub eps: f32,
    pub pad: u32,
}

/// `rms_norm.wgsl`, the norm or its gradient.
pub(crate) fn shader(form: Form, backward: bool) -> Shader {
    let workgroup = match form {
        Form::Register => [8, 1, 1],
        Form::Workgroup => [128, 1, 1],
    };
    let text = include_str!("../../shaders/rms_norm.wgsl");
    Shader { name: "rms_norm", text, form, constants: vec![("BACKWARD", u32::from(backward))], workgroup }
}

/// The norm of `x`, or where there is `g` the gradient to it.
fn launch(x: CubeTensor, weight: CubeTensor, g: Option<CubeTensor>, eps: f32) -> CubeTensor {
    let (x, weight) = (contiguous(x), contiguous(weight));
    let g = g.map(contiguous);
    let [rows, width] = x.shape().dims::<2>();
    let y = empty_like(&x, x.shape());
    let shader = shader(Form::of(&x.client), g.is_some());
    let params = Params { rows: rows as u32, width: width as u32, eps, pad: 0 };
    let count = shader.for_rows(params.rows);
    let buffers: Vec<&CubeTensor> = [&x, &weight, &y].into_iter().chain(&g).collect();
    shader.launch(&x.client, count, &buffers, params);
    y
}

impl RmsNorm for CubeBackend {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        launch(x, weight, None, eps)
    }

    fn rms_norm_dx(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        g: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        launch(x, weight, Some(g), eps)
    }

    fn rms_norm_dw(x: FloatTensor<Self>, g: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        // Rare: only where all weights are trained.
        let width = Shape::from([x.shape()[1]]);
        let ones = Self::float_ones(width.clone(), &x.device, DType::F32.into());
        let normed = launch(x, ones, None, eps);
        Self::float_reshape(Self::float_sum_dim(Self::float_mul(g, normed), 0), width)
    }
}
