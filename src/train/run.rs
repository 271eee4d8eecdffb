//! The training loop.

use super::event::{EvalReport, TrainEvent};
use super::trainer::Trainer;
use crate::adapter::StoredAdapter;
use crate::data::{Batcher, Dataset};
use crate::error::{Error, Result};
use crate::eval::evaluate;
use web_time::Instant;

/// The front end of a run: it draws, saves, and may ask to stop.
pub trait Observer {
    /// Called after each event.
    ///
    /// # Errors
    /// Ends the run with that error.
    fn event(&mut self, event: &TrainEvent) -> Result<()>;

    /// Saves the adapter after `step` steps; returns where it lies.
    ///
    /// # Errors
    /// Ends the run with that error.
    fn save(&mut self, step: usize, adapter: &StoredAdapter) -> Result<String>;

    /// Whether the user has asked to stop; looked at after each step.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Trains until the configured number of steps is done, evaluating and saving on the way.
///
/// # Errors
/// Whatever a step, the observer or the device fails with; [`Error::Interrupted`] after a requested stop, with
/// the adapter saved. Where the loss stops being finite, the last good adapter is saved first.
pub async fn run(
    trainer: &mut Trainer,
    train: &Dataset,
    valid: Option<&Dataset>,
    observer: &mut dyn Observer,
) -> Result<()> {
    let config = trainer.config().clone();
    let mut batches = Batcher::new(train.examples.len(), config.batch_size, config.shuffle, config.seed)?;
    let start = Instant::now();
    let (mut tokens, mut loss) = (0, f64::NAN);
    if let Some(valid) = valid.filter(|_| config.steps_per_eval > 0) {
        validate(trainer, valid, observer).await?;
    }
    while trainer.steps_done() < config.iters {
        let micro: Vec<_> = (0..config.grad_accumulation_steps).map(|_| train.batch(&batches.next_rows())).collect();
        let report = match trainer.step(&micro).await {
            Ok(report) => report,
            Err(error @ Error::NotFinite { .. }) => {
                save(trainer, observer).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        (tokens, loss) = (tokens + report.tokens, report.loss);
        observer.event(&TrainEvent::Step(report))?;
        let step = report.step;
        let due = |every: usize| every > 0 && step.is_multiple_of(every);
        if observer.stop_requested() {
            save(trainer, observer).await?;
            return Err(Error::Interrupted);
        }
        let last = step == config.iters;
        if let Some(valid) = valid.filter(|_| config.steps_per_eval > 0 && (due(config.steps_per_eval) || last)) {
            validate(trainer, valid, observer).await?;
        }
        if due(config.save_every) || last {
            save(trainer, observer).await?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    observer.event(&TrainEvent::Done { steps: trainer.steps_done(), loss, seconds, tokens })
}

async fn save(trainer: &Trainer, observer: &mut dyn Observer) -> Result<()> {
    let step = trainer.steps_done();
    let path = observer.save(step, &trainer.stored().await?)?;
    observer.event(&TrainEvent::Checkpoint { step, path })
}

async fn validate(trainer: &Trainer, valid: &Dataset, observer: &mut dyn Observer) -> Result<()> {
    let config = trainer.config();
    let report =
        evaluate(trainer.model(), Some(&trainer.adapters()), valid, config.batch_size, config.val_batches).await?;
    observer.event(&TrainEvent::Eval(EvalReport { step: Some(trainer.steps_done()), ..report }))
}
