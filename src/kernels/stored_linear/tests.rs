//! `stored_linear` against a composition of plain operations on the weight in f32.

use super::*;
use crate::kernels::dequantize::tests::stored;
use crate::kernels::{Form, block_matmul, linear};
use crate::testing::{LayerResults, assert_differences, gpu, random, random_on, with_form};
use crate::weights::{FloatType, TensorType, quantize_q8_0};
use burn::tensor::Device;

fn weight(format: TensorType, shape: [usize; 2], starts: &[usize], device: &Device) -> StoredWeight {
    let values = random(1, shape[0] * shape[1]);
    let bytes = match format {
        TensorType::Q8_0 => quantize_q8_0(&values),
        TensorType::F16 => FloatType::F16.encode(&values),
        _ => FloatType::F32.encode(&values),
    };
    stored(format, shape, &bytes.expect("small values"), starts, device)
}

fn all_sizes(device: &Device) {
    // The last has eight stretches in three parts.
    for (format, tokens, [n, di, dd], starts) in [
        (TensorType::F16, 1, [1, 1, 1], &[0][..]),
        (TensorType::F16, 1, [3, 5, 2], &[0]),
        (TensorType::F32, 37, [3, 9, 21], &[0, 5]),
        (TensorType::Q8_0, 37, [1, 64, 21], &[0, 20]),
        (TensorType::Q8_0, 33, [4, 16, 130], &[0, 100, 101]),
    ] {
        let weight = weight(format, [n * dd, n * di], starts, device);
        let dense = weight.to_dense();
        let g = random_on(device, 4, [tokens, n * dd]);
        let x = random_on(device, 2, [tokens, n * di]).autodiff().require_grad();
        let blocks = random_on(device, 3, [n, di, dd]).autodiff().require_grad();
        let what = format!("{format:?}, {tokens} tokens, {n} x {di} x {dd}");

        let ours = LayerResults::of(stored_linear(x.clone(), &weight, None), g.clone(), &x, None);
        let plain = LayerResults::of(linear(x.clone(), dense.clone()), g.clone(), &x, None);
        ours.assert_close(plain, 1e-5, &what);

        let ours = stored_linear(x.clone(), &weight, Some(blocks.clone()));
        let ours = LayerResults::of(ours, g.clone(), &x, Some(&blocks));
        let beside = block_matmul(linear(x.clone(), dense), x.clone(), blocks.clone());
        let y = ours.y.clone();
        ours.assert_close(LayerResults::of(beside, g, &x, Some(&blocks)), 1e-5, &what);
        // Evaluation is the same to the bit.
        let plain = stored_linear(x.inner(), &weight, Some(blocks.inner()));
        let back = |y: Tensor<2>| y.into_data().try_into_vec::<f32>().expect("f32");
        assert_eq!(back(plain), back(y), "{what}");
    }
}

#[test]
fn the_same_as_with_the_weight_in_f32_on_the_cpu() {
    all_sizes(&Device::flex());
}

#[test]
fn the_same_as_with_the_weight_in_f32_on_the_gpu() {
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || all_sizes(&device));
    }
}

#[test]
fn gradients_by_finite_differences() {
    let device = Device::flex();
    let (tokens, n, di, dd) = (5, 2, 3, 4);
    let weight = weight(TensorType::F16, [n * dd, n * di], &[0, 3], &device);
    let (x, blocks, g) = (
        random_on(&device, 1, [tokens, n * di]),
        random_on(&device, 2, [n, di, dd]),
        random_on(&device, 3, [tokens, n * dd]),
    );
    let loss = |x: Tensor<2>, blocks: Tensor<3>| -> f64 {
        f64::from((stored_linear(x, &weight, Some(blocks)) * g.clone()).sum().into_scalar::<f32>())
    };
    let tracked = (x.clone().autodiff().require_grad(), blocks.clone().autodiff().require_grad());
    let y = stored_linear(tracked.0.clone(), &weight, Some(tracked.1.clone()));
    let LayerResults { dx, d_blocks, .. } = LayerResults::of(y, g.clone(), &tracked.0, Some(&tracked.1));
    assert_differences(|x| loss(x, blocks.clone()), &x, dx, "x");
    assert_differences(|blocks| loss(x.clone(), blocks), &blocks, d_blocks.expect("tracked"), "block");
}

#[test]
fn only_what_is_tracked_gets_a_gradient() {
    let device = Device::flex();
    let weight = weight(TensorType::F32, [4, 6], &[0], &device);
    let blocks = random_on(&device, 2, [2, 3, 2]).autodiff().require_grad();
    let mut grads =
        stored_linear(random_on(&device, 3, [5, 6]).autodiff(), &weight, Some(blocks.clone())).sum().backward();
    assert!(blocks.grad_remove(&mut grads).is_some());

    let x = random_on(&device, 3, [5, 6]).autodiff().require_grad();
    let frozen = random_on(&device, 2, [2, 3, 2]).autodiff();
    let mut grads = stored_linear(x.clone(), &weight, Some(frozen.clone())).sum().backward();
    assert!(x.grad_remove(&mut grads).is_some() && frozen.grad(&grads).is_none());
}

/// Forward and back, a stretch that is there is not made again.
#[test]
fn a_turn_makes_one_stretch_less() {
    let weight = weight(TensorType::F16, [200, 64], &[0], &Device::flex());
    let weight = weight.map(|words| match words.kind {
        burn::backend::DispatchTensorKind::Flex(words) => words.int(),
        other => panic!("{other:?}"),
    });
    let mut scratch: Scratch<Flex> = Scratch::new(weight, None);
    assert_eq!(scratch.order(), [0, 1, 2]);
    let x = crate::kernels::cpu::tensor(random(2, 64), [1, 64]);
    let y = scratch.product(x);
    assert_eq!(scratch.order(), [2, 1, 0]);
    scratch.product_to_input(y);
    assert_eq!(scratch.order(), [0, 1, 2]);
}
