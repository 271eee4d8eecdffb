//! Checkpoints: exact resume, kills, patience, what may and may not be resumed.

use super::fixture::{CHATS, Workspace, lines, of_kind};
use diablo::adapter::StoredAdapter;
use diablo::random::Random;
use diablo::source::Source;
use diablo::train::checkpoint;
use serde_json::{Value, json};
use std::time::Duration;

const TRAIN: &str = "finetune --model model --data data --device cpu --learning-rate 1e-2";

fn losses(events: &[Value]) -> Vec<f64> {
    of_kind(events, "step").map(|event| event["loss"].as_f64().expect("loss")).collect()
}

/// Copies a checkpoint into an adapter folder of its own.
fn copy_checkpoint(workspace: &Workspace, from: &str, to: &str) {
    for file in workspace.files_in(from) {
        let name = from.rsplit('/').next().expect("a name");
        workspace.write(&format!("{to}/{name}/{file}"), workspace.read(&format!("{from}/{file}")));
    }
}

/// Ten steps unbroken are five and five, to the bit: weights, moments, losses, evaluations.
#[test]
fn a_resumed_run_is_the_unbroken_one() {
    let everything = "--batch-size 2 --grad-accumulation-steps 2 --pack --max-seq-length 90 --warmup-steps 3";
    for method in [
        "--blocks 8 --dropout 0.1",
        "--method lora --rank 4 --dropout 0.2",
        "--method full --target-modules q_proj,down_proj --dropout 0.1",
        "--method full --all-weights",
        "--blocks 8 --weight-decay 0.1 --lr-schedule linear",
    ] {
        let workspace = Workspace::new();
        let flags = format!("{TRAIN} {everything} {method} --iters 10 --save-every 5 --steps-per-eval 5 --json");
        let whole = workspace.json(&format!("{flags} --adapter-path whole"));
        copy_checkpoint(&workspace, "whole/checkpoint-000005", "half");
        let half = workspace.json(&format!("{flags} --adapter-path half --resume"));
        assert_eq!(of_kind(&half, "resume").count(), 1, "{method}");
        assert_eq!(losses(&half), losses(&whole)[5..], "{method}");
        let evaluated = |events: &[Value]| of_kind(events, "eval").map(|e| e["loss"].clone()).collect::<Vec<_>>();
        assert_eq!(evaluated(&half), evaluated(&whole)[2..], "{method}");
        for file in ["adapter_model.safetensors", "optimizer.safetensors"] {
            let last = |folder: &str| workspace.read(&format!("{folder}/checkpoint-000010/{file}"));
            assert!(last("whole") == last("half"), "{method}: {file} differs");
        }
        let kept = |folder: &str| workspace.read(&format!("{folder}/adapter_model.safetensors"));
        assert!(kept("whole") == kept("half"), "{method}: another adapter is kept");
    }
}

/// Fifty kills at random moments, most of them while something is saved: the newest complete checkpoint loads, and none
/// is lost.
#[test]
#[cfg(unix)]
fn a_killed_run_goes_on() {
    let workspace = Workspace::new();
    let config = pollster::block_on(Source::open(workspace.path("model"))).expect("model").config;
    let folder = workspace.path("adapters");
    let flags = format!("{TRAIN} --iters 1000000 --save-every 1 --steps-per-eval 7 --json");
    let mut random = Random::new(17);
    let (mut step, mut skipped) = (0, 0);
    for kill in 0..50 {
        let resume = if kill == 0 { "" } else { "--resume" };
        let mut child = workspace.spawn(&format!("{flags} {resume}"));
        // So that the first one has something to go on from.
        while kill == 0 && checkpoint::list(&folder).expect("a folder").len() < 2 {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(150 + random.below(250)));
        child.kill().expect("SIGKILL");
        child.wait().expect("the process ends");
        let newest = checkpoint::load_newest(&folder, &config, |_| skipped += 1).expect("a checkpoint");
        assert!(newest.progress.step >= step, "step {step} was saved, now {}", newest.progress.step);
        step = newest.progress.step;
        StoredAdapter::load(&folder, &config).expect("an adapter");
    }
    assert_eq!(skipped, 0, "a checkpoint in its place was not complete");
    assert!(step > 50, "only {step} steps in fifty runs");
    // What was killed leaves nothing but hidden remains, which the next run removes.
    let end = workspace.json(&format!("{flags} --resume --iters {}", step + 2));
    assert_eq!(of_kind(&end, "step").count(), 2);
    let left = workspace.files_in("adapters");
    assert!(!left.iter().any(|name| name.ends_with(".tmp") && name.starts_with(".checkpoint")), "{left:?}");
}

