//! A check that a device computes what it should: every kernel against its CPU twin, and a toy training run.
//!
//! In a browser a shader that fails validation is skipped in silence, so nothing else may be trusted before this.

use crate::adapter::{AdapterConfig, Method};
use crate::data::Batch;
use crate::error::Result;
use crate::kernels::{
    AdamWStep, Form, Strategy, adamw, block_matmul, global_norm, linear, matmul, matmul_transposed, step_guard,
};
use crate::model::{Architecture, Model, ModelConfig, Projection};
use crate::random::Random;
use crate::train::{Schedule, TrainConfig, Trainer, read};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;

mod fused;

/// How far a kernel is from its twin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelCheck {
    /// Name of the kernel.
    pub name: &'static str,
    /// `Register` or `Workgroup`.
    pub form: String,
    /// Largest distance of a result to the twin's, relative in norm.
    pub error: f64,
}

/// Runs every kernel in the given forms on `device`, and on the CPU.
///
/// # Errors
/// If the device is lost.
pub async fn check_kernels(device: &Device, forms: &[Form]) -> Result<Vec<KernelCheck>> {
    let mut checks = Vec::new();
    for &form in forms {
        Form::force(Some(form));
        let result = check_form(device, form, &mut checks).await;
        Form::force(None);
        result?;
    }
    Ok(checks)
}

async fn check_form(device: &Device, form: Form, checks: &mut Vec<KernelCheck>) -> Result<()> {
    let dense = |device: &Device| Strategy::candidates(form).iter().flat_map(|way| dense(*way, device)).collect();
    let all = |device: &Device| [dense(device), products(device), fused::results(device), optimizer(device)].concat();
    let (ours, twins) = (all(device), all(&Device::flex()));
    let lengths: Vec<usize> = ours.iter().map(|(_, values)| values.dims()[0]).collect();
    // One reading for all: in a browser each takes its time.
    let ours = read(Tensor::cat(ours.into_iter().map(|(_, values)| values).collect(), 0)).await?;
    // Of everything that a kernel computed, what is furthest off.
    let mut worst: Vec<(&'static str, f64)> = Vec::new();
    let mut rest = ours.as_slice();
    for ((name, twin), length) in twins.into_iter().zip(lengths) {
        let twin = read(twin).await?;
        let (ours, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        let off: f64 = ours.iter().zip(&twin).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let size: f64 = twin.iter().map(|v| f64::from(*v).powi(2)).sum();
        // A result of another length is as wrong as can be.
        let error = if ours.len() == twin.len() { (off / size).sqrt() } else { f64::INFINITY };
        match worst.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) if error.is_nan() || error > *known => *known = error,
            Some(_) => {}
            None => worst.push((name, error)),
        }
    }
    let form = format!("{form:?}");
    checks.extend(worst.into_iter().map(|(name, error)| KernelCheck { name, form: form.clone(), error }));
    Ok(())
}

/// The block-diagonal products, and their gradients; by the kernel's name.
fn products(device: &Device) -> Vec<(&'static str, Tensor<1>)> {
    // Odd sizes: no tile fits.
    let (tokens, n, di, dd) = (37, 3, 9, 21);
    let taken = "every tracked input has a gradient";
    let tensor = |seed, shape: [usize; 2]| random_tensor(seed, shape, device).autodiff().require_grad();
    let mut results = Vec::new();

    let (y, x) = (tensor(1, [tokens, n * dd]), tensor(2, [tokens, n * di]));
    let d = random_tensor(3, [n, di, dd], device).autodiff().require_grad();
    let out = block_matmul(y, x.clone(), d.clone());
    let mut grads = (out.clone() * random_tensor(4, [tokens, n * dd], device)).sum().backward();
    results.push(("block_matmul", out.inner().flatten(0, 1)));
    results.push(("block_matmul", x.grad_remove(&mut grads).expect(taken).flatten(0, 1)));
    results.push(("block_matmul_dd", d.grad_remove(&mut grads).expect(taken).flatten(0, 2)));
    results
}

