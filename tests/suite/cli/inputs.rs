//! What goes in: files of data of every kind, files of settings; and scripts for shells.

use super::fixture::{Workspace, of_kind};
use serde_json::json;
use std::io::Write;
use std::process::{Command, Stdio};

const TRAIN: &str = "finetune --model model --device cpu --iters 2 --json";

/// The fixture's template around one question and its answer.
fn chat(question: &str, answer: &str) -> String {
    format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n")
}

#[test]
fn data_of_every_kind() {
    let workspace = Workspace::new();
    let alpaca = json!([
        {"instruction": "add", "input": "1, 2", "output": "3", "text": "### Instruction:\nadd\n\n### Response:\n3"},
        {"instruction": "say \"a\"", "input": "", "output": "a"},
    ]);
    workspace.write("alpaca.json", format!("{alpaca:#}"));
    workspace.write("alpaca.csv", "instruction,input,output\n\"add\",\"1, 2\",3\n\"say \"\"a\"\"\",,a\n");
    workspace.write("alpaca.tsv", "output\tinstruction\tinput\n3\tadd\t1, 2\na\tsay \"a\"\t\n");
    workspace.write(
        "pairs.jsonl",
        format!(
            "{}\n{}\n",
            json!({"prompt": "add\n\n1, 2", "completion": "3"}),
            json!({"prompt": "say \"a\"", "completion": "a"})
        ),
    );
    let preview = |file: &str| workspace.json(&format!("preview --model model --data {file} --mask-prompt --json"));
    let expected = preview("pairs.jsonl");
    assert_eq!(expected[0]["text"], chat("add\n\n1, 2", "3").as_str());
    for file in ["alpaca.json", "alpaca.csv", "alpaca.tsv"] {
        assert_eq!(preview(file), expected, "{file}");
    }

    workspace.write("mixed/train.csv", "text\nabc\ndef\n");
    workspace.write("mixed/valid.txt", "abcdefgh\n");
    let run = workspace.json(&format!("{TRAIN} --data mixed --max-seq-length 4"));
    assert_eq!((&run[0]["rows"], &run[0]["valid_rows"]), (&2.into(), &3.into()));
    assert_eq!(of_kind(&run, "eval").count(), 2);
    let rows = workspace.json("preview --model model --data mixed/valid.txt --max-seq-length 4 --rows 2 --json");
    assert_eq!([&rows[0]["text"], &rows[1]["text"]], ["abcd", "defg"]);
    assert_eq!(workspace.json("eval --model model --data mixed --device cpu --json")[0]["tokens"], 8);
}

#[test]
fn data_that_cannot_be_used() {
    let workspace = Workspace::new();
    for (name, text, expected) in [
        ("a.csv", "prompt,completion\nx,y\n\"a\nb\"\n", "a.csv:3: the row has 1 cells"),
        ("a.csv", "prompt,completion\nx,\"y\nz,0\n", "a.csv:2: a quote"),
        ("a.csv", "question;answer\nx;y\n", "separated by commas"),
        ("a.json", "[\n{\"text\": \"a\"},\n{\"txet\": \"b\"}]", "a.json:3: row has neither \"text\""),
        ("a.json", "[\n{\"text\": \"a\"}\n{", "a.json:3:1: not JSON"),
        ("a.parquet", "PAR1", "a.parquet: this kind of file is not supported; --data takes a .jsonl, .json, .csv"),
        ("a.txt", " \n", "a.txt: no rows"),
    ] {
        workspace.write(name, text);
        for command in ["preview", "finetune --device cpu --iters 2 --json"] {
            let message = workspace.fails(&format!("{command} --model model --data {name}"), 1);
            assert!(message.contains(expected), "no \"{expected}\" in: {message}");
        }
    }
    workspace.write("data/train.txt", "abc");
    workspace.write("data/valid.tsv", "text\nabc");
    let both = "both train.jsonl and train.txt; keep one";
    assert!(workspace.fails("finetune --model model --data data --device cpu", 1).contains(both));
    let both = "both valid.jsonl and valid.tsv; keep one";
    assert!(workspace.fails("eval --model model --data data --device cpu", 1).contains(both));
}

#[test]
fn settings_from_a_file() {
    let workspace = Workspace::new();
    let config = "model = 'model'\ndata = 'data'\ndevice = 'cpu'\niters = 3\nblocks = 8\nmask_prompt = true\n\
                  target-modules = ['q_proj', 'up_proj']\n[finetune]\nsteps-per-eval = 0\n";
    workspace.write("run.toml", config);
    let run = workspace.json("finetune --config run.toml --iters 2 --json");
    assert_eq!(run[0]["modules"], json!(["q_proj", "up_proj"]));
    assert_eq!((&run[0]["steps"], &run[0]["blocks"]), (&2.into(), &8.into()));
    assert_eq!(of_kind(&run, "eval").count(), 0);
    let flags = "--mask-prompt --blocks 8 --target-modules q_proj,up_proj --steps-per-eval 0 --data data";
    let same = workspace.json(&format!("{TRAIN} {flags}"));
    let losses =
        |run: &[serde_json::Value]| -> Vec<_> { of_kind(run, "step").map(|step| step["loss"].clone()).collect() };
    assert_eq!(losses(&run), losses(&same));

    for (config, expected, code) in [
        ("iters = 3\nitres = 4", "run.toml:2: unknown key \"itres\" (did you mean \"iters\"?)", 2),
        ("iters = [", "run.toml:1:10: not TOML", 2),
        ("iters = 'x'", "run.toml:1: \"iters\": invalid value 'x'", 2),
    ] {
        workspace.write("run.toml", config);
        let message = workspace.fails(&format!("{TRAIN} --data data --config run.toml"), code);
        assert!(message.contains(expected), "no \"{expected}\" in: {message}");
    }
    let message = workspace.fails(&format!("{TRAIN} --data data --config no.toml"), 1);
    assert!(message.contains("no.toml: reading failed"), "{message}");
}

#[test]
fn scripts_for_shells() {
    let workspace = Workspace::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = workspace.succeeds(&format!("completions {shell}"));
        assert!(script.contains("finetune") && script.contains("learning-rate"), "{shell}");
    }
    assert_eq!(workspace.diablo("completions tcsh").status.code(), Some(2));

    let script = workspace.succeeds("completions bash");
    let bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    // Not every system has it.
    let Ok(mut bash) = bash else { return };
    bash.stdin.take().expect("piped").write_all(script.as_bytes()).expect("bash reads");
    let output = bash.wait_with_output().expect("bash ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    // And it completes: with three words typed and the last one begun, the flags that begin so.
    let ask =
        "COMP_WORDS=(diablo finetune --learn) COMP_CWORD=2; _diablo diablo --learn finetune; echo \"${COMPREPLY[@]}\"";
    let completed = Command::new("bash").args(["-c", &format!("{script}\n{ask}")]).output().expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&completed.stdout), "--learning-rate\n");
}
