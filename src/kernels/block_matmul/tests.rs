//! `block_matmul` against an f64 reference, against plain Burn operations, and by finite differences, on the CPU
//! twin and on both forms of the shader.

use super::*;
use crate::kernels::Form;
use crate::testing::{assert_close, gpu, random, with_form};
use burn::tensor::{Device, TensorData};

/// Reference sums and, for the tolerance, sums of absolute terms.
type Reference = (Vec<f64>, Vec<f64>);

struct Case {
    t: usize,
    n: usize,
    di: usize,
    dd: usize,
    x: Vec<f32>,
    d: Vec<f32>,
    y: Vec<f32>,
    g: Vec<f32>,
}

impl Case {
    fn new(t: usize, n: usize, di: usize, dd: usize) -> Self {
        let seed = (t * 1000 + n * 100 + di * 10 + dd) as u64;
        let values = |label, len| random(seed * 4 + label, len);
        Self {
            t,
            n,
            di,
            dd,
            x: values(0, t * n * di),
            d: values(1, n * di * dd),
            y: values(2, t * n * dd),
            g: values(3, t * n * dd),
        }
    }

    /// All sizes that the issue asks for; wide products only where they add something.
    fn all() -> impl Iterator<Item = Self> {
        const WIDTHS: [usize; 7] = [1, 3, 9, 12, 16, 64, 100];
        [1, 7, 64, 257].into_iter().flat_map(|t| {
            [1, 2, 3, 64].into_iter().flat_map(move |n| {
                WIDTHS.into_iter().flat_map(move |di| WIDTHS.into_iter().map(move |dd| Self::new(t, n, di, dd)))
            })
        })
    }

    fn sum(&self, len: usize, mut terms: impl FnMut(&mut dyn FnMut(usize, f64))) -> Reference {
        let (mut sums, mut sizes) = (vec![0.0; len], vec![0.0; len]);
        terms(&mut |at, term| {
            sums[at] += term;
            sizes[at] += term.abs();
        });
        (sums, sizes)
    }

    /// Calls `visit(t, column of x, index of d, column of y)` for every product there is.
    fn visit(&self, mut visit: impl FnMut(usize, usize, usize, usize)) {
        let (n, di, dd) = (self.n, self.di, self.dd);
        for t in 0..self.t {
            for i in 0..n {
                for b in 0..di {
                    for c in 0..dd {
                        visit(t * n * di + i * di + b, t * n * dd + i * dd + c, (i * di + b) * dd + c, t);
                    }
                }
            }
        }
    }

    fn forward(&self) -> Reference {
        self.sum(self.t * self.n * self.dd, |add| {
            self.y.iter().enumerate().for_each(|(at, y)| add(at, f64::from(*y)));
            self.visit(|x, y, d, _| add(y, f64::from(self.x[x]) * f64::from(self.d[d])));
        })
    }

    fn dx(&self) -> Reference {
        self.sum(self.t * self.n * self.di, |add| {
            self.visit(|x, y, d, _| add(x, f64::from(self.g[y]) * f64::from(self.d[d])))
        })
    }

    fn gradient_d(&self) -> Reference {
        self.sum(self.n * self.di * self.dd, |add| {
            self.visit(|x, y, d, _| add(d, f64::from(self.x[x]) * f64::from(self.g[y])))
        })
    }

    fn tensors(&self, device: &Device) -> (Tensor<2>, Tensor<2>, Tensor<3>, Tensor<2>) {
        let (t, n, di, dd) = (self.t, self.n, self.di, self.dd);
        (
            Tensor::from_data(TensorData::new(self.y.clone(), [t, n * dd]), device),
            Tensor::from_data(TensorData::new(self.x.clone(), [t, n * di]), device),
            Tensor::from_data(TensorData::new(self.d.clone(), [n, di, dd]), device),
            Tensor::from_data(TensorData::new(self.g.clone(), [t, n * dd]), device),
        )
    }

