//! The settings of a run; their defaults live here and nowhere else.

use super::schedule::{LearningRate, Schedule};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Everything a training run is told besides model, adapter and data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainConfig {
    /// Optimizer steps.
    pub iters: usize,
    /// Rows in a micro-batch.
    pub batch_size: usize,
    /// Micro-batches in an optimizer step.
    pub grad_accumulation_steps: usize,
    /// Tokens after which a row is cut.
    pub max_seq_length: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// What follows warm-up.
    pub lr_schedule: Schedule,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// AdamW's decay rates.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub epsilon: f64,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global gradient norm; 0 turns clipping off.
    pub max_grad_norm: f64,
    /// Whether a step keeps only the inputs of layers and what their attention gave, and computes the rest anew for its
    /// backward pass.
    pub grad_checkpoint: bool,
    /// Whether examples share rows of up to `max_seq_length` tokens.
    pub pack: bool,
    /// Whether rows are reshuffled every epoch.
    pub shuffle: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps between evaluations; 0: never.
    pub steps_per_eval: usize,
    /// Batches of an evaluation; 0: all.
    pub val_batches: usize,
    /// Evaluations without a lower loss after which training stops; 0: never.
    pub patience: usize,
    /// Steps between saves of the adapter; 0: only at the end.
    pub save_every: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            iters: 1000,
            batch_size: 4,
            grad_accumulation_steps: 1,
            max_seq_length: 2048,
            learning_rate: 1e-3,
            lr_schedule: Schedule::Cosine,
            warmup_steps: 0,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            grad_checkpoint: false,
            pack: false,
            shuffle: true,
            seed: 0,
            steps_per_eval: 200,
            val_batches: 25,
            patience: 0,
            save_every: 100,
        }
    }
}

impl TrainConfig {
    /// The rate of every step.
    pub fn learning_rate(&self) -> LearningRate {
        LearningRate {
            peak: self.learning_rate,
            warmup_steps: self.warmup_steps,
            total_steps: self.iters,
            schedule: self.lr_schedule,
        }
    }

    /// Tokens of a packed row; `None` where rows are not packed.
    pub fn pack_capacity(&self) -> Option<usize> {
        self.pack.then_some(self.max_seq_length)
    }

    /// The settings themselves if every one of them makes sense.
    ///
    /// # Errors
    /// Names the flag, its value and what is expected.
    pub fn checked(self) -> Result<Self> {
        let wrong = |flag: &str, value: &dyn std::fmt::Display, expected: &str| {
            Err(Error::Usage(format!("--{flag} is {value}; expected {expected}")))
        };
        for (flag, value) in [
            ("iters", self.iters),
            ("batch-size", self.batch_size),
            ("grad-accumulation-steps", self.grad_accumulation_steps),
        ] {
            if value == 0 {
                return wrong(flag, &value, "1 or more");
            }
        }
        if self.max_seq_length < 2 {
            return wrong("max-seq-length", &self.max_seq_length, "2 or more: one token predicts the next");
        }
        for (flag, value) in [
            ("learning-rate", self.learning_rate),
            ("weight-decay", self.weight_decay),
            ("max-grad-norm", self.max_grad_norm),
            ("epsilon", self.epsilon),
        ] {
            if !value.is_finite() || value < 0.0 {
                return wrong(flag, &value, "a number, 0 or more");
            }
        }
        if self.betas.iter().any(|beta| !(0.0..1.0).contains(beta)) {
            return wrong("betas", &format!("{:?}", self.betas), "two numbers, each 0 or more and less than 1");
        }
        Ok(self)
    }
}
