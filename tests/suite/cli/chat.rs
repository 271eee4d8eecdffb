//! Conversations, and several answers to one prompt.

use super::fixture::{Workspace, lines};
use serde_json::Value;

const CHAT: &str = "chat --model model --device cpu --max-tokens 12";

/// The answers to `input`, as JSON.
fn chat(workspace: &Workspace, flags: &str, input: &str) -> Vec<Value> {
    lines(workspace.with_input(&format!("{CHAT} --json {flags}"), input).as_bytes())
}

/// The answers as they are printed.
fn printed(answers: &[Value]) -> String {
    texts(answers).iter().map(|text| format!("{text}\n")).collect()
}

fn texts(answers: &[Value]) -> Vec<&str> {
    answers.iter().map(|answer| answer["text"].as_str().expect("text")).collect()
}

fn numbers(answers: &[Value], key: &str) -> Vec<u64> {
    answers.iter().map(|answer| answer[key].as_u64().expect(key)).collect()
}

/// An adapter that changes answers.
fn train(workspace: &Workspace) {
    workspace.succeeds(
        "finetune --model model --data data --device cpu --iters 24 --batch-size 2 --learning-rate 1e-2 \
         --steps-per-eval 0 --mask-prompt",
    );
}

#[test]
fn every_line_gets_an_answer_in_its_conversation() {
    let workspace = Workspace::new();
    let answers = chat(&workspace, "", "hello\n\nand you?\n/reset\nhello\n");
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|answer| answer["event"] == "chat" && answer["which"] == "base"));
    let plain = workspace.with_input(CHAT, "hello\r\n\r\nand you?\r\n/reset\r\nhello");
    assert_eq!(plain, printed(&answers));

    // The first answer is that of generate; the second one sees the first; after /reset all is as at the start.
    let once = workspace.json("generate --model model --device cpu --max-tokens 12 --prompt hello --json");
    assert_eq!(answers[0]["text"], once[0]["text"]);
    let prompts = numbers(&answers, "prompt_tokens");
    assert!(prompts[1] > prompts[0] + "and you?".len() as u64, "{prompts:?}");
    assert_eq!((&answers[2]["text"], prompts[2]), (&answers[0]["text"], prompts[0]));

    // What was read is not read again: the first prompt, and at least the beginning of its answer.
    let known = numbers(&answers, "known_tokens");
    assert_eq!(known[0], 0);
    assert!(known[1] >= prompts[0] && known[1] < prompts[1], "{known:?} of {prompts:?}");
    assert_eq!(known[2], prompts[2] - 1);
}

#[test]
fn adapter_system_message_and_slashes() {
    let workspace = Workspace::new();
    train(&workspace);
    let input = "hello\n/reset\n/adapter off\nhello\n/reset\n/adapter on\nhello\n/quit\nhello\n";
    let answers = chat(&workspace, "--adapter-path adapters", input);
    let which: Vec<_> = answers.iter().map(|answer| answer["which"].as_str().expect("which")).collect();
    assert_eq!(which, ["tuned", "base", "tuned"]);
    let texts = texts(&answers);
    assert_eq!(texts[0], texts[2]);
    assert_ne!(texts[0], texts[1]);

    let brief = chat(&workspace, "--system brief", "hello\n/reset\n/system\nhello\n/reset\n/system brief\nhello\n");
    let prompts = numbers(&brief, "prompt_tokens");
    assert!(prompts[0] > prompts[1]);
    assert_eq!((prompts[0], &brief[0]["text"]), (prompts[2], &brief[2]["text"]));
    let generate = "generate --model model --device cpu --max-tokens 12 --prompt hello --system-prompt brief --json";
    assert_eq!(brief[0]["text"], workspace.json(generate)[0]["text"]);

    let slashes = numbers(&chat(&workspace, "", "//\n/reset\nx\n"), "prompt_tokens");
    assert_eq!(slashes[0], slashes[1]);
}

#[test]
fn a_seed_repeats_a_whole_conversation() {
    let workspace = Workspace::new();
    let drawn = |seed: u32| {
        chat(&workspace, &format!("--temp 1.5 --seed {seed}"), "hello\nagain\n")
            .iter()
            .map(|a| a["text"].clone())
            .collect()
    };
    let (first, same, other): (Vec<Value>, Vec<Value>, Vec<Value>) = (drawn(1), drawn(1), drawn(2));
    assert_eq!(first, same);
    assert_ne!(first, other);
}