    /// Forward and both gradients on `device` against the reference.
    fn check(&self, device: &Device, what: &str) {
        let place = format!("{what} T={} N={} di={} do={}", self.t, self.n, self.di, self.dd);
        let (y, x, d, g) = self.tensors(device);
        let (x, d, y) = (x.autodiff().require_grad(), d.autodiff().require_grad(), y.autodiff().require_grad());
        let out = block_matmul(y.clone(), x.clone(), d.clone());
        within(&out.clone().inner(), &self.forward(), &format!("{place}: y"));
        let mut grads = (out * g.clone().autodiff()).sum().backward();
        within(&x.grad_remove(&mut grads).expect("gradient of x"), &self.dx(), &format!("{place}: dx"));
        within(&d.grad_remove(&mut grads).expect("gradient of d"), &self.gradient_d(), &format!("{place}: dd"));
        let dy = y.grad_remove(&mut grads).expect("gradient of y");
        assert_eq!(dy.into_data(), g.into_data(), "{place}: dy");
    }
}

/// Every entry within 1e-5 of the sum of its absolute terms, and the whole within 1e-5 in norm.
fn distance<const D: usize>(tensor: &Tensor<D>, (sums, sizes): &Reference) -> f64 {
    let values: Vec<f32> = tensor.clone().into_data().try_into_vec().expect("f32");
    assert_eq!(values.len(), sums.len());
    let worst =
        values.iter().zip(sums).zip(sizes).map(|((v, sum), size)| (f64::from(*v) - sum).abs() / size.max(1e-30));
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let off = square(&mut values.iter().zip(sums).map(|(v, sum)| f64::from(*v) - sum));
    worst.fold(off / square(&mut sums.iter().copied()).max(1e-30), f64::max)
}

fn within<const D: usize>(tensor: &Tensor<D>, reference: &Reference, place: &str) {
    let distance = distance(tensor, reference);
    assert!(distance <= 1e-5, "{place}: relative error {distance:.2e}");
}

#[test]
fn twin_agrees_with_f64() {
    Case::all().for_each(|case| case.check(&Device::flex(), "twin"));
}

#[test]
fn both_forms_of_the_shader_agree_with_f64() {
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || Case::all().for_each(|case| case.check(&device, &format!("{form:?}"))));
    }
}

/// The same product through reshape, swap and Burn's batched matmul.
fn composed(y: Tensor<2>, x: Tensor<2>, d: Tensor<3>) -> Tensor<2> {
    let ([t, d_out], [n, di, _]) = (y.dims(), d.dims());
    let blocks = x.reshape([t, n, di]).swap_dims(0, 1).matmul(d); // [n, t, do]
    y + blocks.swap_dims(0, 1).reshape([t, d_out])
}

#[test]
fn agrees_with_plain_burn_operations() {
    for device in [Device::flex(), gpu()] {
        for (t, n, di, dd) in [(1, 1, 1, 1), (5, 2, 3, 4), (33, 7, 5, 11), (64, 48, 12, 32)] {
            let case = Case::new(t, n, di, dd);
            let run = |product: fn(Tensor<2>, Tensor<2>, Tensor<3>) -> Tensor<2>| {
                let (y, x, d, g) = case.tensors(&device);
                let (x, d) = (x.autodiff().require_grad(), d.autodiff().require_grad());
                let out = product(y.autodiff(), x.clone(), d.clone());
                let mut grads = (out.clone() * g.autodiff()).sum().backward();
                (out.inner(), x.grad_remove(&mut grads).expect("dx"), d.grad_remove(&mut grads).expect("dd"))
            };
            let (ours, burns) = (run(block_matmul), run(composed));
            assert_close(ours.0, burns.0, 1e-5, "y");
            assert_close(ours.1, burns.1, 1e-5, "dx");
            assert_close(ours.2, burns.2, 1e-5, "dd");
        }
    }
}

