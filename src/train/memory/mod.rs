//! What training takes in memory, worked out before anything is allocated.
//!
//! No formula for a whole run: a run is gone through with a [`Ledger`] in place of a device, from loading over a step and an
//! evaluation to a save, and every operation takes and gives back there what it does on a device ([`step`] says what that
//! is, operation by operation). Whoever changes what an operation keeps for its backward pass changes it there too; a test
//! compares both with Burn's own counters.

mod lower;
mod operations;
mod pool;
mod step;

pub use lower::{check_batches, too_much};

use super::{Mode, TrainConfig};
use crate::adapter::{AdapterConfig, Method};
use crate::device::Kind;
use crate::model::{ModelConfig, names::expected_tensors};
use crate::source::{Holding, Source};
use crate::write;
use serde::Serialize;
use step::Step;

/// Bytes of a value.
const F32: u64 = 4;

/// What the base takes where it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseBytes {
    /// All weights, as the device holds them.
    pub resident: u64,
    /// The largest single tensor among them.
    pub largest: u64,
    /// The largest weight made from a more compact form before its product; 0 where all are held as they are used.
    pub dequantised: u64,
}

impl BaseBytes {
    /// Every weight as f32.
    pub fn f32(model: &ModelConfig) -> Self {
        let sizes =
            || expected_tensors(model).into_iter().map(|(_, shape)| F32 * shape.iter().product::<usize>() as u64);
        Self { resident: sizes().sum(), largest: sizes().max().unwrap_or(0), dequantised: 0 }
    }

    /// The weights of `source` as `holding` says.
    pub fn held(source: &Source, holding: &Holding) -> Self {
        let [largest, dequantised] = source.largest_held(holding);
        Self { resident: source.held_bytes(holding.dtype), largest, dequantised }
    }
}

/// Rows that are computed side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchShape {
    /// Rows.
    pub rows: usize,
    /// Tokens of a row, padding included.
    pub length: usize,
}

impl BatchShape {
    fn tokens(self) -> u64 {
        (self.rows * self.length) as u64
    }
}

/// All of a run that its memory depends on.
#[derive(Debug, Clone, Copy)]
pub struct MemorySetup<'a> {
    /// The model.
    pub model: &'a ModelConfig,
    /// Its weights.
    pub base: BaseBytes,
    /// What is trained, and where it lies; `None`: nothing, forward and backward to the input alone.
    pub adapter: Option<(&'a AdapterConfig, Mode)>,
    /// What computes.
    pub device: Kind,
    /// The largest micro-batch.
    pub batch: BatchShape,
    /// Whether a step has several micro-batches.
    pub accumulates: bool,
    /// Whether only the inputs of layers are kept.
    pub grad_checkpoint: bool,
    /// The largest batch of an evaluation, where there is one.
    pub validation: Option<BatchShape>,
    /// Whether the run saves checkpoints.
    pub saves: bool,
}

/// The most memory that a run takes at a time, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// All of it: on a GPU what the device holds, on the CPU the whole process.
    pub total: u64,
    /// The base's weights.
    pub base: u64,
    /// The adapter: parameters, gradients, both moments, and where it lies in the weights what those held before.
    pub adapter: u64,
    /// What a forward pass keeps for the backward pass.
    pub activations: u64,
    /// What exists for a moment (logits, scores, gradients of activations, copies), and on a GPU what the pool holds
    /// besides all that is asked for.
    pub scratch: u64,
    /// The program itself, in main memory; part of `total` on the CPU.
    pub program: u64,
}

/// Moments of a run, each with the most it takes.
#[derive(Debug, Clone, Copy, Default)]
struct Phase {
    adapter: u64,
    activations: u64,
    scratch: u64,
}

impl<'a> MemorySetup<'a> {
    /// Of a run that trains `adapter`, whose weights are `base`, with `config`. `rows` and `validation` say how many rows
    /// there are, and how long the longest is; `test` the same of rows that are evaluated in the end.
    pub fn of_run(
        model: &'a ModelConfig,
        base: BaseBytes,
        adapter: &'a AdapterConfig,
        config: &TrainConfig,
        device: Kind,
        [rows, validation, test]: [Option<BatchShape>; 3],
    ) -> Self {
        let batch = |all: BatchShape| BatchShape { rows: all.rows.min(config.batch_size), ..all };
        let validation = validation.filter(|_| config.steps_per_eval > 0);
        let larger =
            |a: BatchShape, b: BatchShape| BatchShape { rows: a.rows.max(b.rows), length: a.length.max(b.length) };
        Self {
            model,
            base,
            adapter: Some((adapter, Mode::of(adapter))),
            device,
            batch: rows.map_or(BatchShape { rows: config.batch_size, length: config.max_seq_length }, batch),
            accumulates: config.grad_accumulation_steps > 1,
            grad_checkpoint: config.grad_checkpoint,
            validation: [validation, test].into_iter().flatten().map(batch).reduce(larger),
            saves: true,
        }
    }

