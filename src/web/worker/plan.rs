//! What a run would take, before it is begun.

use super::data::OpenData;
use super::model::OpenModel;
use crate::adapter::AdapterConfig;
use crate::data::{Dataset, TrainRows};
use crate::device::Kind;
use crate::error::Result;
use crate::source::check_trained_fits;
use crate::train::{BaseBytes, BatchShape, MemoryPlan, MemorySetup, TrainConfig, check_batches};
use crate::web::protocol::{PlanReport, Settings};

/// What the device does in a second.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Multiplications and additions of a dense matmul a second, as the check measured them.
    pub matmul: f64,
    /// Operations a second that this model's steps came to, once it has trained.
    pub measured: Option<f64>,
}

/// The adapter that `settings` describe, checked against the model and its device.
pub fn adapter(settings: &Settings, open: &OpenModel) -> Result<AdapterConfig> {
    let Settings { method, dropout, .. } = *settings;
    let mut modules = settings.modules.clone();
    modules.sort();
    modules.dedup();
    let adapter = AdapterConfig { method, modules, dropout }.checked(&open.config)?;
    check_trained_fits(&open.name, &open.config, &adapter, &open.device)?;
    Ok(adapter)
}

/// What a run on `data` takes memory for.
pub fn memory_setup<'a>(
    open: &'a OpenModel,
    adapter: &'a AdapterConfig,
    train: &TrainConfig,
    data: Option<&OpenData>,
) -> MemorySetup<'a> {
    let evaluated =
        |data: Option<&Dataset>| data.map(|data| BatchShape { rows: data.summary.rows, length: data.summary.longest });
    let trained = data.map(|data| {
        let rows = TrainRows::new(&data.train, train.pack_capacity());
        BatchShape { rows: rows.count(), length: rows.longest() }
    });
    let [valid, test] = [data.and_then(|data| data.valid.as_ref()), data.and_then(|data| data.test.as_ref())];
    let all = [trained, evaluated(valid), evaluated(test)];
    MemorySetup::of_run(&open.config, BaseBytes::f32(&open.config), adapter, train, Kind::Gpu, all)
}

/// What a run with `settings` would take.
pub fn plan(settings: &Settings, open: &OpenModel, data: Option<&OpenData>, speed: Speed) -> Result<PlanReport> {
    let adapter = adapter(settings, open)?;
    let train = settings.train.clone().checked()?;
    let trainable = adapter.parameter_count(&open.config) as u64;
    let setup = memory_setup(open, &adapter, &train, data);
    if data.is_some() {
        check_batches(&open.name, &setup, &open.device)?;
    }
    let MemoryPlan { base, adapter: state, activations, scratch, .. } = setup.plan();
    let step_tokens = (setup.batch.rows * setup.batch.length * train.grad_accumulation_steps) as u64;
    let rows = data.map_or(0, |data| data.report.rows[0]);
    let step_rows = train.batch_size * train.grad_accumulation_steps;
    Ok(PlanReport {
        trainable,
        share: trainable as f64 / open.report.parameters as f64,
        bytes: [base, state, activations, scratch],
        step_seconds: operations(open, trainable, step_tokens) / speed.measured.unwrap_or(speed.matmul),
        epochs: if rows == 0 { 0.0 } else { (train.iters * step_rows) as f64 / rows as f64 },
    })
}

/// Operations of a step over `tokens`: the base forward and to the input, and the adapter's forward and both gradients.
pub fn operations(open: &OpenModel, trainable: u64, tokens: u64) -> f64 {
    // The embedding is looked up; where it is the head too, it is counted there.
    let lookup = if open.config.tie_word_embeddings { 0 } else { open.config.vocab_size * open.config.hidden_size };
    let weights = open.report.parameters.saturating_sub(lookup as u64);
    (4 * weights + 6 * trainable) as f64 * tokens as f64
}
