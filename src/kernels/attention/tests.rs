//! `causal_attention` against a composition of plain operations, and by finite differences.

use super::*;
use crate::kernels::Form;
use crate::testing::{assert_close, gpu, random_on, with_form};
use burn::tensor::{Device, TensorData, activation::softmax};

/// With repeated keys and values, and the whole square.
fn composed(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, shape: AttentionShape) -> Tensor<2> {
    let AttentionShape { rows, heads, kv_heads, head_dim, scale, first } = shape;
    let (length, seen) = (q.dims()[0] / rows, k.dims()[0] / rows);
    let by_head = |x: Tensor<2>, heads: usize| {
        let length = x.dims()[0] / rows;
        x.reshape([rows, length, heads, head_dim]).swap_dims(1, 2)
    };
    let repeated = |x: Tensor<2>| {
        let x = by_head(x, kv_heads).reshape([rows, kv_heads, 1, seen * head_dim]);
        x.repeat_dim(2, heads / kv_heads).reshape([rows, heads, seen, head_dim])
    };
    let (q, k, v) = (by_head(q, heads), repeated(k), repeated(v));
    let mask: Vec<f32> = (0..rows * length * seen)
        .map(|at| {
            let (query, key) = (at / seen, at % seen);
            let begin = first.as_ref().map_or(0, |first| first.all()[query] as usize);
            if key >= begin && key <= query % length + seen - length { 0.0 } else { f32::NEG_INFINITY }
        })
        .collect();
    let mask = Tensor::<4>::from_data(TensorData::new(mask, [rows, 1, length, seen]), &q.device());
    let y = softmax(q.matmul(k.transpose()) * scale + mask, 3).matmul(v);
    y.swap_dims(1, 2).reshape([rows * length, heads * head_dim])
}

struct Case {
    rows: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    length: usize,
    before: usize,
    is_packed: bool,
}

impl Case {
    fn shape(&self) -> AttentionShape {
        // Examples of 5, 6, 7 … tokens.
        let first = |length: usize| {
            let (mut begin, mut next) = (0, 5);
            (0..length).map(move |t| {
                if t == begin + next {
                    (begin, next) = (t, next + 1);
                }
                begin as u32
            })
        };
        let first = self.is_packed.then(|| (0..self.rows).flat_map(|_| first(self.length)).collect());
        let scale = (self.head_dim as f32).powf(-0.5) * 3.0;
        let Self { rows, heads, kv_heads, head_dim, .. } = *self;
        AttentionShape { rows, heads, kv_heads, head_dim, scale, first }
    }

    fn inputs(&self, device: &Device) -> [Tensor<2>; 3] {
        let (tokens, seen) = (self.rows * self.length, self.rows * (self.length + self.before));
        [
            random_on(device, 1, [tokens, self.heads * self.head_dim]),
            random_on(device, 2, [seen, self.kv_heads * self.head_dim]),
            random_on(device, 3, [seen, self.kv_heads * self.head_dim]),
        ]
    }
}

/// Rows, heads, their sharing, width, length, tokens before.
const CASES: [(usize, usize, usize, usize, usize, usize); 11] = [
    (1, 1, 1, 1, 1, 0),
    (1, 2, 1, 3, 2, 0),
    (2, 4, 2, 16, 7, 0),
    (1, 3, 3, 8, 33, 0),
    (2, 9, 3, 64, 65, 0),
    (1, 4, 2, 20, 5, 12),
    (1, 4, 1, 16, 1, 40),
    (2, 2, 2, 12, 300, 0),
    (1, 3, 1, 4, 1300, 0),
    (1, 16, 1, 5, 290, 0),
    (2, 5, 1, 7, 131, 40),
];