/// The product is linear in each argument, so a wide step has no error but rounding.
#[test]
fn twin_gradients_agree_with_finite_differences() {
    let device = Device::flex();
    for (t, n, di, dd) in [(1, 1, 1, 1), (3, 2, 3, 2), (5, 3, 1, 4)] {
        let case = Case::new(t, n, di, dd);
        let (y, x, d, g) = case.tensors(&device);
        let objective = |x: &[f32], d: &[f32]| -> f64 {
            let x = Tensor::from_data(TensorData::new(x.to_vec(), [t, n * di]), &device);
            let d = Tensor::from_data(TensorData::new(d.to_vec(), [n, di, dd]), &device);
            let out: Vec<f32> = block_matmul(y.clone(), x, d).into_data().try_into_vec().expect("f32");
            out.iter().zip(&case.g).map(|(out, g)| f64::from(*out) * f64::from(*g)).sum()
        };
        let (xt, dt) = (x.autodiff().require_grad(), d.autodiff().require_grad());
        let mut grads = (block_matmul(y.clone().autodiff(), xt.clone(), dt.clone()) * g.autodiff()).sum().backward();
        let dx: Vec<f32> = xt.grad_remove(&mut grads).expect("dx").into_data().try_into_vec().expect("f32");
        let gd: Vec<f32> = dt.grad_remove(&mut grads).expect("dd").into_data().try_into_vec().expect("f32");
        let step = 0.5f32;
        let difference = |values: &[f32], at: usize, f: &dyn Fn(&[f32]) -> f64| {
            let shifted = |by: f32| {
                let mut values = values.to_vec();
                values[at] += by;
                f(&values)
            };
            (shifted(step) - shifted(-step)) / f64::from(2.0 * step)
        };
        for (at, dx) in dx.iter().enumerate() {
            let fd = difference(&case.x, at, &|x| objective(x, &case.d));
            assert!((fd - f64::from(*dx)).abs() < 1e-4, "dx[{at}] {dx} finite difference {fd}");
        }
        for (at, gd) in gd.iter().enumerate() {
            let fd = difference(&case.d, at, &|d| objective(&case.x, d));
            assert!((fd - f64::from(*gd)).abs() < 1e-4, "dd[{at}] {gd} finite difference {fd}");
        }
    }
}

/// The tests above must be able to fail: the same comparison catches a shader that is off by a thousandth.
#[test]
fn a_wrong_shader_is_caught() {
    let device = gpu();
    let case = Case::new(7, 3, 9, 16);
    let (y, x, d, _) = case.tensors(&device);
    for form in Form::ALL {
        for (text, wrong) in [("", false), ("x_scale", true)] {
            let mut shader = product_shader(form, case.di as u32, case.dd as u32, false);
            if wrong {
                shader.name = text;
                let sabotaged = shader.text.replace("+= sums", "+= 1.001 * sums");
                assert_ne!(sabotaged, shader.text);
                shader.text = Box::leak(sabotaged.into_boxed_str());
            }
            let primitive = |tensor: Tensor<2>| cube(tensor.into_dispatch());
            let out = primitive(y.clone()).copy();
            launch_product(shader, &out, &primitive(x.clone()), &cube(d.clone().into_dispatch()), false);
            let bytes = out.client.read_one(out.handle.clone()).expect("read");
            let values: Vec<f32> = bytemuck::cast_slice(&bytes)[..case.y.len()].to_vec();
            let tensor = Tensor::<1>::from_data(values.as_slice(), &Device::flex());
            assert_eq!(distance(&tensor, &case.forward()) > 1e-5, wrong, "{form:?}");
        }
    }
}

/// The primitive beneath a tensor on a GPU.
fn cube(tensor: burn::backend::DispatchTensor) -> CubeTensor {
    use burn::backend::{BackendTensor, DispatchTensorKind};
    match tensor.kind {
        DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => tensor,
        other => panic!("not a float tensor on a GPU: {other:?}"),
    }
}
