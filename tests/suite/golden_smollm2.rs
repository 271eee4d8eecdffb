//! SmolLM2-135M-Instruct from its GGUF file against PyTorch, on the CPU backend; one step on the GPU path.

use crate::support::*;
use diablo::adapter::Method;
use diablo::generate::{Sampler, Sampling, generate};
use diablo::model::{Model, Targets, Tokens, next_token_loss};
use diablo::text::{ChatTemplate, Message, Tokenizer};
use diablo::train::{Mode, Trainer};
use pollster::block_on;
use std::ops::ControlFlow;
use std::sync::OnceLock;

/// Loaded once for all tests: half a gigabyte.
fn model() -> Option<&'static Model> {
    static MODEL: OnceLock<Option<Model>> = OnceLock::new();
    MODEL.get_or_init(|| smollm2_source().map(|source| block_on(Model::load(&source, &flex())).expect("load"))).as_ref()
}

#[test]
fn tokenizer_and_chat_template() {
    let Some(source) = smollm2_source() else { return };
    let golden = golden_json("tokenizer_golden.json");
    let tokenizer = Tokenizer::from_bytes(&source.assets.tokenizer_json, "SmolLM2").expect("tokenizer");
    for case in golden["strings"].as_array().expect("strings") {
        let text = case["text"].as_str().expect("text");
        let tokens = tokenizer.encode(text).expect("encode");
        assert_eq!(tokens, ids(&case["ids"]), "{text:?}");
        assert_eq!(tokenizer.decode(&tokens, false).expect("decode"), text);
    }
    let template = source.assets.chat_template.as_deref().expect("template");
    let template = ChatTemplate::new(template, "<|im_start|>", "<|im_end|>").expect("template");
    let chats = golden["chats"].as_array().expect("chats");
    assert!(!chats.is_empty());
    for chat in chats {
        let messages: Vec<Message> = serde_json::from_value(chat["messages"].clone()).expect("messages");
        let prompt = chat["add_generation_prompt"].as_bool().expect("flag");
        let rendered = template.render(&messages, prompt).expect("render");
        assert_eq!(rendered, chat["rendered"].as_str().expect("rendered"));
        assert_eq!(tokenizer.encode(&rendered).expect("encode"), ids(&chat["ids"]));
    }
}

#[test]
fn logits_and_greedy_continuations() {
    let Some(model) = model() else { return };
    let golden = golden_json("logits_golden.json");
    for prompt in golden["prompts"].as_array().expect("prompts") {
        let tokens = ids(&prompt["ids"]);
        let hidden = model.forward(&Tokens::new(&signed(&tokens), 1, &flex()), None, None);
        let logits = host(model.logits(hidden.narrow(0, tokens.len() - 1, 1)));
        let top = &prompt["last_top20_f64"];
        for (id, value) in ids(&top["ids"]).iter().zip(floats(&top["values"])) {
            let ours = f64::from(logits[*id as usize]);
            assert!((ours - value).abs() <= 1e-3, "{}: logit of {id} is {ours} instead of {value}", prompt["prompt"]);
        }
        let expected = ids(&prompt["greedy_ids"]);
        let mut sampler = Sampler::new(Sampling::default()).expect("sampler");
        let continuation = generate(model, None, &tokens, 24, &mut sampler, |_| ControlFlow::Continue(()));
        let mut ours = block_on(continuation).expect("generate");
        if ours.len() < 24 {
            // The golden list holds the end token; ours ends before it.
            ours.push(2);
        }
        assert_eq!(ours, expected, "{}", prompt["prompt"]);
    }
    for text in golden["texts"].as_array().expect("texts") {
        let tokens = signed(&ids(&text["ids"]));
        let targets = Targets::new(&tokens, 1, &flex()).expect("targets");
        let hidden = model.forward(&Tokens::new(&tokens, 1, &flex()), None, None);
        let loss = f64::from(host(next_token_loss(model, hidden, &targets))[0]) / targets.count as f64;
        let expected = text["mean_ce_f64"].as_f64().expect("loss");
        assert!((loss - expected).abs() <= 1e-4, "{}: loss {loss} instead of {expected}", text["text"]);
    }
}

fn ten_steps(tag: &str, method: Method) {
    let Some(model) = model() else { return };
    // Beside the weights once: the tiny model does it for all.
    let count = if tag == "diablo_n48" { 2 } else { 1 };
    for mode in modes(method).into_iter().take(count) {
        ten_steps_in(mode, model, tag, method);
    }
}

