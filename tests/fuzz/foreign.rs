//! What the program does with files from strangers: one function a format, each of which takes the bytes of one input.
//! The fuzz targets call them with what libFuzzer makes up, `tests/suite/corpus.rs` with the files of `tests/corpus`.

use diablo::adapter::StoredAdapter;
use diablo::data::{DataFile, Dataset, FileKind, QuestionFinder, Row, RowEncoder, RowOptions};
use diablo::error::Result;
use diablo::inspect::inspect;
use diablo::model::ModelConfig;
use diablo::source::Source;
use diablo::text::{ChatTemplate, Codec, Message, Tokenizer};
use diablo::train::{Snapshot, checkpoint};
use diablo::weights::Storage;
use pollster::block_on;
use std::path::Path;

/// Stands between the files of an input that is several.
const BETWEEN: &[u8] = b"\n---\n";
/// The configuration of a model of a few hundred weights, so that inputs stay small.
const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 4, "intermediate_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2, "hidden_act": "silu", "vocab_size": 8,
    "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true}"#;
const TOKENIZER: &[u8] = include_bytes!("../../web/demo/model/tokenizer.json");
const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + \
    '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
/// What a tokenizer is tried on.
const TEXT: &str = "<|im_start|>Hello, wörld!\r\n\t 12345  日本 🙂 e\u{301}\u{0}\u{fffd}<|im_end|> don't";

/// A GGUF file: its header, its tokenizer and template, all of its values.
pub fn gguf(bytes: &[u8], folder: &Path) -> Result<()> {
    let file = vec![("model.gguf".to_owned(), Storage::from_bytes("model.gguf", bytes))];
    let opened = block_on(Source::from_files("model.gguf", file)).and_then(|source| read_all(&source));
    let looked_at = look(folder, &[("model.gguf", bytes)], "model.gguf");
    opened.and(looked_at)
}

/// A Hugging Face folder: its weights; or `config.json` and weights; or both with the index between them.
pub fn safetensors(bytes: &[u8], _folder: &Path) -> Result<()> {
    let (config, index, weights) = match parts(bytes)[..] {
        [weights] => (CONFIG.as_bytes(), None, weights),
        [config, weights] => (config, None, weights),
        [config, index, weights, ..] => (config, Some(index), weights),
        [] => (CONFIG.as_bytes(), None, bytes),
    };
    let mut files = vec![("config.json", config), ("tokenizer.json", TOKENIZER)];
    match index {
        None => files.push(("model.safetensors", weights)),
        Some(index) => files.extend([("model.safetensors.index.json", index), ("a.safetensors", weights)]),
    }
    let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), Storage::from_bytes(name, bytes))).collect();
    read_all(&block_on(Source::from_files("model", files))?)
}

fn read_all(source: &Source) -> Result<()> {
    let names: Vec<_> = source.tensor_names().map(str::to_owned).collect();
    for name in names {
        block_on(source.read_f32(&name))?;
    }
    let codec = Codec::new(source)?;
    let ids = codec.tokenizer.encode(TEXT)?;
    codec.tokenizer.decode(&ids, true)?;
    if let Some(template) = &codec.template {
        render(template)?;
    }
    codec.check_ids(ids.into_iter())
}

/// Rows: the first byte says in what kind of file, as text the digits from 0 on.
pub fn rows(bytes: &[u8], _folder: &Path) -> Result<()> {
    let (kind, rest) = bytes.split_first().unwrap_or((&b'0', &[]));
    let ending = ["jsonl", "json", "csv", "tsv", "txt"][usize::from(kind.wrapping_sub(b'0') % 5)];
    let file = DataFile::from_bytes(format!("train.{ending}"), rest.to_vec())?;
    let tokenizer = Tokenizer::from_bytes(TOKENIZER, "tokenizer.json")?;
    let template = ChatTemplate::new(TEMPLATE, "", "<|im_end|>")?;
    let mut result = Ok(());
    for (mask_prompt, template) in [(false, Some(&template)), (true, Some(&template)), (true, None)] {
        let options = RowOptions { mask_prompt, max_seq_length: 32, eos_id: tokenizer.token_id("<|im_end|>") };
        let read = Dataset::from_file(&file, None, &tokenizer, template, &options);
        let Some(template) = template else { continue };
        result = read.and_then(|data| {
            let finder = QuestionFinder::new(&tokenizer, template)?;
            data.batches(3).for_each(drop);
            data.examples.iter().try_for_each(|example| finder.iter().try_for_each(|f| f.find(example).map(drop)))
        });
    }
    debug_assert!(FileKind::of(&file.place).is_some());
    result
}

