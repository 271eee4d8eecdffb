//! `linear_cross_entropy`: the head and the loss as one operation, so that the logits are never whole.
//!
//! The loss is a sum, so the gradient of its terms is known as soon as they are: logits are made for a few rows at a
//! time, turned into the loss, then into their own gradient in place, and multiplied back. What stays is as small as
//! the hidden states.

use super::cross_entropy::{CrossEntropy, ScaledGradient};
use super::dequantize::{Dequantize, Stored, StoredWeight};
use super::matmul::{Multiply, Product};
use super::stored_linear::{Scratch, inner};
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

/// The same with a weight that stays as its file has it.
///
/// # Panics
/// If the shapes do not fit together.
pub fn stored_linear_cross_entropy(hidden: Tensor<2>, weight: &StoredWeight, targets: Tensor<1, Int>) -> Tensor<1> {
    let ([n, width], [_, inner], [count]) = (hidden.dims(), weight.shape, targets.dims());
    assert!(width == inner && n == count, "linear_cross_entropy: {n} x {width}, {inner} wide, {count} targets");
    let (hidden, targets) = (hidden.into_dispatch(), targets.into_dispatch());
    Tensor::from_dispatch(Dispatch::stored_linear_cross_entropy(hidden, weight.clone(), targets))
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
    /// See [`stored_linear_cross_entropy`].
    fn stored_linear_cross_entropy(
        hidden: FloatTensor<Self>,
        #[extension_type] weight: Stored<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Logits that exist at a time, at most: 32 MiB.
const MOST_LOGITS: usize = 1 << 23;

/// Rows whose logits are made at a time.
pub(crate) fn rows_at_a_time(classes: usize) -> usize {
    (MOST_LOGITS / classes).max(1)
}

/// A weight that logits are made with.
trait Head<B: Backend> {
    fn classes(&self) -> usize;
    /// `hidden·Wᵀ`.
    fn logits(&mut self, hidden: FloatTensor<B>) -> FloatTensor<B>;
    /// `g·W`.
    fn to_hidden(&mut self, g: FloatTensor<B>) -> FloatTensor<B>;
}

/// A head in f32.
struct Dense<B: Backend>(FloatTensor<B>);

impl<B: Multiply> Head<B> for Dense<B> {
    fn classes(&self) -> usize {
        self.0.shape()[0]
    }

    fn logits(&mut self, hidden: FloatTensor<B>) -> FloatTensor<B> {
        B::multiply_as(hidden, self.0.clone(), Product::Rows)
    }

    fn to_hidden(&mut self, g: FloatTensor<B>) -> FloatTensor<B> {
        B::multiply_as(g, self.0.clone(), Product::Plain)
    }
}

impl<B: Dequantize + Multiply> Head<B> for Scratch<B> {
    fn classes(&self) -> usize {
        self.rows()
    }

    fn logits(&mut self, hidden: FloatTensor<B>) -> FloatTensor<B> {
        self.product(hidden)
    }

    fn to_hidden(&mut self, g: FloatTensor<B>) -> FloatTensor<B> {
        self.product_to_input(g)
    }
}

/// The loss, and where it is asked for its gradient to `hidden`.
fn in_parts<B: Multiply + CrossEntropy>(
    hidden: FloatTensor<B>,
    mut head: impl Head<B>,
    targets: IntTensor<B>,
    with_gradient: bool,
) -> (FloatTensor<B>, Option<FloatTensor<B>>) {
    let (n, classes) = (hidden.shape()[0], head.classes());
    let (mut losses, mut gradients) = (Vec::new(), Vec::new());
    for first in (0..n).step_by(rows_at_a_time(classes)) {
        let rows = Slice::from(first..(first + rows_at_a_time(classes)).min(n));
        let targets = B::int_slice(targets.clone(), &[rows]);
        let hidden = B::float_slice(hidden.clone(), &[rows, Slice::full()]);
        let logits = head.logits(hidden);
        if with_gradient {
            let (loss, gradient) = B::cross_entropy_and_gradient(logits, targets);
            losses.push(loss);
            gradients.push(head.to_hidden(gradient));
        } else {
            losses.push(B::cross_entropy(logits, targets));
        }
    }
    let loss = B::float_sum(B::float_cat(losses, 0));
    (loss, with_gradient.then(|| B::float_cat(gradients, 0)))
}

impl<B, C> LinearCrossEntropy for Autodiff<B, C>
where
    B: LinearCrossEntropy + Multiply + CrossEntropy + Dequantize,
    C: CheckpointStrategy,
{
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
                let (loss, gradient) = in_parts::<B>(hidden.into_primitive(), Dense(weight), targets, true);
                prep.finish(gradient.expect("it was asked for"), loss)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::linear_cross_entropy(hidden.into_primitive(), weight, targets)),
        }
    }

    fn stored_linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: Stored<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let weight = inner(weight);
        match ScaledGradient.prepare::<C>([hidden.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let scratch = Scratch::new(weight, None);
                let (loss, gradient) = in_parts::<B>(hidden.into_primitive(), scratch, targets, true);
                prep.finish(gradient.expect("it was asked for"), loss)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::stored_linear_cross_entropy(hidden.into_primitive(), weight, targets))
            }
        }
    }
}

impl LinearCrossEntropy for Flex {
    fn linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        in_parts::<Self>(hidden, Dense(weight), targets, false).0
    }

    fn stored_linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: Stored<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        in_parts::<Self>(hidden, Scratch::new(weight, None), targets, false).0
    }
}

impl LinearCrossEntropy for CubeBackend {
    fn linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        in_parts::<Self>(hidden, Dense(weight), targets, false).0
    }

    fn stored_linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: Stored<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        in_parts::<Self>(hidden, Scratch::new(weight, None), targets, false).0
    }
}

#[cfg(test)]
mod tests;