fn ten_steps_in(mode: Mode, model: &Model, tag: &str, method: Method) {
    let golden = Tensors::open("train_smollm2.safetensors");
    let json = golden_json("train_smollm2.json");
    let run = json["runs"].as_array().expect("runs").iter().find(|run| run["tag"] == tag).expect("run");
    let mut trainer = trainer_in(mode, model, method, json["hp"]["lr"].as_f64().expect("lr"));
    assert_eq!(trainer.parameter_count() as u64, run["n_trainable"].as_u64().expect("count"));
    let short = |slot: &str| {
        let name = slot.trim_start_matches("base_model.model.").replace("diablo_blocks", "D");
        name.replace("lora_A.weight", "A").replace("lora_B.weight", "B")
    };

    let (_, gradients) = block_on(trainer.gradient(&golden_batch(&golden, 0))).expect("gradient");
    let names: Vec<_> = trainer.slots().iter().map(|slot| short(&slot.name)).collect();
    let l2 = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let mut whole = 0;
    for (name, gradient) in names.iter().zip(&gradients) {
        let expected = run["step1_grad_norm_per_tensor"][name].as_f64().expect("norm");
        assert!(
            (l2(gradient) - expected).abs() <= 2e-4 * expected,
            "{tag} {name}: gradient norm {} instead of {expected}",
            l2(gradient)
        );
        if run["step1_grads"].get(name).is_some() && expected > 0.0 {
            let distance = relative(gradient, &golden.f32(&format!("{tag}.grad1.{name}")));
            assert!(distance <= 2e-4, "{tag} {name}: gradient off by {distance:.1e}");
            whole += 1;
        }
    }
    assert_eq!(whole, 2, "two gradients are given whole");

    for (step, loss) in floats(&run["f64"]["losses"]).into_iter().enumerate() {
        let report = block_on(trainer.step(&golden_batch(&golden, step))).expect("step");
        assert!((report.loss - loss).abs() <= 1e-4, "{tag} step {}: loss {} instead of {loss}", step + 1, report.loss);
    }
    let after = block_on(trainer.gradient(&golden_batch(&golden, 0))).expect("loss").0;
    let expected = run["f64"]["loss_after"].as_f64().expect("loss");
    assert!((after - expected).abs() <= 2e-4, "{tag}: loss after {after} instead of {expected}");
    let values = block_on(trainer.values()).expect("values");
    for (name, values) in names.iter().zip(&values) {
        let expected = run["final_mean_std_norm"][name][2].as_f64().expect("norm");
        assert!(
            (l2(values) - expected).abs() <= 5e-4 * expected,
            "{tag} {name}: norm {} instead of {expected}",
            l2(values)
        );
    }
}

#[test]
fn diablo_n24() {
    ten_steps("diablo_n24", Method::Diablo { blocks: 24 });
}

#[test]
fn diablo_n48() {
    ten_steps("diablo_n48", Method::Diablo { blocks: 48 });
}

#[test]
fn lora_r7() {
    ten_steps("lora_r7", Method::Lora { rank: 7, alpha: 7.0 });
}

/// One whole step on the GPU path, batch 1, sequence 64: the same losses before and after the update.
#[test]
fn one_step_on_the_gpu() {
    let Some(source) = smollm2_source() else { return };
    let gpu = gpu();
    let loaded = block_on(Model::load(&source, &gpu.device)).expect("load");
    let ids = Tensors::open("train_smollm2.safetensors").i32("input_ids");
    let batch = [batch(&ids[..64], 1)];
    let losses = |trainer: &mut Trainer| -> [f64; 2] {
        std::array::from_fn(|_| block_on(trainer.step(&batch)).expect("step").loss)
    };
    let method = Method::Diablo { blocks: 48 };
    let on_gpu = losses(&mut trainer(&loaded, method, 1e-3));
    let on_cpu = losses(&mut trainer(model().expect("model"), method, 1e-3));
    for (gpu, cpu) in on_gpu.iter().zip(&on_cpu) {
        assert!((gpu - cpu).abs() <= 1e-3, "{gpu} on the GPU, {cpu} on the CPU");
    }
    assert!(on_cpu[1] < on_cpu[0]);
}

/// Tensor by tensor: the model in f32 (538 MB) and at most twice its largest tensor (113 MB), the program included; as
/// in its file (98 MB) less than half of that.
#[cfg(target_os = "linux")]
#[test]
fn peak_memory_at_load() {
    let Some(path) = smollm2_path() else { return };
    let (model, largest) = (134_515_008 * 4 / 1024, 49_152 * 576 * 4 / 1024);
    for (dtype, held, most) in [("f32", model, model + 2 * largest), ("file", 98_000, model / 2)] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_diablo"));
        command.args(["generate", "--device", "cpu", "--max-tokens", "1", "--prompt", "Hi", "--base-dtype", dtype]);
        command.arg("--model").arg(&path);
        let mut child = command.stdout(std::process::Stdio::null()).spawn().expect("diablo");
        let mut peak_kib = 0;
        while child.try_wait().expect("wait").is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            peak_kib = peak_kib.max(kib.unwrap_or(0));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(child.wait().expect("wait").success());
        assert!(peak_kib > held, "{dtype}: {peak_kib} KiB: the model was not seen in memory");
        assert!(peak_kib < most, "{dtype}: {peak_kib} KiB, expected less than {most}");
    }
}