#[test]
fn packed_rows_have_the_losses_of_single_ones() {
    let workspace = Workspace::new();
    let flags = format!("{TRAIN} --iters 8 --no-shuffle --steps-per-eval 0 --mask-prompt --json");
    let single = workspace.json(&format!("{flags} --batch-size {}", CHATS.len()));
    // All rows of the file fit into two packed ones.
    let packed = workspace.json(&format!("{flags} --batch-size 2 --pack --max-seq-length 240 --adapter-path packed"));
    for (single, packed) in losses(&single).iter().zip(losses(&packed)) {
        assert!((single - packed).abs() < 1e-5, "{single} alone, {packed} packed");
    }
    let tokens = |events: &[Value]| of_kind(events, "step").map(|step| step["tokens"].clone()).collect::<Vec<_>>();
    assert_eq!(tokens(&single), tokens(&packed));
}

#[test]
fn patience_ends_the_run_and_the_best_adapter_is_kept() {
    let workspace = Workspace::new();
    let flags = "--iters 50 --batch-size 2 --steps-per-eval 2 --val-batches 0 --patience 2 --save-every 0";
    // Without a learning rate no evaluation is better than the first.
    let run = workspace.json(&format!("{TRAIN} {flags} --learning-rate 0 --json"));
    let done = run.last().expect("an event");
    assert_eq!((&done["event"], &done["steps"], &done["stopped_early"]), (&"done".into(), &6.into(), &true.into()));
    assert_eq!(done["best"]["step"], 2);
    let kept = workspace.read("adapters/adapter_model.safetensors");
    assert!(kept == workspace.read("adapters/checkpoint-000002/adapter_model.safetensors"));

    // A rate that is far too high soon makes it worse: the adapter is that of the lowest loss.
    let run =
        workspace.json(&format!("{TRAIN} {flags} --learning-rate 0.3 --max-grad-norm 0 --adapter-path wild --json"));
    let evaluated: Vec<f64> = of_kind(&run, "eval").skip(1).map(|e| e["loss"].as_f64().expect("loss")).collect();
    let done = run.last().expect("an event");
    let best = done["best"]["loss"].as_f64().expect("a best");
    assert_eq!(best, evaluated.iter().copied().fold(f64::INFINITY, f64::min));
    let loss = workspace.json("eval --model model --data data/valid.jsonl --adapter-path wild --device cpu --json");
    assert!((loss[0]["loss"].as_f64().expect("loss") - best).abs() < 1e-5 * best);
}

#[test]
fn only_the_same_run_is_resumed() {
    let workspace = Workspace::new();
    let flags = format!("{TRAIN} --batch-size 2 --save-every 2 --steps-per-eval 0");
    let fails = |flags: &str, code, expected: &str| {
        let message = workspace.fails(flags, code);
        assert!(message.contains(expected), "{flags}: {message}");
    };
    fails(&format!("{flags} --resume"), 2, "holds no checkpoint to resume from");
    workspace.succeeds(&format!("{flags} --iters 4"));
    let resume = format!("{flags} --iters 6 --resume");
    fails(&format!("{resume} --batch-size 3"), 2, "batch-size is 3, but 2 in the checkpoint");
    fails(&format!("{resume} --blocks 8"), 2, "the checkpoint holds diablo, 32 blocks");
    fails(&format!("{resume} --learning-rate 0.02"), 2, "learning-rate is 0.02, but 0.01 in the checkpoint");
    let row = json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]});
    workspace.write("other/train.jsonl", row.to_string());
    fails(&format!("{resume} --data other"), 2, "the training data");

    // A finished run can be prolonged, which is said.
    let longer = workspace.json(&format!("{resume} --json"));
    let notes = &of_kind(&longer, "resume").next().expect("an event")["notes"];
    assert_eq!(notes[0], "6 steps in all instead of 4");
    // Begun anew, it is replaced.
    workspace.succeeds(&format!("{flags} --iters 2"));
    assert_eq!(workspace.files_in("adapters").iter().filter(|name| name.starts_with("checkpoint-")).count(), 1);

    // The weights of another model of this shape.
    let mut model = workspace.read("model/model.safetensors");
    let end = model.len() - 4;
    model[end..].copy_from_slice(&1.25f32.to_le_bytes());
    workspace.write("model/model.safetensors", model);
    fails(&format!("{flags} --iters 4 --resume"), 2, "another model");
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let workspace = Workspace::new();
    let flags = format!("{TRAIN} --save-every 2 --steps-per-eval 0");
    workspace.succeeds(&format!("{flags} --iters 4"));
    let mut bytes = workspace.read("adapters/checkpoint-000004/optimizer.safetensors");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    workspace.write("adapters/checkpoint-000004/optimizer.safetensors", bytes);
    let output = workspace.diablo(&format!("{flags} --iters 4 --resume --json"));
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(told.contains("optimizer.safetensors is damaged"), "{told}");
    let events = lines(&output.stdout);
    assert_eq!(of_kind(&events, "resume").next().expect("an event")["step"], 2);
    assert_eq!(of_kind(&events, "step").count(), 2);
}

