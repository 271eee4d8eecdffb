//! Training steps, timed.

use super::launches::LaunchCount;
use super::{MIB, device_mb, forget_peaks, median, peak_rss_mb, sync};
use crate::adapter::AdapterConfig;
use crate::data::Batch;
use crate::device::Kind;
use crate::error::{Error, Result};
use crate::model::{Model, ModelConfig, Targets, Tokens, next_token_loss};
use crate::random::Random;
use crate::train::{BaseBytes, BatchShape, MemorySetup, Mode, TrainConfig, Trainer};
use serde::Serialize;
use web_time::Instant;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepSetup {
    /// Rows of a batch.
    pub batch_size: usize,
    /// Tokens of a row.
    pub sequence: usize,
    /// Steps before the clock starts, in every round.
    pub warmup: usize,
    /// Steps that are timed.
    pub steps: usize,
    /// Whether layers are computed twice, to keep less.
    pub grad_checkpoint: bool,
    /// What computes.
    pub device: Kind,
    /// The model's weights.
    pub base: BaseBytes,
}

impl StepSetup {
    /// What `subject` takes memory for.
    pub fn memory<'a>(&self, model: &'a ModelConfig, subject: &'a Subject) -> MemorySetup<'a> {
        MemorySetup {
            model,
            base: self.base,
            adapter: match subject {
                Subject::Frozen => None,
                Subject::Adapter(adapter, mode) => Some((adapter, *mode)),
            },
            device: self.device,
            batch: BatchShape { rows: self.batch_size, length: self.sequence },
            accumulates: false,
            grad_checkpoint: self.grad_checkpoint && *subject != Subject::Frozen,
            validation: None,
            saves: false,
        }
    }

    /// Random tokens, every one a target.
    fn batch(&self, random: &mut Random, vocab_size: usize) -> Batch {
        let count = self.batch_size * self.sequence;
        let ids: Vec<i32> = (0..count).map(|_| random.below(vocab_size as u64) as i32).collect();
        Batch {
            rows: self.batch_size,
            len: self.sequence,
            labels: ids.clone(),
            input_ids: ids,
            lengths: vec![self.sequence; self.batch_size],
            starts: None,
        }
    }
}

/// Whose steps are timed.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// No adapter: forward, and backward to the input of the first layer. What no method can do without.
    Frozen,
    /// A training step.
    Adapter(AdapterConfig, Mode),
}

/// How fast one method trains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRate {
    /// `frozen`, `diablo`, `lora` or `full`.
    pub method: &'static str,
    /// Where the adapter is: `merged` into the weights, at their `side`, or `none`.
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
    /// Kernels that a step launches, our own and Burn's; none on the CPU backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launches_per_step: Option<usize>,
    /// Largest resident memory of the process while the method ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_rss_mb: Option<f64>,
    /// Largest memory of the device's pool while the method ran; absent on the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_device_mb: Option<f64>,
    /// What the memory plan says: of the device, or on the CPU of the process.
    pub planned_mb: f64,
    /// Operations of the step ([`step_operations`](super::step_operations)) a second, over those of a dense matmul; absent
    /// where that was not measured in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_ceiling: Option<f64>,
}

/// Rounds over which the steps of every method are spread, so that a machine that slows down slows all of them.
const ROUNDS: usize = 4;

/// Times steps on random tokens, every one a target: a few of each subject, in turn.
///
/// # Errors
/// If an adapter does not fit the model, or a step fails.
pub async fn measure_steps(mut model: Model, subjects: &[Subject], setup: StepSetup) -> Result<Vec<StepRate>> {
    let rounds = ROUNDS.min(setup.steps);
    let (config, device) = (model.config.clone(), model.device());
    let mut measured: Vec<Measured> = vec![Measured::default(); subjects.len()];
    for round in 0..rounds {
        let timed = setup.steps / rounds + usize::from(round < setup.steps % rounds);
        for (subject, measured) in subjects.iter().zip(&mut measured) {
            forget_peaks(&device);
            (model, measured.trained) = match subject {
                Subject::Frozen => (frozen_steps(model, setup, timed, measured)?, 0),
                Subject::Adapter(adapter, mode) => {
                    training_steps(model, adapter.clone(), *mode, setup, timed, measured).await?
                }
            };
            let earlier = measured.peak_rss_mb.unwrap_or(0.0);
            measured.peak_rss_mb = peak_rss_mb().map(|peak| peak.max(earlier));
            let earlier = measured.peak_device_mb.unwrap_or(0.0);
            measured.peak_device_mb = device_mb(&device).map(|peak| peak.max(earlier));
        }
    }
    Ok(subjects.iter().zip(measured).map(|(subject, measured)| measured.rate(subject, setup, &config)).collect())
}

