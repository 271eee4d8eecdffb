//! One optimizer step, from token ids to updated parameters.

use super::config::TrainConfig;
use super::event::StepReport;
use super::merged::Merged;
use super::parameters::{FlatGradient, Parameters};
use super::queued::QueuedStep;
use super::reading::{Reading, read};
use super::recompute;
use super::snapshot::Snapshot;
use crate::adapter::{AdapterConfig, Adapters, Dropout, Method, Slot, StoredAdapter, slots};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::kernels::AdamWStep;
use crate::model::{Model, ModelConfig, Targets, Tokens, next_token_loss};
use burn::tensor::{Device, Tensor};
use web_time::Instant;

/// Where an adapter is while it is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the weights that it adapts: a step costs what the frozen model's does, and the blocks' gradient. For blocks
    /// without dropout.
    Merged,
    /// Beside them.
    Side,
}

impl Mode {
    /// The cheapest one that `adapter` can be trained in.
    pub fn of(adapter: &AdapterConfig) -> Self {
        if adapter.method.has_blocks() && adapter.dropout == 0.0 { Self::Merged } else { Self::Side }
    }
}

/// Trains one adapter on one model.
#[derive(Debug)]
pub struct Trainer {
    model: Model,
    base: String,
    adapter: AdapterConfig,
    config: TrainConfig,
    parameters: Parameters,
    /// In [`Mode::Merged`].
    merged: Option<Merged>,
    /// Steps that are finished.
    step: usize,
    /// Steps that are finished or queued.
    queued: usize,
    /// When the last step was finished.
    finished: Option<Instant>,
    /// Forward passes that drew a dropout mask.
    passes: u64,
}

impl Trainer {
    /// A fresh adapter on `model`, whose name is `base`, in the cheapest mode.
    ///
    /// # Errors
    /// If the adapter does not fit the model, or a setting makes no sense.
    pub fn new(model: Model, base: String, adapter: AdapterConfig, config: TrainConfig) -> Result<Self> {
        let mode = Mode::of(&adapter);
        Self::with_mode(model, base, adapter, config, mode)
    }

    /// A fresh adapter on `model`, whose name is `base`. Merged, it is written into the model's weights; those that
    /// something else holds as well are copied first.
    ///
    /// # Errors
    /// If the adapter does not fit the model or the mode, or a setting makes no sense.
    pub fn with_mode(
        model: Model,
        base: String,
        adapter: AdapterConfig,
        config: TrainConfig,
        mode: Mode,
    ) -> Result<Self> {
        let adapter = adapter.checked(&model.config)?;
        let config = config.checked()?;
        if mode == Mode::Merged && Mode::of(&adapter) != mode {
            return Err(Error::Usage(format!("{adapter} cannot be trained in the weights themselves")));
        }
        if config.grad_checkpoint && adapter.method == Method::AllWeights {
            return Err(Error::Usage("--grad-checkpoint does not go with --all-weights".into()));
        }
        if adapter.method == Method::AllWeights && model.matrices().any(|weight| weight.dense().is_none()) {
            return Err(Error::Usage(
                "--all-weights trains every tensor in f32, each in one piece, and this base is held otherwise; \
                 add --base-dtype f32, and if that does not help, --device cpu"
                    .into(),
            ));
        }
        let slots = slots(&adapter, &model.config);
        let values: Vec<_> = slots.iter().map(|slot| slot.initial_values(config.seed)).collect();
        let merged = (mode == Mode::Merged).then(|| Merged::new(&model, &slots));
        let parameters = Parameters::new(slots, &values, &model.device());
        let (step, queued, finished, passes) = (0, 0, None, 0);
        Ok(Self { model, base, adapter, config, parameters, merged, step, queued, finished, passes })
    }

    /// Sizes and constants of the model.
    pub fn model_config(&self) -> &ModelConfig {
        &self.model.config
    }

    /// The model as it was before, for as long as nothing is trained.
    pub fn base(&mut self) -> &Model {
        if let Some(merged) = &mut self.merged {
            merged.show_base(&mut self.model, self.parameters.slots(), || self.parameters.tensors());
        }
        &self.model
    }

    /// The model as it was before.
    pub fn into_base(mut self) -> Model {
        self.base();
        self.model
    }

    /// The model with what it has learned, for evaluation and generation: no autodiff, no dropout. The adapters must be
    /// gone before the next step.
    pub fn tuned(&mut self) -> (&Model, Option<Adapters>) {
        self.show_update();
        let adapters = match &self.merged {
            None => Some(self.adapters()),
            Some(merged) if merged.reads_blocks() => {
                Some(Adapters::merged(&self.adapter, self.parameters.slots(), self.parameters.tensors()))
            }
            Some(_) => None,
        };
        (&self.model, adapters)
    }

