//! The fused operations against their compositions of plain Burn operations (values and gradients) on the CPU and in
//! both forms on the GPU, and the arithmetic beneath them.

use super::Form;
use super::{KeyStarts, causal_softmax, cpu, cross_entropy, rms_norm, rotary, swiglu};
use crate::testing::{assert_close, gpu, random, with_form};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};

fn leaf_on<const D: usize>(device: &Device, seed: u64, shape: [usize; D], scale: f32) -> Tensor<D> {
    let values: Vec<f32> = random(seed, shape.iter().product()).iter().map(|v| v * scale).collect();
    Tensor::<D>::from_data(TensorData::new(values, shape), device).autodiff().require_grad()
}

fn leaf<const D: usize>(seed: u64, shape: [usize; D], scale: f32) -> Tensor<D> {
    leaf_on(&Device::flex(), seed, shape, scale)
}

/// Runs `test` on the CPU, then in both forms on the GPU.
fn everywhere(test: impl Fn(&Device)) {
    test(&Device::flex());
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || test(&device));
    }
}

/// Output and gradients of `f` for the objective `Σ f(inputs) · g`.
fn run<const D: usize, const E: usize>(
    inputs: &[Tensor<D>],
    f: impl Fn(&[Tensor<D>]) -> Tensor<E>,
) -> (Tensor<E>, Vec<Tensor<D>>) {
    let out = f(inputs);
    let g = leaf_on(&out.device().inner(), 99, out.dims(), 1.0).inner();
    let mut grads = (out.clone() * g).sum().backward();
    (out.inner(), inputs.iter().map(|x| x.grad_remove(&mut grads).expect("gradient")).collect())
}

fn compare<const D: usize, const E: usize>(
    what: &str,
    shapes: &[[usize; D]],
    scale: f32,
    fused: impl Fn(&[Tensor<D>]) -> Tensor<E>,
    composed: impl Fn(&[Tensor<D>]) -> Tensor<E>,
) {
    compare_on(&Device::flex(), what, shapes, scale, fused, composed);
}

fn compare_on<const D: usize, const E: usize>(
    device: &Device,
    what: &str,
    shapes: &[[usize; D]],
    scale: f32,
    fused: impl Fn(&[Tensor<D>]) -> Tensor<E>,
    composed: impl Fn(&[Tensor<D>]) -> Tensor<E>,
) {
    let leaf = |(i, shape): (usize, &[usize; D])| leaf_on(device, i as u64 + 1, *shape, scale);
    let inputs = || shapes.iter().enumerate().map(leaf).collect::<Vec<_>>();
    let (ours, our_grads) = run(&inputs(), fused);
    let (burns, burn_grads) = run(&inputs(), composed);
    assert_close(ours, burns, 2e-6, what);
    for (i, (ours, burns)) in our_grads.into_iter().zip(burn_grads).enumerate() {
        assert_close(ours, burns, 2e-5, &format!("{what}: gradient {i}"));
    }
}

#[test]
fn causal_softmax_is_its_composition() {
    for (rows, heads, length, start) in [(1, 1, 1, 0), (2, 3, 7, 0), (1, 2, 33, 0), (1, 2, 5, 12), (1, 3, 1, 40)] {
        let shape = [[rows, heads, length, start + length]];
        let what = format!("causal_softmax {shape:?}");
        let fused = |x: &[Tensor<4>]| causal_softmax(x[0].clone(), 0.3, start, None);
        compare(&what, &shape, 30.0, fused, |x| causal_softmax::composed(x[0].clone(), 0.3, start, None));
    }
}

#[test]
fn packed_rows_see_their_own_example_only() {
    // Two rows: examples of 3, 1 and 3 tokens; one of 7.
    let first: KeyStarts = [0, 0, 0, 3, 4, 4, 4, 0, 0, 0, 0, 0, 0, 0].into_iter().collect();
    let shape = [[2, 2, 7, 7]];
    let fused = |x: &[Tensor<4>]| causal_softmax(x[0].clone(), 0.3, 0, Some(first.clone()));
    let composed = |x: &[Tensor<4>]| causal_softmax::composed(x[0].clone(), 0.3, 0, Some(first.all()));
    compare("packed", &shape, 30.0, fused, composed);
    let values = |y: Tensor<4>| y.into_data().try_into_vec::<f32>().expect("f32");
    let scores = leaf(1, shape[0], 30.0).inner();
    let packed = values(causal_softmax(scores.clone(), 0.3, 0, Some(first.clone())));
    // The third example of the first row alone, in the first head.
    let alone = scores.slice([0..1, 0..1, 4..7, 4..7]);
    let alone = values(causal_softmax(alone, 0.3, 0, None));
    for t in 0..3 {
        let row = &packed[(4 + t) * 7..][..7];
        assert_eq!(row[..4], [0.0; 4]);
        assert_eq!(row[4..], alone[t * 3..][..3]);
    }
}

