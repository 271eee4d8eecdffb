//! `linear_cross_entropy`: the head and the loss as one operation, so that the logits are never whole.
//!
//! The loss is a sum, so the gradient of its terms is known as soon as they are: logits are made for a few rows at a
//! time, turned into the loss, then into their own gradient in place, and multiplied back. What stays is as small as
//! the hidden states.

use super::cross_entropy::{CrossEntropy, ScaledGradient};
use super::matmul::{Multiply, Product};
use burn::backend::{
    Autodiff, Backend, Dispatch, TensorMetadata,
    autodiff::{
        checkpoint::strategy::CheckpointStrategy,
        ops::{Backward, OpsKind},
    },
    backend_extension,
    flex::Flex,
    tensor::{FloatTensor, IntTensor},
    wgpu::CubeBackend,
};
use burn::tensor::{Int, Slice, Tensor};

/// Sum over rows of `−log softmax(hidden·weightᵀ)[target]`: `hidden: [n, width]`, `weight: [classes, width]`,
/// `targets: [n]`, result `[1]`.
///
/// Logits exist for a few rows at a time only, unless `weight` is trained.
///
/// # Panics
/// If the shapes do not fit together.
pub fn linear_cross_entropy(hidden: Tensor<2>, weight: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let ([n, width], [_, inner], [count]) = (hidden.dims(), weight.dims(), targets.dims());
    assert!(width == inner && n == count, "linear_cross_entropy: {n} x {width}, {inner} wide, {count} targets");
    let (hidden, weight, targets) = (hidden.into_dispatch(), weight.into_dispatch(), targets.into_dispatch());
    Tensor::from_dispatch(Dispatch::linear_cross_entropy(hidden, weight, targets))
}

/// The loss, on primitives.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait LinearCrossEntropy: Backend {
    /// See [`linear_cross_entropy`].
    fn linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Logits that exist at a time, at most: 32 MiB.
const MOST_LOGITS: usize = 1 << 23;

/// Rows whose logits are made at a time.
fn rows_at_a_time(classes: usize) -> usize {
    (MOST_LOGITS / classes).max(1)
}

/// The loss, and where it is asked for its gradient to `hidden`.
fn in_parts<B: Multiply + CrossEntropy>(
    hidden: FloatTensor<B>,
    weight: FloatTensor<B>,
    targets: IntTensor<B>,
    with_gradient: bool,
) -> (FloatTensor<B>, Option<FloatTensor<B>>) {
    let (n, classes) = (hidden.shape()[0], weight.shape()[0]);
    let (mut losses, mut gradients) = (Vec::new(), Vec::new());
    for first in (0..n).step_by(rows_at_a_time(classes)) {
        let rows = Slice::from(first..(first + rows_at_a_time(classes)).min(n));
        let targets = B::int_slice(targets.clone(), &[rows]);
        let hidden = B::float_slice(hidden.clone(), &[rows, Slice::full()]);
        let logits = B::multiply_as(hidden, weight.clone(), Product::Rows);
        if with_gradient {
            let (loss, gradient) = B::cross_entropy_and_gradient(logits, targets);
            losses.push(loss);
            gradients.push(B::multiply_as(gradient, weight.clone(), Product::Plain));
        } else {
            losses.push(B::cross_entropy(logits, targets));
        }
    }
    let loss = B::float_sum(B::float_cat(losses, 0));
    (loss, with_gradient.then(|| B::float_cat(gradients, 0)))
}

impl<B: LinearCrossEntropy + Multiply + CrossEntropy, C: CheckpointStrategy> LinearCrossEntropy for Autodiff<B, C> {
    fn linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        if weight.is_tracked() {
            let logits = Self::multiply_as(hidden, weight, Product::Rows);
            return Self::cross_entropy(logits, targets);
        }
        let weight = weight.into_primitive();
        match ScaledGradient.prepare::<C>([hidden.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (loss, gradient) = in_parts::<B>(hidden.into_primitive(), weight, targets, true);
                prep.finish(gradient.expect("it was asked for"), loss)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::linear_cross_entropy(hidden.into_primitive(), weight, targets)),
        }
    }
}

impl LinearCrossEntropy for Flex {
    fn linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        in_parts::<Self>(hidden, weight, targets, false).0
    }
}

impl LinearCrossEntropy for CubeBackend {
    fn linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        in_parts::<Self>(hidden, weight, targets, false).0
    }
}

#[cfg(test)]
mod tests;