    fn show_update(&mut self) {
        if let Some(merged) = &mut self.merged {
            merged.show_update(&mut self.model, self.parameters.slots(), || self.parameters.tensors());
        }
    }

    /// The settings of the run.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Optimizer steps done: finished, and found good.
    pub fn steps_done(&self) -> usize {
        self.step
    }

    /// Whether the device takes steps into a queue, so that one can be queued while another runs. The CPU backend
    /// computes a step before it is queued.
    pub fn has_queue(&self) -> bool {
        self.model.device() != Device::flex()
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        self.parameters.slots().iter().map(Slot::len).sum()
    }

    /// The adapter as it stands, to be run beside the weights of the base: no autodiff, no dropout.
    pub fn adapters(&self) -> Adapters {
        Adapters::new(&self.adapter, self.parameters.slots(), self.parameters.tensors(), None)
    }

    /// The adapter as it stands, to be saved.
    ///
    /// # Errors
    /// If the device is lost.
    pub async fn stored(&self) -> Result<StoredAdapter> {
        let values = self.values().await?;
        Ok(StoredAdapter { config: self.adapter.clone(), base: self.base.clone(), values })
    }

    /// What is trained: names and shapes, in order.
    pub fn slots(&self) -> &[Slot] {
        self.parameters.slots()
    }

    /// The trained values, one list for each of [`Trainer::slots`].
    ///
    /// # Errors
    /// If the device is lost.
    pub async fn values(&self) -> Result<Vec<Vec<f32>>> {
        self.parameters.values().await
    }

    /// Replaces the trained values and forgets the optimizer's moments.
    ///
    /// # Panics
    /// If `values` are not one list for each slot, of its length.
    pub fn set_values(&mut self, values: &[Vec<f32>]) {
        self.parameters = Parameters::new(self.parameters.slots().to_vec(), values, &self.model.device());
        self.outdate();
    }

    /// AdamW's first and second moments, one list for each of [`Trainer::slots`], each.
    ///
    /// # Errors
    /// If the device is lost.
    pub async fn moments(&self) -> Result<[Vec<Vec<f32>>; 2]> {
        self.parameters.moments().await
    }

    /// Forward passes so far that drew a dropout mask.
    pub fn passes(&self) -> u64 {
        self.passes
    }

