//! `cross_entropy`: sum of `−log softmax(logits)[target]` over rows, and its gradient, without a copy of the logits.

use super::cpu::{exp, max, owned, sum2, tensor, values, vectorised};
use burn::backend::{
    Autodiff, Backend, Dispatch, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    flex::{Flex, FlexTensor},
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{DType, Int, Tensor, activation::log_softmax};
use rayon::prelude::*;

/// Sum over rows of `log Σ exp(logits) − logits[target]`: `logits: [n, classes]`, `targets: [n]`, result `[1]`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    if super::on_cpu(&logits.device()) {
        return Tensor::from_dispatch(Dispatch::cross_entropy(logits.into_dispatch(), targets.into_dispatch()));
    }
    composed(logits, targets)
}

/// The same from plain Burn operations: what GPUs run, and an oracle for the fused form.
pub(crate) fn composed(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    log_softmax(logits, 1).gather(1, targets.unsqueeze_dim(1)).sum().neg()
}

/// The loss, on primitives.
#[backend_extension(Autodiff, Flex)]
pub trait CrossEntropy: Backend {
    /// See [`cross_entropy`].
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self>;
    /// Gradient to the logits: `g · (softmax(logits) − one-hot(target))`, written over them where they are not shared.
    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        g: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl<B: CrossEntropy, C: CheckpointStrategy> CrossEntropy for Autodiff<B, C> {
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct CrossEntropyBackward;

        impl<B: CrossEntropy> Backward<B, 1> for CrossEntropyBackward {
            type State = (FloatTensor<B>, IntTensor<B>);

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node] = ops.parents;
                let (logits, targets) = ops.state;
                let g = grads.consume::<B>(&ops.node);
                if let Some(node) = node {
                    grads.register::<B>(node.id, B::cross_entropy_backward(logits, targets, g));
                }
            }
        }

        match CrossEntropyBackward.prepare::<C>([logits.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let logits = logits.into_primitive();
                prep.finish((logits.clone(), targets.clone()), B::cross_entropy(logits, targets))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::cross_entropy(logits.into_primitive(), targets)),
        }
    }

    fn cross_entropy_backward(_: FloatTensor<Self>, _: IntTensor<Self>, _: FloatTensor<Self>) -> FloatTensor<Self> {
        super::no_second_derivative("cross_entropy")
    }
}

impl CrossEntropy for Flex {
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        let [_, classes] = logits.shape().dims::<2>();
        let (logits, targets) = (logits.to_contiguous(), indices(targets));
        let losses: Vec<f64> = values(&logits)
            .par_chunks(classes)
            .zip(targets.par_iter())
            .map(|(row, target)| log_sum_exp(row) - f64::from(row[*target]))
            .collect();
        tensor(vec![losses.iter().sum::<f64>() as f32], [1])
    }

    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        g: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [_, classes] = logits.shape().dims::<2>();
        let g = values(&g.to_contiguous())[0];
        let targets = indices(targets);
        let mut logits = owned(logits);
        logits.storage_mut::<f32>().par_chunks_mut(classes).zip(targets.par_iter()).for_each(|(row, target)| {
            let norm = log_sum_exp(row) as f32;
            scaled_softmax(row, norm, g);
            row[*target] -= g;
        });
        logits
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
    fn scaled_softmax(row: &mut [f32], norm: f32, g: f32) {
        for value in row {
            *value = g * exp::<FMA>(*value - norm);
        }
    }
}

/// Target classes as indices.
fn indices(targets: FlexTensor) -> Vec<usize> {
    let targets = targets.to_contiguous();
    match targets.dtype() {
        DType::I32 => targets.as_slice::<i32>().expect("contiguous i32").iter().map(|v| *v as usize).collect(),
        DType::I64 => targets.as_slice::<i64>().expect("contiguous i64").iter().map(|v| *v as usize).collect(),
        other => panic!("targets of type {other:?}"),
    }
}
