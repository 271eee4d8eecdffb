//! Hugging Face folders.

use super::*;
use safetensors::tensor::{Dtype, TensorView};
use std::path::PathBuf;

/// A folder to change before it is opened.
struct Folder {
    config: Value,
    /// Format, shape and bytes.
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    /// Everything but `config.json` and `model.safetensors`.
    others: BTreeMap<String, Vec<u8>>,
}

impl Folder {
    fn new(config: Value, dtype: Dtype) -> Self {
        let ty = TensorType::from_name(&dtype.to_string()).unwrap();
        let tensors = expected(&config).into_iter().map(|(name, shape)| {
            let bytes = encode(ty, &values_of(&name, &shape));
            (name, (dtype, shape, bytes))
        });
        let others = BTreeMap::from([("tokenizer.json".to_owned(), b"{}".to_vec())]);
        Self { tensors: tensors.collect(), config, others }
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.others.insert(name.to_owned(), content.into());
        self
    }

    fn reshape(mut self, name: &str, shape: &[usize]) -> Self {
        let zeros = vec![0; shape.iter().product::<usize>() * 4];
        self.tensors.insert(name.to_owned(), (Dtype::F32, shape.to_vec(), zeros));
        self
    }

    fn remove(mut self, name: &str) -> Self {
        assert!(self.tensors.remove(name).is_some() || self.others.remove(name).is_some());
        self
    }

    fn weights(&self, keep: impl Fn(&str) -> bool) -> Vec<u8> {
        let tensors = self.tensors.iter().filter(|(name, _)| keep(name));
        let views =
            tensors.map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    fn without_weights(&self) -> Vec<(String, Vec<u8>)> {
        let config = ("config.json".to_owned(), self.config.to_string().into_bytes());
        self.others.clone().into_iter().chain([config]).collect()
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = self.without_weights();
        files.push(("model.safetensors".to_owned(), self.weights(|_| true)));
        files
    }

    /// Layer 0 in one file, the rest in another.
    fn shards(&self) -> Vec<(String, Vec<u8>)> {
        let first = |name: &str| name.contains("layers.0.");
        let shard = |name: &str| if first(name) { "model-1.safetensors" } else { "model-2.safetensors" };
        let map: BTreeMap<_, _> = self.tensors.keys().map(|name| (name, shard(name))).collect();
        let mut files = self.without_weights();
        files.push(("model-1.safetensors".to_owned(), self.weights(first)));
        files.push(("model-2.safetensors".to_owned(), self.weights(|name| !first(name))));
        files.push(("model.safetensors.index.json".to_owned(), json!({ "weight_map": map }).to_string().into_bytes()));
        files
    }

    fn open(&self) -> Result<Source> {
        open(self.files())
    }
}

fn open(files: Vec<(String, Vec<u8>)>) -> Result<Source> {
    let storage = |(name, bytes): (String, Vec<u8>)| (name.clone(), Storage::from_bytes(format!("m/{name}"), bytes));
    block_on(Source::from_files("m", files.into_iter().map(storage).collect()))
}

fn plain() -> Folder {
    Folder::new(config(), Dtype::F32)
}

fn check_values(source: &Source, config: &Value) {
    let mut names: Vec<_> = source.tensor_names().map(str::to_owned).collect();
    let mut expected = expected(config);
    expected.sort();
    names.sort();
    assert_eq!(names, expected.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
    for (name, shape) in expected {
        assert_eq!(source.shape(&name), Some(&shape[..]), "{name}");
        assert_eq!(read(source, &name), values_of(&name, &shape), "{name}");
    }
}

#[test]
fn every_float_format() {
    let formats = [
        (Dtype::F32, "F32", FloatType::F32),
        (Dtype::F16, "F16", FloatType::F16),
        (Dtype::BF16, "BF16", FloatType::BF16),
        (Dtype::F64, "F64", FloatType::F32),
    ];
    for (dtype, name, base) in formats {
        let folder = Folder::new(config(), dtype);
        for files in [folder.files(), folder.shards()] {
            let source = open(files).unwrap();
            assert_eq!(source.dtype_name(), name);
            assert_eq!(source.base_dtype(), base);
            assert_eq!(source.name, "m");
            check_values(&source, &folder.config);
        }
    }
}

#[test]
fn the_format_of_most_bytes_counts() {
    let mut folder = Folder::new(config(), Dtype::BF16);
    for (name, (dtype, shape, bytes)) in &mut folder.tensors {
        if name.contains("norm") {
            *dtype = Dtype::F32;
            *bytes = encode(TensorType::F32, &values_of(name, shape));
        }
    }
    let source = folder.open().unwrap();
    assert_eq!(source.dtype_name(), "BF16");
    check_values(&source, &folder.config);
}

#[test]
fn biases_and_an_own_head() {
    let mut config = config();
    config["attention_bias"] = json!(true);
    config["tie_word_embeddings"] = json!(false);
    let source = Folder::new(config.clone(), Dtype::F32).open().unwrap();
    assert_eq!(source.shape("model.layers.1.self_attn.k_proj.bias"), Some(&[KV_HEADS * HEAD_DIM][..]));
    assert_eq!(source.shape("model.layers.1.self_attn.o_proj.bias"), Some(&[HIDDEN][..]));
    assert_eq!(source.shape("lm_head.weight"), Some(&[VOCAB, HIDDEN][..]));
    check_values(&source, &config);
}

/// The golden model, as PyTorch saved it.
#[test]
fn the_tiny_golden_model() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny");
    let files =
        ["config.json", "model.safetensors"].map(|name| (name.to_owned(), Storage::open(folder.join(name)).unwrap()));
    let tokenizer = ("tokenizer.json".to_owned(), Storage::from_bytes("tokenizer.json", *b"{}"));
    let source = block_on(Source::from_files("tiny", files.into_iter().chain([tokenizer]).collect())).unwrap();

    assert_eq!(source.parameter_count(), 300 * 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 128 * 64 + 2 * 64) + 64);
    assert_eq!((source.config.eos_token_ids.as_slice(), source.config.bos_token_id), (&[2][..], Some(1)));
    assert_eq!(source.dtype_name(), "F32");
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(source.tensor_names().count(), 20);
    for name in source.tensor_names() {
        let expected: Vec<f32> =
            whole.tensor(name).unwrap().data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(read(&source, name), expected, "{name}");
    }
}

