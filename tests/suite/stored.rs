//! Bases that stay small: SmolLM2 as its file has it, and the command line.

use crate::cli::fixture::{Workspace, of_kind};
use crate::support::*;
use diablo::adapter::Method;
use diablo::model::{Model, Weight};
use diablo::source::{HeldDtype, Holding, Source};
use diablo::train::{Mode, Trainer};
use pollster::block_on;

fn held(source: &Source, dtype: HeldDtype) -> Model {
    let holding = Holding { dtype, ..Holding::f32(u64::MAX) };
    block_on(Model::load_with(source, &flex(), &holding, |_, _| ())).expect("a model that loads")
}

/// Three steps from Q4_1 (and the other formats of the file) as it is, and from the same values in f32.
#[test]
fn smollm2_trains_from_its_own_blocks() {
    let Some(source) = smollm2_source() else { return };
    let golden = Tensors::open("train_smollm2.safetensors");
    let method = Method::Diablo { blocks: 48 };
    let run = |model: Model, mode: Mode| -> Vec<f64> {
        let mut trainer: Trainer = trainer_in(mode, &model, method, 1e-3);
        drop(model);
        (0..3).map(|step| block_on(trainer.step(&golden_batch(&golden, step))).expect("step").loss).collect()
    };
    let plain = run(held(&source, HeldDtype::F32), Mode::Merged);
    let model = held(&source, HeldDtype::File);
    assert!(model.matrices().all(|weight| matches!(weight, Weight::Stored(_))));
    for mode in [Mode::Merged, Mode::Side] {
        let ours = run(model.clone(), mode);
        for (step, (a, b)) in ours.iter().zip(&plain).enumerate() {
            assert!((a - b).abs() <= 1e-4, "{mode:?}, step {}: {a} instead of {b}", step + 1);
        }
    }
}

/// The base's form is told, kept in the run's settings, and taken up again; the losses are those of f32.
#[test]
fn the_flag_is_told_and_kept() {
    let workspace = Workspace::new();
    let train = "finetune --model model --data data --device cpu --blocks 8 --learning-rate 1e-2 --json";
    let losses = |flags: &str| -> Vec<f64> {
        let events = workspace.json(&format!("{train} --iters 4 --save-every 2 {flags}"));
        of_kind(&events, "step").map(|event| event["loss"].as_f64().expect("loss")).collect()
    };
    let events = workspace.json(&format!("{train} --iters 4 --save-every 2 --adapter-path small --base-dtype f16"));
    assert_eq!(events[0]["base_dtype"], "f16");
    assert_eq!(events[0]["base_dtype_reason"], "asked for");
    assert!(events[0]["base_bytes"].as_u64() < events[0]["parameters"].as_u64().map(|all| 3 * all));
    let settings = String::from_utf8(workspace.read("small/run.toml")).expect("UTF-8");
    assert!(settings.contains("base-dtype = \"f16\"\n"), "{settings}");

    // What auto took is what a resumed run takes.
    let plain = losses("--adapter-path plain");
    let settings = String::from_utf8(workspace.read("plain/run.toml")).expect("UTF-8");
    assert!(settings.contains("base-dtype = \"f32\"\n"), "{settings}");
    let small: Vec<f64> = of_kind(&events, "step").map(|event| event["loss"].as_f64().expect("loss")).collect();
    for (small, plain) in small.iter().zip(&plain) {
        assert!((small - plain).abs() <= 1e-2, "{small} {plain}");
    }

    // Two more steps of the small one; its settings say how it is held.
    let events = workspace.json("finetune --adapter-path small --resume --iters 6 --json");
    assert_eq!(events[0]["base_dtype"], "f16");
    assert_eq!(of_kind(&events, "step").count(), 2);
    let message = workspace.fails("finetune --adapter-path small --resume --iters 8 --base-dtype f32", 2);
    assert!(message.contains("another --base-dtype"), "{message}");

    // Everything that runs a model takes the flag.
    let question = "--prompt hello --max-tokens 4 --adapter-path small --base-dtype f16 --device cpu";
    workspace.succeeds(&format!("generate --model model {question}"));
    workspace.succeeds("eval --model model --data data/valid.jsonl --adapter-path small --base-dtype f16 --device cpu");
    workspace.succeeds("bench --model model --seq 8 --steps 1 --steps-only --base-dtype f16 --device cpu --json");
    let full = "finetune --model model --data data --device cpu --method full --all-weights --iters 2";
    let message = workspace.fails(&format!("{full} --base-dtype f16 --adapter-path all"), 2);
    assert!(message.contains("--base-dtype f32"), "{message}");
}
