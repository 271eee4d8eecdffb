//! What a training run tells its front end.

use super::snapshot::Best;
use serde::{Deserialize, Serialize};

/// One optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// From 1.
    pub step: usize,
    /// Mean loss of the step's target tokens, before its update; an f32, as the device has it.
    #[serde(deserialize_with = "from_f32")]
    pub loss: f64,
    /// Global gradient norm before clipping; an f32, too.
    #[serde(deserialize_with = "from_f32")]
    pub grad_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Tokens read, without padding.
    pub tokens: usize,
    /// Tokens read a second, over this step.
    pub tokens_per_second: f64,
}

/// A number that was an f32 before it was written. `serde_json` may read it off by the last bit of an f64, which this
/// undoes; any other number stays what it is.
fn from_f32<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    let nearest = f64::from(value as f32);
    let is_off_by_rounding = (value - nearest).abs() <= 2.0 * f64::EPSILON * value.abs();
    Ok(if is_off_by_rounding { nearest } else { value })
}

/// One evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EvalReport {
    /// Optimizer steps done before it; absent outside training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// Mean loss of the target tokens.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Target tokens.
    pub tokens: usize,
}

/// An event of a run; as JSON, an object with `"event"` beside the fields of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum TrainEvent {
    /// The run goes on from a checkpoint.
    Resume {
        /// Steps done before.
        step: usize,
        /// What keeps it from being exactly the run it would have been; empty if nothing does.
        notes: Vec<String>,
    },
    /// An optimizer step is done.
    Step(StepReport),
    /// The validation rows were evaluated.
    Eval(EvalReport),
    /// Something stands out, and training goes on.
    Warning {
        /// The step.
        step: usize,
        /// What, for people.
        message: String,
    },
    /// Loss or gradient is no longer finite; the run ends with the state before this step.
    Diverged {
        /// The step.
        step: usize,
    },
    /// The test rows were evaluated with the adapter that is kept.
    Test(EvalReport),
    /// A checkpoint was saved.
    Checkpoint {
        /// Steps done.
        step: usize,
        /// Where it lies.
        path: String,
    },
    /// The run is over.
    Done {
        /// Steps done.
        steps: usize,
        /// Loss of the last step.
        loss: f64,
        /// Whole time of the run.
        seconds: f64,
        /// Tokens read, without padding.
        tokens: usize,
        /// The best evaluation, whose adapter is kept.
        best: Option<Best>,
        /// Whether patience ended before the steps did.
        stopped_early: bool,
    },
}

impl TrainEvent {
    /// Whether a run that goes on from `step` has yet to come to it.
    pub fn is_after(&self, step: usize) -> bool {
        match self {
            Self::Step(report) => report.step > step,
            Self::Eval(report) => report.step.is_some_and(|at| at > step),
            Self::Resume { .. } => false,
            Self::Warning { step: at, .. } | Self::Checkpoint { step: at, .. } => *at > step,
            Self::Test(_) | Self::Done { .. } | Self::Diverged { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_comes_back_from_its_line_to_the_bit() {
        // The first of these is off by its last bit where JSON is read as an f64.
        let mut losses = vec![3.828_065_6f32, 0.1, 1e-7, 12.5];
        losses.extend(crate::testing::random(9, 2000));
        for loss in losses {
            let (loss, grad_norm) = (f64::from(loss), f64::from(loss.abs()));
            let report =
                StepReport { step: 1, loss, grad_norm, learning_rate: 1e-3, tokens: 7, tokens_per_second: 0.5 };
            let line = serde_json::to_string(&report).expect("JSON");
            assert_eq!(serde_json::from_str::<StepReport>(&line).expect("a report"), report, "{line}");
        }
    }
}