/// The dense products and their gradients, computed in this way where `device` is a GPU; by the kernel's name.
fn dense(strategy: Strategy, device: &Device) -> Vec<(&'static str, Tensor<1>)> {
    strategy.serve(|| match strategy {
        Strategy::Burn | Strategy::Register => dense_products(device).into_iter().map(|y| ("matmul", y)).collect(),
        Strategy::Tiled => {
            // Beside them rows of whole vectors, in few tiles and in many.
            let [few, many] = [1, 64].map(|batch| {
                let (a, b) = (random_tensor(16, [batch, 12, 20], device), random_tensor(17, [batch, 68, 20], device));
                matmul_transposed(a, b).flatten(0, 2)
            });
            dense_products(device).into_iter().chain([few, many]).map(|y| ("matmul_tiled", y)).collect()
        }
    })
}

fn dense_products(device: &Device) -> Vec<Tensor<1>> {
    // Odd sizes: no tile fits.
    let (tokens, n, width, terms) = (37, 3, 63, 27);
    let taken = "every tracked input has a gradient";
    let mut results = Vec::new();
    // A weight without a gradient, then batches of both products.
    for tokens in [tokens, 1] {
        let x = random_tensor(9, [tokens, terms], device).autodiff().require_grad();
        let y = linear(x.clone(), random_tensor(10, [width, terms], device));
        let mut grads = (y.clone() * random_tensor(11, [tokens, width], device)).sum().backward();
        results.extend([y.inner().flatten(0, 1), x.grad_remove(&mut grads).expect(taken).flatten(0, 1)]);
    }
    let tensor = |seed, shape: [usize; 3]| random_tensor(seed, shape, device).autodiff().require_grad();
    let (q, k, v) = (tensor(12, [n, tokens, 9]), tensor(13, [n, 21, 9]), tensor(14, [n, 21, 9]));
    let y = matmul(matmul_transposed(q.clone(), k.clone()), v.clone());
    let mut grads = (y.clone() * random_tensor(15, [n, tokens, 9], device)).sum().backward();
    results.push(y.inner().flatten(0, 2));
    results.extend([q, k, v].map(|input| input.grad_remove(&mut grads).expect(taken).flatten(0, 2)));
    results
}

/// One step of the optimizer.
fn optimizer(device: &Device) -> Vec<(&'static str, Tensor<1>)> {
    let buffer = |seed| random_tensor(seed, [776], device);
    let norm = global_norm(buffer(8));
    let step = AdamWStep {
        learning_rate: 0.1,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        weight_decay: 0.1,
        max_grad_norm: 1.0,
        step: 3,
    };
    let [p, m, v] = adamw([buffer(5), buffer(6), buffer(7).square()], buffer(8), norm.clone(), step);
    let loss = random_tensor(9, [1], device);
    let guarded = step_guard(norm.clone(), loss, Tensor::zeros([2], device));
    vec![("adamw", Tensor::cat(vec![p, m, v], 0)), ("global_norm", norm), ("step_guard", guarded)]
}

fn random_tensor<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let mut random = Random::new(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| 2.0 * random.next_f32() - 1.0).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A model that is trained in a moment: two layers, grouped queries, rectangular everything.
fn toy_config() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        vocab_size: 61,
        hidden_size: 48,
        intermediate_size: 72,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 12,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        max_position_embeddings: 64,
        rope_scaling: None,
        nope_layers: vec![],
        qkv_bias: false,
        o_bias: false,
        qk_norm: false,
        tie_word_embeddings: true,
        eos_token_ids: vec![0],
        bos_token_id: None,
    }
}

/// Losses of a toy DiaBlo run: the same on every device, to rounding.
///
/// # Errors
/// If the device is lost.
pub async fn toy_losses(device: &Device, steps: usize) -> Result<Vec<f64>> {
    let model = Model::random(toy_config(), device, 0.2, 3);
    let adapter =
        AdapterConfig { method: Method::Diablo { blocks: 4 }, modules: Projection::DEFAULT.to_vec(), dropout: 0.0 };
    let config = TrainConfig {
        iters: steps.max(1),
        learning_rate: 1e-2,
        lr_schedule: Schedule::Constant,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::new(model, "toy".into(), adapter, config)?;
    let (rows, len) = (3, 13);
    let input_ids: Vec<i32> = (0..rows * len).map(|at| ((at * at + 7 * (at / len)) % 61) as i32).collect();
    let batch = [Batch { rows, len, labels: input_ids.clone(), input_ids, lengths: vec![len; rows], starts: None }];
    let mut losses = Vec::with_capacity(steps);
    for _ in 0..steps {
        losses.push(trainer.step(&batch).await?.loss);
    }
    Ok(losses)
}
