//! The training loop.

use super::event::{EvalReport, StepReport, TrainEvent};
use super::queued::QueuedStep;
use super::snapshot::{Best, RunIdentity, RunProgress, Snapshot};
use super::trainer::Trainer;
use crate::data::{Batcher, Cursor, Dataset, TrainRows};
use crate::error::{Error, Result};
use crate::eval::evaluate;
use web_time::Instant;

/// What an observer wants between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next step.
    Step,
    /// A checkpoint; after it, it is asked again.
    Save,
    /// The end of the run, with the state saved.
    Stop,
}

/// The front end of a run: it draws, saves, and may ask to stop. Its futures need not be `Send`: one thread drives a run.
#[allow(async_fn_in_trait)]
pub trait Observer {
    /// Called after each event.
    ///
    /// # Errors
    /// Ends the run with that error.
    fn event(&mut self, event: &TrainEvent) -> Result<()>;

    /// Saves a checkpoint; returns where it lies, `None` if it could not be saved and the run is to go on all the same.
    /// `is_best`: its adapter is the one to keep, since it has the lowest validation loss so far or there is no
    /// validation.
    ///
    /// # Errors
    /// Ends the run with that error.
    async fn save(&mut self, snapshot: &Snapshot, is_best: bool) -> Result<Option<String>>;

    /// Whether to ask ([`Observer::between_steps`]) after the step that runs now, which is the `step`-th. If not, the next
    /// one is queued behind it at once, where the device has a queue.
    fn wants_to_be_asked(&mut self, step: usize) -> bool;

    /// Asked after a step, while nothing is queued; may take its time, and may use the adapter as it stands.
    ///
    /// # Errors
    /// Ends the run with that error.
    async fn between_steps(&mut self, trainer: &mut Trainer) -> Result<Next>;
}

/// A step that is queued, and where its rows began.
struct Dealt {
    step: QueuedStep,
    cursor: Cursor,
}

/// A training run: what it trains, on what, and how far it has come.
pub struct Run<'a> {
    trainer: &'a mut Trainer,
    rows: TrainRows<'a>,
    batches: Batcher,
    valid: Option<&'a Dataset>,
    identity: RunIdentity,
    progress: RunProgress,
    /// What keeps a resumed run from being exact; `None` if it begins.
    resumed: Option<Vec<String>>,
    /// Seconds that were spent before the last resume.
    earlier: f64,
    start: Instant,
    /// The step of the last checkpoint of this process.
    saved: Option<usize>,
    /// Whether a step is queued while the one before it runs.
    ahead: bool,
}

impl<'a> Run<'a> {
    /// A run over `rows` that begins, or goes on from `resume` as if it had never stopped. `device` is the name of the
    /// trainer's.
    ///
    /// # Errors
    /// If there is nothing to train on, or the snapshot is of another run.
    pub async fn new(
        trainer: &'a mut Trainer,
        rows: TrainRows<'a>,
        valid: Option<&'a Dataset>,
        device: &str,
        resume: Option<&Snapshot>,
    ) -> Result<Self> {
        let config = trainer.config().clone();
        let batches = Batcher::new(rows.count(), config.batch_size, config.shuffle, config.seed)?;
        let identity = RunIdentity {
            build: RunIdentity::build(),
            device: device.to_owned(),
            model: trainer.base().fingerprint().await?,
            data: rows.fingerprint(),
            config,
        };
        let valid = valid.filter(|_| identity.config.steps_per_eval > 0);
        let ahead = trainer.has_queue();
        let mut run = Self {
            trainer,
            rows,
            batches,
            valid,
            identity,
            progress: RunProgress::default(),
            resumed: None,
            earlier: 0.0,
            start: Instant::now(),
            saved: None,
            ahead,
        };
        if let Some(snapshot) = resume {
            run.restore(snapshot)?;
        }
        Ok(run)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.resumed = Some(self.identity.continues(&snapshot.identity)?);
        self.progress = snapshot.progress;
        self.earlier = self.progress.seconds;
        self.saved = Some(self.progress.step);
        self.batches.restore(self.progress.cursor)?;
        self.trainer.restore(snapshot)
    }

    /// Trains until the configured number of steps is done or patience ends, evaluating and saving on the way.
    ///
    /// # Errors
    /// Whatever a step, the observer or the device fails with; [`Error::Interrupted`] after a requested stop, with a
    /// checkpoint saved. Where the loss stops being finite, the last good state is saved first.
    pub async fn train(mut self, observer: &mut impl Observer) -> Result<()> {
        match self.resumed.take() {
            Some(notes) => {
                observer.event(&TrainEvent::Resume { step: self.progress.step, notes })?;
                // The stop may have come between a step and its evaluation.
                self.settle(observer).await?;
            }
            // What the base does, to compare with; no candidate for the best, as nothing was learned yet.
            None if self.valid.is_some() => {
                self.evaluate(observer).await?;
            }
            None => {}
        }
        // While a step runs, the next one is queued behind it, unless something comes between the two.
        let mut next = None;
        while next.is_some() || self.goes_on() {
            let running: Dealt = next.take().unwrap_or_else(|| self.queue())?;
            let step = running.step.step();
            let rests = !self.ahead || self.due(step) != (false, false) || observer.wants_to_be_asked(step);
            if !rests {
                next = Some(self.queue());
            }
            self.finish(running, observer).await?;
            if rests {
                self.rest(observer).await?;
            }
        }
        let RunProgress { step, loss, tokens, best, .. } = self.progress;
        let stopped_early = step < self.identity.config.iters;
        let (loss, seconds) = (loss.unwrap_or(f64::NAN), self.seconds());
        observer.event(&TrainEvent::Done { steps: step, loss, seconds, tokens, best, stopped_early })
    }

