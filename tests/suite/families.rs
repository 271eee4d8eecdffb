//! A tiny random model of every family against PyTorch: logits, loss and gradients, from a folder and from a GGUF
//! file; on the CPU backend at the fair tolerances of `tests/golden/README.md`, on the GPU path at ten times those.

use crate::support::*;
use burn::tensor::Device;
use diablo::adapter::{AdapterConfig, Method};
use diablo::model::{Cache, Model, Projection, Tokens};
use diablo::source::Source;
use diablo::train::Trainer;
use pollster::block_on;

/// Folders, which have GGUF files of the same name.
const FAMILIES: [&str; 5] = ["qwen2", "qwen3", "llama32", "llama_biased", "smollm3"];

fn folder(name: &str) -> Source {
    golden_source(&format!("families/{name}"))
}

fn gguf(name: &str) -> Source {
    block_on(Source::open(golden(&format!("families/{name}.gguf")))).expect("a GGUF file that opens")
}

fn folder_figures(name: &str) -> Tensors {
    Tensors::open(&format!("families/{name}/golden.safetensors"))
}

fn ids(golden: &Tensors, device: &Device) -> Tokens {
    Tokens::new(&golden.i32("input_ids"), 1, device)
}

/// Logits of the last positions in full, of all positions by their norms.
fn logits(what: &str, model: &Model, golden: &Tensors, scale: f64) {
    let logits = host(model.logits(model.forward(&ids(golden, &model.device()), None, None)));
    let expected = golden.f32("logits");
    let difference = max_abs(&logits[logits.len() - expected.len()..], &expected);
    assert!(difference <= 2e-5 * scale, "{what}: logits off by {difference:.1e}");
    let norm = |logits: &[f32]| logits.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
    let norms: Vec<_> = logits.chunks_exact(model.config.vocab_size).map(norm).collect();
    let difference = max_abs(&norms, &golden.f32("logit_norms"));
    assert!(difference <= 2e-5 * scale, "{what}: norms of logits off by {difference:.1e}");
}

/// The loss, and the gradient of four blocks on every matrix, and of every norm and bias.
fn loss_and_gradients(what: &str, model: &Model, golden: &Tensors, scale: f64) {
    let row = batch(&golden.i32("input_ids"), 1);
    for method in [Method::Diablo { blocks: 4 }, Method::AllWeights] {
        let config = AdapterConfig { method, modules: Projection::ALL.to_vec(), dropout: 0.0 };
        let mut trainer = Trainer::new(model.clone(), what.into(), config, golden_config(1e-3)).expect("trainer");
        let (loss, gradients) = block_on(trainer.gradient(std::slice::from_ref(&row))).expect("gradient");
        let expected = f64::from(golden.f32("loss")[0]);
        assert!((loss - expected).abs() <= 1e-5 * scale, "{what}: loss {loss} instead of {expected}");
        for (slot, gradient) in trainer.slots().iter().zip(&gradients) {
            let name = match method {
                Method::AllWeights if slot.shape.len() > 1 => continue, // blocks of these are compared
                Method::AllWeights => slot.tensor.as_str(),
                _ => slot.tensor.trim_end_matches(".weight"),
            };
            let distance = relative(gradient, &golden.f32(&format!("grad.{name}")));
            assert!(distance <= 2e-5 * scale, "{what} {name}: gradient off by {distance:.1e}");
        }
    }
}

/// The row in pieces of 1, 2, 31, …: what generation does.
fn cached_logits(what: &str, model: &Model, golden: &Tensors, scale: f64) {
    let ids = golden.i32("input_ids");
    let mut cache = Cache::new(model.layers.len());
    let mut last = Vec::new();
    let mut rest = ids.as_slice();
    for size in [31, 1, 2].into_iter().cycle() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        let hidden = model.forward(&Tokens::new(piece, 1, &model.device()), None, Some(&mut cache));
        last.extend(host(model.logits(hidden)));
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let expected = golden.f32("logits");
    let difference = max_abs(&last[last.len() - expected.len()..], &expected);
    assert!(difference <= 2e-5 * scale, "{what}: logits with a cache off by {difference:.1e}");
}

fn all_figures(what: &str, model: &Model, golden: &Tensors, scale: f64) {
    logits(what, model, golden, scale);
    loss_and_gradients(what, model, golden, scale);
    cached_logits(what, model, golden, scale);
}

#[test]
fn cpu_folders() {
    for name in FAMILIES {
        all_figures(name, &load(&folder(name), &flex()), &folder_figures(name), 1.0);
    }
}

#[test]
fn gpu_folders() {
    for name in FAMILIES {
        all_figures(name, &load(&folder(name), &gpu().device), &folder_figures(name), 10.0);
    }
}

/// A GGUF file gives the folder's configuration and weights, bit for bit, and what becomes of it in a merged model's
/// `config.json` says the same.
#[test]
fn gguf_files_equal_their_folders() {
    for name in FAMILIES {
        let (folder, gguf) = (folder(name), gguf(name));
        let mut config = folder.config.clone();
        if name == "llama32" {
            // A GGUF file can only say what Llama 3.1 to 3.3 have: this one has figures of its own.
            config.rope_scaling = gguf.config.rope_scaling;
            assert_ne!(config.rope_scaling, folder.config.rope_scaling);
        }
        assert_eq!(gguf.config, config, "{name}");
        let written = diablo::model::ModelConfig::from_hf(&gguf.assets.config_json, "").expect("a configuration");
        assert_eq!(written, config, "{name}");
        let names: Vec<_> = folder.tensor_names().collect();
        assert_eq!(gguf.tensor_names().collect::<Vec<_>>(), names, "{name}");
        for tensor in names {
            let read = |source: &Source| block_on(source.read_f32(tensor)).expect(tensor);
            assert!(read(&gguf) == read(&folder), "{name}: {tensor}");
        }
    }
}

#[test]
fn cpu_llama_3_scaling_from_a_gguf_file() {
    let golden = Tensors::open("families/llama32_gguf.safetensors");
    all_figures("llama32.gguf", &load(&gguf("llama32"), &flex()), &golden, 1.0);
}

/// Q2_K to Q6_K, Q5_0 and Q5_1, rows permuted as llama.cpp does.
#[test]
fn cpu_k_quants() {
    let source = gguf("k_quants");
    let golden = Tensors::open("families/k_quants_gguf.safetensors");
    all_figures("k_quants.gguf", &load(&source, &flex()), &golden, 1.0);
}
