//! Each kernel against its own limit: bytes over copy bandwidth, or operations over dense matmul.

use super::ceiling::Ceiling;
use super::{filled, seconds};
use crate::adapter::{AdapterConfig, slots};
use crate::error::Result;
use crate::kernels::attention::Attention;
use crate::kernels::block_matmul::BlockMatmul;
use crate::kernels::matmul::{Multiply, Product};
use crate::kernels::{
    AdamWStep, AttentionShape, Form, StoredWeight, Strategy, adamw, block_matmul, causal_attention, cross_entropy,
    global_norm, linear, rms_norm, rotary, swiglu,
};
use crate::model::{ModelConfig, Projection};
use crate::weights::TensorType;
use burn::backend::Dispatch;
use burn::tensor::{Device, Int, Tensor};
use serde::Serialize;

/// How fast one kernel runs at one shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelRate {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Its sizes, for people.
    pub shape: String,
    /// Median time of a launch.
    pub microseconds: f64,
    /// Multiplications and additions a second.
    pub gflops: f64,
    /// Bytes that must be read and written at least, a second.
    pub gb_per_second: f64,
    /// The time that the ceiling would allow, over the time it took.
    pub share_of_ceiling: f64,
    /// For a block kernel: the time of a dense product with as many tokens and as many operations, over the time it took. A
    /// small product has its launch to pay for, whatever its form, which the ceiling knows nothing of.
    pub share_of_dense: Option<f64>,
}

struct Measure<'a> {
    device: &'a Device,
    ceiling: &'a Ceiling,
    rates: Vec<KernelRate>,
}

impl Measure<'_> {
    fn add<T>(
        &mut self,
        kernel: &'static str,
        shape: String,
        flop: usize,
        values: usize,
        run: impl FnMut() -> T,
    ) -> Result<()> {
        let time = seconds(self.device, run)?;
        let (flop, bytes) = (flop as f64, 4.0 * values as f64);
        let limit = (flop / self.ceiling.matmul_gflops).max(bytes / self.ceiling.copy_gb_per_second) / 1e9;
        self.rates.push(KernelRate {
            kernel,
            shape,
            microseconds: time * 1e6,
            gflops: flop / time / 1e9,
            gb_per_second: bytes / time / 1e9,
            share_of_ceiling: limit / time,
            share_of_dense: None,
        });
        Ok(())
    }

    /// The same for a product of blocks, which takes `dense` seconds where one matrix stands for all of them.
    fn add_blocks<T>(
        &mut self,
        kernel: &'static str,
        [tokens, n, di, dd]: [usize; 4],
        values: usize,
        dense: f64,
        run: impl FnMut() -> T,
    ) -> Result<()> {
        let shape = format!("T {tokens}, {n} blocks of {di} x {dd}");
        self.add(kernel, shape, 2 * tokens * n * di * dd, values, run)?;
        let rate = self.rates.last_mut().expect("just added");
        rate.share_of_dense = Some(dense * 1e6 / rate.microseconds);
        Ok(())
    }
}

