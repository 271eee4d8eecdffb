//! Training in the weights themselves: the same as beside them, and nothing of it stays behind.

use crate::support::*;
use burn::tensor::Device;
use diablo::adapter::{AdapterConfig, Adapters, Method};
use diablo::model::{Model, Projection, Tokens};
use diablo::train::{Mode, Trainer};
use pollster::block_on;

fn losses(trainer: &mut Trainer, steps: usize) -> Vec<f64> {
    let golden = Tensors::open("tiny_golden.safetensors");
    (0..steps).map(|step| block_on(trainer.step(&golden_batch(&golden, step % 12))).expect("step").loss).collect()
}

fn answers(model: &Model, adapters: Option<&Adapters>) -> Vec<f32> {
    let ids: Vec<i32> = (0..40).map(|at| at * 7 % 300).collect();
    host(model.logits(model.forward(&Tokens::new(&ids, 2, &model.device()), adapters, None)))
}

fn weights(model: &Model) -> Vec<Vec<f32>> {
    let matrices = model.layers.iter().flat_map(|layer| Projection::ALL.map(|p| layer.linear(p).weight.to_dense()));
    matrices.map(host).collect()
}

#[test]
fn fifty_steps_merged_and_beside() {
    for method in [Method::Diablo { blocks: 4 }, Method::Diablo { blocks: 32 }, Method::Full] {
        let model = tiny(&flex());
        let [merged, side] = [Mode::Merged, Mode::Side].map(|mode| {
            let mut trainer = trainer_in(mode, &model, method, 3e-3);
            (losses(&mut trainer, 50), block_on(trainer.values()).expect("values"))
        });
        assert!(merged.0[49] < merged.0[0] - 0.1, "it learns");
        for (step, (a, b)) in merged.0.iter().zip(&side.0).enumerate() {
            assert!((a - b).abs() <= 1e-5, "{method:?}, step {}: {a} merged, {b} beside", step + 1);
        }
        for (a, b) in merged.1.iter().zip(&side.1) {
            assert!(relative(a, b) <= 1e-3, "{method:?}: values");
        }
    }
}

fn switched_off_and_on(device: &Device) {
    let model = tiny(device);
    let (before, base) = (weights(&model), answers(&model, None));
    let mut trainer = trainer(&model, Method::Diablo { blocks: 4 }, 1e-2);
    let mut unbroken = trainer_in(Mode::Merged, &model, Method::Diablo { blocks: 4 }, 1e-2);
    drop(model);
    let first = losses(&mut trainer, 3);
    let beside = trainer.adapters();

    let tuned = {
        let (model, adapters) = trainer.tuned();
        assert!(adapters.is_none(), "they lie in the weights");
        answers(model, None)
    };
    assert_ne!(tuned, base);
    assert_eq!(weights(trainer.base()), before, "off: bit by bit the base");
    assert_eq!(answers(trainer.base(), None), base);
    assert!(relative(&answers(trainer.base(), Some(&beside)), &tuned) <= 1e-5, "the same adapter beside the base");
    assert_eq!(answers(trainer.tuned().0, None), tuned, "on again");

    // Switching changes nothing of what follows.
    trainer.base();
    let golden = Tensors::open("tiny_golden.safetensors");
    let next = block_on(trainer.step(&golden_batch(&golden, 3))).expect("step").loss;
    assert_eq!([&first[..], &[next]].concat(), losses(&mut unbroken, 4));
    assert_eq!(weights(&trainer.into_base()), before);
}

#[test]
fn an_adapter_is_switched_off_and_on_again() {
    let _form = keep_form();
    switched_off_and_on(&flex());
    switched_off_and_on(&gpu().device);
}

#[test]
fn a_model_that_others_hold_stays_as_it_is() {
    let model = tiny(&flex());
    let before = weights(&model);
    let mut trainer = trainer(&model, Method::Diablo { blocks: 4 }, 1e-2);
    losses(&mut trainer, 2);
    assert_eq!(weights(&model), before);
    assert_ne!(weights(trainer.tuned().0), before);
}

#[test]
fn what_cannot_be_merged_is_trained_beside() {
    let dropped = AdapterConfig { dropout: 0.1, ..adapter(Method::Diablo { blocks: 4 }) };
    let lora = adapter(Method::Lora { rank: 2, alpha: 2.0 });
    for config in [dropped, lora, adapter(Method::AllWeights)] {
        assert_eq!(Mode::of(&config), Mode::Side, "{config}");
        let merged = Trainer::with_mode(tiny(&flex()), "test".into(), config, golden_config(1e-3), Mode::Merged);
        let error = merged.expect_err("not merged").to_string();
        assert!(error.ends_with("cannot be trained in the weights themselves"), "{error}");
    }
    assert_eq!(Mode::of(&adapter(Method::Full)), Mode::Merged);
}