/// What was measured of one subject so far.
#[derive(Debug, Clone, Default)]
struct Measured {
    times: Vec<f64>,
    launches: Option<usize>,
    trained: usize,
    peak_rss_mb: Option<f64>,
    peak_device_mb: Option<f64>,
}

impl Measured {
    /// A step that began at `start` is over.
    fn step(&mut self, start: Instant, launches: LaunchCount) {
        self.times.push(start.elapsed().as_secs_f64());
        self.launches = launches.end();
    }

    fn rate(mut self, subject: &Subject, setup: StepSetup, model: &ModelConfig) -> StepRate {
        let (method, mode) = match subject {
            Subject::Frozen => ("frozen", "none"),
            Subject::Adapter(adapter, Mode::Merged) => (adapter.method.name(), "merged"),
            Subject::Adapter(adapter, Mode::Side) => (adapter.method.name(), "side"),
        };
        let step_seconds = median(&mut self.times);
        StepRate {
            method,
            mode,
            sequence: setup.sequence,
            batch_size: setup.batch_size,
            trainable_parameters: self.trained,
            tokens_per_second: (setup.batch_size * setup.sequence) as f64 / step_seconds,
            step_seconds,
            step_seconds_min: self.times[0],
            launches_per_step: self.launches,
            peak_rss_mb: self.peak_rss_mb,
            peak_device_mb: self.peak_device_mb,
            planned_mb: setup.memory(model, subject).plan().total as f64 / MIB,
            share_of_ceiling: None,
        }
    }
}

/// Returns the model, untouched, and how many values were trained.
async fn training_steps(
    model: Model,
    adapter: AdapterConfig,
    mode: Mode,
    setup: StepSetup,
    timed: usize,
    measured: &mut Measured,
) -> Result<(Model, usize)> {
    let StepSetup { grad_checkpoint, warmup, .. } = setup;
    let config = TrainConfig { iters: warmup + timed, grad_checkpoint, ..TrainConfig::default() };
    let vocab_size = model.config.vocab_size;
    let mut trainer = Trainer::with_mode(model, "bench".into(), adapter, config, mode)?;
    let mut random = Random::new(1);
    for step in 0..setup.warmup + timed {
        let batch = setup.batch(&mut random, vocab_size);
        let (start, launches) = (Instant::now(), LaunchCount::begin());
        trainer.step(&[batch]).await?;
        if step >= setup.warmup {
            measured.step(start, launches);
        }
    }
    let count = trainer.parameter_count();
    Ok((trainer.into_base(), count))
}

fn frozen_steps(model: Model, setup: StepSetup, timed: usize, measured: &mut Measured) -> Result<Model> {
    let device = model.device();
    let mut random = Random::new(1);
    for step in 0..setup.warmup + timed {
        let batch = setup.batch(&mut random, model.config.vocab_size);
        let (start, launches) = (Instant::now(), LaunchCount::begin());
        let no_target = || Error::Usage("a row of one token has no target".into());
        let targets = Targets::new(&batch.labels, batch.rows, &device).ok_or_else(no_target)?;
        let tokens = Tokens::of_batch(&batch, &device);
        let x = model.embed(&tokens).autodiff().require_grad();
        let hidden = model.forward_from(x.clone(), &tokens, None, None);
        let mut grads = next_token_loss(&model, hidden, &targets).backward();
        let gradient = x.grad_remove(&mut grads);
        sync(&device)?;
        drop(gradient);
        if step >= setup.warmup {
            measured.step(start, launches);
        }
    }
    Ok(model)
}