    /// Of an evaluation in batches of at most `batch`, with nothing trained.
    pub fn of_evaluation(model: &'a ModelConfig, base: BaseBytes, device: Kind, batch: BatchShape) -> Self {
        Self {
            model,
            base,
            adapter: None,
            device,
            batch,
            accumulates: false,
            grad_checkpoint: false,
            validation: Some(batch),
            saves: false,
        }
    }

    /// What the run takes.
    pub fn plan(&self) -> MemoryPlan {
        let phases = [self.step(), self.evaluation(), self.save()];
        let sum = |phase: &Phase| phase.adapter + phase.activations + phase.scratch;
        let Phase { adapter, activations, scratch } = phases.into_iter().max_by_key(sum).unwrap_or_default();
        let base = self.base.resident;
        let scratch = scratch + self.unused(base, adapter + activations + scratch);
        let program = self.program();
        let mut plan = MemoryPlan { total: 0, base, adapter, activations, scratch, program };
        plan.total = base + adapter + activations + scratch;
        if self.device == Kind::Cpu {
            plan.total += program;
        }
        plan
    }

    /// Bytes that the pool of a GPU holds besides the base's and `others`.
    fn unused(&self, base: u64, others: u64) -> u64 {
        if self.device == Kind::Cpu || cfg!(target_family = "wasm") {
            return 0;
        }
        let batches = [Some(self.batch), self.validation].into_iter().flatten();
        let largest = batches.map(|batch| Step::new(self, batch).largest()).max().unwrap_or(0);
        pool::held(self.model, base, others, largest).saturating_sub(base + others)
    }

    /// Values that are trained.
    fn trained(&self) -> u64 {
        self.adapter.map_or(0, |(adapter, _)| adapter.parameter_count(self.model) as u64)
    }

    /// Bytes that the adapter takes for the whole run: parameters, both moments, and merged the blocks it lies on.
    fn state(&self) -> u64 {
        let merged = self.adapter.is_some_and(|(_, mode)| mode == Mode::Merged);
        F32 * self.trained() * (3 + u64::from(merged))
    }

    /// An optimizer step.
    fn step(&self) -> Phase {
        let (peak, kept) = Step::new(self, self.batch).train();
        let gradient = (F32 * self.trained() * (1 + u64::from(self.accumulates))).min(peak);
        // The gradient grows while the activations go: their sum may be more than there ever is.
        let activations = kept.min(peak - gradient);
        Phase { adapter: self.state() + gradient, activations, scratch: peak - gradient - activations }
    }

    /// A batch of an evaluation.
    fn evaluation(&self) -> Phase {
        let peak = self.validation.map_or(0, |batch| Step::new(self, batch).evaluate());
        Phase { adapter: self.state(), activations: 0, scratch: peak }
    }

    /// A save: parameters and moments are read back, and written into files that are made in memory.
    fn save(&self) -> Phase {
        let in_main_memory = self.saves && self.device == Kind::Cpu;
        let scratch = if in_main_memory { F32 * self.trained() * 6 } else { 0 };
        Phase { adapter: self.state(), activations: 0, scratch }
    }

    /// The program in main memory beside what the device holds.
    fn program(&self) -> u64 {
        match self.device {
            Kind::Cpu => PROGRAM,
            // Parameters and moments on their way to the file, or a tensor on its way to the device.
            Kind::Gpu | Kind::Software => {
                let saved = if self.saves { F32 * self.trained() * 6 } else { 0 };
                GPU_PROGRAM + saved.max(self.base.largest)
            }
        }
    }

    /// Whether a method trains every weight, on a copy of the model that is made for each step.
    fn all_weights(&self) -> bool {
        self.adapter.is_some_and(|(adapter, _)| adapter.method == Method::AllWeights)
    }
}

/// Code, tokenizer and data of the program, and the buffers of its threads.
const PROGRAM: u64 = 40 << 20;
/// The same with a GPU driver.
const GPU_PROGRAM: u64 = 200 << 20;

impl MemoryPlan {
    /// Bytes of this machine's own memory that the run takes; a processor posing as a GPU has no other.
    pub fn main_memory(&self, device: Kind) -> u64 {
        match device {
            Kind::Cpu => self.total,
            Kind::Software => self.total + self.program,
            Kind::Gpu => self.program,
        }
    }
}

impl std::fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [total, base, adapter, activations, scratch, program] =
            [self.total, self.base, self.adapter, self.activations, self.scratch, self.program].map(write::bytes);
        write!(
            f,
            "{total}: base {base}, adapter and moments {adapter}, activations {activations}, scratch {scratch}, \
             program {program}"
        )
    }
}

/// What is allocated, in values, and the most that ever was.
#[derive(Debug, Clone, Copy, Default)]
struct Ledger {
    live: u64,
    peak: u64,
}

impl Ledger {
    /// Allocates.
    fn take(&mut self, values: u64) {
        self.live += values;
        self.peak = self.peak.max(self.live);
    }

    /// Frees what was taken.
    fn give(&mut self, values: u64) {
        debug_assert!(values <= self.live, "{values} given back of {}", self.live);
        self.live = self.live.saturating_sub(values);
    }

    /// Allocates for a moment.
    fn pass(&mut self, values: u64) {
        self.take(values);
        self.give(values);
    }
}

#[cfg(test)]
mod tests;