    /// Goes on from `snapshot`, which a trainer with the same arguments was at.
    ///
    /// # Errors
    /// If its adapter is of another kind.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let (mine, saved) = (&self.adapter, &snapshot.adapter.config);
        if mine.kind() != saved.kind() || mine.modules != saved.modules || mine.dropout != saved.dropout {
            return Err(Error::Usage(format!(
                "cannot resume: the checkpoint holds {saved}, and these settings ask for {mine}"
            )));
        }
        let [first, second] = &snapshot.moments;
        self.parameters.restore([&snapshot.adapter.values, first, second], &self.model.device());
        self.outdate();
        (self.step, self.passes) = (snapshot.progress.step, snapshot.progress.passes);
        self.queued = self.step;
        Ok(())
    }

    /// Mean loss over the target tokens of `micro_batches`, and its gradient, one list for each slot; nothing is
    /// updated.
    ///
    /// # Errors
    /// If no token is left to predict, or the device is lost.
    pub async fn gradient(&mut self, micro_batches: &[Batch]) -> Result<(f64, Vec<Vec<f32>>)> {
        let (loss, gradient) = self.loss_and_gradient(micro_batches)?;
        let gradient = self.parameters.unflatten(gradient).await?;
        Ok((f64::from(read(loss).await?[0]), gradient))
    }

    /// One optimizer step over `micro_batches`: the loss is the mean over all their target tokens.
    ///
    /// # Errors
    /// As [`Trainer::queue`] and [`Trainer::finish`].
    pub async fn step(&mut self, micro_batches: &[Batch]) -> Result<StepReport> {
        let queued = self.queue(micro_batches)?;
        self.finish(queued).await
    }

    /// Queues that step: forward and backward pass, update, and the way back of its numbers. Nothing is waited for.
    ///
    /// From now on values, moments and models are those after this step, or those before the first one that is not finite.
    ///
    /// # Errors
    /// If no token is left to predict.
    pub fn queue(&mut self, micro_batches: &[Batch]) -> Result<QueuedStep> {
        let (begun, passes) = (Instant::now(), self.passes);
        let (loss, gradient) = self.loss_and_gradient(micro_batches)?;
        self.queued += 1;
        let step = self.queued;
        let learning_rate = self.config.learning_rate().at(step);
        let numbers = self.parameters.update(
            gradient,
            loss,
            AdamWStep {
                learning_rate,
                betas: self.config.betas,
                epsilon: self.config.epsilon,
                weight_decay: self.config.weight_decay,
                max_grad_norm: self.config.max_grad_norm,
                step,
            },
        );
        self.outdate();
        self.show_update();
        let tokens = micro_batches.iter().map(Batch::tokens).sum();
        Ok(QueuedStep { step, learning_rate, tokens, passes, begun, numbers: Reading::begin(numbers) })
    }

    /// Waits for a queued step to be done; steps are finished in the order in which they were queued.
    ///
    /// # Errors
    /// If its loss or gradient norm is not finite: everything is then as before the step, and the ones queued behind it,
    /// which changed nothing, are to be dropped. If the device is lost.
    ///
    /// # Panics
    /// If another step was queued before it and is not finished.
    pub async fn finish(&mut self, queued: QueuedStep) -> Result<StepReport> {
        assert_eq!(queued.step, self.step + 1, "steps are finished in order");
        let passes = queued.passes;
        let report = queued.report(self.finished).await;
        self.finished = Some(Instant::now());
        match &report {
            Ok(report) => self.step = report.step,
            Err(_) => {
                self.parameters.forget_numbers();
                (self.queued, self.passes) = (self.step, passes);
            }
        }
        report
    }

    /// The parameters changed.
    fn outdate(&mut self) {
        if let Some(merged) = &mut self.merged {
            merged.outdate();
        }
    }

    /// Where the gradients of merged blocks are written as they are made, on a GPU; one block's is a dense product, which
    /// cannot.
    fn place(&self) -> Option<FlatGradient> {
        let many_blocks = matches!(self.adapter.method, Method::Diablo { blocks } if blocks > 1);
        // A stored weight is read with the blocks' values, which a place does not have.
        let in_weights = self.merged.as_ref().is_some_and(|merged| !merged.reads_blocks());
        if in_weights && many_blocks && self.has_queue() { self.parameters.place() } else { None }
    }

    /// Mean loss over the target tokens of `micro_batches`, `[1]`, and its gradient.
    fn loss_and_gradient(&mut self, micro_batches: &[Batch]) -> Result<(Tensor<1>, FlatGradient)> {
        self.show_update();
        let device = self.model.device();
        let total: usize = micro_batches.iter().map(Batch::target_tokens).sum();
        let mut sum: Option<(Tensor<1>, FlatGradient)> = None;
        for batch in micro_batches {
            // A micro-batch without targets adds nothing to the sum.
            let Some(targets) = Targets::new(&batch.labels, batch.rows, &device) else { continue };
            let written = self.place();
            let leaves = self.parameters.leaves(written.as_ref());
            let dropout = Dropout::new(self.adapter.dropout, self.config.seed, self.passes);
            self.passes += 1;
            let place = |tensors| match self.merged {
                Some(_) => Adapters::merged(&self.adapter, self.parameters.slots(), tensors),
                None => Adapters::new(&self.adapter, self.parameters.slots(), tensors, dropout),
            };
            let adapters = match &written {
                Some(_) => Adapters::with_places(&self.adapter, self.parameters.slots(), leaves.clone()),
                None => place(leaves.clone()),
            };
            let tokens = Tokens::of_batch(batch, &device);
            let (loss, mut gradients) = if self.config.grad_checkpoint {
                let plain = place(self.parameters.tensors());
                recompute::loss_and_gradients(&self.model, &tokens, &targets, total, &plain, &adapters)
            } else {
                let model = adapters.effective(&self.model);
                let hidden = model.forward(&tokens, Some(&adapters), None);
                let loss = next_token_loss(&model, hidden, &targets) / total as f64;
                let gradients = loss.backward();
                (loss.inner(), vec![gradients])
            };
            drop(adapters);
            let gradient = written.unwrap_or_else(|| self.parameters.gather(leaves, &mut gradients));
            sum = Some(match sum {
                None => (loss, gradient),
                Some((sum, gradients)) => (sum + loss, gradients.add(gradient)),
            });
        }
        sum.ok_or_else(|| Error::data("batch", "every token is masked, so there is nothing to train on"))
    }
}
