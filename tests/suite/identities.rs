//! What any faithful implementation of DiaBlo satisfies: the nine identities of the method, by number.

use crate::support::*;
use burn::tensor::{Tensor, TensorData};
use diablo::adapter::{AdapterConfig, AdapterWeights, LinearAdapter, Method, StoredAdapter, common_divisors};
use diablo::model::{Linear, Model, ModelConfig, Projection, Targets, Tokens, next_token_loss};
use diablo::random::Random;
use diablo::train::Trainer;
use pollster::block_on;

fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..len).map(|_| 2.0 * random.next_f32() - 1.0).collect()
}

fn tensor<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(random(seed, shape.iter().product()), shape), &flex())
}

/// `diag(D_1 … D_n)`, `[n * di, n * do]`.
fn dense(blocks: &Tensor<3>) -> Tensor<2> {
    let [n, di, dd] = blocks.dims();
    let values = host(blocks.clone());
    let mut dense = vec![0.0; n * di * n * dd];
    for i in 0..n {
        for b in 0..di {
            for c in 0..dd {
                dense[(i * di + b) * n * dd + i * dd + c] = values[(i * di + b) * dd + c];
            }
        }
    }
    Tensor::from_data(TensorData::new(dense, [n * di, n * dd]), &flex())
}

fn diablo(blocks: Tensor<3>) -> LinearAdapter {
    LinearAdapter { weights: AdapterWeights::Diablo(blocks), dropout: None }
}

fn first_batch() -> diablo::data::Batch {
    golden_batch(&Tensors::open("tiny_golden.safetensors"), 0).remove(0)
}

fn logits(model: &Model, trainer: Option<&Trainer>) -> Vec<f32> {
    let batch = first_batch();
    let tokens = Tokens::new(&batch.input_ids, batch.rows, &model.device());
    let adapters = trainer.map(Trainer::adapters);
    host(model.logits(model.forward(&tokens, adapters.as_ref(), None)))
}

#[test]
fn identity_1_at_step_0_the_base_answers_and_the_gradient_is_not_zero() {
    let model = tiny(&flex());
    let mut trainer = trainer(&model, Method::Diablo { blocks: 4 }, 1e-3);
    assert_eq!(logits(&model, Some(&trainer)), logits(&model, None));
    let (_, gradients) = block_on(trainer.gradient(&[first_batch()])).expect("gradient");
    assert!(gradients.iter().all(|g| g.iter().any(|v| *v != 0.0)), "every block learns");
}

#[test]
fn identity_2_forward_equals_the_dense_product() {
    for (n, d_in, d_out, bias) in [(1, 6, 6, false), (2, 6, 10, true), (5, 10, 5, false), (3, 12, 27, true)] {
        let blocks = tensor(1, [n, d_in / n, d_out / n]);
        let linear = Linear { weight: tensor(2, [d_out, d_in]).into(), bias: bias.then(|| tensor(3, [d_out])) };
        let weight = linear.weight.to_dense() + dense(&blocks).transpose();
        let effective = Linear { weight: weight.into(), bias: linear.bias.clone() };
        let flat = tensor(4, [24, d_in]);
        // A view that is not contiguous, with the same values.
        let strided = tensor(5, [d_in, 24]).transpose();
        for x in [flat, strided] {
            let expected = host(effective.forward(x.clone(), None));
            let ours = linear.forward(x.clone(), Some(&diablo(blocks.clone())));
            assert!(relative(&host(ours), &expected) <= 1e-5);
            // Activations of 3 and 4 dimensions are rows all the same.
            let three = x.clone().reshape([4, 6, d_in]).reshape([24, d_in]);
            let four = x.reshape([2, 2, 6, d_in]).swap_dims(1, 2).swap_dims(1, 2).reshape([24, d_in]);
            for x in [three, four] {
                assert!(relative(&host(linear.forward(x, Some(&diablo(blocks.clone())))), &expected) <= 1e-5);
            }
        }
    }
}