#[test]
fn missing_and_misshapen_tensors() {
    assert_eq!(
        error(plain().remove("model.layers.1.mlp.up_proj.weight").open()),
        "m: tensor \"model.layers.1.mlp.up_proj.weight\" is missing, which config.json asks for"
    );
    assert_eq!(
        error(plain().set("tie_word_embeddings", json!(false)).open()),
        "m: tensor \"lm_head.weight\" is missing, which config.json asks for"
    );
    assert_eq!(
        error(plain().reshape("model.norm.weight", &[32]).open()),
        "m/model.safetensors: tensor \"model.norm.weight\" has shape [32], expected [64] from config.json"
    );
    // As many elements, and still wrong.
    assert!(
        error(plain().reshape("model.layers.0.mlp.up_proj.weight", &[HIDDEN, MLP]).open())
            .contains("[64, 96], expected [96, 64]")
    );
    assert!(error(plain().set("vocab_size", json!(41)).open()).contains("has shape [40, 64], expected [41, 64]"));
    let source = plain().open().unwrap();
    assert_eq!(source.shape("lm_head.weight"), None);
    let error = block_on(source.read_f32("lm_head.weight")).unwrap_err().to_string();
    assert_eq!(error, "m: has no tensor \"lm_head.weight\"");
}

#[test]
fn other_tensors() {
    // Passed over: rotary frequencies, a head stored although it is tied, whatever their format.
    let folder =
        plain().reshape("model.layers.0.self_attn.rotary_emb.inv_freq", &[8]).reshape("lm_head.weight", &[1, 1]);
    let source = folder.open().unwrap();
    check_values(&source, &folder.config);
    assert_eq!(source.parameter_count(), plain().open().unwrap().parameter_count());
    // Not passed over: a bias that the model was trained with.
    let error_of = error(plain().reshape("model.layers.1.self_attn.o_proj.bias", &[HIDDEN]).open());
    assert_eq!(error_of, "m/model.safetensors: the bias \"model.layers.1.self_attn.o_proj.bias\" is not supported");
}

#[test]
fn number_formats_that_are_not_read() {
    let mut folder = plain();
    folder.tensors.get_mut("model.norm.weight").unwrap().0 = Dtype::I32;
    assert_eq!(
        error(folder.open()),
        "m/model.safetensors: tensor \"model.norm.weight\" is stored as I32, which is not supported; \
         save the model in one of these: F32, F16, BF16, F64, Q8_0, Q4_0, Q4_1, Q5_0, \
         Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K"
    );
}

#[test]
fn every_part_must_be_there() {
    assert_eq!(error(open(vec![])), "m: no config.json; a model is a Hugging Face folder or a .gguf file");
    assert!(
        error(plain().remove("tokenizer.json").open()).starts_with("m: no tokenizer.json; older folders hold only")
    );
    assert!(
        error(open(plain().without_weights())).starts_with("m: no model.safetensors, nor model.safetensors.index.json")
    );
    assert!(error(plain().set("model_type", json!("mamba")).open()).contains("model type \"mamba\" is not supported"));
    let mut files = plain().without_weights();
    files.iter_mut().find(|(name, _)| name == "config.json").unwrap().1.pop();
    assert!(error(open(files)).starts_with("m/config.json: broken JSON"));
    assert!(
        error(plain().file("generation_config.json", "[").open()).starts_with("m/generation_config.json: broken JSON")
    );
}

