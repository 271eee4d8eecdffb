//! `cross_entropy`: sum of `−log softmax(logits)[target]` over rows, and its gradient, without a copy of the logits.

use super::cpu::{exp, indices, max, owned, sum2, tensor, values, vectorised};
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
    ops::FloatTensorOps,
    tensor::{FloatTensor, IntTensor},
    wgpu::{CubeBackend, CubeTensor, into_contiguous},
};
use burn::tensor::{DType, Int, Shape, Tensor};
use rayon::prelude::*;

/// Sum over rows of `log Σ exp(logits) − logits[target]`: `logits: [n, classes]`, `targets: [n]`, result `[1]`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::cross_entropy(logits.into_dispatch(), targets.into_dispatch()))
}

/// The loss, on primitives.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait CrossEntropy: Backend {
    /// See [`cross_entropy`].
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self>;
    /// The loss, and its gradient to the logits, `softmax(logits) − one-hot(target)`, written over them where they are not
    /// shared.
    fn cross_entropy_and_gradient(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl<B: CrossEntropy, C: CheckpointStrategy> CrossEntropy for Autodiff<B, C> {
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        match ScaledGradient.prepare::<C>([logits.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (loss, gradient) = B::cross_entropy_and_gradient(logits.into_primitive(), targets);
                prep.finish(gradient, loss)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::cross_entropy(logits.into_primitive(), targets)),
        }
    }

    fn cross_entropy_and_gradient(_: FloatTensor<Self>, _: IntTensor<Self>) -> (FloatTensor<Self>, FloatTensor<Self>) {
        super::no_second_derivative("cross_entropy")
    }
}

/// Of a loss whose gradient was made along with it: that, times what the loss itself is multiplied with.
#[derive(Debug)]
pub(super) struct ScaledGradient;

impl<B: Backend> Backward<B, 1> for ScaledGradient {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [node] = ops.parents;
        let g = grads.consume::<B>(&ops.node);
        if let Some(node) = node {
            let g = B::float_reshape(g, Shape::from([1, 1]));
            grads.register::<B>(node.id, B::float_mul(ops.state, g));
        }
    }
}

impl CrossEntropy for Flex {
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        let [_, classes] = logits.shape().dims::<2>();
        let (logits, targets) = (logits.to_contiguous(), indices(targets));
        let rows = values(&logits).par_chunks(classes).zip(targets.par_iter());
        let losses: Vec<f64> = rows.map(|(row, target)| log_sum_exp(row) - f64::from(row[*target])).collect();
        tensor(vec![losses.iter().sum::<f64>() as f32], [1])
    }

    fn cross_entropy_and_gradient(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [_, classes] = logits.shape().dims::<2>();
        let targets = indices(targets);
        let mut logits = owned(logits);
        let rows = logits.storage_mut::<f32>().par_chunks_mut(classes).zip(targets.par_iter());
        let losses: Vec<f64> = rows
            .map(|(row, target)| {
                let norm = log_sum_exp(row);
                let loss = norm - f64::from(row[*target]);
                softmax(row, norm as f32);
                row[*target] -= 1.0;
                loss
            })
            .collect();
        (tensor(vec![losses.iter().sum::<f64>() as f32], [1]), logits)
    }
}

/// Logits to reach before the sum of exponentials is carried over to f64: f32 alone is off by 1e-5 at 49,152 classes.
const STRETCH: usize = 1024;

vectorised! {
    fn log_sum_exp(row: &[f32]) -> f64 {
        let largest = max(row);
        let mut sum = 0.0;
        // A loop, not an iterator's sum: that would be compiled on its own, for the least of all instruction sets.
        for part in row.chunks(STRETCH) {
            sum += f64::from(sum2(part, part, |x, _| exp::<FMA>(x - largest)));
        }
        sum.ln() + f64::from(largest)
    }
}

vectorised! {
    fn softmax(row: &mut [f32], norm: f32) {
        for value in row {
            *value = exp::<FMA>(*value - norm);
        }
    }
}

/// Uniform block of `cross_entropy.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub classes: u32,
    /// Register form: stretches of [`STRETCH_ON_GPU`] classes in a row.
    pub stretches: u32,
    pub pad: u32,
}

/// Classes that an invocation of the register form takes.
const STRETCH_ON_GPU: u32 = 1024;

/// `cross_entropy.wgsl`. Register form: one of its three parts, `PARTIAL`, `NORM` or `GRADIENT`; workgroup form: `GRADIENT`
/// or nothing.
pub(crate) fn shader(form: Form, part: Option<&'static str>) -> Shader {
    let workgroup = match form {
        Form::Register => [8, 1, 1],
        Form::Workgroup => [256, 1, 1],
    };
    let text = include_str!("../../shaders/cross_entropy.wgsl");
    let constants = part.map(|part| (part, 1)).into_iter().collect();
    Shader { name: "cross_entropy", text, form, constants, workgroup }
}

/// Losses of all rows, `[rows]`; with `gradient`, that is written over the logits.
fn run(logits: &CubeTensor, targets: CubeTensor, gradient: bool) -> CubeTensor {
    assert_eq!(targets.dtype, DType::I32, "targets are i32 on a GPU");
    let targets = into_contiguous(targets);
    let client = &logits.client;
    let [rows, classes] = logits.shape().dims::<2>();
    let losses = empty_like(logits, Shape::from([rows]));
    let stretches = (classes as u32).div_ceil(STRETCH_ON_GPU);
    let params = Params { rows: rows as u32, classes: classes as u32, stretches, pad: 0 };
    let form = Form::of(client);
    if form == Form::Workgroup {
        let shader = shader(form, gradient.then_some("GRADIENT"));
        let count = shader.for_rows(params.rows);
        shader.launch(client, count, &[logits, &targets, &losses], params);
        return losses;
    }
    let step = |part, invocations: u32, buffers: &[&CubeTensor]| {
        let shader = shader(form, Some(part));
        let count = shader.for_rows(invocations);
        shader.launch(client, count, buffers, params);
    };
    let partial = empty_like(logits, Shape::from([rows * stretches as usize, 2]));
    let norms = empty_like(logits, Shape::from([rows]));
    step("PARTIAL", params.rows * stretches, &[logits, &partial]);
    step("NORM", params.rows, &[logits, &partial, &targets, &losses, &norms]);
    if gradient {
        step("GRADIENT", params.rows * stretches, &[logits, &targets, &norms]);
    }
    losses
}

impl CrossEntropy for CubeBackend {
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        Self::float_sum(run(&contiguous(logits), targets, false))
    }

    fn cross_entropy_and_gradient(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let logits = launch::owned(logits);
        let losses = run(&logits, targets, true);
        (Self::float_sum(losses), logits)
    }
}
