//! What a run would take, before it is begun.

use super::data::OpenData;
use super::model::OpenModel;
use crate::adapter::AdapterConfig;
use crate::error::Result;
use crate::source::check_trained_fits;
use crate::web::protocol::{PlanReport, Settings};

/// Bytes of a value.
const F32: u64 = 4;

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

/// What a run with `settings` would take.
pub fn plan(settings: &Settings, open: &OpenModel, data: Option<&OpenData>, speed: Speed) -> Result<PlanReport> {
    let adapter = adapter(settings, open)?;
    let train = settings.train.clone().checked()?;
    let config = &open.config;
    let trainable = adapter.parameter_count(config) as u64;
    let longest = data.map_or(train.max_seq_length, |data| data.report.longest).min(train.max_seq_length) as u64;
    let tokens = train.batch_size as u64 * longest;
    let step_tokens = tokens * train.grad_accumulation_steps as u64;
    let rows = data.map_or(0, |data| data.report.rows[0]);
    let step_rows = train.batch_size * train.grad_accumulation_steps;
    Ok(PlanReport {
        trainable,
        share: trainable as f64 / open.report.parameters as f64,
        bytes: [open.report.device_bytes, 4 * F32 * trainable, activation_bytes(open, tokens, longest)],
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

/// What one micro-batch keeps for its backward pass, roughly.
fn activation_bytes(open: &OpenModel, tokens: u64, length: u64) -> u64 {
    let config = &open.config;
    let (hidden, mlp) = (config.hidden_size as u64, config.intermediate_size as u64);
    let heads = config.num_attention_heads as u64;
    let attention = 2 * (config.q_size() + 2 * config.kv_size()) as u64 + 2 * heads * length;
    let layer = 6 * hidden + attention + 4 * mlp;
    // Logits, their gradient, and what the loss makes of them.
    F32 * tokens * (config.num_hidden_layers as u64 * layer + 3 * config.vocab_size as u64)
}