#[test]
fn identity_3_the_gradient_of_a_block_is_a_block_of_the_dense_gradient() {
    let (n, di, dd) = (3, 4, 5);
    let blocks = tensor(1, [n, di, dd]);
    let (x, g) = (tensor(3, [11, n * di]), tensor(4, [11, n * dd]));
    let linear = Linear { weight: tensor(2, [n * dd, n * di]).autodiff().into(), bias: None };
    let leaf = blocks.clone().autodiff().require_grad();
    let mut grads = (linear.forward(x.clone(), Some(&diablo(leaf.clone()))) * g.clone()).sum().backward();
    let ours = host(leaf.grad_remove(&mut grads).expect("gradient of D"));
    assert!(linear.weight.to_dense().grad(&grads).is_none(), "the base gets no gradient");

    let weight = (linear.weight.to_dense().inner() + dense(&blocks).transpose()).autodiff().require_grad();
    let full = Linear { weight: weight.clone().into(), bias: None };
    let mut grads = (full.forward(x, None) * g).sum().backward();
    let full = host(weight.grad_remove(&mut grads).expect("gradient of W")); // [n * do, n * di]
    for i in 0..n {
        for b in 0..di {
            for c in 0..dd {
                let dense = full[(i * dd + c) * n * di + i * di + b];
                assert!((ours[(i * di + b) * dd + c] - dense).abs() <= 1e-5);
            }
        }
    }
}

/// Trains every adapted weight of the tiny model densely, with its gradient masked to the blocks, by AdamW in f64
/// that decays `W − W0`; returns losses.
fn masked_full_fine_tuning(blocks: usize, steps: usize, learning_rate: f64, weight_decay: f64) -> Vec<f64> {
    let golden = Tensors::open("tiny_golden.safetensors");
    let mut model = tiny(&flex());
    let mut start: Vec<Vec<f64>> = Vec::new();
    let [mut delta, mut m, mut v]: [Vec<Vec<f64>>; 3] = Default::default();
    let mut losses = Vec::new();
    for step in 1..=steps {
        let batch = golden_batch(&golden, step - 1).remove(0);
        let mut leaves = Vec::new();
        for layer in &mut model.layers {
            let (a, mlp) = (&mut layer.attention, &mut layer.mlp);
            for linear in [&mut a.q, &mut a.k, &mut a.v, &mut mlp.up, &mut mlp.down] {
                let index = leaves.len();
                if step == 1 {
                    let values: Vec<f64> = host(linear.weight.to_dense()).iter().map(|v| f64::from(*v)).collect();
                    [&mut delta, &mut m, &mut v].into_iter().for_each(|list| list.push(vec![0.0; values.len()]));
                    start.push(values);
                }
                let values: Vec<f32> = start[index].iter().zip(&delta[index]).map(|(w, d)| (w + d) as f32).collect();
                let weight = Tensor::<2>::from_data(TensorData::new(values, linear.weight.dims()), &flex());
                let leaf = weight.autodiff().require_grad();
                linear.weight = leaf.clone().into();
                leaves.push(leaf);
            }
        }
        let targets = Targets::new(&batch.labels, batch.rows, &flex()).expect("targets");
        let hidden = model.forward(&Tokens::new(&batch.input_ids, batch.rows, &flex()), None, None);
        let loss = next_token_loss(&model, hidden, &targets) / targets.count as f64;
        losses.push(f64::from(host(loss.clone().inner())[0]));
        let mut grads = loss.backward();
        for (index, leaf) in leaves.iter().enumerate() {
            let [d_out, d_in] = leaf.dims();
            let gradient = host(leaf.grad_remove(&mut grads).expect("gradient"));
            for row in 0..d_out {
                for column in (0..d_in).filter(|column| column / (d_in / blocks) == row / (d_out / blocks)) {
                    let at = row * d_in + column;
                    let g = f64::from(gradient[at]);
                    let (d, m, v) = (&mut delta[index][at], &mut m[index][at], &mut v[index][at]);
                    *d *= 1.0 - learning_rate * weight_decay;
                    *m = 0.9 * *m + 0.1 * g;
                    *v = 0.999 * *v + 0.001 * g * g;
                    let (m_hat, v_hat) =
                        (*m / (1.0 - 0.9f64.powi(step as i32)), *v / (1.0 - 0.999f64.powi(step as i32)));
                    *d -= learning_rate * m_hat / (v_hat.sqrt() + 1e-8);
                }
            }
        }
    }
    losses
}

fn losses(method: Method, steps: usize, weight_decay: f64) -> Vec<f64> {
    let golden = Tensors::open("tiny_golden.safetensors");
    let model = tiny(&flex());
    let config = diablo::train::TrainConfig { weight_decay, ..golden_config(5e-3) };
    let mut trainer = Trainer::new(model, "tiny".into(), adapter(method), config).expect("trainer");
    (0..steps).map(|step| block_on(trainer.step(&golden_batch(&golden, step))).expect("step").loss).collect()
}

