//! Models, golden data and devices for the tests.

use burn::tensor::{Device, Tensor};
use diablo::adapter::{AdapterConfig, Method};
use diablo::data::Batch;
use diablo::device::{Request, SelectedDevice, cpu, select};
use diablo::model::{Model, Projection};
use diablo::source::Source;
use diablo::train::{Mode, Schedule, TrainConfig, Trainer};
use diablo::weights::Storage;
use pollster::block_on;
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub fn golden_json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name)).expect(name)).expect(name)
}

/// A file of golden tensors.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn open(name: &str) -> Self {
        Self(std::fs::read(golden(name)).expect(name))
    }

    fn values<const N: usize, T>(&self, name: &str, from: fn([u8; N]) -> T) -> Vec<T> {
        let file = SafeTensors::deserialize(&self.0).expect("safetensors");
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        tensor.data().chunks_exact(N).map(|bytes| from(bytes.try_into().expect("N bytes"))).collect()
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.values(name, f32::from_le_bytes)
    }

    pub fn i32(&self, name: &str) -> Vec<i32> {
        self.values(name, i32::from_le_bytes)
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        SafeTensors::deserialize(&self.0).expect("safetensors").tensor(name).expect(name).shape().to_vec()
    }
}

pub fn flex() -> Device {
    cpu("test").device
}

/// Held by tests that choose the form of kernels for the whole process, and by those that need it to stay.
pub fn keep_form() -> std::sync::MutexGuard<'static, ()> {
    static FORM: std::sync::Mutex<()> = std::sync::Mutex::new(());
    FORM.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The first GPU, software ones included; `tests/run` installs one where there is none.
pub fn gpu() -> SelectedDevice {
    static GPU: OnceLock<SelectedDevice> = OnceLock::new();
    GPU.get_or_init(|| block_on(select(Request::Gpu)).expect("a GPU; see tests/run")).clone()
}

/// A golden model of this folder, none of which have a tokenizer of their own.
pub fn golden_source(folder: &str) -> Source {
    let file = |name: &str| {
        (name.to_owned(), Storage::from_bytes(name, std::fs::read(golden(folder).join(name)).expect(name)))
    };
    let tokenizer = br#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":null,"post_processor":null,"decoder":null,
        "model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#;
    let files = vec![
        file("config.json"),
        file("model.safetensors"),
        ("tokenizer.json".to_owned(), Storage::from_bytes("tokenizer.json", tokenizer.to_vec())),
    ];
    block_on(Source::from_files(folder, files)).expect("golden model")
}

/// All of a model on `device`.
pub fn load(source: &Source, device: &Device) -> Model {
    block_on(Model::load(source, device)).expect("a model that loads")
}

/// The tiny golden model.
pub fn tiny(device: &Device) -> Model {
    load(&golden_source("tiny"), device)
}

/// The real model's file; `tests/run` fetches it. `None` only where `DIABLO_FAST` asks to leave it out.
pub fn smollm2_path() -> Option<PathBuf> {
    match std::env::var_os("DIABLO_SMOLLM2_GGUF") {
        Some(path) => Some(path.into()),
        None if std::env::var_os("DIABLO_FAST").is_some() => None,
        None => {
            panic!("DIABLO_SMOLLM2_GGUF is not set: run tests/run, or set DIABLO_FAST=1 to leave the real model out")
        }
    }
}

pub fn smollm2_source() -> Option<Source> {
    smollm2_path().map(|path| block_on(Source::open(&path)).expect("SmolLM2"))
}

/// The default modules with `method`.
pub fn adapter(method: Method) -> AdapterConfig {
    AdapterConfig { method, modules: Projection::DEFAULT.to_vec(), dropout: 0.0 }
}

/// As the golden runs were made: constant rate, no decay, no clipping, seed 1.
pub fn golden_config(learning_rate: f64) -> TrainConfig {
    TrainConfig {
        learning_rate,
        lr_schedule: Schedule::Constant,
        max_grad_norm: 0.0,
        seed: 1,
        ..TrainConfig::default()
    }
}

pub fn trainer(model: &Model, method: Method, learning_rate: f64) -> Trainer {
    trainer_in(Mode::of(&adapter(method)), model, method, learning_rate)
}

pub fn trainer_in(mode: Mode, model: &Model, method: Method, learning_rate: f64) -> Trainer {
    let config = golden_config(learning_rate);
    Trainer::with_mode(model.clone(), "test".into(), adapter(method), config, mode).expect("trainer")
}

/// All modes that an adapter can be trained in.
pub fn modes(method: Method) -> Vec<Mode> {
    let cheapest = Mode::of(&adapter(method));
    if cheapest == Mode::Side { vec![cheapest] } else { vec![cheapest, Mode::Side] }
}

/// `rows` rows of one length, every token a label.
pub fn batch(ids: &[i32], rows: usize) -> Batch {
    labelled(ids, ids, rows)
}

pub fn labelled(ids: &[i32], labels: &[i32], rows: usize) -> Batch {
    let len = ids.len() / rows;
    Batch { rows, len, input_ids: ids.to_vec(), labels: labels.to_vec(), lengths: vec![len; rows], starts: None }
}

/// The micro-batches of golden step `step`: `ids: [steps, accum, batch, seq]`.
pub fn golden_batch(tensors: &Tensors, step: usize) -> Vec<Batch> {
    let shape = tensors.shape("input_ids");
    let (rows, size) = (shape[2], shape[2] * shape[3]);
    let ids = tensors.i32("input_ids");
    ids.chunks_exact(size).skip(step * shape[1]).take(shape[1]).map(|ids| batch(ids, rows)).collect()
}

pub fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

/// Largest absolute difference.
pub fn max_abs(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
}

/// Norm of the difference over the norm of `b`.
pub fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b))) / norm(&mut b.iter().map(|b| f64::from(*b)))
}

pub fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("list").iter().map(|v| v.as_f64().expect("number")).collect()
}

pub fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("list").iter().map(|v| v.as_u64().expect("id") as u32).collect()
}

pub fn signed(ids: &[u32]) -> Vec<i32> {
    ids.iter().map(|id| *id as i32).collect()
}