/// A `tokenizer.json`.
pub fn tokenizer(bytes: &[u8], _folder: &Path) -> Result<()> {
    let tokenizer = Tokenizer::from_bytes(bytes, "tokenizer.json")?;
    let ids = tokenizer.encode(TEXT)?;
    tokenizer.decode(&ids, false)?;
    let mut stream = tokenizer.stream(true);
    for id in ids.into_iter().chain([0, 1, tokenizer.vocab_size() as u32, u32::MAX]) {
        stream.push(id)?;
    }
    stream.finish()?;
    let options = RowOptions { mask_prompt: true, max_seq_length: 8, eos_id: None };
    let row = Row::Completion { prompt: "Hi ".into(), completion: TEXT.into() };
    RowEncoder::new(&tokenizer, None, options)?.encode(&row, "rows:1").map(drop)
}

/// A chat template.
pub fn template(bytes: &[u8], _folder: &Path) -> Result<()> {
    render(&ChatTemplate::new(&String::from_utf8_lossy(bytes), "<s>", "</s>")?)
}

fn render(template: &ChatTemplate) -> Result<()> {
    let turns = [Message::new("system", "Be brief.\n"), Message::new("user", " hé "), Message::new("assistant", "ho")];
    template.render(&[], false).ok();
    template.render(&turns[1..], false).ok();
    template.render(&turns[..2], true).map(drop)
}

/// An adapter folder: its configuration, then its weights.
pub fn adapter(bytes: &[u8], folder: &Path) -> Result<()> {
    let parts = parts(bytes);
    let part = |n: usize| parts.get(n).copied().unwrap_or_default();
    let files = [("adapter_config.json", part(0)), ("adapter_model.safetensors", part(1))];
    let loaded = StoredAdapter::from_files(part(0), part(1), &model()?, "adapters").map(drop);
    let looked_at = look(folder, &files, ".");
    loaded.and(looked_at)
}

/// The files of a checkpoint, in the order of `CHECKPOINT`.
pub fn checkpoint(bytes: &[u8], folder: &Path) -> Result<()> {
    let parts = parts(bytes);
    let files: Vec<_> = CHECKPOINT.into_iter().zip(parts).collect();
    let file = |name: &str| {
        let found = files.iter().find(|(known, _)| *known == name);
        found.map(|(_, bytes)| bytes.to_vec()).ok_or_else(|| diablo::Error::model(name, "no such file"))
    };
    let model = model()?;
    // Past the list of hashes too, which what libFuzzer makes up would never fit.
    let read = Snapshot::from_files(file, &model, "checkpoint-000002");
    if let Ok(snapshot) = &read {
        snapshot.identity.continues(&snapshot.identity)?;
    }
    let looked_at = look(folder, &files, ".");
    let loaded = checkpoint::load(folder, &model).map(drop);
    read.map(drop).and(looked_at).and(loaded)
}

const CHECKPOINT: [&str; 5] =
    ["trainer_state.json", "adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors", "COMPLETE"];

/// What `diablo inspect` does with these files on disk.
fn look(folder: &Path, files: &[(&str, &[u8])], path: &str) -> Result<()> {
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).map_err(|e| diablo::Error::io(folder, "writing", e))?;
    }
    let found = block_on(inspect(&folder.join(path), true))?;
    found.files.iter().for_each(|file| drop((file.groups(), file.parameters())));
    serde_json::to_string(&found).map(drop).map_err(|e| diablo::Error::model("inspection", e.to_string()))
}

fn model() -> Result<ModelConfig> {
    let json = serde_json::from_str(CONFIG).map_err(|e| diablo::Error::model("config.json", e.to_string()))?;
    ModelConfig::from_hf(&json, "config.json")
}

fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

/// An error must be one line that can be shown in a terminal.
pub fn check(result: Result<()>) {
    if let Err(error) = result {
        let text = error.to_string();
        assert!(!text.is_empty() && text.len() <= 4096, "an error of {} bytes", text.len());
        assert!(!text.contains(char::is_control), "control characters in the error {text:?}");
    }
}
