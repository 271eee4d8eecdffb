//! The kernels of a layer besides its products, with their gradients.

use super::random_tensor;
use crate::kernels::{
    AttentionShape, StoredWeight, causal_attention, diagonal_blocks, linear_cross_entropy, merge_blocks, rms_norm,
    rotary, swiglu,
};
use crate::weights::TensorType;
use burn::tensor::{Device, Int, Tensor};

/// Rows, and their width.
const ROWS: usize = 21;
const WIDTH: usize = 36;

/// What every kernel makes of the same values, flat; by its name.
pub fn results(device: &Device) -> Vec<(&'static str, Tensor<1>)> {
    let mut results = Vec::new();
    let leaf = |seed| random_tensor(seed, [ROWS, WIDTH], device).autodiff().require_grad();
    let mut add = |name, inputs: &[Tensor<2>], y: Tensor<2>| {
        let mut grads = (y.clone() * random_tensor(20, y.dims(), device)).sum().backward();
        results.push((name, y.inner().flatten(0, 1)));
        let gradients = inputs.iter().map(|input| input.grad_remove(&mut grads).expect("every input has a gradient"));
        results.extend(gradients.map(|gradient| (name, gradient.flatten(0, 1))));
    };

    let x = leaf(21);
    add("rms_norm", std::slice::from_ref(&x), rms_norm(x.clone(), random_tensor(22, [WIDTH], device), 1e-5));
    let x = leaf(23);
    let table = |seed| random_tensor(seed, [ROWS, WIDTH / 6], device);
    add("rotary", std::slice::from_ref(&x), rotary(x.clone(), table(24), table(25)));
    let (gate, up) = (leaf(26), leaf(27));
    add("swiglu", &[gate.clone(), up.clone()], swiglu(gate.clone(), up.clone()));

    let keys = |seed| random_tensor(seed, [ROWS, WIDTH / 3], device).autodiff().require_grad();
    let (q, k, v) = (leaf(28), keys(29), keys(30));
    let shape = AttentionShape { rows: 1, heads: 3, kv_heads: 1, head_dim: WIDTH / 3, scale: 0.3, first: None };
    let y = causal_attention(q.clone(), k.clone(), v.clone(), shape);
    add("causal_softmax", &[q, k, v], y);

    let hidden = leaf(31);
    let targets: Vec<i32> = (0..ROWS as i32).map(|row| row * 7 % 61).collect();
    let targets = Tensor::<1, Int>::from_data(targets.as_slice(), device);
    let loss = linear_cross_entropy(hidden.clone(), random_tensor(32, [61, WIDTH], device), targets);
    add("cross_entropy", std::slice::from_ref(&hidden), loss.reshape([1, 1]));

    let weight = random_tensor(33, [ROWS, WIDTH], device);
    let merged = merge_blocks(weight.clone(), diagonal_blocks(weight, 3), random_tensor(34, [3, 12, 7], device), true);
    results.push(("merge_blocks", merged.flatten(0, 1)));
    results.extend(dequantized(device).map(|values| ("dequantize", values.flatten(0, 1))));
    results
}

/// Two formats, each in one of the kernel's ways: compiling all of them would take a browser too long.
fn dequantized(device: &Device) -> [Tensor<2>; 2] {
    let weight = |format: TensorType, width: usize| {
        let (elements, size) = format.block();
        let mut bytes: Vec<u8> = (0..6 * format.bytes(width)).map(|at| (at * at % 251) as u8).collect();
        // A scale, and where the format has it a minimum, of about a tenth each.
        for block in bytes.chunks_exact_mut(size) {
            let scales = if elements == 256 { 4 } else { 2 };
            block[..scales].copy_from_slice(&[0x66, 0x2e, 0x66, 0x2e][..scales]);
        }
        let words = bytes.chunks_exact(4).map(|word| i32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        StoredWeight::new(format, [6, width], vec![(0..6, words.collect())], device)
    };
    let blocks = random_tensor(35, [3, 32, 2], device);
    let ids = Tensor::<1, Int>::from_data([5, 0, 5], device);
    [weight(TensorType::Q8_0, 96).merged_values(0..6, blocks), weight(TensorType::Q4K, 256).select(ids)]
}