#[test]
fn a_broken_index() {
    let index = "model.safetensors.index.json";
    let with = |change: fn(&mut Value), without: &str| {
        let mut files = plain().shards();
        let json = &mut files.iter_mut().find(|(name, _)| name == index).unwrap().1;
        let mut value = serde_json::from_slice(json).unwrap();
        change(&mut value);
        *json = value.to_string().into_bytes();
        files.retain(|(name, _)| name != without);
        error(open(files))
    };
    let place = "m/model.safetensors.index.json: tensor ";
    assert_eq!(
        with(|_| (), "model-2.safetensors"),
        format!(
            "{place}\"model.embed_tokens.weight\" is listed in file \"model-2.safetensors\", which is not in the folder"
        )
    );
    assert_eq!(
        with(|index| index["weight_map"]["model.norm.weight"] = json!("model-1.safetensors"), ""),
        format!("{place}\"model.norm.weight\" is listed in file \"model-1.safetensors\", which does not hold it")
    );
    let outside = with(|index| index["weight_map"]["model.norm.weight"] = json!("../x.safetensors"), "");
    assert!(outside.contains("\"../x.safetensors\", which is not in the folder"), "{outside}");
    let dropped = |index: &mut Value| drop(index["weight_map"].as_object_mut().unwrap().remove("model.norm.weight"));
    assert_eq!(with(dropped, ""), "m: tensor \"model.norm.weight\" is missing, which config.json asks for");
    assert!(with(|index| *index = json!({}), "").contains("not an index of safetensors files"));
}

#[test]
fn every_cut_of_the_weights_is_an_error() {
    let (whole, others) = (plain().weights(|_| true), plain().without_weights());
    for length in (0..3000).step_by(7).chain((3000..whole.len()).step_by(977)).chain([whole.len() - 1]) {
        let mut files = others.clone();
        files.push(("model.safetensors".to_owned(), whole[..length].to_vec()));
        let error = error(open(files));
        assert!(error.contains("truncated"), "{length}: {error}");
    }
}

#[test]
fn end_tokens_of_both_files() {
    let folder = plain()
        .set("eos_token_id", json!([5, 2, 5, -1, "x"]))
        .file("generation_config.json", r#"{"eos_token_id": [7, 2, 9]}"#);
    assert_eq!(folder.open().unwrap().config.eos_token_ids, [5, 2, 7, 9]);
    let folder = plain().set("eos_token_id", json!(null)).file("generation_config.json", r#"{"eos_token_id": 3}"#);
    assert_eq!(folder.open().unwrap().config.eos_token_ids, [3]);
}

#[test]
fn assets() {
    let source = plain().open().unwrap();
    assert_eq!(source.assets.config_json, config());
    assert_eq!(source.assets.tokenizer_json, b"{}");
    assert!(source.assets.tokenizer_config.is_none() && source.assets.chat_template.is_none());

    let folder = plain()
        .file("tokenizer_config.json", r#"{"chat_template": "old"}"#)
        .file("special_tokens_map.json", r#"{"eos_token": "</s>"}"#)
        .file("generation_config.json", r#"{"temperature": 0.2}"#);
    let assets = folder.open().unwrap().assets;
    assert_eq!(assets.chat_template.as_deref(), Some("old"));
    assert_eq!(assets.special_tokens_map.unwrap()["eos_token"], "</s>");
    assert_eq!(assets.generation_config.unwrap()["temperature"], 0.2);

    let assets = folder.file("chat_template.jinja", "new\n").open().unwrap().assets;
    assert_eq!(assets.chat_template.as_deref(), Some("new\n"));
    assert_eq!(assets.tokenizer_config.unwrap()["chat_template"], "old");
    assert!(error(plain().file("chat_template.jinja", [0xff]).open()).contains("m/chat_template.jinja: is not UTF-8"));
}

#[test]
fn folders_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let name = path.display();
    let write = |name: &str, bytes: &[u8]| std::fs::write(path.join(name), bytes).unwrap();
    let open = || block_on(Source::open(path));

    let none = path.join("none");
    assert_eq!(
        error(block_on(Source::open(&none))),
        format!("{}: no such file or folder; a model is a Hugging Face folder or a .gguf file", none.display())
    );
    assert_eq!(error(open()), format!("{name}: no config.json; a model is a Hugging Face folder or a .gguf file"));
    write("a.gguf", b"GGUF");
    assert_eq!(
        error(open()),
        format!("{name}: no config.json here, but GGUF files; give one of them instead: \"a.gguf\"")
    );
    for (file, bytes) in plain().without_weights() {
        write(&file, &bytes);
    }
    write("pytorch_model.bin", b"");
    assert!(error(open()).contains("\"pytorch_model.bin\" may hold weights as a Python pickle"));
    for (file, bytes) in plain().shards() {
        write(&file, &bytes);
    }
    let source = open().unwrap();
    assert_eq!(source.name, name.to_string());
    check_values(&source, &config());
    let config = path.join("config.json");
    assert!(error(block_on(Source::open(&config))).contains("config.json: is neither; a model is"));
    // One file holds all: it comes before the index.
    write("model.safetensors", b"cut");
    assert!(error(open()).starts_with(&format!("{}: truncated", path.join("model.safetensors").display())));
}
