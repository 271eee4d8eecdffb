//! The native binary as its users meet it: what it prints, what it leaves behind, how it fails.

mod bad_input;
mod chat;
mod export;
pub mod fixture;
mod inputs;
mod resume;

use fixture::{CHATS, Workspace, lines, of_kind};
use serde_json::Value;

/// A short run that learns something.
const TRAIN: &str = "finetune --model model --data data --device cpu --iters 24 --batch-size 2 --learning-rate 1e-2";

fn losses(events: &[Value]) -> Vec<f64> {
    of_kind(events, "step").map(|event| event["loss"].as_f64().expect("loss")).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn a_json_run_tells_everything_and_its_loss_falls() {
    let workspace = Workspace::new();
    let run = workspace.json(&format!("{TRAIN} --steps-per-eval 12 --save-every 10 --seed 3 --json"));
    let kinds: Vec<&str> = run.iter().map(|event| event["event"].as_str().expect("event")).collect();
    assert_eq!(kinds.first(), Some(&"start"));
    assert_eq!(kinds.last(), Some(&"done"));

    let start = &run[0];
    assert_eq!(start["model"], "model");
    assert_eq!(start["method"], "diablo");
    assert_eq!(start["blocks"], 32);
    assert_eq!(start["device"]["id"], "cpu");
    assert_eq!(start["rows"], CHATS.len());
    assert_eq!(start["steps"], 24);
    let memory = |part: &str| start["memory"][part].as_u64().expect("bytes");
    let parts = ["base", "adapter", "activations", "scratch", "program"];
    assert!(parts.iter().all(|part| memory(part) > 0), "{start}");
    assert_eq!(memory("total"), parts.iter().map(|part| memory(part)).sum::<u64>());

    let steps: Vec<u64> = of_kind(&run, "step").map(|event| event["step"].as_u64().expect("step")).collect();
    assert_eq!(steps, (1..=24).collect::<Vec<_>>());
    for key in ["grad_norm", "learning_rate", "tokens", "tokens_per_second"] {
        assert!(of_kind(&run, "step").all(|event| event[key].as_f64().is_some_and(|value| value > 0.0)), "{key}");
    }
    let losses = losses(&run);
    assert!(mean(&losses[20..]) < mean(&losses[..4]) - 0.2, "{losses:?}");

    let evaluated: Vec<u64> = of_kind(&run, "eval").map(|event| event["step"].as_u64().expect("step")).collect();
    assert_eq!(evaluated, [0, 12, 24]);
    let saved: Vec<u64> = of_kind(&run, "checkpoint").map(|event| event["step"].as_u64().expect("step")).collect();
    // The evaluation at 12 was the best so far.
    assert_eq!(saved, [10, 12, 20, 24]);
    let kept = [
        "adapter_config.json",
        "adapter_model.safetensors",
        "checkpoint-000020",
        "checkpoint-000024",
        "log.jsonl",
        "report.html",
        "run.toml",
    ];
    assert_eq!(workspace.files_in("adapters"), kept);

    // The same seed, the same bits.
    let again = workspace.json(&format!("{TRAIN} --steps-per-eval 0 --seed 3 --json --adapter-path again"));
    assert_eq!(losses, self::losses(&again));
}

#[test]
fn every_method_trains() {
    let workspace = Workspace::new();
    for flags in
        ["--method lora --rank 4", "--method full --target-modules q_proj,down_proj", "--blocks 8 --dropout 0.1"]
    {
        let run = workspace.json(&format!("{TRAIN} --steps-per-eval 0 --json --no-shuffle {flags}"));
        let losses = losses(&run);
        assert!(mean(&losses[20..]) < mean(&losses[..4]) - 0.1, "{flags}: {losses:?}");
    }
}

#[test]
fn a_plain_run_prints_lines_and_what_to_do_next() {
    let workspace = Workspace::new();
    let output = workspace.succeeds(&format!("{TRAIN} --steps-per-report 10"));
    assert!(!output.contains(['\x1b', '\r']), "{output}");
    for expected in [
        "model",
        "93,248",
        "32 blocks",
        "cpu",
        "asked for",
        "step 10/24",
        "step 20/24",
        "step 24/24",
        "validation loss",
    ] {
        assert!(output.contains(expected), "no \"{expected}\" in:\n{output}");
    }
    assert!(!output.contains("step 11/24"), "{output}");
    let last = output.lines().last().expect("a line");
    assert!(last.contains("diablo chat --model model --adapter-path adapters"), "{last}");
    // Held-out questions, answered before and after.
    assert!(output.contains("\nwho are you?\n  base") && output.contains("\n  tuned"), "{output}");
    let report = String::from_utf8(workspace.read("adapters/report.html")).expect("UTF-8");
    assert!(report.contains("who are you?") && report.contains("<svg"), "{report}");
}

#[test]
fn a_single_file_trains_without_validation_and_reports_cut_rows() {
    let workspace = Workspace::new();
    let flags = "--model model --data data/train.jsonl --device cpu --iters 2 --max-seq-length 24";
    let run = workspace.json(&format!("finetune {flags} --json"));
    assert_eq!(of_kind(&run, "eval").count(), 0);
    assert_eq!(run[0]["truncated_rows"], CHATS.len());
    let output = workspace.diablo(&format!("finetune {flags}"));
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(stderr.contains("24 tokens"), "{stderr}");
}

#[test]
fn preview_shows_rows_as_the_model_sees_them() {
    let workspace = Workspace::new();
    let rows = workspace.json("preview --model model --data data --mask-prompt --rows 2 --json");
    assert_eq!(rows.len(), 2);
    let (question, answer) = CHATS[0];
    let text = format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n");
    assert_eq!(rows[0]["text"], text.as_str());
    let (ids, labels) = (&rows[0]["input_ids"], &rows[0]["labels"]);
    let pairs: Vec<(i64, i64)> = ids
        .as_array()
        .unwrap()
        .iter()
        .zip(labels.as_array().unwrap())
        .map(|(id, label)| (id.as_i64().unwrap(), label.as_i64().unwrap()))
        .collect();
    assert!(pairs.iter().all(|(id, label)| label == id || *label == -100));
    let trained = pairs.iter().filter(|(_, label)| *label != -100).count();
    // The bytes of the answer and the token that ends it; whether the line break behind it counts is no matter here.
    assert!((answer.len() + 1..=answer.len() + 2).contains(&trained), "{trained} trained of {}", pairs.len());

    let plain = workspace.succeeds("preview --model model --data data --mask-prompt --rows 1");
    assert!(!plain.contains('\x1b'), "{plain}");
    assert!(plain.contains(&answer[..1]) && plain.contains('['), "{plain}");
}

#[test]
fn generate_streams_the_same_text_that_json_holds() {
    let workspace = Workspace::new();
    let flags = "generate --model model --prompt hello --device cpu --max-tokens 12";
    let answers = workspace.json(&format!("{flags} --json"));
    assert_eq!(answers.len(), 1);
    assert_eq!((&answers[0]["event"], &answers[0]["which"]), (&"generate".into(), &"base".into()));
    let text = answers[0]["text"].as_str().expect("text");
    assert_eq!(workspace.succeeds(flags), format!("{text}\n"));

    let drawn = "--temp 1.5 --top-p 0.9 --raw --json";
    let text = |seed: u32| workspace.json(&format!("{flags} {drawn} --seed {seed}"))[0]["text"].clone();
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
    let prompt_tokens = |flags: &str| workspace.json(flags)[0]["prompt_tokens"].as_u64().expect("tokens");
    assert_eq!(prompt_tokens(&format!("{flags} --json --raw")), 5);
    assert!(
        prompt_tokens(&format!("{flags} --json --system-prompt brief")) > prompt_tokens(&format!("{flags} --json"))
    );

    let from_stdin = workspace.with_input("generate --model model --prompt - --device cpu --max-tokens 12", "hello\n");
    assert_eq!(from_stdin, workspace.succeeds(flags));
}

#[test]
fn a_trained_adapter_answers_differently_and_merges_into_the_same_model() {
    let workspace = Workspace::new();
    workspace.succeeds(&format!("{TRAIN} --mask-prompt"));

    let flags = "--model model --adapter-path adapters --prompt hello --device cpu --max-tokens 12 --compare";
    let answers = workspace.json(&format!("generate {flags} --json"));
    let which: Vec<_> = answers.iter().map(|answer| answer["which"].as_str().expect("which")).collect();
    assert_eq!(which, ["base", "tuned"]);
    assert_ne!(answers[0]["text"], answers[1]["text"]);
    let both = workspace.succeeds(&format!("generate {flags}"));
    let (base, tuned) = (answers[0]["text"].as_str().unwrap(), answers[1]["text"].as_str().unwrap());
    assert_eq!(both, format!("base:\n{base}\n\ntuned:\n{tuned}\n"));

    let loss = |flags: &str| {
        let events = workspace.json(&format!("eval --data data --device cpu --mask-prompt --json {flags}"));
        let [event] = events.as_slice() else { panic!("{events:?}") };
        let loss = event["loss"].as_f64().expect("loss");
        assert!((event["perplexity"].as_f64().expect("perplexity") - loss.exp()).abs() < 1e-6 * loss.exp());
        assert!(event["tokens"].as_u64().expect("tokens") > 0);
        loss
    };
    let (base, tuned) = (loss("--model model"), loss("--model model --adapter-path adapters"));
    assert!(tuned < base - 0.1, "base {base}, tuned {tuned}");

    workspace.succeeds("merge --model model --adapter-path adapters --save-path out/merged");
    assert!((loss("--model out/merged") - tuned).abs() < 1e-4);
    assert_eq!(workspace.files_in("out"), ["merged"]);
    assert_eq!(
        workspace.files_in("out/merged"),
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    );
    workspace.fails("merge --model model --adapter-path adapters --save-path out/merged", 2);

    let events = workspace.json("merge --model model --adapter-path adapters --save-path half --dtype bf16 --json");
    assert_eq!(events[0]["dtype"], "BF16");
    assert!((loss("--model half") - tuned).abs() < 0.05);
    let config: Value = serde_json::from_slice(&std::fs::read(workspace.path("half/config.json")).unwrap()).unwrap();
    assert_eq!(config["torch_dtype"], "bfloat16");
}

#[test]
fn eval_takes_the_test_rows_of_a_folder() {
    let workspace = Workspace::new();
    let tokens = |data: &str| {
        let output = workspace.diablo(&format!("eval --model model --device cpu --json --data {data}"));
        let events = lines(&output.stdout);
        (events[0]["tokens"].as_u64().expect("tokens"), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let (valid, told) = tokens("data");
    assert!(told.contains("valid.jsonl"), "{told}");
    assert_eq!(tokens("data/valid.jsonl").0, valid);
    workspace.write("data/test.jsonl", "{\"text\": \"abc\"}\n");
    let (test, told) = tokens("data");
    assert!(told.contains("test.jsonl"), "{told}");
    // Four tokens with the end of text, the first of which nothing predicts.
    assert_eq!(test, 3);
}

#[test]
fn devices_lists_the_cpu() {
    let workspace = Workspace::new();
    let table = workspace.succeeds("devices");
    assert!(table.starts_with("id") && table.contains("--device auto takes"), "{table}");
    let devices = workspace.json("devices --json");
    assert!(devices.iter().any(|device| device["id"] == "cpu" && device["kind"] == "cpu"), "{devices:?}");
    assert_eq!(devices.iter().filter(|device| device["auto"] == true).count(), 1);
}

#[test]
fn help_and_version() {
    let workspace = Workspace::new();
    assert_eq!(workspace.succeeds("--version"), concat!("diablo ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = workspace.succeeds("finetune --help");
    for expected in ["--learning-rate", "[default: 0.001]", "[default: cosine]", "[default: adapters]", "Examples:"] {
        assert!(help.contains(expected), "no \"{expected}\" in:\n{help}");
    }
    let nothing = workspace.diablo("");
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("Usage: diablo"));
}

/// A reader that has enough, as `head` has, is no reason for a panic.
#[test]
#[cfg(unix)]
fn a_reader_may_go_away() {
    let workspace = Workspace::new();
    let mut child = workspace.spawn("preview --model model --data data --json");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the process ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));

    let mut child = workspace.spawn("finetune --model model --data data --device cpu --iters 1000000 --json");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the process ends");
    assert_eq!(output.status.code(), Some(130));
    assert!(!workspace.files_in("adapters").is_empty(), "it did not save");
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_and_exits_with_130() {
    use std::io::{BufRead, BufReader};
    let workspace = Workspace::new();
    let mut child = workspace.spawn("finetune --model model --data data --device cpu --iters 1000000 --json");
    let mut events = BufReader::new(child.stdout.take().expect("piped")).lines().map(Result::unwrap);
    assert!(events.any(|line| line.contains("\"step\",\"step\":3")), "no third step");
    let signalled = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(signalled.expect("kill").success());
    let rest: Vec<String> = events.collect();
    let output = child.wait_with_output().expect("the process ends");
    assert_eq!(output.status.code(), Some(130));
    assert!(rest.iter().any(|line| line.contains("\"checkpoint\"")), "{rest:?}");
    assert!(rest.last().is_some_and(|line| line.contains("interrupted")), "{rest:?}");
    let kept = workspace.files_in("adapters");
    let [config, weights, checkpoint, rest @ ..] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!([config, weights], ["adapter_config.json", "adapter_model.safetensors"]);
    assert_eq!(rest, ["log.jsonl", "run.toml"]);
    assert!(checkpoint.starts_with("checkpoint-"), "{kept:?}");
}

#[test]
fn bench_counts_the_kernels_that_a_step_launches() {
    let workspace = Workspace::new();
    let flags = "bench --model model --methods frozen,diablo --blocks 8 --seq 20 --steps 1 --steps-only";
    let launches = |device| -> Vec<Option<u64>> {
        let rates = workspace.json(&format!("{flags} --device {device} --json"));
        rates.iter().map(|rate| rate["launches_per_step"].as_u64()).collect()
    };
    let [Some(frozen), Some(diablo)] = launches("gpu:0")[..] else { panic!("two counts") };
    assert!(0 < frozen && frozen < diablo, "{frozen} without an adapter, {diablo} with one");
    assert_eq!(launches("cpu"), [None, None]);
    let table = workspace.succeeds(&format!("{flags} --device gpu:0"));
    assert!(table.contains("launches") && table.contains(&format!(" {diablo} ")), "{table}");
}

/// What computes dense products on a GPU is chosen for a process, and measured for every layer.
#[test]
fn the_dense_products_of_a_gpu_can_be_chosen() {
    let workspace = Workspace::new();
    let with = |matmul: &str, args: &str| {
        let output = workspace.command(args).env("DIABLO_MATMUL", matmul).output().expect("the binary runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, _, message) = with("tyled", "devices");
    assert_eq!(code, Some(2));
    assert!(message.starts_with("error: DIABLO_MATMUL is \"tyled\"") && message.lines().count() == 1, "{message}");
    assert_eq!(with("", "devices").0, Some(0));

    // Rows that are no multiple of four values are padded by the register form, and taken as they are by the tiled one.
    let bench = "bench --model model --blocks 8 --seq 19 --steps 1 --device gpu:0 --json";
    let launches = |matmul| {
        let (code, rates, message) = with(matmul, &format!("{bench} --steps-only"));
        assert_eq!(code, Some(0), "{message}");
        let rate: Value = serde_json::from_str(&rates).expect("one line");
        rate["launches_per_step"].as_u64().expect("a count")
    };
    let (tiled, register) = (launches("tiled"), launches("register"));
    assert!(tiled < register, "{tiled} launches with tiles, {register} without");

    let events = workspace.json(&format!("{bench} --methods="));
    let rows: Vec<_> = events.iter().filter_map(|event| event["kernel"].as_str()).collect();
    for name in ["burn", "register", "tiled"] {
        let (ahead, back) = (format!("linear, {name}"), format!("linear (to x), {name}"));
        assert!(rows.contains(&&*ahead) && rows.contains(&&*back), "{name}: {rows:?}");
    }
}