#[test]
fn a_long_conversation_forgets_its_beginning() {
    let workspace = Workspace::new();
    // The model takes 256 tokens, and a token is a byte.
    let input = format!("{}\n", "x".repeat(60)).repeat(6);
    let output = workspace.diablo_reading(&format!("{CHAT} --json"), &input);
    let answers = lines(&output.stdout);
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{told}");
    assert_eq!(answers.len(), 6);
    assert!(numbers(&answers, "prompt_tokens").iter().all(|tokens| *tokens <= 256 - 12));
    assert!(told.contains("longer than the 256 tokens that this model takes; its oldest message"), "{told}");

    let message = workspace.fails_reading(CHAT, &format!("hello\n{}\n", "x".repeat(300)), 2);
    assert!(message.contains("this model takes 256 and has to answer; shorten it\n"), "{message}");
}

#[test]
fn what_cannot_be_typed_ends_a_script() {
    let workspace = Workspace::new();
    for (input, expected) in [
        ("/rest\n", "unknown command \"/rest\" (did you mean \"/reset\"?)"),
        ("/adapter on\n", "there is no adapter; start with --adapter-path FOLDER"),
        ("/adapter maybe\n", "/adapter takes \"on\" or \"off\""),
    ] {
        for flags in ["", " --json"] {
            let message = workspace.fails_reading(&format!("{CHAT}{flags}"), &format!("{input}hello\n"), 2);
            assert!(message.contains(expected), "{message}");
        }
    }
    let output = workspace.diablo_reading(CHAT, b"hello \xff\n");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1));
    assert!(told.starts_with("error: standard input: reading failed: "), "{told}");
    assert!(workspace.fails(&format!("{CHAT} --temp -1"), 2).contains("--temp"));
    assert!(workspace.fails(&format!("{CHAT} --adapter-path nowhere"), 1).contains("nowhere"));
    workspace.write("model/tokenizer_config.json", r#"{"eos_token": "<|im_end|>"}"#);
    assert!(workspace.fails(CHAT, 2).contains("model has no chat template; diablo generate --raw"));
}

#[test]
fn nothing_to_say() {
    let workspace = Workspace::new();
    assert_eq!(workspace.succeeds(CHAT), "");
    assert_eq!(workspace.with_input(CHAT, "\n/reset\n/quit\n"), "");
    let help = workspace.diablo_reading(CHAT, "/help\n");
    assert!(help.status.success() && help.stdout.is_empty());
    assert!(String::from_utf8_lossy(&help.stderr).contains("/adapter on|off"));
}

#[test]
fn several_answers_have_the_seeds_from_the_first_on() {
    let workspace = Workspace::new();
    let flags = "generate --model model --device cpu --max-tokens 12 --prompt hello --temp 1.5";
    let answers = workspace.json(&format!("{flags} --seed 7 --num 3 --json"));
    assert_eq!(numbers(&answers, "seed"), [7, 8, 9]);
    let prompt = answers[0]["prompt_tokens"].as_u64().expect("tokens");
    assert_eq!(numbers(&answers, "known_tokens"), [0, prompt - 1, prompt - 1]);
    for (answer, seed) in answers.iter().zip(7..) {
        assert_eq!(answer["text"], workspace.json(&format!("{flags} --seed {seed} --json"))[0]["text"]);
    }
    let text = workspace.succeeds(&format!("{flags} --seed 7 --num 2"));
    let texts = texts(&answers);
    assert_eq!(text, format!("seed 7:\n{}\n\nseed 8:\n{}\n", texts[0], texts[1]));

    train(&workspace);
    let both = workspace.json(&format!("{flags} --seed 7 --num 2 --adapter-path adapters --compare --json"));
    let which: Vec<_> = both.iter().map(|answer| answer["which"].as_str().expect("which")).collect();
    assert_eq!((which, numbers(&both, "seed")), (vec!["base", "base", "tuned", "tuned"], vec![7, 8, 7, 8]));
    assert_eq!(both[1]["text"], texts[1]);

    assert!(workspace.fails(&format!("{flags} --num 0"), 2).contains("--num is 0"));
    assert!(workspace.fails(&format!("{flags} --num 2 --temp 0"), 2).contains("--num gives the same answer"));
}
