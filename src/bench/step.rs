//! Training steps, timed.

use super::{median, peak_rss_mb};
use crate::adapter::AdapterConfig;
use crate::data::Batch;
use crate::error::Result;
use crate::model::Model;
use crate::random::Random;
use crate::train::{TrainConfig, Trainer};
use serde::Serialize;
use web_time::Instant;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepSetup {
    /// Rows of a batch.
    pub batch_size: usize,
    /// Tokens of a row.
    pub sequence: usize,
    /// Steps before the clock starts.
    pub warmup: usize,
    /// Steps that are timed.
    pub steps: usize,
}

/// How fast one method trains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRate {
    /// `diablo`, `lora` or `full`.
    pub method: &'static str,
    /// How the adapter meets the base: `side` (beside it) or `dense`.
    pub mode: &'static str,
    /// Tokens a row.
    pub sequence: usize,
    /// Rows a batch.
    pub batch_size: usize,
    /// Trained values.
    pub trainable_parameters: usize,
    /// From the median step.
    pub tokens_per_second: f64,
    /// Median time of a step.
    pub step_seconds: f64,
    /// Fastest step.
    pub step_seconds_min: f64,
    /// Largest resident memory of the process so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_rss_mb: Option<f64>,
}

/// Trains a fresh adapter on random tokens, every one a target, and times its steps.
///
/// # Errors
/// If the adapter does not fit the model, or a step fails.
pub async fn measure_step(model: &Model, adapter: AdapterConfig, setup: StepSetup) -> Result<StepRate> {
    let config = TrainConfig { iters: setup.warmup + setup.steps, ..TrainConfig::default() };
    let (method, modules) = (adapter.method, adapter.modules.clone());
    let mut trainer =
        Trainer::new(model.clone(), "bench".into(), AdapterConfig { method, modules, dropout: 0.0 }, config)?;
    let mut random = Random::new(1);
    let mut times = Vec::new();
    for step in 0..setup.warmup + setup.steps {
        let count = setup.batch_size * setup.sequence;
        let ids: Vec<i32> = (0..count).map(|_| random.below(model.config.vocab_size as u64) as i32).collect();
        let batch = Batch {
            rows: setup.batch_size,
            len: setup.sequence,
            labels: ids.clone(),
            input_ids: ids,
            lengths: vec![setup.sequence; setup.batch_size],
            starts: None,
        };
        let start = Instant::now();
        trainer.step(&[batch]).await?;
        if step >= setup.warmup {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let step_seconds = median(&mut times);
    Ok(StepRate {
        method: method.name(),
        mode: if trainer.slots().iter().any(|slot| slot.shape.first() == Some(&1) && slot.shape.len() == 3) {
            "dense"
        } else {
            "side"
        },
        sequence: setup.sequence,
        batch_size: setup.batch_size,
        trainable_parameters: trainer.parameter_count(),
        tokens_per_second: (setup.batch_size * setup.sequence) as f64 / step_seconds,
        step_seconds,
        step_seconds_min: times[0],
        peak_rss_mb: peak_rss_mb(),
    })
}
