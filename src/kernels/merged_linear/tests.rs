//! `merged_linear` against a composition of plain operations, with the weight that holds the blocks.

use super::*;
use crate::kernels::{Form, block_matmul, diagonal_blocks, linear, merge_blocks};
use crate::testing::{LayerResults, assert_differences, gpu, random_on, with_form};
use burn::tensor::{Device, TensorData};

fn all_sizes(device: &Device) {
    for (tokens, [n, di, dd]) in
        [(1, [1, 1, 1]), (1, [3, 5, 2]), (37, [1, 9, 21]), (37, [3, 9, 21]), (64, [4, 16, 16]), (130, [7, 3, 1])]
    {
        let (weight, g) = (random_on(device, 1, [n * dd, n * di]), random_on(device, 4, [tokens, n * dd]));
        let x = random_on(device, 2, [tokens, n * di]).autodiff().require_grad();
        let blocks = random_on(device, 3, [n, di, dd]).autodiff().require_grad();

        let original = diagonal_blocks(weight.clone(), n);
        let merged = merge_blocks(weight.clone(), original, blocks.clone().inner(), true);
        let ours = merged_linear(x.clone(), merged, blocks.clone());
        let ours = LayerResults::of(ours, g.clone(), &x, Some(&blocks));
        let beside = block_matmul(linear(x.clone(), weight), x.clone(), blocks.clone());
        let beside = LayerResults::of(beside, g, &x, Some(&blocks));
        ours.assert_close(beside, 1e-5, &format!("{tokens} tokens, {n} x {di} x {dd}"));
    }
}

#[test]
fn the_same_as_the_blocks_beside_the_weight_on_the_cpu() {
    all_sizes(&Device::flex());
}

#[test]
fn the_same_as_the_blocks_beside_the_weight_on_the_gpu() {
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || all_sizes(&device));
    }
}

#[test]
fn gradients_by_finite_differences() {
    let device = Device::flex();
    let (tokens, n, di, dd) = (5, 2, 3, 4);
    let (x, weight, g) = (
        random_on(&device, 1, [tokens, n * di]),
        random_on(&device, 2, [n * dd, n * di]),
        random_on(&device, 3, [tokens, n * dd]),
    );
    let original = diagonal_blocks(weight.clone(), n);
    let loss = |x: Tensor<2>, blocks: Tensor<3>| -> f64 {
        let merged = merge_blocks(weight.clone(), original.clone(), blocks.clone(), true);
        f64::from((merged_linear(x, merged, blocks) * g.clone()).sum().into_scalar::<f32>())
    };
    let zero = Tensor::<3>::zeros([n, di, dd], &device);
    let tracked = (x.clone().autodiff().require_grad(), zero.clone().autodiff().require_grad());
    let y = merged_linear(tracked.0.clone(), weight.clone(), tracked.1.clone());
    let LayerResults { dx, d_blocks, .. } = LayerResults::of(y, g.clone(), &tracked.0, Some(&tracked.1));
    assert_differences(|x| loss(x, zero.clone()), &x, dx, "x");
    assert_differences(|blocks| loss(x.clone(), blocks), &zero, d_blocks.expect("tracked"), "block");
}

#[test]
fn only_what_is_tracked_gets_a_gradient() {
    let device = Device::flex();
    let weight = random_on(&device, 1, [4, 6]);
    let blocks = random_on(&device, 2, [2, 3, 2]).autodiff().require_grad();
    let mut grads =
        merged_linear(random_on(&device, 3, [5, 6]).autodiff(), weight.clone(), blocks.clone()).sum().backward();
    assert!(blocks.grad_remove(&mut grads).is_some());

    let x = random_on(&device, 3, [5, 6]).autodiff().require_grad();
    let frozen = random_on(&device, 2, [2, 3, 2]).autodiff();
    let mut grads = merged_linear(x.clone(), weight, frozen.clone()).sum().backward();
    assert!(x.grad_remove(&mut grads).is_some() && frozen.grad(&grads).is_none());
}

/// The gradient to blocks that lie within a larger buffer, and what that buffer holds then.
fn within_a_buffer(device: &Device) {
    // The second is summed over several stretches of tokens in both forms.
    for (tokens, [n, di, dd]) in [(5, [4, 16, 16]), (700, [2, 8, 4]), (33, [3, 8, 24])] {
        let (x, weight) = (random_on(device, 1, [tokens, n * di]), random_on(device, 2, [n * dd, n * di]));
        let (g, count) = (random_on(device, 3, [tokens, n * dd]), n * di * dd);
        let gradient = |layer: fn(Tensor<2>, Tensor<2>, Tensor<3>) -> Tensor<2>, blocks: Tensor<3>| {
            let blocks = blocks.autodiff().require_grad();
            let mut grads = (layer(x.clone(), weight.clone(), blocks.clone()) * g.clone()).sum().backward();
            blocks.grad_remove(&mut grads).expect("a gradient").into_data()
        };
        let buffer = Tensor::<1>::ones([64 + count + 128], device);
        let place = buffer.clone().narrow(0, 64, count).reshape([n, di, dd]);
        let expected = gradient(merged_linear, place.clone());
        assert_eq!(place.clone().into_data(), TensorData::ones::<f32, _>([n, di, dd]), "it leaves the blocks alone");
        assert_eq!(gradient(merged_linear_in_place, place.clone()), expected);
        let written = if *device == Device::flex() { TensorData::ones::<f32, _>([n, di, dd]) } else { expected };
        assert_eq!(place.into_data(), written);
        for (first, length) in [(0, 64), (64 + count, 128)] {
            let beside = buffer.clone().narrow(0, first, length).into_data();
            assert_eq!(beside, TensorData::ones::<f32, _>([length]), "what lies beside it");
        }
    }
}

#[test]
fn gradients_are_written_where_they_belong() {
    within_a_buffer(&Device::flex());
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || within_a_buffer(&device));
    }
}
