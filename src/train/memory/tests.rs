use super::lower::too_large;
use super::*;
use crate::device::{DeviceInfo, cpu};
use crate::model::Projection::{self, Gate, O, Q};
use crate::model::names::tests::config;

fn setup<'a>(model: &'a ModelConfig, adapter: &'a AdapterConfig, batch: BatchShape) -> MemorySetup<'a> {
    let config = TrainConfig { batch_size: batch.rows, ..TrainConfig::default() };
    MemorySetup::of_run(model, BaseBytes::f32(model), adapter, &config, Kind::Cpu, [Some(batch), None, None])
}

fn diablo() -> AdapterConfig {
    AdapterConfig { method: Method::Diablo { blocks: 2 }, modules: Projection::DEFAULT.to_vec(), dropout: 0.0 }
}

#[test]
fn parts_are_what_they_say() {
    let (model, adapter, batch) = (config(), diablo(), BatchShape { rows: 4, length: 200 });
    let [hidden, q, kv, mlp] =
        [model.hidden_size, model.q_size(), model.kv_size(), model.intermediate_size].map(|width| width as u64);
    let (layers, t, trained) = (model.num_hidden_layers as u64, 800, adapter.parameter_count(&model) as u64);
    let plan = setup(&model, &adapter, batch).plan();
    let weights: usize = expected_tensors(&model).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!(plan.base, 4 * weights as u64);
    // Parameters, two moments, the gradient, and the blocks of the base.
    assert_eq!(plan.adapter, 4 * 5 * trained);
    // Two streams, both normed, queries, keys, values, gate, up and their product; the first input is not needed, the last
    // output is.
    assert_eq!(plan.activations, 4 * t * layers * (4 * hidden + q + 2 * kv + 3 * mlp));
    assert_eq!(plan.total, plan.base + plan.adapter + plan.activations + plan.scratch + plan.program);

    let checkpointed = MemorySetup { grad_checkpoint: true, ..setup(&model, &adapter, batch) }.plan();
    assert_eq!(checkpointed.activations, 4 * t * ((layers + 1) * hidden + layers * q));
    assert!(checkpointed.scratch > plan.scratch && checkpointed.total < plan.total);

    // A mask and what is dropped out for each matrix, in place of common inputs; nothing is masked before the first layer.
    let dropout = AdapterConfig { dropout: 0.1, ..diablo() };
    let side = setup(&model, &dropout, batch).plan();
    assert_eq!(side.adapter, 4 * 4 * trained);
    let masks = layers * (2 * 4 * hidden + 2 * mlp) - 3 * hidden;
    assert_eq!(side.activations, 4 * t * (layers * (2 * hidden + q + 2 * kv + 2 * mlp) + masks));
}

#[test]
fn larger_batches_of_evaluations_count() {
    let (model, adapter) = (config(), diablo());
    let rows = BatchShape { rows: 4, length: 16 };
    let plan_with = |steps_per_eval, valid, test| {
        let config = TrainConfig { batch_size: 4, steps_per_eval, ..TrainConfig::default() };
        let rows = [Some(rows), valid, test];
        MemorySetup::of_run(&model, BaseBytes::f32(&model), &adapter, &config, Kind::Cpu, rows).plan()
    };
    let plan = |valid| plan_with(10, valid, None);
    assert_eq!(plan(None), plan(Some(rows)));
    let many = Some(BatchShape { rows: 9, length: 4096 });
    let long = plan(many);
    assert!(long.scratch > 2 * plan(None).scratch && long.activations == 0, "{long}");
    // Test rows are evaluated in any case, validation rows where the run says so.
    assert_eq!([plan_with(0, many, None), plan_with(0, None, many)], [plan(None), long]);
}

#[test]
fn what_does_not_fit_is_told_with_what_to_lower() {
    let (model, adapter) = (config(), diablo());
    let setup = setup(&model, &adapter, BatchShape { rows: 16, length: 1500 });
    let all = setup.plan().total;
    assert_eq!(too_much(&setup, all), None);
    let told = too_much(&setup, all - 1).expect("one byte is missing");
    let begin =
        format!("this run would take {} of memory, and {} are free; ", write::bytes(all), write::bytes(all - 1));
    assert!(told.starts_with(&begin), "{told}");
    // Each with the largest value that is enough.
    for flag in ["--max-seq-length 1024 would take ", ", --grad-checkpoint ", ", --batch-size 8 "] {
        assert!(told.contains(flag), "{told} lacks {flag}");
    }
    // What is advised fits, and says what it takes.
    let half = BatchShape { rows: 8, ..setup.batch };
    let half = MemorySetup { batch: half, ..setup }.plan().total;
    assert!(told.ends_with(&write::bytes(half)), "{told}");

    // No single one is enough: all together.
    let least = MemorySetup { grad_checkpoint: true, batch: BatchShape { rows: 1, length: 64 }, ..setup }.plan().total;
    let told = too_much(&setup, least).expect("far too little");
    assert!(told.contains("; --grad-checkpoint --batch-size 1 --max-seq-length "), "{told}");
    let told = too_much(&setup, least - 1).expect("too little for anything");
    assert!(told.contains("the base is") && !told.contains("would take 0"), "{told}");
}

