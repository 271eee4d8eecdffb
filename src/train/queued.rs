//! A step whose numbers are not known yet.

use super::event::StepReport;
use super::reading::Reading;
use crate::error::{Error, Result};
use web_time::Instant;

/// A step that is queued on the device, and its numbers, which are on their way back.
#[derive(Debug)]
#[must_use = "a trainer finishes the steps that it queues"]
pub struct QueuedStep {
    pub(super) step: usize,
    pub(super) learning_rate: f64,
    /// Tokens read, without padding.
    pub(super) tokens: usize,
    /// Forward passes, before it, that drew a dropout mask.
    pub(super) passes: u64,
    /// When its queuing began.
    pub(super) begun: Instant,
    /// Gradient norm and loss.
    pub(super) numbers: Reading,
}

impl QueuedStep {
    /// Its number, from 1.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Waits until it is done; `before` is when the step before it was.
    ///
    /// # Errors
    /// If its loss or gradient norm is not finite, or the device is lost.
    pub(super) async fn report(self, before: Option<Instant>) -> Result<StepReport> {
        let Self { step, learning_rate, tokens, begun, numbers, .. } = self;
        let [grad_norm, loss] = numbers.finish().await?[..] else {
            return Err(Error::Device("reading from the device: not two values".into()));
        };
        // The norm is not finite either where the loss is not.
        for (value, what) in [(loss, "loss"), (grad_norm, "gradient norm")] {
            if !value.is_finite() {
                return Err(Error::NotFinite { step, what });
            }
        }
        // One behind the other, steps take the time from the end of one to the end of the next.
        let since = before.map_or(begun, |before| before.max(begun));
        let tokens_per_second = tokens as f64 / since.elapsed().as_secs_f64();
        let (loss, grad_norm) = (f64::from(loss), f64::from(grad_norm));
        Ok(StepReport { step, loss, grad_norm, learning_rate, tokens, tokens_per_second })
    }
}
