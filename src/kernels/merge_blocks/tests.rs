//! `merge_blocks` against plain loops, on both devices.

use super::*;
use crate::kernels::Form;
use crate::testing::{gpu, random, random_on, with_form};
use burn::tensor::Device;

const SIZES: [[usize; 3]; 7] = [[1, 1, 1], [1, 5, 3], [3, 1, 1], [2, 4, 4], [7, 9, 21], [48, 12, 4], [5, 33, 70]];

fn back<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

/// By definition; every value off the blocks keeps its bits.
fn expected([n, di, dd]: [usize; 3], with_update: bool) -> Vec<f32> {
    let (original, update) = (random(2, n * di * dd), random(3, n * di * dd));
    let mut weight = random(1, n * dd * n * di);
    for i in 0..n {
        for b in 0..di {
            for c in 0..dd {
                let at = (i * di + b) * dd + c;
                let value = if with_update { original[at] + update[at] } else { original[at] };
                weight[(i * dd + c) * n * di + i * di + b] = value;
            }
        }
    }
    weight
}

fn all_sizes(device: &Device) {
    for shape in SIZES {
        let [n, di, dd] = shape;
        for with_update in [true, false] {
            let weight = random_on(device, 1, [n * dd, n * di]);
            let merged = merge_blocks(weight, random_on(device, 2, shape), random_on(device, 3, shape), with_update);
            assert_eq!(back(merged), expected(shape, with_update), "{shape:?}, {with_update}");
        }
    }
}

#[test]
fn twin_writes_the_blocks_and_nothing_else() {
    all_sizes(&Device::flex());
}

#[test]
fn shader_writes_the_blocks_and_nothing_else() {
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || all_sizes(&device));
    }
}

#[test]
fn what_was_taken_out_of_a_weight_puts_it_back_bit_by_bit() {
    for device in [Device::flex(), gpu()] {
        for shape @ [n, di, dd] in SIZES {
            let weight = random_on(&device, 1, [n * dd, n * di]);
            let before = back(weight.clone());
            let original = diagonal_blocks(weight.clone(), n);
            assert_eq!(original.dims(), shape);
            let merged = merge_blocks(weight, original.clone(), random_on(&device, 3, shape), true);
            let again = merge_blocks(merged, original, random_on(&device, 4, shape), false);
            assert_eq!(back(again), before, "{shape:?}");
        }
    }
}

#[test]
fn blocks_that_lie_within_a_larger_buffer() {
    let shape @ [n, di, dd] = [3, 4, 5];
    for device in [Device::flex(), gpu()] {
        // As the optimizer's flat buffers hold them: from the second 256 bytes on.
        let flat = random_on::<1>(&device, 3, [64 + n * di * dd + 7]);
        let update = flat.narrow(0, 64, n * di * dd).reshape(shape);
        let zeros = Tensor::zeros(shape, &device);
        let weight = merge_blocks(Tensor::zeros([n * dd, n * di], &device), zeros, update.clone(), true);
        assert_eq!(back(diagonal_blocks(weight, n)), back(update));
    }
}

#[test]
fn a_shared_weight_is_copied_before_it_is_written() {
    for device in [Device::flex(), gpu()] {
        let shape @ [n, di, dd] = [2, 3, 4];
        let weight = random_on(&device, 1, [n * dd, n * di]);
        let kept = weight.clone();
        let merged = merge_blocks(weight, random_on(&device, 2, shape), random_on(&device, 3, shape), true);
        assert_eq!(back(kept), random(1, n * n * di * dd));
        assert_eq!(back(merged), expected(shape, true));
    }
}