fn assert_same(a: &[f64], b: &[f64]) {
    for (step, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= 1e-5, "step {}: {a} and {b}", step + 1);
    }
}

#[test]
fn identity_4_training_blocks_is_masked_full_fine_tuning() {
    for weight_decay in [0.0, 0.5] {
        assert_same(
            &losses(Method::Diablo { blocks: 4 }, 12, weight_decay),
            &masked_full_fine_tuning(4, 12, 5e-3, weight_decay),
        );
    }
}

fn smollm2() -> ModelConfig {
    ModelConfig {
        vocab_size: 49_152,
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: 30,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        head_dim: 64,
        ..tiny(&flex()).config
    }
}

#[test]
fn identity_5_counts() {
    let model = smollm2();
    let count = |method| adapter(method).checked(&model).expect("fits").parameter_count(&model);
    for blocks in [1, 16, 24, 48, 64, 192] {
        assert_eq!(count(Method::Diablo { blocks }), 69_672_960 / blocks);
    }
    assert_eq!(count(Method::Full), 69_672_960);
    for (rank, blocks) in [(7, 48), (14, 24), (21, 16)] {
        assert_eq!(count(Method::Lora { rank, alpha: 1.0 }), 207_360 * rank);
        assert_eq!(207_360 * rank, 69_672_960 / blocks);
    }
    let one = |module| {
        let config = AdapterConfig { method: Method::Diablo { blocks: 64 }, modules: vec![module], dropout: 0.0 };
        config.parameter_count(&model) / 30
    };
    assert_eq!([one(Projection::Q), one(Projection::K), one(Projection::Up)], [5_184, 1_728, 13_824]);
    let divisors_of_192: Vec<usize> = (1..=192usize).filter(|n| 192usize.is_multiple_of(*n)).collect();
    assert_eq!(common_divisors(&Projection::DEFAULT, &model), divisors_of_192);
    assert_eq!(Method::default_diablo(&Projection::DEFAULT, &model), Method::Diablo { blocks: 64 });

    let llama2_7b = ModelConfig {
        hidden_size: 4096,
        intermediate_size: 11_008,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: 32,
        head_dim: 128,
        ..model
    };
    assert_eq!(adapter(Method::Diablo { blocks: 64 }).parameter_count(&llama2_7b), 4_496_293_888 / 64);
}

#[test]
fn identity_6_merged_equals_unmerged_and_the_sum_is_taken_before_the_cast() {
    let config = adapter(Method::Diablo { blocks: 4 });
    let model = tiny(&flex());
    let slot = diablo::adapter::slots(&config, &model.config)
        .into_iter()
        .find(|slot| slot.matrix == Some((0, Projection::Up)))
        .expect("up");
    let blocks = tensor(1, [4, 16, 32]);
    let linear = &model.layers[0].mlp.up;
    let before = host(linear.weight.to_dense());
    let mut weight = before.clone();
    diablo::adapter::add_update(&config, std::slice::from_ref(&slot), &[host(blocks.clone())], &mut weight);
    let merged = Tensor::<2>::from_data(TensorData::new(weight.clone(), [128, 64]), &flex());
    let merged = Linear { weight: merged.into(), bias: None };
    let x = tensor(2, [9, 64]);
    let unmerged = host(linear.forward(x.clone(), Some(&diablo(blocks))));
    assert!(relative(&host(merged.forward(x, None)), &unmerged) <= 1e-5);
    for (at, (after, before)) in weight.iter().zip(&before).enumerate() {
        if (at / 64) / 32 != (at % 64) / 16 {
            assert_eq!(after.to_bits(), before.to_bits(), "entry {at} lies off the blocks");
        }
    }
    // An update of a third of a bf16 step moves nothing where the sum itself is taken in bf16.
    let mut one = vec![1.0f32; 128 * 64];
    let small = vec![0.003f32; slot.len()];
    diablo::adapter::add_update(&config, &[slot], &[small], &mut one);
    assert_eq!(one[0], 1.003);
    assert_eq!(half::bf16::from_f32(1.0) + half::bf16::from_f32(0.003), half::bf16::from_f32(1.0));
}

