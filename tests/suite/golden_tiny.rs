//! The tiny model against PyTorch: logits, losses, gradients, parameters; on the CPU backend at the fair
//! tolerances of `tests/golden/README.md`, on the GPU path at ten times those.

use crate::support::*;
use burn::tensor::{Device, Tensor};
use diablo::adapter::Method;
use diablo::model::{Model, Targets, Tokens, next_token_loss};
use diablo::train::Mode;
use pollster::block_on;

/// Golden names end in `.D`, `.A`, `.B`; ours in `.diablo_blocks`, `.lora_A.weight`, `.lora_B.weight`.
fn golden_name(slot: &str) -> String {
    slot.trim_start_matches("base_model.model.")
        .replace("diablo_blocks", "D")
        .replace("lora_A.weight", "A")
        .replace("lora_B.weight", "B")
}

fn logits_and_hidden(device: &Device, scale: f64) {
    let golden = Tensors::open("tiny_golden.safetensors");
    let model = tiny(device);
    let batch = golden_batch(&golden, 0).remove(0);
    let tokens = Tokens::new(&batch.input_ids, batch.rows, device);
    let hidden = model.forward(&tokens, None, None);
    let difference = max_abs(&host(hidden.clone()), &golden.f32("hidden.2"));
    assert!(difference <= 2e-5 * scale, "hidden states off by {difference:.1e}");
    let difference = max_abs(&host(model.logits(hidden)), &golden.f32("logits"));
    assert!(difference <= 2e-5 * scale, "logits off by {difference:.1e}");
}

/// Gradients of the plain loss to base weights, which are frozen in training but not here.
fn gradients_of_the_base(device: &Device, scale: f64) {
    let golden = Tensors::open("tiny_golden.safetensors");
    let batch = golden_batch(&golden, 0).remove(0);
    let mut model = tiny(device);
    fn track<const D: usize>(tensor: &mut Tensor<D>) -> Tensor<D> {
        *tensor = tensor.clone().autodiff().require_grad();
        tensor.clone()
    }
    let taken = "a weight in f32";
    let embedding = track(model.embedding.dense_mut().expect(taken));
    let norm = track(&mut model.norm.weight);
    let input_norm = track(&mut model.layers[0].input_norm.weight);
    let k = track(model.layers[0].attention.k.weight.dense_mut().expect(taken));
    let down = track(model.layers[1].mlp.down.weight.dense_mut().expect(taken));
    let plain = tiny(device);
    let tokens = Tokens::new(&batch.input_ids, batch.rows, &plain.device());
    let targets = Targets::new(&batch.labels, batch.rows, &plain.device()).expect("targets");
    let loss = next_token_loss(&model, model.forward(&tokens, None, None), &targets) / targets.count as f64;
    let mut grads = loss.backward();
    let check = |name: &str, ours: Vec<f32>| {
        let distance = relative(&ours, &golden.f32(&format!("full_grad.{name}")));
        assert!(distance <= 2e-5 * scale, "{name}: gradient off by {distance:.1e}");
    };
    check("model.embed_tokens.weight", host(embedding.grad_remove(&mut grads).expect("gradient")));
    check("model.norm.weight", host(norm.grad_remove(&mut grads).expect("gradient")));
    check("model.layers.0.input_layernorm.weight", host(input_norm.grad_remove(&mut grads).expect("gradient")));
    check("model.layers.0.self_attn.k_proj.weight", host(k.grad_remove(&mut grads).expect("gradient")));
    check("model.layers.1.mlp.down_proj.weight", host(down.grad_remove(&mut grads).expect("gradient")));
}

fn twenty_steps(device: &Device, tag: &str, method: Method, scale: f64) {
    for mode in modes(method) {
        twenty_steps_in(mode, device, tag, method, scale);
    }
}