/// Measures every kernel at the shapes that `adapter` gives it on `model`, with `tokens` rows.
///
/// # Errors
/// If the device is lost.
pub fn measure_kernels(
    adapter: &AdapterConfig,
    model: &ModelConfig,
    tokens: usize,
    device: &Device,
    ceiling: &Ceiling,
) -> Result<Vec<KernelRate>> {
    let slots = slots(adapter, model);
    let mut measure = Measure { device, ceiling, rates: Vec::new() };
    // What no kernel can be faster than.
    let one = filled([1], device);
    measure.add("launch", "1 value".into(), 1, 2, || one.clone() + 1.0)?;
    let mut shapes: Vec<&[usize]> =
        slots.iter().map(|slot| slot.shape.as_slice()).filter(|shape| shape.len() == 3).collect();
    shapes.sort_unstable();
    shapes.dedup();
    for shape in shapes {
        let [n, di, dd] = [shape[0], shape[1], shape[2]];
        let (x, g, d) =
            (filled([tokens, n * di], device), filled([tokens, n * dd], device), filled([n, di, dd], device));
        let (input, output, blocks) = (tokens * n * di, tokens * n * dd, n * di * dd);
        let sizes = [tokens, n, di, dd];
        let dense = dense_seconds(tokens, blocks, device)?;
        let mut y = Some(filled([tokens, n * dd], device));
        measure.add_blocks("block_matmul", sizes, input + blocks + 2 * output, dense, || {
            y = y.take().map(|y| block_matmul(y, x.clone(), d.clone()));
        })?;
        let primitive = |tensor: &Tensor<2>| tensor.clone().into_dispatch();
        measure.add_blocks("block_matmul (to x)", sizes, input + blocks + output, dense, || {
            Dispatch::block_matmul_dx(primitive(&g), d.clone().into_dispatch())
        })?;
        measure.add_blocks("block_matmul_dd", sizes, input + blocks + output, dense, || {
            Dispatch::block_matmul_dd(primitive(&x), primitive(&g), n)
        })?;
    }
    measure_layer(&mut measure, model, tokens)?;
    measure_dense(&mut measure, model, tokens)?;
    // The file's bytes in, f32 out.
    let [d_in, d_out] = Projection::Up.size(model);
    for format in [TensorType::F16, TensorType::Q8_0, TensorType::Q4_1] {
        let at_once = d_out.min((1 << 23) / d_in).max(1);
        let (elements, _) = format.block();
        if !d_in.is_multiple_of(elements) {
            continue;
        }
        let words = vec![0i32; format.bytes(d_in * at_once).div_ceil(4)];
        let values = d_in * at_once + words.len();
        let weight = StoredWeight::new(format, [at_once, d_in], vec![(0..at_once, words)], device);
        let name = format!("{} x {d_in} in {}", at_once, format.name());
        measure.add("dequantize", name, 0, values, || weight.values(0..at_once))?;
    }
    let count: usize = slots.iter().map(|slot| slot.len()).sum::<usize>().min(1 << 24);
    let gradient = filled([count], device);
    measure.add("global_norm", format!("{count} values"), 2 * count, count, || global_norm(gradient.clone()))?;
    let norm = global_norm(gradient.clone());
    let mut state = Some([filled([count], device), filled([count], device), filled([count], device).square()]);
    let step = AdamWStep {
        learning_rate: 1e-3,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        weight_decay: 0.0,
        max_grad_norm: 1.0,
        step: 1,
    };
    measure.add("adamw", format!("{count} values"), 12 * count, 7 * count, || {
        state = state.take().map(|state| adamw(state, gradient.clone(), norm.clone(), step));
    })?;
    Ok(measure.rates)
}

/// Seconds that a dense product takes with `tokens` rows and as many operations as blocks of `count` values have with
/// those: by a square matrix, whose side is a multiple of four as those of models are.
fn dense_seconds(tokens: usize, count: usize, device: &Device) -> Result<f64> {
    let side = ((count as f64).sqrt() / 4.0).round().max(1.0) as usize * 4;
    let (x, weight) = (filled([tokens, side], device), filled([side, side], device));
    Ok(seconds(device, || linear(x.clone(), weight.clone()))? * count as f64 / (side * side) as f64)
}

