//! `linear_cross_entropy` against a composition of plain operations.

use super::*;
use crate::kernels::dequantize::tests::stored;
use crate::kernels::{Form, cross_entropy};
use crate::testing::{assert_close, gpu, random, random_on, with_form};
use crate::weights::{TensorType, quantize_q8_0};
use burn::tensor::{Device, TensorData, activation::log_softmax};

fn targets(n: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    let targets: Vec<i32> = (0..n).map(|i| ((i * 7919) % classes) as i32).collect();
    Tensor::from_data(targets.as_slice(), device)
}

fn composed(hidden: Tensor<2>, weight: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let logits = hidden.matmul(weight.transpose());
    log_softmax(logits, 1).gather(1, targets.unsqueeze_dim(1)).sum().neg()
}

fn all_sizes(device: &Device) {
    // The last one takes three parts of up to 119 rows.
    for (n, width, classes) in [(1, 1, 1), (1, 3, 5), (7, 9, 33), (130, 16, 257), (3, 4, 49_152), (300, 4, 70_000)] {
        let what = format!("{n} x {width} to {classes}");
        let loss = |f: fn(Tensor<2>, Tensor<2>, Tensor<1, Int>) -> Tensor<1>, device: &Device| {
            let hidden = (random_on(device, 1, [n, width]) * 4.0).autodiff().require_grad();
            let loss = f(hidden.clone(), random_on(device, 2, [classes, width]), targets(n, classes, device));
            let mut grads = (loss.clone() * 0.5).sum().backward();
            let gradient = hidden.grad_remove(&mut grads).expect("gradient");
            let back = |values: TensorData| values.try_into_vec::<f32>().expect("f32");
            (back(loss.inner().into_data()), back(gradient.into_data()))
        };
        let (ours, plain) = (loss(linear_cross_entropy, device), loss(composed, &Device::flex()));
        let cpu = |values: &[f32]| Tensor::<1>::from_data(values, &Device::flex());
        assert_close(cpu(&ours.0), cpu(&plain.0), 5e-6, &what);
        if classes > 1 {
            assert_close(cpu(&ours.1), cpu(&plain.1), 1e-4, &what);
        }
        let untracked = linear_cross_entropy(
            random_on(device, 1, [n, width]) * 4.0,
            random_on(device, 2, [classes, width]),
            targets(n, classes, device),
        );
        assert_eq!(untracked.into_data().try_into_vec::<f32>().expect("f32"), ours.0, "{what}: evaluation");
    }
}

#[test]
fn the_composition_of_its_parts_on_the_cpu() {
    all_sizes(&Device::flex());
}

#[test]
fn the_composition_of_its_parts_on_the_gpu() {
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || all_sizes(&device));
    }
}

/// A head in three parts, of more stretches: the same as the head in f32.
fn stored_heads(device: &Device) {
    for (n, classes) in [(1, 5), (7, 33), (90, 700), (3, 49_152), (300, 70_000)] {
        let width = 32;
        let bytes = quantize_q8_0(&random(2, classes * width)).expect("small values");
        let head = stored(TensorType::Q8_0, [classes, width], &bytes, &[0, 1, classes / 2], device);
        let results = |loss: &dyn Fn(Tensor<2>) -> Tensor<1>| {
            let hidden = (random_on(device, 1, [n, width]) * 4.0).autodiff().require_grad();
            let loss = loss(hidden.clone());
            let mut grads = (loss.clone() * 0.5).sum().backward();
            (loss.inner(), hidden.grad_remove(&mut grads).expect("gradient"))
        };
        let dense = head.to_dense();
        let ours = results(&|hidden| stored_linear_cross_entropy(hidden, &head, targets(n, classes, device)));
        let plain = results(&|hidden| linear_cross_entropy(hidden, dense.clone(), targets(n, classes, device)));
        let what = format!("{n} x {classes}");
        assert_close(ours.0.clone(), plain.0, 1e-6, &what);
        assert_close(ours.1, plain.1, 1e-5, &what);
        let untracked = random_on(device, 1, [n, width]) * 4.0;
        let untracked = stored_linear_cross_entropy(untracked, &head, targets(n, classes, device));
        assert_close(untracked, ours.0, 1e-6, &what);
    }
}

#[test]
fn a_head_that_is_stored() {
    stored_heads(&Device::flex());
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || stored_heads(&device));
    }
}

#[test]
fn a_head_that_is_trained_gets_its_gradient() {
    for device in [Device::flex(), gpu()] {
        let both = |f: fn(Tensor<2>, Tensor<2>, Tensor<1, Int>) -> Tensor<1>| {
            let hidden = random_on(&device, 1, [9, 6]).autodiff().require_grad();
            let weight = random_on(&device, 2, [31, 6]).autodiff().require_grad();
            let mut grads = f(hidden.clone(), weight.clone(), targets(9, 31, &device)).backward();
            [hidden, weight].map(|input| input.grad_remove(&mut grads).expect("gradient"))
        };
        let plain = both(composed);
        for (ours, plain) in both(linear_cross_entropy).into_iter().zip(plain) {
            assert_close(ours, plain, 1e-5, "gradient");
        }
    }
}

#[test]
fn the_shader_is_its_twin_in_both_forms() {
    let device = gpu();
    for (n, classes) in [(1, 1), (1, 300), (5, 17), (33, 1000), (3, 49_152)] {
        let both = |device: &Device| {
            let logits = (random_on(device, 3, [n, classes]) * 30.0).autodiff().require_grad();
            let loss = cross_entropy(logits.clone(), targets(n, classes, device));
            let mut grads = (loss.clone() * 0.3).backward();
            let gradient = logits.grad_remove(&mut grads).expect("gradient");
            (loss.inner().into_data(), gradient.into_data())
        };
        let twin = both(&Device::flex());
        for form in Form::ALL {
            let ours = with_form(form, || both(&device));
            let cpu = |values: TensorData| {
                Tensor::<1>::from_data(values.try_into_vec::<f32>().expect("f32").as_slice(), &Device::flex())
            };
            let what = format!("{n} x {classes}, {form:?}");
            assert_close(cpu(ours.0), cpu(twin.0.clone()), 2e-6, &what);
            if classes > 1 {
                assert_close(cpu(ours.1), cpu(twin.1.clone()), 2e-5, &what);
            }
        }
    }
}
