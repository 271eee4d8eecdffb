//! `linear` and the batched products against plain loops in f64, against Burn's matmul, and by finite differences.

use super::*;
use crate::kernels::Form;
use crate::testing::{assert_close, cube, gpu, random, with_form};
use burn::tensor::{Device, TensorData};

/// Sums and, for the tolerance, sums of absolute terms.
type Reference = Vec<(f64, f64)>;

struct Case {
    tokens: usize,
    d_in: usize,
    d_out: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
    g: Vec<f32>,
}

impl Case {
    fn new(tokens: usize, d_in: usize, d_out: usize) -> Self {
        let seed = (tokens * 10_000 + d_in * 100 + d_out) as u64;
        let values = |label, len| random(seed * 3 + label, len);
        Self {
            tokens,
            d_in,
            d_out,
            x: values(0, tokens * d_in),
            weight: values(1, d_in * d_out),
            g: values(2, tokens * d_out),
        }
    }

    /// One, whole tiles, and one less and one more than those of either side of the shader's tiles.
    fn all() -> impl Iterator<Item = Self> {
        const WIDTHS: [usize; 9] = [1, 3, 4, 15, 16, 17, 64, 100, 258];
        [1, 2, 15, 16, 37].into_iter().flat_map(|tokens| {
            WIDTHS.into_iter().flat_map(move |d_in| WIDTHS.into_iter().map(move |d_out| Self::new(tokens, d_in, d_out)))
        })
    }

    fn forward(&self) -> Reference {
        let entry = |t: usize, o: usize| {
            sum((0..self.d_in).map(|i| (self.x[t * self.d_in + i], self.weight[o * self.d_in + i])))
        };
        (0..self.tokens).flat_map(|t| (0..self.d_out).map(move |o| (t, o))).map(|(t, o)| entry(t, o)).collect()
    }

    fn dx(&self) -> Reference {
        let entry = |t: usize, i: usize| {
            sum((0..self.d_out).map(|o| (self.g[t * self.d_out + o], self.weight[o * self.d_in + i])))
        };
        (0..self.tokens).flat_map(|t| (0..self.d_in).map(move |i| (t, i))).map(|(t, i)| entry(t, i)).collect()
    }

    /// Input, weight, and the gradient to the result.
    fn tensors(&self, device: &Device) -> [Tensor<2>; 3] {
        let tensor =
            |values: &[f32], shape: [usize; 2]| Tensor::from_data(TensorData::new(values.to_vec(), shape), device);
        [
            tensor(&self.x, [self.tokens, self.d_in]),
            tensor(&self.weight, [self.d_out, self.d_in]),
            tensor(&self.g, [self.tokens, self.d_out]),
        ]
    }

    /// Result and gradient of `product` on `device`.
    fn run(&self, device: &Device, product: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<2>) -> [Tensor<2>; 2] {
        let [x, weight, g] = self.tensors(device);
        let x = x.autodiff().require_grad();
        let y = product(x.clone(), weight);
        let mut grads = (y.clone() * g.autodiff()).sum().backward();
        [y.inner(), x.grad_remove(&mut grads).expect("gradient of x")]
    }

    fn check(&self, device: &Device, what: &str) {
        let [y, dx] = self.run(device, linear);
        for (tensor, reference, part) in [(y, self.forward(), "y"), (dx, self.dx(), "dx")] {
            let distance = distance(values(&tensor), &reference);
            let place = format!("{what} {} x {} x {}: {part}", self.tokens, self.d_in, self.d_out);
            assert!(distance <= 1e-5, "{place}: relative error {distance:.2e}");
        }
    }
}

fn sum(products: impl Iterator<Item = (f32, f32)>) -> (f64, f64) {
    products.map(|(a, b)| f64::from(a) * f64::from(b)).fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()))
}

fn values(tensor: &Tensor<2>) -> Vec<f32> {
    tensor.clone().into_data().try_into_vec().expect("f32")
}

/// The worst entry's distance, relative to the sum of its absolute terms.
fn distance(values: Vec<f32>, reference: &Reference) -> f64 {
    assert_eq!(values.len(), reference.len());
    let off = values.iter().zip(reference).map(|(v, (sum, size))| (f64::from(*v) - sum).abs() / size.max(1e-30));
    // A comparison with what is not a number must not pass.
    off.fold(0.0, |worst, off| if off <= worst { worst } else { off })
}

#[test]
fn the_cpu_agrees_with_plain_loops() {
    // Beyond those: several panels of tokens, stretches of rows and columns, and stretches of a sum, in both directions.
    let large = [(50, 4100, 70), (97, 33, 300), (8, 1, 64), (49, 2048, 65), (130, 2100, 530), (9, 70, 16_390)];
    let large = large.map(|(tokens, d_in, d_out)| Case::new(tokens, d_in, d_out));
    Case::all().chain(large).for_each(|case| case.check(&Device::flex(), "cpu"));
}

#[test]
fn the_cpu_gives_the_same_bits_on_any_number_of_threads() {
    let of = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| Case::new(70, 700, 600).run(&Device::flex(), linear).map(|result| values(&result)))
    };
    let one = of(1);
    for threads in [2, 5] {
        assert!(of(threads) == one, "{threads} threads");
    }
}

#[test]
fn both_forms_agree_with_plain_loops() {
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || Case::all().for_each(|case| case.check(&device, &format!("{form:?}"))));
    }
}

#[test]
fn agrees_with_burns_matmul() {
    let device = gpu();
    for (tokens, d_in, d_out) in [(1, 576, 192), (40, 192, 448), (33, 448, 1023), (19, 90, 64)] {
        let case = Case::new(tokens, d_in, d_out);
        let ours = with_form(Form::Register, || case.run(&device, linear));
        let burns = case.run(&device, |x, weight| x.matmul(weight.transpose()));
        for ((ours, burns), part) in ours.into_iter().zip(burns).zip(["y", "dx"]) {
            assert_close(ours, burns, 1e-5, &format!("{tokens} x {d_in} x {d_out}: {part}"));
        }
    }
}

