//! `adamw`: one optimizer step over a flat buffer, in place.

use super::cpu::{mul_add, owned, values, vectorised};
use super::launch::{self, Form, Shader, contiguous};
use burn::backend::{
    Backend, Dispatch, TensorMetadata, backend_extension,
    flex::{Flex, FlexTensor},
    tensor::FloatTensor,
    wgpu::CubeBackend,
};
use burn::tensor::Tensor;
use rayon::prelude::*;

/// What one AdamW step needs besides its buffers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment, outside the root.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global gradient norm let through; 0: no clipping.
    pub max_grad_norm: f64,
    /// Optimizer step, from 1; corrects the moments' bias.
    pub step: usize,
}

/// One AdamW step; returns parameter and both moments, updated in place where nothing else holds them.
///
/// `parameter`, `moment1`, `moment2`, `gradient`: `[n]`; the first value of `grad_norm` is the gradient's global norm,
/// from which the clip factor `min(1, max_grad_norm / (norm + 1e-6))` is made on the device. Where the norm is not
/// finite nothing is updated.
pub fn adamw(
    [parameter, moment1, moment2]: [Tensor<1>; 3],
    gradient: Tensor<1>,
    grad_norm: Tensor<1>,
    step: AdamWStep,
) -> [Tensor<1>; 3] {
    let (p, m, v) = Dispatch::adamw(
        parameter.into_dispatch(),
        moment1.into_dispatch(),
        moment2.into_dispatch(),
        gradient.into_dispatch(),
        grad_norm.into_dispatch(),
        step,
    );
    [Tensor::from_dispatch(p), Tensor::from_dispatch(m), Tensor::from_dispatch(v)]
}

/// The step, on primitives.
#[backend_extension(Cube, Flex)]
pub trait AdamW: Backend {
    /// See [`adamw`].
    fn adamw(
        parameter: FloatTensor<Self>,
        moment1: FloatTensor<Self>,
        moment2: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        grad_norm: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// Uniform block of `adamw.wgsl`; the twin reads the same numbers.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub length: u32,
    pub learning_rate: f32,
    pub beta2: f32,
    /// 1 − beta, rounded from f64: in f32, 1 − 0.999 is already off by 5e-5 of itself.
    pub one_minus_beta1: f32,
    pub one_minus_beta2: f32,
    pub epsilon: f32,
    /// 1 − learning_rate · weight_decay.
    pub keep: f32,
    /// 1 − beta1^step.
    pub correction1: f32,
    /// Root of 1 − beta2^step.
    pub correction2_sqrt: f32,
    pub max_grad_norm: f32,
    pub pad0: f32,
    pub pad1: f32,
}

impl Params {
    fn new(length: usize, step: AdamWStep) -> Self {
        let [beta1, beta2] = step.betas;
        let correction = |beta: f64| 1.0 - beta.powi(step.step as i32);
        Self {
            length: length as u32,
            learning_rate: step.learning_rate as f32,
            beta2: beta2 as f32,
            one_minus_beta1: (1.0 - beta1) as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            epsilon: step.epsilon as f32,
            keep: (1.0 - step.learning_rate * step.weight_decay) as f32,
            correction1: correction(beta1) as f32,
            correction2_sqrt: correction(beta2).sqrt() as f32,
            max_grad_norm: step.max_grad_norm as f32,
            pad0: 0.0,
            pad1: 0.0,
        }
    }
}

/// Elements a thread of the CPU twin takes at a time.
const CHUNK: usize = 1 << 14;

impl AdamW for Flex {
    fn adamw(
        parameter: FloatTensor<Self>,
        moment1: FloatTensor<Self>,
        moment2: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        grad_norm: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let norm = values(&grad_norm.to_contiguous())[0];
        let [mut p, mut m, mut v] = [parameter, moment1, moment2].map(owned);
        if !norm.is_finite() {
            return (p, m, v);
        }
        let params = Params::new(p.shape()[0], step);
        let clip = if params.max_grad_norm > 0.0 { (params.max_grad_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let gradient = gradient.to_contiguous();
        let g: &[f32] = values(&gradient);
        fn chunks(tensor: &mut FlexTensor) -> rayon::slice::ChunksMut<'_, f32> {
            tensor.storage_mut::<f32>().par_chunks_mut(CHUNK)
        }
        chunks(&mut p).zip(chunks(&mut m)).zip(chunks(&mut v)).zip(g.par_chunks(CHUNK)).for_each(|(((p, m), v), g)| {
            update(p, m, v, g, clip, &params);
        });
        (p, m, v)
    }
}

vectorised! {
    fn update(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], clip: f32, params: &Params) {
        let step_size = params.learning_rate / params.correction1;
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * clip;
            *m = mul_add::<FMA>(params.one_minus_beta1, g - *m, *m);
            *v = params.beta2 * *v + params.one_minus_beta2 * g * g;
            let denominator = v.sqrt() / params.correction2_sqrt + params.epsilon;
            *p = params.keep * *p - step_size * (*m / denominator);
        }
    }
}

/// `adamw.wgsl`; it needs no workgroup memory, so both forms are one.
/// `vectors`: four values at a time.
pub(crate) fn shader(form: Form, vectors: bool) -> Shader {
    let text = include_str!("../../shaders/adamw.wgsl");
    Shader { name: "adamw", text, form, constants: vec![("VECTORS", u32::from(vectors))], workgroup: [64, 1, 1] }
}

impl AdamW for CubeBackend {
    fn adamw(
        parameter: FloatTensor<Self>,
        moment1: FloatTensor<Self>,
        moment2: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        grad_norm: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [p, m, v] = [parameter, moment1, moment2].map(launch::owned);
        let (g, norm) = (contiguous(gradient), contiguous(grad_norm));
        let length = p.shape()[0];
        let vectors = length.is_multiple_of(4);
        let length = if vectors { length / 4 } else { length };
        let shader = shader(Form::of(&p.client), vectors);
        let count = shader.for_elements(length as u32);
        shader.launch(&p.client, count, &[&p, &m, &v, &g, &norm], Params::new(length, step));
        (p, m, v)
    }
}

#[cfg(test)]
mod tests;
