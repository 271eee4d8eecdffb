//! `adamw` against PyTorch's formula in f64.

use super::*;
use crate::kernels::{Form, global_norm};
use crate::testing::{gpu, random, with_form};
use burn::tensor::{Device, TensorData};

/// `torch.optim.AdamW` after `clip_grad_norm_`, in f64: decay on the parameter first, epsilon outside the root.
fn reference(p: &mut [f64], m: &mut [f64], v: &mut [f64], g: &[f64], step: AdamWStep) {
    let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
    let clip = if step.max_grad_norm > 0.0 { (step.max_grad_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
    let [beta1, beta2] = step.betas;
    for i in 0..p.len() {
        let g = g[i] * clip;
        p[i] *= 1.0 - step.learning_rate * step.weight_decay;
        m[i] = beta1 * m[i] + (1.0 - beta1) * g;
        v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
        let m_hat = m[i] / (1.0 - beta1.powi(step.step as i32));
        let v_hat = v[i] / (1.0 - beta2.powi(step.step as i32));
        p[i] -= step.learning_rate * m_hat / (v_hat.sqrt() + step.epsilon);
    }
}

fn on(device: &Device, values: &[f32]) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

fn back(tensor: &Tensor<1>) -> Vec<f32> {
    tensor.clone().into_data().try_into_vec().expect("f32")
}

fn step(number: usize, weight_decay: f64, max_grad_norm: f64) -> AdamWStep {
    AdamWStep {
        learning_rate: 1e-3 * number as f64,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        weight_decay,
        max_grad_norm,
        step: number,
    }
}

fn twenty_steps(device: &Device, len: usize, weight_decay: f64, max_grad_norm: f64) {
    let start = random(len as u64, len);
    let mut buffers = [on(device, &start), on(device, &vec![0.0; len]), on(device, &vec![0.0; len])];
    let mut p: Vec<f64> = start.iter().map(|v| f64::from(*v)).collect();
    let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
    for number in 1..=20 {
        let g = random(1000 + number as u64, len);
        let wide: Vec<f64> = g.iter().map(|g| f64::from(*g)).collect();
        reference(&mut p, &mut m, &mut v, &wide, step(number, weight_decay, max_grad_norm));
        let gradient = on(device, &g);
        let norm = global_norm(gradient.clone());
        buffers = adamw(buffers, gradient, norm, step(number, weight_decay, max_grad_norm));
    }
    for (what, ours, exact) in [("p", &buffers[0], &p), ("m", &buffers[1], &m), ("v", &buffers[2], &v)] {
        let worst = back(ours).iter().zip(exact).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(worst <= 1e-6, "{what} of {len}, decay {weight_decay}, clip {max_grad_norm}: off by {worst:.2e}");
    }
}

fn all_cases(device: &Device) {
    for len in [1, 3, 255, 256, 257, 70_001] {
        for (weight_decay, max_grad_norm) in [(0.0, 0.0), (0.1, 0.0), (0.0, 0.5), (0.01, 1e6)] {
            twenty_steps(device, len, weight_decay, max_grad_norm);
        }
    }
}

#[test]
fn twin_takes_twenty_steps_like_pytorch() {
    all_cases(&Device::flex());
}

#[test]
fn shader_takes_twenty_steps_like_pytorch() {
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || all_cases(&device));
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    for device in [Device::flex(), gpu()] {
        for bad in [f32::NAN, f32::INFINITY] {
            let start = random(5, 300);
            let mut g = random(6, 300);
            g[17] = bad;
            let buffers = [on(&device, &start), on(&device, &[0.25; 300]), on(&device, &[0.5; 300])];
            let gradient = on(&device, &g);
            let norm = global_norm(gradient.clone());
            assert!(!back(&norm)[0].is_finite(), "the norm must tell");
            let [p, m, v] = adamw(buffers, gradient, norm, step(1, 0.1, 1.0));
            assert_eq!(back(&p), start);
            assert!(back(&m).iter().all(|m| *m == 0.25) && back(&v).iter().all(|v| *v == 0.5));
        }
    }
}

#[test]
fn a_shared_parameter_is_copied_before_it_is_written() {
    for device in [Device::flex(), gpu()] {
        let start = random(7, 64);
        let p = on(&device, &start);
        let kept = p.clone();
        let gradient = on(&device, &random(8, 64));
        let norm = global_norm(gradient.clone());
        let zeros = || on(&device, &[0.0; 64]);
        let [after, ..] = adamw([p, zeros(), zeros()], gradient, norm, step(1, 0.0, 0.0));
        assert_eq!(back(&kept), start);
        assert_ne!(back(&after), start);
    }
}
