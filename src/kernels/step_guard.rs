//! `step_guard`: the numbers of a training step, and whether it may change anything, decided on the device.
//!
//! Steps are queued before the numbers of the ones before them are known. Once a loss or a norm is not finite, no later
//! step may change anything either, so the verdict is handed from step to step.

use super::cpu::{tensor, values};
use super::launch::{Form, Shader, contiguous, empty_like};
use burn::backend::{Backend, Dispatch, backend_extension, flex::Flex, tensor::FloatTensor, wgpu::CubeBackend};
use burn::tensor::{Shape, Tensor};

/// `[norm, loss]` as one tensor of two values: what [`adamw`](super::adamw()) takes as norm, and what is read.
///
/// The norm is infinite where `norm: [1]`, `loss: [1]` or the first of `before: [2]`, the same numbers of the step before,
/// is not finite.
pub fn step_guard(norm: Tensor<1>, loss: Tensor<1>, before: Tensor<1>) -> Tensor<1> {
    assert_eq!((norm.dims(), loss.dims(), before.dims()), ([1], [1], [2]), "step_guard: norm, loss, numbers before");
    let (norm, loss, before) = (norm.into_dispatch(), loss.into_dispatch(), before.into_dispatch());
    Tensor::from_dispatch(Dispatch::step_guard(norm, loss, before))
}

/// The guard, on primitives.
#[backend_extension(Cube, Flex)]
pub trait StepGuard: Backend {
    /// See [`step_guard`].
    fn step_guard(norm: FloatTensor<Self>, loss: FloatTensor<Self>, before: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl StepGuard for Flex {
    fn step_guard(norm: FloatTensor<Self>, loss: FloatTensor<Self>, before: FloatTensor<Self>) -> FloatTensor<Self> {
        let [norm, loss, before] = [norm, loss, before].map(|tensor| values(&tensor.to_contiguous())[0]);
        let good = [norm, loss, before].iter().all(|value| value.is_finite());
        tensor(vec![if good { norm } else { f32::INFINITY }, loss], [2])
    }
}

/// `step_guard.wgsl`: one invocation, so both forms are one.
pub(crate) fn shader(form: Form) -> Shader {
    let text = include_str!("../../shaders/step_guard.wgsl");
    Shader { name: "step_guard", text, form, constants: vec![], workgroup: [1, 1, 1] }
}

impl StepGuard for CubeBackend {
    fn step_guard(norm: FloatTensor<Self>, loss: FloatTensor<Self>, before: FloatTensor<Self>) -> FloatTensor<Self> {
        let [norm, loss, before] = [norm, loss, before].map(contiguous);
        let numbers = empty_like(&norm, Shape::from([2]));
        shader(Form::of(&norm.client)).launch(&norm.client, [1, 1, 1], &[&norm, &loss, &before, &numbers], ());
        numbers
    }
}

#[cfg(test)]
mod tests;