#[test]
fn identity_7_save_and_load_bit_for_bit_or_not_at_all() {
    let folder = tempfile::tempdir().expect("folder");
    let model = tiny(&flex());
    let mut trainer = trainer(&model, Method::Diablo { blocks: 4 }, 1e-2);
    block_on(trainer.step(&[first_batch()])).expect("step");
    let stored = block_on(trainer.stored()).expect("stored");
    stored.save(folder.path(), &model.config).expect("save");
    assert_eq!(StoredAdapter::load(folder.path(), &model.config).expect("load"), stored);

    let weights = std::fs::read(folder.path().join("adapter_model.safetensors")).expect("file");
    let file = safetensors::SafeTensors::deserialize(&weights).expect("safetensors");
    assert_eq!(file.len(), 10, "adapter tensors and nothing else");
    assert!(file.names().iter().all(|name| name.ends_with(".diablo_blocks")));

    let config_path = folder.path().join("adapter_config.json");
    let config = std::fs::read_to_string(&config_path).expect("file");
    let fails = |config: &str, model: &ModelConfig, expected: &str| {
        std::fs::write(&config_path, config).expect("write");
        let error = StoredAdapter::load(folder.path(), model).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    fails(&config.replace("\"num_blocks\": 4", "\"num_blocks\": 8"), &model.config, "expected [8, 8, 8]");
    fails(&config.replace("\"num_blocks\": 4", "\"num_blocks\": 5"), &model.config, "do not divide");
    fails(&config.replace("\"q_proj\",", ""), &model.config, "q_proj");
    fails(&config.replace("\"q_proj\",", "\"q_proj\", \"o_proj\","), &model.config, "is missing");
    fails(&config.replace("DIABLO", "ADALORA"), &model.config, "ADALORA");
    fails(&config, &ModelConfig { vocab_size: 301, ..model.config.clone() }, "another model");
    fails(&config, &ModelConfig { num_hidden_layers: 3, ..model.config.clone() }, "another model");
    fails("{", &model.config, "not valid JSON");
    std::fs::write(&config_path, &config).expect("write");
    for cut in [0, 7, 100, weights.len() - 1] {
        std::fs::write(folder.path().join("adapter_model.safetensors"), &weights[..cut]).expect("write");
        let error = StoredAdapter::load(folder.path(), &model.config).expect_err("cut").to_string();
        assert!(error.contains("adapter_model.safetensors"), "{error}");
    }
}

#[test]
fn identity_8_one_block_is_full_fine_tuning_and_dropout_is_off_in_evaluation() {
    let full = losses(Method::Full, 12, 0.0);
    assert_same(&full, &losses(Method::Diablo { blocks: 1 }, 12, 0.0));
    assert_same(&full, &masked_full_fine_tuning(1, 12, 5e-3, 0.0));

    let model = tiny(&flex());
    let error =
        adapter(Method::Diablo { blocks: 3 }).checked(&model.config).expect_err("3 does not divide 64").to_string();
    assert!(error.contains("N can be 1, 2, 4, 8, 16, 32"), "{error}");

    let config = AdapterConfig { dropout: 0.5, ..adapter(Method::Diablo { blocks: 4 }) };
    let make = |config: &AdapterConfig| {
        let mut trainer =
            Trainer::new(model.clone(), "tiny".into(), config.clone(), golden_config(1e-2)).expect("trainer");
        let values: Vec<_> = trainer.slots().iter().enumerate().map(|(i, slot)| random(i as u64, slot.len())).collect();
        trainer.set_values(&values);
        trainer
    };
    let (mut with, mut without) = (make(&config), make(&AdapterConfig { dropout: 0.0, ..config.clone() }));
    assert_eq!(logits(&model, Some(&with)), logits(&model, Some(&without)), "evaluation does not drop");
    let loss = |trainer: &mut Trainer| block_on(trainer.gradient(&[first_batch()])).expect("loss").0;
    let (first, second) = (loss(&mut with), loss(&mut with));
    assert_ne!(first, loss(&mut without), "training drops");
    assert_ne!(first, second, "each pass draws its own mask");
    assert_eq!(first, loss(&mut make(&config)), "and the seed repeats it");
}

#[test]
fn identity_9_orientation_of_rectangular_blocks() {
    // in 4, out 6, two blocks of 2 x 3; one input at a time shows where each block lands.
    let blocks =
        Tensor::<3>::from_data(TensorData::new((1..=12).map(|v| v as f32).collect::<Vec<_>>(), [2, 2, 3]), &flex());
    let linear = Linear { weight: Tensor::<2>::zeros([6, 4], &flex()).into(), bias: None };
    let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]], &flex());
    let y = host(linear.forward(x, Some(&diablo(blocks))));
    assert_eq!(y, [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 4.0, 5.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 11.0, 12.0]);
}