/// The product is linear in the input, so a wide step has no error but rounding.
#[test]
fn the_gradient_agrees_with_finite_differences() {
    for device in [Device::flex(), gpu()] {
        for (tokens, d_in, d_out) in [(1, 1, 1), (1, 5, 3), (3, 4, 7), (18, 2, 5)] {
            let case = Case::new(tokens, d_in, d_out);
            let [_, weight, _] = case.tensors(&device);
            let objective = |x: &[f32]| -> f64 {
                let x = Tensor::from_data(TensorData::new(x.to_vec(), [tokens, d_in]), &device);
                let y = values(&linear(x, weight.clone()));
                y.iter().zip(&case.g).map(|(y, g)| f64::from(*y) * f64::from(*g)).sum()
            };
            let [_, dx] = with_form(Form::Register, || case.run(&device, linear));
            for (at, dx) in values(&dx).into_iter().enumerate() {
                let shifted = |by: f32| {
                    let mut x = case.x.clone();
                    x[at] += by;
                    with_form(Form::Register, || objective(&x))
                };
                let difference = shifted(0.5) - shifted(-0.5);
                assert!((difference - f64::from(dx)).abs() < 1e-4, "dx[{at}] {dx}, finite difference {difference}");
            }
        }
    }
}

/// Activations come sliced and transposed; the shader reads rows.
#[test]
fn views_are_read_as_what_they_show() {
    let device = gpu();
    let case = Case::new(20, 12, 24);
    let [x, weight, _] = case.tensors(&device);
    let wide = Tensor::cat(vec![x.clone().neg(), x.clone(), x.clone()], 1);
    let (view, turned) = (wide.narrow(1, 12, 12), weight.clone().transpose().mul_scalar(1.0).transpose());
    with_form(Form::Register, || assert_close(linear(view, turned), linear(x, weight), 1e-6, "views"));
}

#[test]
fn an_input_without_a_gradient_gives_a_result_without_one() {
    let case = Case::new(3, 8, 5);
    let [x, weight, _] = case.tensors(&Device::flex());
    assert!(!linear(x.autodiff(), weight).is_require_grad());
}

/// Attention's products: against Burn's matmul on the CPU, with the gradients of both sides.
#[test]
fn batched_products_agree_with_burns() {
    type Multiply = fn(Tensor<4>, Tensor<4>) -> Tensor<4>;
    let (cpu, gpu) = (Device::flex(), gpu());
    for [batch, heads, m, k, n] in
        [[1, 1, 1, 1, 1], [2, 3, 1, 8, 5], [2, 2, 18, 8, 6], [1, 3, 33, 12, 17], [2, 1, 48, 32, 20]]
    {
        let values = |seed, len| random((m * 100 + k * 10 + n + seed) as u64, batch * heads * len);
        let (a, b, g) = (values(0, m * k), values(1, k * n), values(2, m * n));
        // Result and both gradients.
        let run = |device: &Device, size: [usize; 2], product: Multiply| {
            let tensor = |values: &[f32], [rows, columns]: [usize; 2]| {
                Tensor::<4>::from_data(TensorData::new(values.to_vec(), [batch, heads, rows, columns]), device)
            };
            let (a, b) = (tensor(&a, [m, k]).autodiff().require_grad(), tensor(&b, size).autodiff().require_grad());
            let y = product(a.clone(), b.clone());
            let mut grads = (y.clone() * tensor(&g, [m, n]).autodiff()).sum().backward();
            let taken = "every tracked input has a gradient";
            [y.inner(), a.grad_remove(&mut grads).expect(taken), b.grad_remove(&mut grads).expect(taken)]
        };
        let both: [([usize; 2], Multiply, Multiply); 2] =
            [([k, n], matmul, |a, b| a.matmul(b)), ([n, k], matmul_transposed, |a, b| a.matmul(b.swap_dims(2, 3)))];
        for (size, ours, burns) in both {
            let expected = run(&cpu, size, burns);
            for (device, form) in [(&cpu, Form::Register), (&gpu, Form::Register), (&gpu, Form::Workgroup)] {
                let found = with_form(form, || run(device, size, ours));
                for (found, expected) in found.into_iter().zip(expected.clone()) {
                    let found = Tensor::<4>::from_data(found.into_data(), &cpu);
                    assert_close(found, expected, 1e-5, &format!("{form:?} {batch} x {heads} x {m} x {k} x {n}"));
                }
            }
        }
    }
}

/// The tests above must be able to fail: the same comparison catches a shader that leaves out one term of the sum.
#[test]
fn a_wrong_shader_is_caught() {
    let device = gpu();
    let case = Case::new(20, 64, 30);
    let [x, weight, _] = case.tensors(&device).map(|tensor| cube(tensor.into_dispatch()));
    for wrong in [false, true] {
        let mut shader = shader(false);
        if wrong {
            shader.name = "matmul_short";
            let sabotaged = shader.text.replace("var x{{ I }} = id.z", "var x{{ I }} = 1u + id.z");
            assert_ne!(sabotaged, shader.text);
            shader.text = Box::leak(sabotaged.into_boxed_str());
        }
        let y = launch(shader, x.clone(), weight.clone(), Product::Rows);
        let bytes = y.client.read_one(y.handle.clone()).expect("read");
        let values = bytemuck::cast_slice(&bytes)[..case.g.len()].to_vec();
        assert_eq!(distance(values, &case.forward()) > 1e-5, wrong);
    }
}
