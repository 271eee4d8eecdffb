//! `export` and `inspect`: what is written can be read, what is shown is so, and mistakes are told.

use super::fixture::Workspace;
use serde_json::Value;

const TRAIN: &str =
    "finetune --model model --data data --device cpu --iters 6 --learning-rate 1e-2 --steps-per-eval 0 --json";

fn trained(flags: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.json(&format!("{TRAIN} {flags}"));
    workspace
}

fn export(workspace: &Workspace, flags: &str) -> Value {
    let events = workspace.json(&format!("export --model model --adapter-path adapters --json {flags}"));
    assert_eq!(events.len(), 1);
    events.into_iter().next().expect("an event")
}

fn loss(workspace: &Workspace, flags: &str) -> f64 {
    let events = workspace.json(&format!("eval --data data --device cpu --json {flags}"));
    events.last().expect("an event")["loss"].as_f64().expect("a loss")
}

#[test]
fn exported_models_have_the_loss_of_the_trained_one() {
    let workspace = trained("--blocks 4 --target-modules q_proj,k_proj,down_proj");
    let trained = loss(&workspace, "--model model --adapter-path adapters");
    assert!((trained - loss(&workspace, "--model model")).abs() > 1e-2, "it learned nothing");
    for (flags, path, tolerance) in [
        ("--format gguf --dtype f32 --save-path out/f32.gguf", "out/f32.gguf", 1e-5),
        ("--format gguf --save-path f16.gguf", "f16.gguf", 1e-3),
        ("--format gguf --dtype q8_0 --save-path q8.gguf", "q8.gguf", 2e-2),
        ("--format folder --dtype f32 --save-path folder", "folder", 1e-5),
    ] {
        let event = export(&workspace, flags);
        assert_eq!((event["event"].as_str(), event["path"].as_str()), (Some("done"), Some(path)));
        let exported = loss(&workspace, &format!("--model {path}"));
        assert!((exported - trained).abs() < tolerance, "{flags}: {exported} {trained}");
    }
    // And again from the GGUF file.
    let again =
        "export --model f16.gguf --adapter-path adapters --format gguf --dtype f32 --save-path twice.gguf --json";
    workspace.json(again);
    let reference = loss(&workspace, "--model f16.gguf --adapter-path adapters");
    assert!((loss(&workspace, "--model twice.gguf") - reference).abs() < 1e-5);
}

#[test]
fn exported_adapters_have_the_loss_of_the_trained_one() {
    for flags in ["--blocks 4 --target-modules q_proj,k_proj,down_proj", "--method full", "--method lora --rank 3"] {
        let workspace = trained(flags);
        let trained = loss(&workspace, "--model model --adapter-path adapters");
        let event = export(&workspace, "--format lora --save-path lora");
        assert_eq!(event["error"], 0.0, "{flags}");
        let exported = loss(&workspace, "--model model --adapter-path lora");
        assert!((exported - trained).abs() < 1e-4, "{flags}: {exported} {trained}");
    }
    let workspace = trained("--blocks 4");
    let event = export(&workspace, "--format lora --rank 5 --save-path lora");
    assert_eq!(event["rank"], 5);
    assert!(event["error"].as_f64().is_some_and(|error| error > 0.01 && error < 1.0), "{event}");
    loss(&workspace, "--model model --adapter-path lora");
    let text = workspace.succeeds("export --model model --adapter-path adapters --format lora --rank 5 --save-path b");
    assert!(text.contains("rank 5") && text.contains("relative error") && text.contains("exact at rank"), "{text}");
}

#[test]
fn inspect_shows_what_is_there() {
    let workspace = trained("--blocks 4");
    export(&workspace, "--format gguf --dtype q8_0 --save-path q8.gguf");
    for (path, kind, expected) in [
        ("model", "model", ["Hugging Face folder", "model.layers.*.self_attn.q_proj.weight", "chat template   yes"]),
        ("q8.gguf", "model", ["GGUF file", "blk.*.attn_q.weight", "Q8_0"]),
        ("adapters", "adapter", ["diablo, 4 blocks", "norm of the update", "% of the model's"]),
    ] {
        let text = workspace.succeeds(&format!("inspect {path}"));
        assert!(text.starts_with(kind), "{text}");
        for expected in expected {
            assert!(text.contains(expected), "no \"{expected}\" in: {text}");
        }
        let events = workspace.json(&format!("inspect {path} --hash --json"));
        assert_eq!((events.len(), &events[0]["kind"]), (1, &kind.into()));
        let files = events[0]["files"].as_array().expect("files");
        assert!(files.iter().all(|file| file["sha256"].as_str().is_some_and(|hash| hash.len() == 64)));
        assert!(
            files.iter().any(|file| file["groups"].is_array()) && files.iter().all(|file| file["tensors"].is_null())
        );
        let all = workspace.json(&format!("inspect {path} --tensors --json"));
        assert!(all[0]["files"].as_array().expect("files").iter().any(|file| file["tensors"].is_array()));
    }
}

/// Fails unless `message` holds all of `expected`.
fn says(message: &str, expected: &[&str]) {
    for expected in expected {
        assert!(message.contains(expected), "no \"{expected}\" in: {message}");
    }
}

#[test]
fn mistakes_are_told_in_one_line() {
    let workspace = trained("--blocks 4");
    workspace.write("taken/file", "x");
    let fails = |flags: &str, code: i32, expected: &[&str]| {
        let message = workspace.fails(&format!("export --model model {flags}"), code);
        says(&message, expected);
    };
    let adapter = "--adapter-path adapters";
    fails("--format gguf --save-path out.gguf", 2, &["--adapter-path is missing"]);
    fails("--adapter-path none --format gguf --save-path out.gguf", 1, &["none", "no such adapter folder"]);
    fails(&format!("{adapter} --format ggfu --save-path out"), 2, &["ggfu", "did you mean \"gguf\"?", "lora"]);
    fails(&format!("{adapter} --format gguf --dtype q8_1 --save-path out"), 2, &["did you mean \"q8_0\"?"]);
    fails(&format!("{adapter} --format folder --dtype q8_0 --save-path out"), 2, &["q8_0", "GGUF", "f16"]);
    fails(&format!("{adapter} --format lora --dtype f16 --save-path out"), 2, &["--dtype", "lora"]);
    fails(&format!("{adapter} --format gguf --rank 4 --save-path out"), 2, &["--rank", "--format lora"]);
    fails(&format!("{adapter} --format lora --rank 0 --save-path out"), 2, &["--rank is 0"]);
    fails(&format!("{adapter} --format gguf --save-path taken"), 2, &["taken exists already"]);
    fails(&format!("{adapter} --format gguf --save-path taken/file"), 2, &["taken/file exists already"]);
    for format in ["lora", "folder"] {
        fails(&format!("{adapter} --format {format} --save-path taken"), 2, &["taken exists already"]);
    }
    for format in ["gguf", "lora", "folder"] {
        fails(&format!("{adapter} --format {format} --save-path taken/file/below --json"), 1, &["taken/file"]);
    }
    for path in ["none", "taken", "data/train.jsonl"] {
        let code = if path == "data/train.jsonl" { 1 } else { 2 };
        says(&workspace.fails(&format!("inspect {path} --json"), code), &[path, ".gguf"]);
    }
}