/// The dense products of layers and head; on a GPU those of layers by every strategy there is, too.
fn measure_dense(measure: &mut Measure<'_>, model: &ModelConfig, tokens: usize) -> Result<()> {
    let device = measure.device;
    let head = [model.hidden_size, model.vocab_size];
    let mut sizes = Projection::ALL.map(|projection| projection.size(model)).to_vec();
    sizes.push(head);
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        let [d_in, d_out] = size;
        let (x, g, weight) =
            (filled([tokens, d_in], device), filled([tokens, d_out], device), filled([d_out, d_in], device));
        let (flop, values) = (2 * tokens * d_in * d_out, tokens * (d_in + d_out) + d_in * d_out);
        let name = format!("T {tokens}, {d_in} to {d_out}");
        let forward = || linear(x.clone(), weight.clone());
        let to_input =
            || Dispatch::multiply_as(g.clone().into_dispatch(), weight.clone().into_dispatch(), Product::Plain);
        measure.add("linear", name.clone(), flop, values, forward)?;
        measure.add("linear (to x)", name.clone(), flop, values, to_input)?;
        if Form::on(device).is_none() || size == head {
            continue;
        }
        for (strategy, [ahead, back]) in [
            (Strategy::Burn, ["linear, burn", "linear (to x), burn"]),
            (Strategy::Register, ["linear, register", "linear (to x), register"]),
            (Strategy::Tiled, ["linear, tiled", "linear (to x), tiled"]),
        ] {
            measure.add(ahead, name.clone(), flop, values, || strategy.serve(forward))?;
            measure.add(back, name.clone(), flop, values, || strategy.serve(to_input))?;
        }
    }
    Ok(())
}

/// What a layer does besides its products.
fn measure_layer(measure: &mut Measure<'_>, model: &ModelConfig, tokens: usize) -> Result<()> {
    let device = measure.device;
    let (heads, kv_heads, head_dim) = (model.num_attention_heads, model.num_key_value_heads, model.head_dim);
    let filled = |width: usize| filled([tokens, width], device);
    let (q, k, v, g) =
        (filled(heads * head_dim), filled(kv_heads * head_dim), filled(kv_heads * head_dim), filled(heads * head_dim));
    let shape = || AttentionShape { rows: 1, heads, kv_heads, head_dim, scale: 0.125, first: None };
    // Half of the square, twice forward and five times backward.
    let half = tokens * tokens * heads * head_dim;
    let values = 2 * tokens * (heads + kv_heads) * head_dim;
    let name = format!("T {tokens}, {heads} heads of {head_dim}");
    measure.add("causal_attention", name.clone(), 2 * half, values, || {
        causal_attention(q.clone(), k.clone(), v.clone(), shape())
    })?;
    let primitive = |tensor: &Tensor<2>| tensor.clone().into_dispatch();
    measure.add("causal_attention (back)", name, 5 * half, 2 * values, || {
        Dispatch::causal_attention_backward(primitive(&q), primitive(&k), primitive(&v), primitive(&g), shape())
    })?;

    let (hidden, mlp) = (model.hidden_size, model.intermediate_size);
    let (x, weight) = (filled(hidden), filled(hidden).narrow(0, 0, 1).flatten(0, 1));
    measure.add("rms_norm", format!("T {tokens}, {hidden} wide"), 4 * tokens * hidden, 2 * tokens * hidden, || {
        rms_norm(x.clone(), weight.clone(), 1e-5)
    })?;
    let (gate, up) = (filled(mlp), filled(mlp));
    measure.add("swiglu", format!("T {tokens}, {mlp} wide"), 6 * tokens * mlp, 3 * tokens * mlp, || {
        swiglu(gate.clone(), up.clone())
    })?;
    let table = || filled(head_dim / 2);
    let (cos, sin) = (table(), table());
    let mut x = Some(filled(heads * head_dim));
    let count = tokens * heads * head_dim;
    measure.add("rotary", format!("T {tokens}, {heads} heads of {head_dim}"), 3 * count, 2 * count, || {
        x = x.take().map(|x| rotary(x, cos.clone(), sin.clone()));
    })?;
    let logits = filled(model.vocab_size.min((1 << 24) / tokens).max(1));
    let classes = logits.dims()[1];
    let targets = Tensor::<1, Int>::from_data(vec![0i32; tokens].as_slice(), device);
    measure.add(
        "cross_entropy",
        format!("T {tokens}, {classes} classes"),
        4 * tokens * classes,
        tokens * classes,
        || cross_entropy(logits.clone(), targets.clone()),
    )
}
