//! `global_norm` against f64.

use super::*;
use crate::testing::{gpu, random, with_form};
use burn::tensor::{Device, TensorData};

fn check(device: &Device, what: &str) {
    for len in [1, 2, 3, 255, 256, 257, 1023, 65_537, 1_000_003] {
        let values: Vec<f32> =
            random(len as u64, len).iter().enumerate().map(|(i, v)| v * (1 + i % 7) as f32).collect();
        let exact = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let run = || -> f32 {
            let values = Tensor::from_data(TensorData::new(values.clone(), [len]), device);
            global_norm(values).into_data().try_into_vec::<f32>().expect("f32")[0]
        };
        let norm = run();
        assert!((f64::from(norm) - exact).abs() <= 1e-6 * exact, "{what}, {len} values: {norm} instead of {exact}");
        assert_eq!(norm.to_bits(), run().to_bits(), "{what}: the order of the sum is fixed");
    }
}

#[test]
fn twin_agrees_with_f64() {
    check(&Device::flex(), "twin");
}

#[test]
fn both_forms_of_the_shader_agree_with_f64() {
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || check(&device, &format!("{form:?}")));
    }
}