#[test]
fn cross_entropy_is_its_composition_and_exact_over_many_classes() {
    for (n, classes) in [(1, 1), (1, 3), (5, 17), (33, 1000), (3, 49_152)] {
        let targets: Vec<i32> = (0..n).map(|i| ((i * 7919) % classes) as i32).collect();
        let target = || Tensor::<1, Int>::from_data(targets.as_slice(), &Device::flex());
        let fused = |x: &[Tensor<2>]| cross_entropy(x[0].clone(), target());
        compare("cross_entropy", &[[n, classes]], 10.0, fused, |x| {
            log_softmax(x[0].clone(), 1).gather(1, target().unsqueeze_dim(1)).sum().neg()
        });

        let logits: Vec<f32> = random(1, n * classes).iter().map(|v| v * 10.0).collect();
        let exact: f64 = logits
            .chunks(classes)
            .zip(&targets)
            .map(|(row, target)| {
                row.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln() - f64::from(row[*target as usize])
            })
            .sum();
        let x = Tensor::<2>::from_data(TensorData::new(logits, [n, classes]), &Device::flex());
        let ours = cross_entropy(x, target()).into_data().try_into_vec::<f32>().expect("f32")[0];
        assert!((f64::from(ours) - exact).abs() <= 5e-7 * exact.abs().max(1.0), "{ours} instead of {exact}");
    }
}

#[test]
fn rms_norm_is_its_composition() {
    everywhere(|device| {
        for (n, width) in [(1, 1), (3, 5), (17, 64), (35, 576)] {
            for scale in [1.0f32, 3000.0] {
                // Over one value the gradient is nothing but the trace that eps leaves.
                let eps = if width == 1 { f64::from(scale * scale) } else { 1e-5 };
                let weight = || leaf_on(device, 5, [width], 1.0);
                let fused = |x: &[Tensor<2>]| rms_norm(x[0].clone(), weight(), eps);
                let composed = |x: &[Tensor<2>]| rms_norm::composed(x[0].clone(), weight(), eps);
                compare_on(device, "rms_norm", &[[n, width]], scale, fused, composed);
                let x = || leaf_on(device, 6, [n, width], scale);
                let fused = |w: &[Tensor<1>]| rms_norm(x(), w[0].clone(), eps);
                let composed = |w: &[Tensor<1>]| rms_norm::composed(x(), w[0].clone(), eps);
                compare_on(device, "rms_norm", &[[width]], 1.0, fused, composed);
            }
        }
    });
}

#[test]
fn rotary_is_its_composition() {
    everywhere(|device| {
        for (rows, length, heads, half) in [(1, 1, 1, 1), (2, 5, 3, 4), (3, 17, 2, 32)] {
            let table = |seed| leaf_on(device, seed, [length, half], 1.0).inner();
            let shape = [[rows * length, heads * 2 * half]];
            let fused = |x: &[Tensor<2>]| rotary(x[0].clone(), table(7), table(8));
            let composed = |x: &[Tensor<2>]| rotary::composed(x[0].clone(), table(7), table(8));
            compare_on(device, "rotary", &shape, 1.0, fused, composed);
        }
    });
}

#[test]
fn swiglu_is_its_composition() {
    everywhere(|device| {
        for (n, width) in [(1, 1), (3, 7), (19, 1001)] {
            let shapes = [[n, width], [n, width]];
            let fused = |x: &[Tensor<2>]| swiglu(x[0].clone(), x[1].clone());
            let composed = |x: &[Tensor<2>]| swiglu::composed(x[0].clone(), x[1].clone());
            compare_on(device, "swiglu", &shapes, 40.0, fused, composed);
        }
    });
}

#[test]
fn exp_is_exact_to_two_units_and_ends_at_zero() {
    let mut worst = 0.0f64;
    for i in 0..2_000_000 {
        let x = -87.0 + 175.0 * i as f32 / 2e6;
        let exact = f64::from(x).exp();
        for ours in [cpu::exp::<false>(x), cpu::exp::<true>(x)] {
            worst = worst.max((f64::from(ours) - exact).abs() / exact);
        }
    }
    assert!(worst < 2.4e-7, "relative error {worst:.2e}");
    for x in [-87.1, -1e4, f32::NEG_INFINITY] {
        assert_eq!(cpu::exp::<true>(x), 0.0);
    }
    assert_eq!(cpu::exp::<true>(0.0), 1.0);
    assert!(cpu::exp::<true>(f32::NAN).is_nan());
}

#[test]
fn exp2_is_exact_to_two_units_and_ends_at_zero() {
    let mut worst = 0.0f64;
    for i in 0..2_000_000 {
        let x = -125.0 + 252.0 * i as f32 / 2e6;
        let exact = f64::from(x).exp2();
        for ours in [cpu::exp2::<false>(x), cpu::exp2::<true>(x)] {
            worst = worst.max((f64::from(ours) - exact).abs() / exact);
        }
    }
    assert!(worst < 2.4e-7, "relative error {worst:.2e}");
    for x in [-125.1, -1e4, f32::MIN, f32::NEG_INFINITY] {
        assert_eq!(cpu::exp2::<true>(x), 0.0);
    }
    assert_eq!([0.0, 1.0, -3.0].map(cpu::exp2::<true>), [1.0, 2.0, 0.125]);
    for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7fc0_01ff)] {
        assert!(cpu::exp2::<true>(nan).is_nan());
    }
}

#[test]
fn sums_and_maxima_of_any_length() {
    for len in [0, 1, 15, 16, 17, 100] {
        let values = random(len as u64, len);
        let exact: f64 = values.iter().map(|v| f64::from(*v)).sum();
        assert!((f64::from(cpu::sum2(&values, &values, |a, _| a)) - exact).abs() < 1e-5);
        assert_eq!(cpu::max(&values), values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    }
}