fn twenty_steps_in(mode: Mode, device: &Device, tag: &str, method: Method, scale: f64) {
    let golden = Tensors::open("tiny_golden.safetensors");
    let json = golden_json("tiny_golden.json");
    let run = json["runs"].as_array().expect("runs").iter().find(|run| run["tag"] == tag).expect("run");
    let model = tiny(device);
    let mut trainer = trainer_in(mode, &model, method, json["hp"]["lr"].as_f64().expect("lr"));
    assert_eq!(trainer.parameter_count() as u64, run["n_trainable"].as_u64().expect("count"));
    for (slot, values) in trainer.slots().to_vec().iter().zip(block_on(trainer.values()).expect("values")) {
        if slot.name.contains("lora_A") {
            assert_eq!(
                values,
                golden.f32(&format!("{tag}.A0.{}", golden_name(&slot.name))),
                "{}: first values",
                slot.name
            );
        } else {
            assert!(values.iter().all(|v| *v == 0.0), "{} starts at zero", slot.name);
        }
    }

    let (_, gradients) = block_on(trainer.gradient(&golden_batch(&golden, 0))).expect("gradient");
    let names: Vec<_> = trainer.slots().iter().map(|slot| golden_name(&slot.name)).collect();
    for (name, gradient) in names.iter().zip(&gradients) {
        let expected = golden.f32(&format!("{tag}.grad1.{name}"));
        if expected.iter().all(|v| *v == 0.0) {
            // A's gradient passes through B, which is zero.
            assert!(gradient.iter().all(|v| *v == 0.0), "{name}: gradient is zero at step 1");
        } else {
            let distance = relative(gradient, &expected);
            assert!(distance <= 2e-5 * scale, "{tag} {name}: gradient off by {distance:.1e}");
        }
    }

    let losses = floats(&run["f64"]["losses"]);
    let norms = floats(&run["f64"]["grad_norms"]);
    for (step, (loss, norm)) in losses.iter().zip(&norms).enumerate() {
        let report = block_on(trainer.step(&golden_batch(&golden, step))).expect("step");
        assert!(
            (report.loss - loss).abs() <= 1e-5 * scale,
            "{tag} step {}: loss {} instead of {loss}",
            step + 1,
            report.loss
        );
        assert!(
            (report.grad_norm - norm).abs() <= 2e-5 * scale * norm,
            "{tag} step {}: norm {} instead of {norm}",
            step + 1,
            report.grad_norm
        );
    }
    for (name, values) in names.iter().zip(block_on(trainer.values()).expect("values")) {
        let distance = relative(&values, &golden.f32(&format!("{tag}.final.{name}")));
        assert!(distance <= 5e-5 * scale, "{tag} {name}: final values off by {distance:.1e}");
    }
    if tag == "diablo_n4" {
        let batch = golden_batch(&golden, 0).remove(0);
        let tokens = Tokens::new(&batch.input_ids, batch.rows, device);
        let (model, adapters) = trainer.tuned();
        let logits = model.logits(model.forward(&tokens, adapters.as_ref(), None));
        let difference = max_abs(&host(logits), &golden.f32("diablo_n4.after_logits"));
        assert!(difference <= 1e-4 * scale, "logits after training off by {difference:.1e}");
    }
}

/// Three padded rows of unequal length, prompts masked, blocks that are not zero.
fn padded_and_masked(device: &Device, scale: f64) {
    for mode in modes(Method::Diablo { blocks: 4 }) {
        padded_and_masked_in(mode, device, scale);
    }
}

