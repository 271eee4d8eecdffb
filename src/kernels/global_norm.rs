//! `global_norm`: the Euclidean norm of a flat buffer, left on the device.

use super::cpu::{tensor, values, vectorised};
use super::launch::{Form, Shader, contiguous, empty_like};
use burn::backend::{
    Backend, Dispatch, TensorMetadata, backend_extension,
    flex::Flex,
    tensor::FloatTensor,
    wgpu::{CubeBackend, CubeTensor},
};
use burn::tensor::{Shape, Tensor};
use rayon::prelude::*;

/// `sqrt(Σ values²)` as a tensor of one element, summed in a fixed order; `values: [n]`, f32, n ≥ 1.
pub fn global_norm(values: Tensor<1>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::global_norm(values.into_dispatch()))
}

/// The norm, on primitives.
#[backend_extension(Cube, Flex)]
pub trait GlobalNorm: Backend {
    /// See [`global_norm`].
    fn global_norm(values: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Elements a thread of the CPU twin sums; fixed, so that the order of the sum is too.
const STRETCH: usize = 1 << 14;

impl GlobalNorm for Flex {
    fn global_norm(values: FloatTensor<Self>) -> FloatTensor<Self> {
        let values = values.to_contiguous();
        let values = self::values(&values);

        let partial: Vec<f64> = values.par_chunks(STRETCH).map(sum_of_squares).collect();
        let norm = partial.iter().sum::<f64>().sqrt() as f32;
        tensor(vec![norm], [1])
    }
}

vectorised! {
    /// In f64, eight running sums wide.
    fn sum_of_squares(values: &[f32]) -> f64 {
        let mut lanes = [0.0f64; 8];
        let chunks = values.chunks_exact(8);
        let mut rest = 0.0;
        for value in chunks.remainder() {
            rest += f64::from(*value) * f64::from(*value);
        }
        for chunk in chunks {
            for lane in 0..8 {
                lanes[lane] += f64::from(chunk[lane]) * f64::from(chunk[lane]);
            }
        }
        lanes.iter().sum::<f64>() + rest
    }
}

/// Uniform block of `global_norm.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub length: u32,
    /// Elements that one invocation (register) or workgroup (workgroup) sums.
    pub stretch: u32,
    /// 1: square the elements as they are read.
    pub square: u32,
    /// 1: the result is the root of the sum.
    pub root: u32,
}

/// `global_norm.wgsl` in `form`.
pub(crate) fn shader(form: Form) -> Shader {
    let threads = match form {
        Form::Register => 64,
        Form::Workgroup => 256,
    };
    let text = include_str!("../../shaders/global_norm.wgsl");
    Shader { name: "global_norm", text, form, constants: vec![], workgroup: [threads, 1, 1] }
}

impl GlobalNorm for CubeBackend {
    fn global_norm(values: FloatTensor<Self>) -> FloatTensor<Self> {
        /// Partial sums of the first launch, at most.
        const PARTIALS: u32 = 256;
        let values = contiguous(values);
        let length = values.shape()[0] as u32;
        let stretch = length.div_ceil(PARTIALS).next_multiple_of(4);
        let partials = length.div_ceil(stretch);
        let form = Form::of(&values.client);
        let sum = |from: &CubeTensor, params: Params| {
            let outputs = params.length.div_ceil(params.stretch);
            let sums = empty_like(from, Shape::from([outputs as usize]));
            let shader = shader(form);
            let groups = match form {
                Form::Register => outputs.div_ceil(shader.workgroup[0]),
                Form::Workgroup => outputs,
            };
            shader.launch(&from.client, [groups, 1, 1], &[from, &sums], params);
            sums
        };
        let squares = sum(&values, Params { length, stretch, square: 1, root: 0 });
        sum(&squares, Params { length: partials, stretch: partials, square: 0, root: 1 })
    }
}

#[cfg(test)]
mod tests;
