//! Wrong arguments, broken files, hostile ones: each ends with its exit code and one line that says what is wrong.

use super::fixture::{Workspace, lines, of_kind};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

const TRAIN: &str = "finetune --model model --data data --device cpu --iters 2";

/// Fails unless `message` holds all of `expected`.
fn says(message: &str, expected: &[&str]) {
    for expected in expected {
        assert!(message.contains(expected), "no \"{expected}\" in: {message}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let workspace = Workspace::new();
    says(&workspace.fails("finetune --data data", 2), &["--model", "Hugging Face folder", ".gguf"]);
    says(&workspace.fails("finetune --model model", 2), &["--data", ".jsonl"]);
    says(&workspace.fails("generate --model model --prompt hi --compare", 2), &["--compare", "--adapter-path"]);
    says(&workspace.fails("merge --model model --save-path out", 2), &["--adapter-path"]);
}

#[test]
fn flags_of_another_method() {
    let workspace = Workspace::new();
    says(&workspace.fails(&format!("{TRAIN} --rank 4"), 2), &["--rank", "lora", "diablo"]);
    says(&workspace.fails(&format!("{TRAIN} --method lora --blocks 4"), 2), &["--blocks", "diablo", "lora"]);
    says(&workspace.fails(&format!("{TRAIN} --method full --lora-alpha 4"), 2), &["--lora-alpha", "lora", "full"]);
}

#[test]
fn blocks_that_do_not_divide() {
    let workspace = Workspace::new();
    says(&workspace.fails(&format!("{TRAIN} --blocks 7 --json"), 2), &["7 blocks", "q_proj", "1, 2, 4, 8, 16, 32"]);
    says(&workspace.fails(&format!("{TRAIN} --blocks 0"), 2), &["0 blocks"]);
}

#[test]
fn a_mistyped_module() {
    let workspace = Workspace::new();
    let message = workspace.fails(&format!("{TRAIN} --target-modules q_proj,donw_proj"), 2);
    says(&message, &["donw_proj", "did you mean \"down_proj\"?"]);
}

/// Clap's own errors have more than one line.
#[test]
fn a_mistyped_flag() {
    let workspace = Workspace::new();
    for (args, hint) in
        [("finetune --itres 5", "--iters"), ("finetnue", "finetune"), ("finetune --method lroa", "lora")]
    {
        let output = workspace.diablo(args);
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        says(&stderr, &["error: ", "similar", hint]);
    }
}

#[test]
fn settings_that_make_no_sense() {
    let workspace = Workspace::new();
    for (flags, expected) in [
        ("--iters 0", "--iters"),
        ("--learning-rate nan", "--learning-rate"),
        ("--max-seq-length 1", "--max-seq-length"),
        ("--dropout 1", "dropout"),
        ("--device tpu", "--device"),
    ] {
        says(&workspace.fails(&format!("{TRAIN} {flags}"), 2), &[expected]);
    }
    says(&workspace.fails("generate --model model --prompt hi --device cpu --top-p 0", 2), &["--top-p"]);
}

#[test]
fn a_device_that_is_not_there() {
    let workspace = Workspace::new();
    says(&workspace.fails(&format!("{TRAIN} --device gpu:99 --json"), 1), &["gpu:99", "cpu"]);
}

#[test]
fn data_that_is_missing_or_empty() {
    let workspace = Workspace::new();
    says(&workspace.fails("finetune --model model --data nowhere.jsonl --device cpu", 1), &["nowhere.jsonl"]);
    workspace.write("empty/readme", "");
    says(&workspace.fails("finetune --model model --data empty --device cpu", 1), &["empty", "train.jsonl"]);
    workspace.write("empty.jsonl", "");
    for command in ["finetune", "preview", "eval"] {
        let device = if command == "preview" { "" } else { "--device cpu" };
        says(&workspace.fails(&format!("{command} --model model --data empty.jsonl {device}"), 1), &["empty.jsonl"]);
    }
}

#[test]
fn rows_that_cannot_be_used() {
    let workspace = Workspace::new();
    let good = "{\"text\": \"abc\"}\n";
    for (bad, expected) in [
        ("{\"text\": \"abc\"", "JSON"),
        ("{\"txet\": \"abc\"}", "text"),
        ("[1, 2]", ""),
        ("{\"text\": 5}", "text"),
        ("{\"messages\": [{\"role\": \"user\"}]}", ""),
        ("{\"input_ids\": [1, 2, 9999]}", ""),
    ] {
        workspace.write("bad.jsonl", format!("{good}{bad}\n{good}"));
        for command in ["finetune --device cpu --iters 2 --json", "preview", "eval --device cpu"] {
            says(&workspace.fails(&format!("{command} --model model --data bad.jsonl"), 1), &["bad.jsonl:2", expected]);
        }
    }
    workspace.write("bad.jsonl", [good.as_bytes(), b"{\"text\": \"\xff\"}\n"].concat());
    says(&workspace.fails("preview --model model --data bad.jsonl", 1), &["bad.jsonl"]);
}

#[test]
fn rows_without_a_trained_token() {
    let workspace = Workspace::new();
    workspace.write("masked.jsonl", "{\"input_ids\": [5, 6, 7], \"labels\": [-100, -100, -100]}\n");
    for command in ["finetune --iters 2", "eval"] {
        workspace.fails(&format!("{command} --model model --data masked.jsonl --device cpu"), 1);
    }
}

#[test]
fn adapter_path_that_cannot_be_written() {
    let workspace = Workspace::new();
    workspace.write("file", "in the way");
    for path in ["file", "file/below"] {
        let message = workspace.fails(&format!("{TRAIN} --adapter-path {path}"), 1);
        says(&message, &["file"]);
    }
}

#[test]
fn models_that_are_not_there() {
    let workspace = Workspace::new();
    says(&workspace.fails("finetune --model nowhere --data data --device cpu", 1), &["nowhere"]);
    std::fs::remove_file(workspace.path("model/config.json")).expect("removed");
    says(&workspace.fails(&format!("{TRAIN} --json"), 1), &["config.json"]);
}

#[test]
fn a_family_that_is_not_supported() {
    let workspace = Workspace::new();
    let mut config: Value = serde_json::from_slice(&workspace.read("model/config.json")).expect("JSON");
    config["model_type"] = "mamba".into();
    workspace.write("model/config.json", config.to_string());
    let known = ["\"mamba\" is not supported", "llama", "qwen2", "qwen3", "smollm3"];
    says(&workspace.fails("finetune --model model --data data --device cpu", 1), &known);
}

#[test]
fn models_whose_tensors_do_not_fit() {
    let workspace = Workspace::new();
    let bytes = workspace.read("model/model.safetensors");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let name = "model.layers.1.mlp.up_proj.weight";
    let others = || file.iter().filter(|(other, _)| *other != name);

    let missing = safetensors::serialize(others(), None).expect("safetensors");
    workspace.write("model/model.safetensors", missing);
    says(&workspace.fails(TRAIN, 1), &[name, "missing"]);

    let turned = TensorView::new(Dtype::F32, vec![64, 128], file.tensor(name).expect(name).data()).expect("a view");
    let misshapen = safetensors::serialize(others().chain([(name, turned)]), None).expect("safetensors");
    workspace.write("model/model.safetensors", misshapen);
    says(&workspace.fails(TRAIN, 1), &[name, "[64, 128]", "[128, 64]"]);

    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        workspace.write("model/model.safetensors", &bytes[..length]);
        says(&workspace.fails(TRAIN, 1), &["model.safetensors", "truncated"]);
    }
    let absurd = [&u64::MAX.to_le_bytes(), &bytes[8..]].concat();
    workspace.write("model/model.safetensors", absurd);
    says(&workspace.fails(TRAIN, 1), &["model.safetensors"]);
}

/// The beginning of a GGUF file: version, tensors, metadata entries, and what follows.
fn gguf(tensors: u64, entries: u64, rest: &[u8]) -> Vec<u8> {
    [b"GGUF".as_slice(), &3u32.to_le_bytes(), &tensors.to_le_bytes(), &entries.to_le_bytes(), rest].concat()
}

#[test]
fn broken_gguf_files() {
    let workspace = Workspace::new();
    let string = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let huge = u64::MAX.to_le_bytes();
    let (string_type, array_type) = (8u32.to_le_bytes(), 9u32.to_le_bytes());
    let architecture = [string("general.architecture"), string_type.to_vec(), string("llama")].concat();
    let files = [
        b"GGUF".to_vec(),
        gguf(0, 0, &[])[..20].to_vec(),
        gguf(1, 1, &architecture),
        gguf(0, 2, &architecture),
        gguf(u64::MAX, 0, &[]),
        gguf(0, u64::MAX, &[]),
        gguf(0, 1, &huge),
        gguf(0, 1, &[string("key"), string_type.to_vec(), huge.to_vec()].concat()),
        gguf(0, 1, &[string("key"), array_type.to_vec(), string_type.to_vec(), huge.to_vec()].concat()),
        gguf(1, 0, &[string("tensor"), vec![255; 4], huge.to_vec()].concat()),
    ];
    for file in files {
        workspace.write("broken.gguf", file);
        says(&workspace.fails("preview --model broken.gguf --data data", 1), &["broken.gguf"]);
    }
}

#[test]
fn adapters_that_do_not_belong() {
    let workspace = Workspace::new();
    workspace.json(&format!("{TRAIN} --blocks 4 --steps-per-eval 0 --json"));
    let generate = "generate --model model --adapter-path adapters --prompt hi --device cpu";
    says(&workspace.fails("generate --model model --adapter-path nowhere --prompt hi --device cpu", 1), &["nowhere"]);

    let config = workspace.read("adapters/adapter_config.json");
    let edit = |key: &str, value: Value| {
        let mut edited: Value = serde_json::from_slice(&config).expect("JSON");
        edited[key] = value;
        workspace.write("adapters/adapter_config.json", edited.to_string());
    };
    edit("num_blocks", json!(8));
    says(&workspace.fails(generate, 1), &["adapters", "[4, 16, 16]", "[8, 8, 8]"]);
    edit("num_blocks", json!(7));
    says(&workspace.fails(generate, 1), &["adapters", "7 blocks", "1, 2, 4"]);
    edit("peft_type", json!("IA3"));
    says(&workspace.fails(generate, 1), &["IA3"]);
    workspace.write("adapters/adapter_config.json", &config);

    let weights = workspace.read("adapters/adapter_model.safetensors");
    workspace.write("adapters/adapter_model.safetensors", &weights[..weights.len() - 4]);
    says(&workspace.fails(generate, 1), &["adapter_model.safetensors"]);
    workspace.write("adapters/adapter_model.safetensors", &weights);

    // A model with a narrower MLP: the same names, other shapes.
    let mut other: Value = serde_json::from_slice(&workspace.read("model/config.json")).expect("JSON");
    other["intermediate_size"] = json!(64);
    let bytes = workspace.read("model/model.safetensors");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let narrowed = file.iter().map(|(name, tensor)| {
        let shape: Vec<usize> =
            tensor.shape().iter().map(|size| if name.contains("mlp") { 64.min(*size) } else { *size }).collect();
        let data = &tensor.data()[..shape.iter().product::<usize>() * 4];
        (name, TensorView::new(Dtype::F32, shape, data).expect("a view"))
    });
    let narrowed = safetensors::serialize(narrowed, None).expect("safetensors");
    workspace.write("model/config.json", other.to_string());
    workspace.write("model/model.safetensors", narrowed);
    workspace.json("generate --model model --prompt hi --device cpu --max-tokens 1 --json");
    for command in ["generate --prompt hi --device cpu", "eval --data data --device cpu", "merge --save-path out"] {
        says(&workspace.fails(&format!("{command} --model model --adapter-path adapters"), 1), &["another model"]);
    }
}

#[test]
fn a_run_that_diverges_keeps_the_last_good_adapter() {
    let workspace = Workspace::new();
    let flags = "--learning-rate 1e30 --lr-schedule constant --steps-per-eval 0 --iters 50";
    let output = workspace.diablo(&format!("{TRAIN} {flags} --json").replace("--iters 2 ", ""));
    assert_eq!(output.status.code(), Some(1));
    let events = lines(&output.stdout);
    let good = of_kind(&events, "step").count();
    let error = events.last().expect("events");
    says(
        error["message"].as_str().expect("a message"),
        &[&format!("step {}", good + 1), "not finite", "--learning-rate"],
    );
    let checkpoint = of_kind(&events, "checkpoint").last().expect("a checkpoint");
    assert_eq!(checkpoint["step"], good);
    let weights = workspace.read("adapters/adapter_model.safetensors");
    let file = SafeTensors::deserialize(&weights).expect("safetensors");
    for (name, tensor) in file.iter() {
        let mut values =
            tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")));
        assert!(values.all(f32::is_finite), "{name}");
    }
    workspace.fails_leaving_files(&format!("{TRAIN} {flags}").replace("--iters 2 ", ""), 1);
}