fn all_cases(device: &Device) {
    let plain: fn(usize) -> bool = |_| false;
    for (rows, heads, kv_heads, head_dim, length, before) in CASES {
        let packings: &[fn(usize) -> bool] = if before == 0 { &[plain, |_| true] } else { &[plain] };
        for is_packed in packings.iter().map(|packed| packed(length)) {
            let case = Case { rows, heads, kv_heads, head_dim, length, before, is_packed };
            let what = format!("{rows} x {length} after {before}, {heads}/{kv_heads} heads of {head_dim}, {is_packed}");
            let run = |f: fn(Tensor<2>, Tensor<2>, Tensor<2>, AttentionShape) -> Tensor<2>, device: &Device| {
                let inputs = case.inputs(device).map(|input| input.autodiff().require_grad());
                let [q, k, v] = inputs.clone();
                let y = f(q, k, v, case.shape());
                let mut grads = (y.clone() * random_on(device, 4, y.dims())).sum().backward();
                let gradients = inputs.map(|input| input.grad_remove(&mut grads).expect("gradient"));
                let cpu = |x: Tensor<2>| Tensor::<2>::from_data(x.into_data(), &Device::flex());
                (cpu(y.inner()), gradients.map(cpu))
            };
            let (ours, expected) = (run(causal_attention, device), run(composed, &Device::flex()));
            assert_close(ours.0, expected.0, 5e-6, &what);
            for ((ours, expected), name) in ours.1.into_iter().zip(expected.1).zip(["q", "k", "v"]) {
                // A single key gets all the weight, whatever the query is.
                if length > 1 || before > 0 || name == "v" {
                    assert_close(ours, expected, 5e-5, &format!("{what}: gradient to {name}"));
                }
            }
        }
    }
}

#[test]
fn twin_is_the_composition() {
    all_cases(&Device::flex());
}

#[test]
fn kernels_are_the_composition_in_both_forms() {
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || all_cases(&device));
    }
}

/// A result that is at hand has the gradients of making it, bit by bit, and is not made again.
fn known_is_made(device: &Device) {
    for is_packed in [false, true] {
        let case = Case { rows: 2, heads: 6, kv_heads: 2, head_dim: 20, length: 37, before: 0, is_packed };
        let [q, k, v] = case.inputs(device);
        let made = causal_attention(q, k, v, case.shape());
        let gradients = |known: Option<Tensor<2>>| {
            let inputs = case.inputs(device).map(|input| input.autodiff().require_grad());
            let [q, k, v] = inputs.clone();
            let y = match known {
                Some(known) => known_causal_attention(q, k, v, known, case.shape()),
                None => causal_attention(q, k, v, case.shape()),
            };
            let mut grads = (y.clone() * random_on(device, 4, y.dims())).sum().backward();
            let gradients = inputs.map(|input| input.grad_remove(&mut grads).expect("gradient").into_data());
            (y.into_data(), gradients)
        };
        assert!(gradients(Some(made.clone())) == gradients(None), "packed: {is_packed}");
        let (y, of_another) = gradients(Some(made.clone() + 1.0));
        assert_eq!(y, (made + 1.0).into_data());
        assert!(of_another == gradients(None).1, "gradients follow from queries, keys and values");
        let [q, k, v] = case.inputs(device);
        let other = random_on(device, 5, q.dims());
        assert_eq!(known_causal_attention(q, k, v, other.clone(), case.shape()).into_data(), other.into_data());
    }
}

#[test]
fn a_known_result_has_the_gradients_of_one_that_is_made() {
    known_is_made(&Device::flex());
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || known_is_made(&device));
    }
}

/// Scores that rise, fall and jump from one stretch of keys to the next, by far more than powers are kept within.
#[test]
fn twin_follows_scores_that_rise() {
    let device = Device::flex();
    let case = Case { rows: 1, heads: 3, kv_heads: 1, head_dim: 8, length: 700, before: 0, is_packed: false };
    let rise = |at: usize| if (300..400).contains(&at) { -40.0 } else { at as f32 / 10.0 };
    let factors: Vec<f32> = (0..case.length).map(rise).collect();
    let factors = Tensor::<2>::from_data(TensorData::new(factors, [case.length, 1]), &device);
    let run = |f: fn(Tensor<2>, Tensor<2>, Tensor<2>, AttentionShape) -> Tensor<2>| {
        let [q, k, v] = case.inputs(&device);
        f(q, k * factors.clone(), v, case.shape())
    };
    assert_close(run(causal_attention), run(composed), 2e-5, "rising scores");
}

