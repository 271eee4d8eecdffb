//! Models whose matrices stay small: what is held, and that it trains as the same weights in f32 do.

use super::gguf::{add, model, open};
use super::*;
use crate::adapter::{AdapterConfig, Method};
use crate::data::Batch;
use crate::device::{DeviceInfo, Kind, cpu};
use crate::generate::{Sampler, Sampling, generate};
use crate::model::{Model, Projection, Weight};
use crate::testing::gpu;
use crate::train::{Mode, Schedule, TrainConfig, Trainer};
use burn::tensor::Device;
use std::ops::ControlFlow;

const FILE: BaseDtype = BaseDtype::Of(HeldDtype::File);

/// Formats in which a small model can be written, and kept.
fn kept() -> impl Iterator<Item = TensorType> {
    TensorType::KEPT.into_iter().filter(|ty| ty.block().0 <= 32)
}

fn holding(dtype: HeldDtype, max_tensor_bytes: u64) -> Holding {
    Holding { dtype, ..Holding::f32(max_tensor_bytes) }
}

fn load(source: &Source, holding: &Holding, device: &Device) -> Result<Model> {
    block_on(Model::load_with(source, device, holding, |_, _| ()))
}

fn values(weight: &Weight) -> Vec<f32> {
    weight.to_dense().into_data().try_into_vec().unwrap()
}

/// A model in `ty` with a head of its own.
fn with_head(ty: TensorType) -> Source {
    let mut writer = model(ty);
    add(&mut writer, "output.weight", &[VOCAB, HIDDEN], ty);
    open(writer.finish()).unwrap()
}

/// Every matrix by its name.
fn check_matrices(source: &Source, model: &Model, what: &str) {
    let mut names = vec![("model.embed_tokens.weight".to_owned(), &model.embedding)];
    for (index, layer) in model.layers.iter().enumerate() {
        let linear = |p: Projection| (format!("{}.weight", p.path(index)), &layer.linear(p).weight);
        names.extend(Projection::ALL.map(linear));
    }
    names.extend(model.head.as_ref().map(|head| ("lm_head.weight".to_owned(), head)));
    assert_eq!(names.len(), model.matrices().count());
    for (name, weight) in names {
        assert_eq!(values(weight), read(source, &name), "{what}: {name}");
    }
}

/// The rows of q and k are in Hugging Face's order here, too.
#[test]
fn what_is_held_is_what_the_file_has() {
    for ty in kept() {
        let source = with_head(ty);
        let bytes = ty.bytes(HIDDEN) as u64;
        // Whole; in parts of which the last of some matrices is shorter; a head at a time at most, q and k a head.
        for limit in [u64::MAX, 30 * 4 * HIDDEN as u64, 4 * 4 * HIDDEN as u64] {
            let what = format!("{} in {limit} bytes", ty.name());
            let model = load(&source, &holding(HeldDtype::File, limit), &Device::flex()).unwrap();
            check_matrices(&source, &model, &what);
            let parts = model.matrices().filter_map(|weight| match weight {
                Weight::Stored(weight) => Some(weight.parts.len()),
                Weight::Dense(_) => None,
            });
            let parts: Vec<usize> = parts.collect();
            match (ty, limit) {
                (TensorType::F32, u64::MAX) => assert_eq!(parts.len(), 0),
                (_, u64::MAX) => assert!(parts.len() == 2 + 7 * LAYERS && parts.iter().all(|parts| *parts == 1)),
                _ => assert!(parts.iter().sum::<usize>() > 2 * parts.len(), "{what}: {parts:?}"),
            }
        }
        let vectors = 4 * (2 * LAYERS + 1) as u64 * HIDDEN as u64;
        let all = source.parameter_count() as u64;
        let expected = (all - vectors / 4) / HIDDEN as u64 * bytes + vectors;
        assert_eq!(source.held_bytes(HeldDtype::File), expected, "{}", ty.name());
        assert_eq!(source.held_bytes(HeldDtype::F32), 4 * all);
    }
}

#[test]
fn whatever_the_file_has_can_be_held_as_f16() {
    for ty in TensorType::ALL.into_iter().filter(|ty| ty.block().0 <= 32) {
        let source = with_head(ty);
        let model = load(&source, &holding(HeldDtype::F16, u64::MAX), &Device::flex()).unwrap();
        check_matrices(&source, &model, ty.name());
        let is_f16 = |weight: &Weight| matches!(weight, Weight::Stored(weight) if weight.format == TensorType::F16);
        assert!(model.matrices().all(is_f16));
    }
    let mut writer = model(TensorType::F32);
    let large: Vec<u8> = std::iter::repeat_n(7e4f32.to_le_bytes(), HIDDEN * MLP).flatten().collect();
    writer.tensor_mut("blk.1.ffn_up.weight").data = large;
    let source = open(writer.finish()).unwrap();
    assert_eq!(
        load(&source, &holding(HeldDtype::F16, u64::MAX), &Device::flex()).unwrap_err().to_string(),
        "x.gguf: \"model.layers.1.mlp.up_proj.weight\" holds 70000, which is beyond f16; take --base-dtype f32 instead"
    );
}

