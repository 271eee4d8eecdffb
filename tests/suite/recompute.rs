//! `--grad-checkpoint`: the same gradients, bit by bit.

use crate::support::*;
use burn::tensor::Device;
use diablo::adapter::{AdapterConfig, Method};
use diablo::train::{Mode, TrainConfig, Trainer};
use pollster::block_on;

fn gradients(device: &Device, adapter: &AdapterConfig, mode: Mode, grad_checkpoint: bool) -> (f64, Vec<Vec<f32>>) {
    let config = TrainConfig { grad_checkpoint, ..golden_config(1e-2) };
    let mut trainer =
        Trainer::with_mode(tiny(device), "test".into(), adapter.clone(), config, mode).expect("a trainer");
    let golden = Tensors::open("tiny_golden.safetensors");
    // Once something is learned, LoRA's two factors both have gradients.
    block_on(trainer.step(&golden_batch(&golden, 0))).expect("a step");
    let micro: Vec<_> = (1..3).flat_map(|step| golden_batch(&golden, step)).collect();
    block_on(trainer.gradient(&micro)).expect("a gradient")
}

fn everything_the_same(device: &Device) {
    let blocks = adapter(Method::Diablo { blocks: 4 });
    let dropped = AdapterConfig { dropout: 0.3, ..blocks.clone() };
    for (adapter, mode) in [
        (blocks.clone(), Mode::Merged),
        (blocks, Mode::Side),
        (dropped, Mode::Side),
        (adapter(Method::Lora { rank: 3, alpha: 6.0 }), Mode::Side),
        (adapter(Method::Full), Mode::Merged),
    ] {
        let (whole, twice) = (gradients(device, &adapter, mode, false), gradients(device, &adapter, mode, true));
        assert!(whole.1.iter().all(|g| g.iter().any(|v| *v != 0.0)), "{adapter}: every tensor learns");
        assert!(whole == twice, "{adapter}, {mode:?}");
    }
}

#[test]
fn gradients_are_the_same_bit_by_bit() {
    let _form = keep_form();
    everything_the_same(&flex());
    everything_the_same(&gpu().device);
}

#[test]
fn not_where_the_whole_model_is_trained() {
    let config = TrainConfig { grad_checkpoint: true, ..golden_config(1e-3) };
    let error = Trainer::new(tiny(&flex()), "test".into(), adapter(Method::AllWeights), config).expect_err("refused");
    assert_eq!(error.to_string(), "--grad-checkpoint does not go with --all-weights");
}