#[test]
fn a_score_that_is_no_number_spoils_what_sees_it_and_nothing_else() {
    let device = Device::flex();
    let case = Case { rows: 1, heads: 3, kv_heads: 1, head_dim: 4, length: 150, before: 0, is_packed: false };
    let bad = 140;
    for value in [f32::NAN, f32::INFINITY] {
        let [q, k, v] = case.inputs(&device);
        let k = k.slice_assign([bad..bad + 1, 0..1], Tensor::full([1, 1], value, &device));
        let y: Vec<f32> = causal_attention(q, k, v, case.shape()).into_data().try_into_vec().expect("f32");
        let width = case.heads * case.head_dim;
        for (t, y) in y.chunks_exact(width).enumerate() {
            // The weight of an infinite score of the other sign is zero.
            let heads = y.chunks_exact(case.head_dim).filter(|head| head.iter().all(|y| y.is_finite())).count();
            assert!(t >= bad || heads == case.heads, "{t} sees none of it");
            assert!(t < bad || value.is_infinite() || heads == 0, "{t} sees it");
        }
    }
}

#[test]
fn twin_gives_the_same_bits_on_any_number_of_threads() {
    let of = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let device = Device::flex();
        let case = Case { rows: 2, heads: 6, kv_heads: 2, head_dim: 20, length: 419, before: 0, is_packed: true };
        pool.install(|| {
            let inputs = case.inputs(&device).map(|input| input.autodiff().require_grad());
            let [q, k, v] = inputs.clone();
            let y = causal_attention(q, k, v, case.shape());
            let mut grads = (y.clone() * random_on(&device, 4, y.dims())).sum().backward();
            let gradients = inputs.map(|input| input.grad_remove(&mut grads).expect("gradient").into_data());
            (y.into_data(), gradients)
        })
    };
    let one = of(1);
    for threads in [2, 5] {
        assert!(of(threads) == one, "{threads} threads");
    }
}

#[test]
fn gradients_by_finite_differences() {
    let case = Case { rows: 1, heads: 2, kv_heads: 1, head_dim: 3, length: 4, before: 0, is_packed: false };
    let device = Device::flex();
    let inputs = case.inputs(&device).map(|input| input.autodiff().require_grad());
    let [q, k, v] = inputs.clone();
    let y = causal_attention(q, k, v, case.shape());
    let g = random_on(&device, 4, y.dims());
    let mut grads = (y * g.clone()).sum().backward();
    for (which, input) in inputs.iter().enumerate() {
        let gradient: Vec<f32> =
            input.grad_remove(&mut grads).expect("gradient").into_data().try_into_vec().expect("f32");
        for (at, gradient) in gradient.iter().enumerate() {
            let loss = |step: f32| -> f64 {
                let mut inputs = case.inputs(&device);
                let dims = inputs[which].dims();
                let mut values: Vec<f32> = inputs[which].clone().into_data().try_into_vec().expect("f32");
                values[at] += step;
                inputs[which] = Tensor::from_data(TensorData::new(values, dims), &device);
                let [q, k, v] = inputs;
                f64::from((causal_attention(q, k, v, case.shape()) * g.clone()).sum().into_scalar::<f32>())
            };
            let step = 1.0 / 64.0;
            let slope = (loss(step) - loss(-step)) / f64::from(2.0 * step);
            assert!((slope - f64::from(*gradient)).abs() <= 2e-3, "{which}, {at}: {slope} and {gradient}");
        }
    }
}