#[test]
fn a_format_that_cannot_be_held_is_named_with_those_that_can() {
    let source = open(model(TensorType::Q5_0).finish()).unwrap();
    let error = source.holding(FILE, &cpu("").info, None).unwrap_err().to_string();
    for part in [
        "x.gguf: tensor \"model.embed_tokens.weight\" is stored as Q5_0, which cannot be held as it is",
        "(these can: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q6_K)",
        "take --base-dtype f16 or f32 instead",
    ] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
}

#[test]
fn auto_takes_what_fits() {
    let cpu = cpu("").info;
    let (q4, q5) = (open(model(TensorType::Q4_1).finish()).unwrap(), open(model(TensorType::Q5_0).finish()).unwrap());
    let chosen = |source: &Source, device: &DeviceInfo, available| {
        let Holding { dtype, max_tensor_bytes, reason } = source.holding(BaseDtype::Auto, device, available).unwrap();
        assert_eq!(max_tensor_bytes, device.max_tensor_bytes);
        (dtype, reason)
    };
    let needed = q4.held_bytes(HeldDtype::F32);
    assert_eq!(chosen(&q4, &cpu, Some(2 * needed)).0, HeldDtype::F32);
    let (dtype, reason) = chosen(&q4, &cpu, Some(2 * needed - 1));
    assert_eq!((dtype, reason.as_str()), (HeldDtype::File, "f32 would take 257 kB of the 515 kB that are free"));
    let (dtype, reason) = chosen(&q5, &cpu, Some(needed));
    assert_eq!(dtype, HeldDtype::F16);
    assert!(reason.ends_with("and not every matrix can be held as in the file"), "{reason}");
    assert_eq!(chosen(&q4, &cpu, None).0, HeldDtype::F32);
    let device = DeviceInfo { kind: Kind::Gpu, max_tensor_bytes: 128 << 20, ..cpu.clone() };
    assert_eq!(chosen(&q4, &device, Some(0)).0, HeldDtype::F32);
    assert_eq!(q5.holding(BaseDtype::Of(HeldDtype::F16), &cpu, None).unwrap().dtype, HeldDtype::F16);
    assert_eq!(q4.holding(FILE, &cpu, None).unwrap().reason, "asked for");
}

fn adapter(method: Method, dropout: f64) -> AdapterConfig {
    let modules = vec![Projection::Q, Projection::K, Projection::V, Projection::O, Projection::Up, Projection::Down];
    AdapterConfig { method, modules, dropout }
}

fn batch() -> [Batch; 1] {
    let (rows, len) = (2, 11);
    let input_ids: Vec<i32> = (0..rows * len).map(|at| (at * at % VOCAB) as i32).collect();
    [Batch { rows, len, labels: input_ids.clone(), input_ids, lengths: vec![len; rows], starts: None }]
}

fn trainer(model: &Model, adapter: AdapterConfig, mode: Mode, grad_checkpoint: bool) -> Result<Trainer> {
    let config =
        TrainConfig { learning_rate: 5e-3, lr_schedule: Schedule::Constant, grad_checkpoint, ..TrainConfig::default() };
    Trainer::with_mode(model.clone(), "test".into(), adapter, config, mode)
}

/// Losses of five steps, and of the base and of what it has become, by evaluation.
fn losses(model: &Model, adapter: AdapterConfig, mode: Mode, grad_checkpoint: bool) -> Vec<f64> {
    let mut trainer = trainer(model, adapter, mode, grad_checkpoint).unwrap();
    let mut losses: Vec<f64> = (0..5).map(|_| block_on(trainer.step(&batch())).unwrap().loss).collect();
    let data = batch();
    let evaluated = |model: &Model, adapters: Option<&crate::adapter::Adapters>| {
        let tokens = crate::model::Tokens::of_batch(&data[0], &model.device());
        let targets = crate::model::Targets::new(&data[0].labels, data[0].rows, &model.device()).unwrap();
        let loss = crate::model::next_token_loss(model, model.forward(&tokens, adapters, None), &targets);
        let loss: Vec<f32> = loss.into_data().try_into_vec().unwrap();
        f64::from(loss[0]) / targets.count as f64
    };
    let (tuned, adapters) = trainer.tuned();
    losses.push(evaluated(tuned, adapters.as_ref()));
    drop(adapters);
    losses.push(evaluated(trainer.base(), None));
    losses
}

