//! What training takes in memory against what the plan says, in processes of their own.

use crate::cli::fixture::{Workspace, of_kind};
#[cfg(target_os = "linux")]
use crate::support::smollm2_path;
#[cfg(target_os = "linux")]
use diablo::model::{ModelConfig, names::expected_tensors};
#[cfg(target_os = "linux")]
use serde_json::{Value, json};

/// How far reality may be from the plan.
const TOLERANCE: f64 = 0.15;

/// Fails unless `bench` measures as `measured` what it planned, for every method.
fn compare(args: &str, measured: &str) {
    let events = Workspace::new().json(&format!("bench {args} --warmup 0 --steps 1 --steps-only --json"));
    for rate in of_kind(&events, "bench") {
        let [taken, planned] = [measured, "planned_mb"].map(|key| rate[key].as_f64().unwrap_or(f64::NAN));
        let what = format!("{args}: {} {} took {taken:.0} MB, {planned:.0} planned", rate["method"], rate["mode"]);
        assert!((taken / planned - 1.0).abs() <= TOLERANCE, "{what}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_plan_is_what_the_processor_takes() {
    let methods = "diablo,diablo-side,lora,full";
    compare(&format!("--model demo --device cpu --methods {methods} --seq 256 --batch-size 24"), "peak_rss_mb");
    compare("--model demo --device cpu --seq 512 --batch-size 16 --grad-checkpoint", "peak_rss_mb");
    if let Some(path) = smollm2_path() {
        compare(&format!("--model {} --device cpu --blocks 48 --seq 64", path.display()), "peak_rss_mb");
    }
}

#[test]
fn a_plan_is_what_a_gpu_takes() {
    compare("--model demo --device gpu --methods diablo,lora --seq 256 --batch-size 4", "peak_device_mb");
    compare("--model demo --device gpu --seq 256 --batch-size 4 --grad-checkpoint", "peak_device_mb");
}

/// So many long rows side by side that one layer's output is more than the GPU binds, whatever GPU it is.
#[test]
fn a_batch_that_the_device_cannot_bind_is_refused_with_one_that_it_can() {
    let workspace = Workspace::new();
    let devices = workspace.json("devices --json");
    let gpu = devices.iter().find(|device| device["id"] == "gpu:0").expect("a GPU, if only in software");
    let limit = gpu["max_tensor_bytes"].as_u64().expect("bytes");
    let (shortest, widest) = (64, 448);
    let rows = limit / (4 * shortest * widest) + 1;
    workspace.write("long.jsonl", format!("{{\"text\": \"{}\"}}\n", "a dog ran ".repeat(30)).repeat(rows as usize));
    let flags = format!("--model demo --device gpu:0 --batch-size {rows}");
    for command in [
        format!("finetune {flags} --data long.jsonl --ignore-memory"),
        format!("eval {flags} --data long.jsonl"),
        format!("bench {flags} --seq {shortest} --methods frozen,diablo"),
    ] {
        let message = workspace.fails(&command, 1);
        let batch = format!("of {rows} rows x ");
        for part in [&*batch, gpu["max_tensor_limit"].as_str().expect("a name"), "--batch-size ", "--device cpu"] {
            assert!(message.contains(part), "{command}: no \"{part}\" in: {message}");
        }
    }
    assert!(!workspace.path("adapters").exists(), "nothing was begun");
}

/// A model that fits into no machine: its file is all hole.
// Elsewhere nothing says how much is free.
#[cfg(target_os = "linux")]
#[test]
fn what_does_not_fit_is_refused_before_it_is_loaded() {
    let workspace = Workspace::new();
    let mut config: Value = serde_json::from_slice(&workspace.read("model/config.json")).expect("JSON");
    for (key, size) in [("hidden_size", 65_536), ("intermediate_size", 262_144), ("num_hidden_layers", 20)] {
        config[key] = size.into();
    }
    workspace.write("model/config.json", config.to_string());
    let config = ModelConfig::from_hf(&config, "config.json").expect("a model");
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in expected_tensors(&config) {
        let begin = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name, json!({"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}));
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let start = bytes.len();
    workspace.write("model/model.safetensors", bytes);
    let file = std::fs::File::options().write(true).open(workspace.path("model/model.safetensors")).expect("the file");
    file.set_len((start + end) as u64).expect("a file with a hole");
    let message = workspace.fails("finetune --model model --data data --device cpu --json", 1);
    for part in ["this run would take", "are free; ", "the base is", "--ignore-memory"] {
        assert!(message.contains(part), "no \"{part}\" in: {message}");
    }
}
