//! `matmul_tiled` against plain loops in f64, the twin and Burn's matmul, in both tiles; and what is built on it.

use super::*;
use crate::kernels::dequantize::tests::stored;
use crate::kernels::matmul::{Strategy, linear, matmul, matmul_transposed};
use crate::kernels::{AttentionShape, causal_attention, merged_linear, stored_linear};
use crate::testing::{assert_close, assert_differences, cube, gpu, random, random_on as on};
use crate::weights::{TensorType, quantize_q8_0};
use burn::backend::TensorMetadata;
use burn::tensor::{Device, Tensor, TensorData};

const PRODUCTS: [Product; 3] = [Product::Rows, Product::Plain, Product::Columns];

/// Matrices `[m, k]` and `[k, n]`, a batch of them, as `product` has them stored.
struct Case {
    product: Product,
    batch: usize,
    size: [usize; 3],
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Case {
    fn new(product: Product, batch: usize, [m, k, n]: [usize; 3]) -> Self {
        let seed = (m * 10_000 + k * 100 + n) as u64;
        Self { product, batch, size: [m, k, n], a: random(seed, batch * m * k), b: random(seed + 1, batch * k * n) }
    }

    fn tensors(&self, device: &Device) -> [Tensor<3>; 2] {
        let [m, k, n] = self.size;
        let stored = |values: &[f32], rows, columns| {
            Tensor::from_data(TensorData::new(values.to_vec(), [self.batch, rows, columns]), device)
        };
        match self.product {
            Product::Plain => [stored(&self.a, m, k), stored(&self.b, k, n)],
            Product::Rows => [stored(&self.a, m, k), stored(&self.b, n, k)],
            Product::Columns => [stored(&self.a, k, m), stored(&self.b, k, n)],
        }
    }

    fn run(&self, shader: Shader, device: &Device) -> Vec<f32> {
        let [a, b] = self.tensors(device).map(|tensor| cube(tensor.into_dispatch()));
        let y = launch(shader, a, b, self.product);
        let length = y.shape().num_elements();
        bytemuck::cast_slice(&y.client.read_one(y.handle.clone()).expect("read"))[..length].to_vec()
    }

    /// Every shader that can compute it: in both tiles, with values, and where all rows allow it with vectors.
    fn shaders(&self) -> Vec<Shader> {
        let [m, k, n] = self.size;
        let rows = match self.product {
            Product::Plain | Product::Rows => [k, n],
            Product::Columns => [m, n],
        };
        let mut shaders = vec![shader(SMALL, false), shader(LARGE, false)];
        if rows.iter().all(|length| length % 4 == 0) {
            shaders.extend([shader(SMALL, true), shader(LARGE, true)]);
        }
        shaders
    }

    /// Each result, and the sum of its absolute terms.
    fn reference(&self) -> Vec<(f64, f64)> {
        let [m, k, n] = self.size;
        let term = |matrix: usize, row: usize, column: usize, at: usize| {
            let a = if self.product == Product::Columns { at * m + row } else { row * k + at };
            let b = if self.product == Product::Rows { column * k + at } else { at * n + column };
            f64::from(self.a[matrix * m * k + a]) * f64::from(self.b[matrix * k * n + b])
        };
        let entry = |at: usize| {
            let terms = (0..k).map(|i| term(at / (m * n), at / n % m, at % n, i));
            terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
        };
        (0..self.batch * m * n).map(entry).collect()
    }

    fn check(&self, device: &Device) {
        let reference = self.reference();
        for shader in self.shaders() {
            let what = format!("{:?}, {:?}, {} of {:?}", shader.constants, self.product, self.batch, self.size);
            assert!(is_close(&self.run(shader, device), &reference), "{what}");
        }
    }
}

fn is_close(found: &[f32], reference: &[(f64, f64)]) -> bool {
    let near = |(found, (sum, size)): (&f32, &(f64, f64))| (f64::from(*found) - sum).abs() <= 1e-5 * size.max(1e-30);
    found.len() == reference.len() && found.iter().zip(reference).all(near)
}

/// One, a bit less and more than a vector, than the depth of a stage, than each tile; and whole ones.
#[test]
fn every_size_agrees_with_plain_loops() {
    let device = gpu();
    for product in PRODUCTS {
        for m in [1, 3, 32, 49, 64, 65] {
            for k in [1, 3, 4, 5, 16, 33, 64] {
                for n in [1, 4, 5, 31, 64, 68] {
                    Case::new(product, 1, [m, k, n]).check(&device);
                }
            }
        }
        // Several tiles either way, and sums of many stages.
        for size in [[128, 100, 192], [130, 65, 129], [200, 36, 64], [2, 4100, 7], [33, 2048, 8]] {
            Case::new(product, 1, size).check(&device);
        }
    }
}

#[test]
fn every_matrix_of_a_batch_is_its_own() {
    let device = gpu();
    for product in PRODUCTS {
        for size in [[1, 1, 1], [5, 7, 3], [64, 16, 64], [70, 12, 36], [33, 18, 65]] {
            for batch in [2, 5] {
                Case::new(product, batch, size).check(&device);
            }
        }
    }
}

/// One dimension of a launch ends at 65,535 workgroups.
#[test]
fn more_tiles_than_a_dimension_has_workgroups() {
    let case = Case::new(Product::Rows, 70_001, [1, 2, 1]);
    assert!(is_close(&case.run(shader(SMALL, false), &gpu()), &case.reference()));
}

/// What lies behind a matrix is read by its last tile, and must not count.
#[test]
fn a_neighbour_that_is_not_finite_stays_outside() {
    let device = gpu();
    for product in PRODUCTS {
        for size in [[5, 7, 3], [36, 20, 40], [65, 5, 66]] {
            let mut case = Case::new(product, 2, size);
            let half = [case.a.len() / 2, case.b.len() / 2];
            case.a[half[0]..].fill(f32::INFINITY);
            case.b[half[1]..].fill(f32::NAN);
            for shader in case.shaders() {
                let what = format!("{:?}, {product:?} {size:?}", shader.constants);
                let found = case.run(shader, &device);
                let (first, second) = found.split_at(found.len() / 2);
                assert!(first.iter().all(|value| value.is_finite()), "{what}");
                assert!(second.iter().all(|value| value.is_nan()), "{what}");
            }
        }
    }
}

#[test]
fn the_tile_is_told_by_the_shape() {
    let tile = |batch, [m, n]: [usize; 2]| {
        let [a, b] = [[batch, m, 1], [batch, n, 1]].map(|shape| cube(on(&gpu(), 1, shape).into_dispatch()));
        tile_of(&Sizes::of(&a, &b, Product::Rows))
    };
    // 128 tokens and 512 of SmolLM2's narrowest and widest layers; attention's scores.
    assert_eq!(tile(1, [128, 192]), SMALL);
    assert_eq!(tile(1, [512, 576]), SMALL);
    assert_eq!(tile(1, [512, 1536]), LARGE);
    assert_eq!(tile(3, [1536, 512]), LARGE);
}

/// Result and gradients of every product that the model asks for.
#[test]
fn products_and_their_gradients_are_those_of_burn_and_of_the_twin() {
    let (device, cpu) = (gpu(), Device::flex());
    for [m, k, n] in [[1, 576, 192], [40, 192, 448], [33, 448, 90], [128, 64, 200]] {
        let run = |device: &Device, strategy: Strategy| {
            strategy.serve(|| {
                let taken = "every tracked input has a gradient";
                let x = on(device, 1, [m, k]).autodiff().require_grad();
                let y = linear(x.clone(), on(device, 2, [n, k]));
                let mut grads = (y.clone() * on(device, 3, [m, n]).autodiff()).sum().backward();
                let mut results = vec![y.inner().flatten::<1>(0, 1)];
                results.push(x.grad_remove(&mut grads).expect(taken).flatten(0, 1));
                let inputs = [[3, m, k], [3, n, k], [3, n, 20]];
                let inputs = inputs.map(|shape| on(device, 4, shape).autodiff().require_grad());
                let [q, keys, values] = inputs.clone();
                let y = matmul(matmul_transposed(q, keys), values);
                let mut grads = (y.clone() * on(device, 5, [3, m, 20]).autodiff()).sum().backward();
                results.push(y.inner().flatten(0, 2));
                results.extend(inputs.map(|input| input.grad_remove(&mut grads).expect(taken).flatten(0, 2)));
                results
            })
        };
        let (ours, burns, twins) =
            (run(&device, Strategy::Tiled), run(&device, Strategy::Burn), run(&cpu, Strategy::Tiled));
        for (at, ((ours, burns), twin)) in ours.into_iter().zip(burns).zip(twins).enumerate() {
            let what = format!("{m} x {k} x {n}, result {at}");
            assert_close(Tensor::<1>::from_data(ours.clone().into_data(), &cpu), twin, 1e-5, &what);
            assert_close(ours, burns, 1e-5, &what);
        }
    }
}

#[test]
fn gradients_by_finite_differences() {
    let device = gpu();
    for [m, k, n] in [[1, 1, 1], [3, 5, 2], [4, 4, 7]] {
        let (a, b, g) = (on(&device, 1, [m, k]), on(&device, 2, [n, k]), on(&device, 3, [m, n]));
        let loss = |a: Tensor<2>, b: Tensor<2>| (matmul_transposed(a, b) * g.clone()).sum();
        let value = |loss: Tensor<1>| f64::from(loss.into_scalar::<f32>());
        Strategy::Tiled.serve(|| {
            let (left, right) = (a.clone().autodiff().require_grad(), b.clone().autodiff().require_grad());
            let mut grads = loss(left.clone(), right.clone()).backward();
            let [da, db] = [left, right].map(|input| input.grad_remove(&mut grads).expect("a gradient"));
            assert_differences(|a| value(loss(a, b.clone())), &a, da, "a");
            assert_differences(|b| value(loss(a.clone(), b)), &b, db, "b");
        });
    }
}

/// Layers and attention hand over parts of weights, of blocks of queries, and views.
#[test]
fn what_is_built_on_it_agrees_with_the_same_on_burns() {
    let device = gpu();
    let (tokens, [n, di, dd]) = (37, [4, 16, 130]);
    let both = |work: &dyn Fn() -> Vec<Tensor<1>>, what: &str| {
        let (ours, burns) = (Strategy::Tiled.serve(work), Strategy::Burn.serve(work));
        for (at, (ours, burns)) in ours.into_iter().zip(burns).enumerate() {
            assert_close(ours, burns, 1e-5, &format!("{what}, result {at}"));
        }
    };
    // Result, and gradients of `Σ y·g` to what is tracked.
    let results = |y: Tensor<2>, inputs: &[Tensor<2>]| {
        let mut grads = (y.clone() * on(&device, 9, y.dims()).autodiff()).sum().backward();
        let mut results = vec![y.inner().flatten(0, 1)];
        results.extend(inputs.iter().map(|input| input.grad_remove(&mut grads).expect("a gradient").flatten(0, 1)));
        results
    };
    let leaf = |seed, shape: [usize; 2]| on(&device, seed, shape).autodiff().require_grad();

    let merged = || {
        let (x, blocks) = (leaf(1, [tokens, n * di]), leaf(2, [n * di, dd]));
        let y = merged_linear(x.clone(), on(&device, 3, [n * dd, n * di]), blocks.clone().reshape([n, di, dd]));
        results(y, &[x, blocks])
    };
    both(&merged, "merged_linear");

    let bytes = quantize_q8_0(&random(4, n * dd * n * di)).expect("small values");
    let weight = stored(TensorType::Q8_0, [n * dd, n * di], &bytes, &[0, 100, 101], &device);
    let in_parts = || {
        let (x, blocks) = (leaf(1, [tokens, n * di]), leaf(2, [n * di, dd]));
        let y = stored_linear(x.clone(), &weight, Some(blocks.clone().reshape([n, di, dd])));
        results(y, &[x, blocks])
    };
    both(&in_parts, "stored_linear");

    // The second one takes several blocks of queries.
    for (rows, length, heads) in [(2, 19, 4), (1, 1100, 6)] {
        let attention = || {
            let [q, k, v] = [heads, 2, 2].map(|heads| leaf(heads as u64, [rows * length, heads * 12]));
            let shape = AttentionShape { rows, heads, kv_heads: 2, head_dim: 12, scale: 0.3, first: None };
            results(causal_attention(q.clone(), k.clone(), v.clone(), shape), &[q, k, v])
        };
        both(&attention, &format!("causal_attention over {length}"));
    }

    let (x, weight) = (on(&device, 1, [20, 36]), on(&device, 2, [24, 12]));
    let view = || vec![linear(x.clone().narrow(1, 12, 12), weight.clone()).flatten(0, 1)];
    both(&view, "a view");
}

/// The tests above must be able to fail: a shader that leaves out a stage or a term, or reads the wrong columns,
/// is caught.
#[test]
fn a_wrong_shader_is_caught() {
    let text = include_str!("../../../shaders/matmul_tiled.wgsl");
    let device = gpu();
    let case = Case::new(Product::Rows, 1, [40, 64, 36]);
    for (at, (right, wrong)) in [
        ("k < p.terms", "k < p.terms"),
        ("var k = 0u", "var k = STEPS * 4u"),
        ("place(s, id.x)", "place(s, id.y)"),
        ("term + 3u < p.terms", "term + 4u < p.terms"),
    ]
    .into_iter()
    .enumerate()
    {
        let sabotaged = text.replacen(right, wrong, 1);
        assert_eq!(sabotaged != text, at > 0);
        let mut shader = shader(LARGE, true);
        shader.name = ["matmul_tiled_0", "matmul_tiled_1", "matmul_tiled_2", "matmul_tiled_3"][at];
        shader.text = Box::leak(sabotaged.into_boxed_str());
        assert_eq!(is_close(&case.run(shader, &device), &case.reference()), at == 0, "{wrong}");
    }
}