/// On `device` in f32 and as in the file, whole and in parts.
fn trains_as_in_f32(device: &Device, formats: &[TensorType]) {
    for ty in formats.iter().copied() {
        let source = with_head(ty);
        let dense = load(&source, &Holding::f32(u64::MAX), device).unwrap();
        for limit in [u64::MAX, 20 * 4 * HIDDEN as u64] {
            let stored = load(&source, &holding(HeldDtype::File, limit), device).unwrap();
            for (method, mode, dropout) in [
                (Method::Diablo { blocks: 4 }, Mode::Merged, 0.0),
                (Method::Diablo { blocks: 4 }, Mode::Side, 0.0),
                (Method::Diablo { blocks: 4 }, Mode::Side, 0.1),
                (Method::Lora { rank: 2, alpha: 4.0 }, Mode::Side, 0.0),
                (Method::Full, Mode::Merged, 0.0),
                (Method::Full, Mode::Side, 0.0),
            ] {
                for grad_checkpoint in [false, true] {
                    let of = |model| losses(model, adapter(method, dropout), mode, grad_checkpoint);
                    let (ours, plain) = (of(&stored), of(&dense));
                    let what = format!("{} {limit} {method:?} {mode:?} {grad_checkpoint}", ty.name());
                    assert!(ours[4] < ours[0] - 0.01, "{what}: it learns");
                    for (a, b) in ours.iter().zip(&plain) {
                        assert!((a - b).abs() <= 1e-4, "{what}: {ours:?} instead of {plain:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn training_gives_the_losses_of_the_same_weights_in_f32_on_the_cpu() {
    trains_as_in_f32(&Device::flex(), &[TensorType::Q4_1, TensorType::Q8_0, TensorType::F16, TensorType::F32]);
}

#[test]
fn training_gives_the_losses_of_the_same_weights_in_f32_on_the_gpu() {
    trains_as_in_f32(&gpu(), &[TensorType::Q4_1]);
}

/// The blocks are never written into a stored weight: without them it is the base, bit by bit.
#[test]
fn an_adapter_is_off_without_its_blocks() {
    let source = with_head(TensorType::Q4_0);
    let model = load(&source, &holding(HeldDtype::File, u64::MAX), &Device::flex()).unwrap();
    let mut trainer = trainer(&model, adapter(Method::Diablo { blocks: 4 }, 0.0), Mode::Merged, false).unwrap();
    block_on(trainer.step(&batch())).unwrap();
    assert!(trainer.tuned().1.is_some());
    check_matrices(&source, &trainer.into_base(), "trained on");
}

#[test]
fn all_weights_are_trained_in_f32_only() {
    let source = with_head(TensorType::Q4_0);
    let model = load(&source, &holding(HeldDtype::File, u64::MAX), &Device::flex()).unwrap();
    let error = trainer(&model, adapter(Method::AllWeights, 0.0), Mode::Side, false).unwrap_err().to_string();
    assert!(
        error.contains("--all-weights trains every tensor in f32") && error.contains("--base-dtype f32"),
        "{error}"
    );
}

#[test]
fn answers_are_those_of_the_same_weights_in_f32() {
    let source = with_head(TensorType::Q4_1);
    for device in [Device::flex(), gpu()] {
        let answer = |holding: &Holding| {
            let model = load(&source, holding, &device).unwrap();
            let mut sampler = Sampler::new(Sampling::default()).unwrap();
            let prompt: Vec<u32> = (3..30).collect();
            block_on(generate(&model, None, &prompt, 12, &mut sampler, |_| ControlFlow::Continue(()))).unwrap()
        };
        let plain = answer(&Holding::f32(u64::MAX));
        assert!(!plain.is_empty());
        assert_eq!(answer(&holding(HeldDtype::File, u64::MAX)), plain);
        assert_eq!(answer(&holding(HeldDtype::File, 20 * 4 * HIDDEN as u64)), plain);
    }
}

/// A hash of weights tells a model by its values, not by how they are held.
#[test]
fn the_fingerprint_is_of_the_values() {
    let source = with_head(TensorType::Q8_0);
    let fingerprint =
        |holding: &Holding| block_on(load(&source, holding, &Device::flex()).unwrap().fingerprint()).unwrap();
    assert_eq!(fingerprint(&holding(HeldDtype::File, u64::MAX)), fingerprint(&Holding::f32(u64::MAX)));
}