    fn goes_on(&self) -> bool {
        self.trainer.steps_done() < self.identity.config.iters && !self.is_out_of_patience()
    }

    /// Between two steps: does what the observer asks for, and what is due.
    async fn rest(&mut self, observer: &mut impl Observer) -> Result<()> {
        loop {
            let next = observer.between_steps(self.trainer).await?;
            if next == Next::Step {
                return self.settle(observer).await;
            }
            self.save(observer).await?;
            if next == Next::Stop {
                return Err(Error::Interrupted);
            }
        }
    }

    /// Whether an evaluation, and whether a save is due after `step`.
    fn due(&self, step: usize) -> (bool, bool) {
        let config = &self.identity.config;
        let due = |every: usize| step == config.iters || every > 0 && step.is_multiple_of(every);
        (self.valid.is_some() && due(config.steps_per_eval), due(config.save_every))
    }

    /// After a step: evaluates and saves where that is due, and was not done.
    async fn settle(&mut self, observer: &mut impl Observer) -> Result<()> {
        let step = self.trainer.steps_done();
        let (evaluation_due, save_due) = self.due(step);
        let mut improved = false;
        if evaluation_due && self.progress.evaluated != Some(step) {
            improved = self.validate(observer).await?;
            // What was saved before it does not know of it.
            self.saved = None;
        }
        if improved || save_due || self.is_out_of_patience() { self.save(observer).await } else { Ok(()) }
    }

    fn is_out_of_patience(&self) -> bool {
        let patience = self.identity.config.patience;
        patience > 0 && self.progress.evaluations_without_gain >= patience
    }

    fn seconds(&self) -> f64 {
        self.earlier + self.start.elapsed().as_secs_f64()
    }

    /// Queues the next step.
    fn queue(&mut self) -> Result<Dealt> {
        let cursor = self.batches.cursor();
        let count = self.identity.config.grad_accumulation_steps;
        let micro: Vec<_> = (0..count).map(|_| self.rows.batch(&self.batches.next_rows())).collect();
        Ok(Dealt { step: self.trainer.queue(&micro)?, cursor })
    }

    /// Waits for a step to be done, and tells of it.
    async fn finish(&mut self, Dealt { step, cursor }: Dealt, observer: &mut impl Observer) -> Result<()> {
        match self.trainer.finish(step).await {
            Ok(report) => self.tell(report, observer),
            Err(error @ Error::NotFinite { .. }) => {
                // The weights are those before the step, and so is everything else that is saved.
                self.batches.restore(cursor)?;
                self.save(observer).await?;
                observer.event(&TrainEvent::Diverged { step: self.trainer.steps_done() + 1 })?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    fn tell(&mut self, report: StepReport, observer: &mut impl Observer) -> Result<()> {
        self.progress.tokens += report.tokens;
        self.progress.loss = Some(report.loss);
        observer.event(&TrainEvent::Step(report))?;
        let unusual = [
            ("loss", report.loss, self.progress.loss_watch.outlier(report.loss)),
            ("gradient norm", report.grad_norm, self.progress.norm_watch.outlier(report.grad_norm)),
        ];
        for (what, value, mean) in unusual {
            if let Some(mean) = mean {
                let message = format!("the {what} is {value:.3}, about {:.0} times its usual {mean:.3}", value / mean);
                observer.event(&TrainEvent::Warning { step: report.step, message })?;
            }
        }
        Ok(())
    }

    /// Evaluates; whether the loss is the lowest so far.
    async fn validate(&mut self, observer: &mut impl Observer) -> Result<bool> {
        let loss = self.evaluate(observer).await?;
        self.progress.evaluated = Some(self.trainer.steps_done());
        let improved = self.progress.best.is_none_or(|best| loss < best.loss);
        if improved {
            self.progress.best = Some(Best { step: self.trainer.steps_done(), loss });
            self.progress.evaluations_without_gain = 0;
        } else {
            self.progress.evaluations_without_gain += 1;
        }
        Ok(improved)
    }

    async fn evaluate(&mut self, observer: &mut impl Observer) -> Result<f64> {
        let Some(valid) = self.valid else { return Ok(f64::NAN) };
        let config = &self.identity.config;
        let (model, adapters) = self.trainer.tuned();
        let report = evaluate(model, adapters.as_ref(), valid, config.batch_size, config.val_batches).await?;
        observer.event(&TrainEvent::Eval(EvalReport { step: Some(self.trainer.steps_done()), ..report }))?;
        Ok(report.loss)
    }

    /// Saves a checkpoint, unless this very state was saved already.
    async fn save(&mut self, observer: &mut impl Observer) -> Result<()> {
        let step = self.trainer.steps_done();
        if self.saved == Some(step) {
            return Ok(());
        }
        let seconds = self.seconds();
        let progress = &mut self.progress;
        (progress.step, progress.passes) = (step, self.trainer.passes());
        (progress.cursor, progress.seconds) = (self.batches.cursor(), seconds);
        let snapshot = Snapshot {
            adapter: self.trainer.stored().await?,
            moments: self.trainer.moments().await?,
            progress: self.progress,
            identity: self.identity.clone(),
        };
        let is_best = self.valid.is_none() || self.progress.best.is_none_or(|best| best.step == step);
        let place = observer.save(&snapshot, is_best).await?;
        self.saved = Some(step);
        match place {
            Some(path) => observer.event(&TrainEvent::Checkpoint { step, path }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
