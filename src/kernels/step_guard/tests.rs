//! `step_guard` with every kind of number in every place.

use super::*;
use crate::kernels::{AdamWStep, adamw};
use crate::testing::{gpu, random, with_form};
use burn::tensor::{Device, TensorData};

const FINITE: [f32; 5] = [0.0, -0.0, 2.5, f32::MAX, f32::MIN_POSITIVE / 4.0];
const NOT_FINITE: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

fn on(device: &Device, values: &[f32]) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

fn bits(tensor: Tensor<1>) -> Vec<u32> {
    tensor.into_data().try_into_vec::<f32>().expect("f32").iter().map(|value| value.to_bits()).collect()
}

fn every_number_in_every_place(device: &Device) {
    let all = [&FINITE[..], &NOT_FINITE].concat();
    for &norm in &all {
        for &loss in &all {
            for &before in &all {
                let numbers = step_guard(on(device, &[norm]), on(device, &[loss]), on(device, &[before, 1.0]));
                let good = [norm, loss, before].iter().all(|value| value.is_finite());
                let expected = [if good { norm } else { f32::INFINITY }, loss].map(f32::to_bits);
                assert_eq!(bits(numbers), expected, "norm {norm}, loss {loss}, {before} before");
            }
        }
    }
}

#[test]
fn twin_tells_good_numbers_from_bad() {
    every_number_in_every_place(&Device::flex());
}

#[test]
fn both_forms_of_the_shader_tell_good_numbers_from_bad() {
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || every_number_in_every_place(&device));
    }
}

/// What is written is infinite to the optimizer, too, and stays so for all steps to come.
#[test]
fn the_optimizer_stops_at_a_bad_loss_for_good() {
    for device in [Device::flex(), gpu()] {
        let step = AdamWStep {
            learning_rate: 0.1,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.1,
            max_grad_norm: 1.0,
            step: 1,
        };
        let start = [random(1, 300), random(2, 300), random(3, 300).iter().map(|v| v * v).collect()];
        let mut buffers = start.clone().map(|values| on(&device, &values));
        let mut numbers = on(&device, &[0.0, 0.0]);
        // The gradient is sound all along.
        for loss in [f32::INFINITY, 1.0, 1.0] {
            numbers = step_guard(on(&device, &[2.0]), on(&device, &[loss]), numbers);
            buffers = adamw(buffers, on(&device, &random(4, 300)), numbers.clone(), step);
        }
        for (buffer, start) in buffers.iter().zip(&start) {
            assert_eq!(bits(buffer.clone()), start.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        }
        // Without an earlier one the same step changes everything.
        numbers = step_guard(on(&device, &[2.0]), on(&device, &[1.0]), on(&device, &[0.0, 0.0]));
        let [p, m, v] = adamw(buffers, on(&device, &random(4, 300)), numbers, step);
        for (buffer, start) in [p, m, v].into_iter().zip(&start) {
            assert!(bits(buffer).iter().zip(start).all(|(bits, start)| *bits != start.to_bits()));
        }
    }
}