fn padded_and_masked_in(mode: Mode, device: &Device, scale: f64) {
    let golden = Tensors::open("tiny_golden.safetensors");
    let json = golden_json("tiny_golden.json");
    let model = tiny(device);
    let mut trainer = trainer_in(mode, &model, Method::Diablo { blocks: 4 }, 1e-3);
    let names: Vec<_> = trainer.slots().iter().map(|slot| golden_name(&slot.name)).collect();
    trainer.set_values(&names.iter().map(|name| golden.f32(&format!("masked.D.{name}"))).collect::<Vec<_>>());
    let (ids, labels, mask) =
        (golden.i32("masked.input_ids"), golden.i32("masked.labels"), golden.i32("masked.attention_mask"));
    let batch = labelled(&ids, &labels, 3);
    let (loss, gradients) = block_on(trainer.gradient(&[batch])).expect("gradient");
    let expected = json["masked"]["loss_f64"].as_f64().expect("loss");
    assert!((loss - expected).abs() <= 1e-5 * scale, "loss {loss} instead of {expected}");
    for (name, gradient) in names.iter().zip(&gradients) {
        let distance = relative(gradient, &golden.f32(&format!("masked.grad.{name}")));
        assert!(distance <= 2e-5 * scale, "{name}: gradient off by {distance:.1e}");
    }
    let (model, adapters) = trainer.tuned();
    let logits = host(model.logits(model.forward(&Tokens::new(&ids, 3, device), adapters.as_ref(), None)));
    let expected = golden.f32("masked.logits");
    for (position, kept) in mask.iter().enumerate().filter(|(_, kept)| **kept == 1) {
        let range = position * 300..(position + 1) * 300;
        let difference = max_abs(&logits[range.clone()], &expected[range]);
        assert!(difference <= 2e-5 * scale, "logits at {position} ({kept}) off by {difference:.1e}");
    }
}

fn merged_weights(model: &Model) {
    let golden = Tensors::open("tiny_golden.safetensors");
    let runs = [
        ("diablo_n4", Method::Diablo { blocks: 4 }),
        ("diablo_n8", Method::Diablo { blocks: 8 }),
        ("lora_r7", Method::Lora { rank: 7, alpha: 7.0 }),
    ];
    for (tag, method) in runs {
        let config = adapter(method);
        let slots = diablo::adapter::slots(&config, &model.config);
        for (path, weight) in [
            ("model.layers.0.self_attn.k_proj", host(model.layers[0].attention.k.weight.to_dense())),
            ("model.layers.1.mlp.down_proj", host(model.layers[1].mlp.down.weight.to_dense())),
        ] {
            let own: Vec<_> = slots.iter().filter(|slot| slot.name.contains(&format!("{path}."))).cloned().collect();
            let values: Vec<_> =
                own.iter().map(|slot| golden.f32(&format!("{tag}.final.{}", golden_name(&slot.name)))).collect();
            let mut merged = weight.clone();
            diablo::adapter::add_update(&config, &own, &values, &mut merged);
            let expected = golden.f32(&format!("{tag}.merged.{path}.weight"));
            assert!(max_abs(&merged, &expected) <= 1e-6, "{tag} {path}: merged weight");
            assert_ne!(merged, weight);
        }
    }
}

#[test]
fn cpu_logits() {
    logits_and_hidden(&flex(), 1.0);
}

#[test]
fn cpu_gradients_of_the_base() {
    gradients_of_the_base(&flex(), 1.0);
}

#[test]
fn cpu_diablo_n4() {
    twenty_steps(&flex(), "diablo_n4", Method::Diablo { blocks: 4 }, 1.0);
}

#[test]
fn cpu_diablo_n8() {
    twenty_steps(&flex(), "diablo_n8", Method::Diablo { blocks: 8 }, 1.0);
}

#[test]
fn cpu_lora_r7() {
    twenty_steps(&flex(), "lora_r7", Method::Lora { rank: 7, alpha: 7.0 }, 1.0);
}

#[test]
fn cpu_padded_and_masked() {
    padded_and_masked(&flex(), 1.0);
}

#[test]
fn merged() {
    merged_weights(&tiny(&flex()));
}

#[test]
fn gpu_logits() {
    logits_and_hidden(&gpu().device, 10.0);
}

#[test]
fn gpu_gradients_of_the_base() {
    gradients_of_the_base(&gpu().device, 10.0);
}

#[test]
fn gpu_diablo_n4() {
    twenty_steps(&gpu().device, "diablo_n4", Method::Diablo { blocks: 4 }, 10.0);
}

#[test]
fn gpu_diablo_n8() {
    twenty_steps(&gpu().device, "diablo_n8", Method::Diablo { blocks: 8 }, 10.0);
}

#[test]
fn gpu_lora_r7() {
    twenty_steps(&gpu().device, "lora_r7", Method::Lora { rank: 7, alpha: 7.0 }, 10.0);
}

#[test]
fn gpu_padded_and_masked() {
    padded_and_masked(&gpu().device, 10.0);
}