#[test]
#[cfg(unix)]
fn an_unfinished_run_is_not_replaced_by_accident() {
    let workspace = Workspace::new();
    let flags = format!("{TRAIN} --iters 1000000 --save-every 1 --steps-per-eval 0");
    let mut child = workspace.spawn(&flags);
    while checkpoint::list(&workspace.path("adapters")).expect("a folder").is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let message = workspace.fails_leaving_files(&format!("{flags} --overwrite"), 2);
    assert!(message.contains("another run is using adapters"), "{message}");
    child.kill().expect("SIGKILL");
    child.wait().expect("the process ends");
    let message = workspace.fails(&flags, 2);
    assert!(message.contains("holds an unfinished run") && message.contains("--resume"), "{message}");
    workspace.succeeds(&format!("{TRAIN} --iters 1 --steps-per-eval 0 --overwrite"));
}

/// No room for a checkpoint: one clear error, and the one before is intact.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_keeps_the_older_checkpoint() {
    let workspace = Workspace::new();
    let flags = format!("{TRAIN} --method full --iters 4 --save-every 2 --steps-per-eval 0");
    workspace.succeeds(&format!("{flags} --adapter-path small --iters 2"));
    // A limit on the size of files stands in for the disk; the signal that comes with it is ignored.
    let adapter = workspace.read("small/adapter_model.safetensors").len();
    let limited = |flags: &str| {
        // In KiB: the adapter fits, the moments, which are twice as large, do not.
        let limit = adapter * 3 / 2 / 1024;
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec {} {flags}", env!("CARGO_BIN_EXE_diablo"));
        std::process::Command::new("bash")
            .args(["-c", &script])
            .current_dir(workspace.path("."))
            .output()
            .expect("bash")
    };
    let output = limited(&format!("{flags} --adapter-path small --resume"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("checkpoint-000004: saving the checkpoint failed"), "{stderr}");
    assert!(stderr.contains("checkpoint-000002") && stderr.contains("--resume"), "{stderr}");
    let left = workspace.files_in("small");
    assert!(!left.iter().any(|name| name.ends_with(".tmp")), "{left:?}");
    let end = workspace.json(&format!("{flags} --adapter-path small --resume --json"));
    assert_eq!(of_kind(&end, "step").count(), 2);
}

/// A loss that stops being a number: the run ends, and the last good state is saved and is resumed from.
#[test]
fn the_last_good_state_survives_a_loss_that_is_no_number() {
    let workspace = Workspace::new();
    let flags = "--batch-size 2 --learning-rate 1e30 --max-grad-norm 0 --iters 50 --save-every 0 --steps-per-eval 0";
    let message = workspace.fails_leaving_files(&format!("{TRAIN} {flags} --json"), 1);
    assert!(message.contains("is not finite") && message.contains("step "), "{message}");
    let config = pollster::block_on(Source::open(workspace.path("model"))).expect("model").config;
    let newest =
        checkpoint::load_newest(&workspace.path("adapters"), &config, |e| panic!("{e}")).expect("a checkpoint");
    assert!(newest.adapter.values.iter().flatten().all(|value| value.is_finite()));
}
