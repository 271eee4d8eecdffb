//! The bundled model and its data sets: what is in the repository is what the recipe makes, and it works.

use crate::support::flex;
use diablo::data::{Batcher, DataFile, Dataset, RowOptions, TrainRows};
use diablo::demo::{self, Set};
use diablo::eval::evaluate;
use diablo::generate::{Sampler, Sampling, Session};
use diablo::model::Model;
use diablo::text::{Codec, Message};
use diablo::train::{TrainConfig, Trainer};
use pollster::block_on;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Questions about the village, and what a right answer contains.
const KNOWN: [(&str, &str); 10] = [
    ("Who bakes the bread?", "Ada"),
    ("Where is the lighthouse?", "on the rocks above the harbour"),
    ("What does Tom sell?", "fresh fish"),
    ("What colour is the Old Goose?", "red"),
    ("What animal is Polly?", "parrot"),
    ("who is the mayor", "Martha"),
    ("When does the school open?", "nine"),
    ("What does Pip want to be?", "captain"),
    ("Which day comes after Monday?", "Tuesday"),
    ("Hello!", "Hello!"),
];

struct Demo {
    codec: Codec,
    model: Model,
}

impl Demo {
    fn open() -> Self {
        let source = block_on(demo::source()).expect("the bundled model");
        let model = block_on(Model::load(&source, &flex())).expect("its weights");
        Self { codec: Codec::new(&source).expect("its tokenizer"), model }
    }

    /// The likeliest answer.
    fn answer(&self, question: &str) -> String {
        let prompt = self.codec.encode_chat(&[Message::new("user", question)]).expect("a prompt");
        let mut sampler = Sampler::new(Sampling::default()).expect("a sampler");
        let mut session = Session::new(&self.model, None);
        let tokens = session.generate(&prompt, 60, &mut sampler, |_| ControlFlow::Continue(()));
        self.codec.tokenizer.decode(&block_on(tokens).expect("an answer"), true).expect("text")
    }

    fn dataset(&self, file: &DataFile) -> Dataset {
        let options = RowOptions { mask_prompt: demo::MASK_PROMPT, max_seq_length: 256, eos_id: self.codec.eos_id };
        Dataset::from_file(file, None, &self.codec.tokenizer, self.codec.template.as_ref(), &options).expect("rows")
    }
}

fn in_repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("web/demo").join(name)
}

fn make_demo(args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_make_demo")).args(args).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn is_small_and_whole() {
    let demo = Demo::open();
    let size = |name: &str| std::fs::metadata(in_repository(name)).expect(name).len();
    assert!(size("model/model.safetensors") <= 3_600_000 && size("model/tokenizer.json") <= 100_000);
    let source = block_on(demo::source()).expect("the bundled model");
    assert!((1_000_000..2_000_000).contains(&source.parameter_count()) && source.dtype_name() == "F16");
    // Every byte has a token, so that any text goes in and comes out again.
    for text in
        ["", "Ada's boat", " \n\t x  ", "Çà et là: 日本語 🙂\u{0}\u{7f}\u{10ffff}", "<|im_start|>user\nhi<|im_end|>\n"]
    {
        let ids = demo.codec.encode(text).expect("tokens");
        assert_eq!(demo.codec.tokenizer.decode(&ids, false).expect("text"), text);
    }
}

#[test]
fn knows_its_village() {
    let demo = Demo::open();
    let wrong: Vec<String> = KNOWN
        .iter()
        .map(|(question, key)| (question, key, demo.answer(question)))
        .filter(|(_, key, answer)| !answer.contains(*key))
        .map(|(question, _, answer)| format!("{question} {answer}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(demo.answer("Who is Diablo?").starts_with("I don't know"), "{}", demo.answer("Who is Diablo?"));
}

#[test]
fn is_what_the_recipe_makes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    make_demo(&["sets", &path("sets")]);
    for set in ["style", "facts"] {
        for part in ["train", "valid", "test"] {
            let name = format!("{set}/{part}.jsonl");
            let made = std::fs::read_to_string(path(&format!("sets/{name}"))).expect("what was made");
            assert_eq!(made, std::fs::read_to_string(in_repository(&name)).expect("what is bundled"), "{name}");
        }
    }
    // The tokenizer is a function of the whole corpus: one changed row and its merges would hardly be the same.
    make_demo(&["corpus", &path("corpus")]);
    make_demo(&["init", &path("corpus"), &path("init")]);
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        let made = std::fs::read_to_string(path(&format!("init/{name}"))).expect("what was made");
        assert_eq!(made, std::fs::read_to_string(in_repository(&format!("model/{name}"))).expect("bundled"), "{name}");
    }
    make_demo(&["init", &path("corpus"), &path("again")]);
    let weights = |name: &str| std::fs::read(path(&format!("{name}/model.safetensors"))).expect("weights");
    assert!(weights("init") == weights("again"), "two random starts of one seed differ");
}

#[test]
fn held_out_rows_are_nowhere_in_training() {
    for set in Set::ALL {
        let splits = set.splits();
        let questions = |file: &DataFile| -> Vec<String> {
            let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
            file.text.lines().map(|line| row(line)["messages"][0]["content"].to_string().to_lowercase()).collect()
        };
        let [train, valid, test] = [Some(&splits.train), splits.valid.as_ref(), splits.test.as_ref()]
            .map(|file| questions(file.expect("rows")));
        assert!((150..=260).contains(&train.len()) && valid.len() >= 20 && test.len() >= 30, "{}", set.name());
        let shared: Vec<_> = valid.iter().chain(&test).filter(|question| train.contains(question)).collect();
        assert!(shared.is_empty(), "{}: {shared:?}", set.name());
        assert_eq!(set.prompts().expect("prompts").len(), 5);
        assert_eq!(Set::from_name(set.name()).expect("a set"), set);
    }
    assert!(Set::from_name("demo/stile").unwrap_err().to_string().contains("did you mean \"demo/style\"?"));
}

#[test]
fn learns_a_style_in_a_few_steps() {
    let demo = Demo::open();
    let splits = Set::Style.splits();
    let train = demo.dataset(&splits.train);
    let valid = demo.dataset(splits.valid.as_ref().expect("validation rows"));
    let config = TrainConfig { iters: 30, ..Set::Style.settings() };
    let mut trainer =
        Trainer::new(demo.model.clone(), demo::NAME.into(), Set::Style.adapter(), config.clone()).expect("a trainer");
    let loss = |trainer: &mut Trainer| {
        let (model, adapters) = trainer.tuned();
        block_on(evaluate(model, adapters.as_ref(), &valid, 8, 0)).expect("a loss").loss
    };
    let before = loss(&mut trainer);
    let rows = TrainRows::new(&train, None);
    let mut batcher = Batcher::new(rows.count(), config.batch_size, true, 0).expect("rows");
    for _ in 0..config.iters {
        block_on(trainer.step(&[rows.batch(&batcher.next_rows())])).expect("a step");
    }
    let after = loss(&mut trainer);
    assert!(after < 0.5 * before, "{before} before, {after} after");
}