/// A GPU that binds so many bytes.
fn gpu(max_tensor_bytes: u64) -> DeviceInfo {
    DeviceInfo { name: "Some GPU".into(), max_tensor_bytes, max_tensor_limit: "maxBufferSize", ..cpu("").info }
}

#[test]
fn a_batch_larger_than_what_a_device_binds() {
    let (model, adapter) = (config(), diablo());
    let batch = BatchShape { rows: 16, length: 2000 };
    let all = |rows| BatchShape { rows, ..batch };
    let on_gpu = MemorySetup { device: Kind::Gpu, ..setup(&model, &adapter, batch) };
    let piece = |setup: &MemorySetup<'_>| Step::new(setup, setup.batch).piece().1;
    let most = piece(&on_gpu);
    assert_eq!(too_large(&on_gpu, &gpu(most)), None);
    assert_eq!(too_large(&on_gpu, &cpu("").info), None);
    let told = too_large(&on_gpu, &gpu(most - 1)).expect("one byte is missing");
    let begin = format!(
        "of 16 rows x 2000 tokens takes {} in one piece, and this device (Some GPU) binds at most {} (maxBufferSize); ",
        write::bytes(most),
        write::bytes(most - 1)
    );
    assert!(told.contains(&begin), "{told}");
    for part in ["; --max-seq-length 1024 would take ", ", --batch-size 8 ", ", and --device cpu has no such limit"] {
        assert!(told.contains(part), "{told} lacks {part}");
    }
    assert!(!told.contains("--grad-checkpoint"), "{told}");
    // What is advised fits.
    let half = MemorySetup { batch: all(8), ..on_gpu };
    assert!(told.contains(&format!("--batch-size 8 {}", write::bytes(piece(&half)))), "{told}");
    assert_eq!(too_large(&half, &gpu(most - 1)), None);

    // Rows that are evaluated count, too.
    let evaluated = MemorySetup { batch: all(1), validation: Some(all(16)), ..on_gpu };
    assert!(too_large(&evaluated, &gpu(most - 1)).expect("a batch of an evaluation").contains("of 16 rows"));

    // All together, and nothing at all.
    let least = piece(&MemorySetup { batch: BatchShape { rows: 1, length: 64 }, ..on_gpu });
    let told = too_large(&on_gpu, &gpu(least)).expect("far too little");
    assert!(told.contains("; --batch-size 1 --max-seq-length 64 would take "), "{told}");
    let told = too_large(&on_gpu, &gpu(least - 1)).expect("too little for anything");
    assert!(told.contains("; nor would a batch of one row of 64 tokens fit; "), "{told}");
}

#[test]
fn everything_taken_is_given_back_but_gradients() {
    let mut model = config();
    let lora = Method::Lora { rank: 3, alpha: 6.0 };
    let methods = [Method::Diablo { blocks: 2 }, Method::Diablo { blocks: 1 }, Method::Full, lora];
    let modules = [vec![Q], vec![O, Gate], Projection::DEFAULT.to_vec(), Projection::ALL.to_vec()];
    let settings = methods.into_iter().flat_map(|method| {
        let adapter = move |modules: &Vec<_>| [0.0, 0.1].map(|dropout| (method, modules.clone(), dropout));
        modules.iter().flat_map(adapter).collect::<Vec<_>>()
    });
    for (method, modules, dropout) in settings.chain([(Method::AllWeights, vec![Q], 0.0)]) {
        for bits in 0..16 {
            let [grad_checkpoint, accumulates, is_cpu, is_merged] = [1, 2, 4, 8].map(|bit| bits & bit > 0);
            model.qk_norm = bits % 3 == 0;
            let adapter = AdapterConfig { method, modules: modules.clone(), dropout };
            let mode = if is_merged { Mode::of(&adapter) } else { Mode::Side };
            let all_weights = method == Method::AllWeights;
            let setup = MemorySetup {
                model: &model,
                base: BaseBytes::f32(&model),
                adapter: Some((&adapter, mode)),
                device: if is_cpu { Kind::Cpu } else { Kind::Software },
                batch: BatchShape { rows: 3, length: 37 },
                accumulates,
                grad_checkpoint: grad_checkpoint && !all_weights,
                validation: None,
                saves: true,
            };
            let mut step = Step::new(&setup, setup.batch);
            step.begin();
            let begun = step.ledger.live;
            let mut step = Step::new(&setup, setup.batch);
            step.run();
            let left = step.ledger.live - begun;
            let gradients = setup.trained() * (1 + u64::from(accumulates));
            // Norms are left out.
            let norms = if all_weights { (model.hidden_size * 20) as u64 } else { 0 };
            let close = left <= gradients && left + norms >= gradients;
            assert!(close, "{adapter:?}, {mode:?}, {bits:04b}: {left} left, {gradients} of gradients");
        }
    }
}
