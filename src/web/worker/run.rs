//! A training run in the worker: it tells, saves, holds and answers between two steps.

use super::data::{DataFiles, OpenData};
use super::inbox::Inbox;
use super::model::OpenModel;
use super::plan::{Speed, adapter, memory_setup, operations, plan};
use super::post::post;
use super::talk::{self, Speaker};
use super::{refuse, send_adapter};
use crate::adapter::{Adapters, StoredAdapter, update_norms};
use crate::data::TrainRows;
use crate::error::{Error, Result};
use crate::eval::evaluate;
use crate::model::Model;
use crate::train::{EvalReport, Next, Observer, Run, Snapshot, TrainConfig, TrainEvent, Trainer, check_batches};
use crate::web::checkpoints;
use crate::web::protocol::{Event, ModelSource, Request, Settings};
use serde::{Deserialize, Serialize};
use web_time::{Duration, Instant};

/// Time between two looks at the norms of all blocks.
const NORMS_EVERY: Duration = Duration::from_millis(1500);

/// What a run needs besides its checkpoint to go on after a reload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedRun {
    pub model: ModelSource,
    pub model_name: String,
    pub data: DataFiles,
    pub settings: Settings,
}

/// What a run needs besides the weights it trains on.
pub struct Setup<'a> {
    pub open: &'a OpenModel,
    pub data: &'a OpenData,
    /// Name of the device.
    pub device: &'a str,
    pub inbox: &'a Inbox,
    pub speed: Speed,
}

/// How a run ended.
pub struct Outcome {
    /// The weights as they were before.
    pub weights: Option<Model>,
    /// The adapter that is kept: the best one, or the last where nothing tells which is best.
    pub adapter: Option<StoredAdapter>,
    /// Operations a second of its steps.
    pub speed: Option<f64>,
    pub result: Result<()>,
}

/// Trains; with `resume`, a snapshot and the events before it, from there on.
pub async fn train(
    setup: Setup<'_>,
    weights: Model,
    settings: Settings,
    resume: Option<(Snapshot, String)>,
) -> Outcome {
    let Setup { open, data, device, inbox, speed } = setup;
    let wishes = inbox.wishes();
    [&wishes.pause, &wishes.stop, &wishes.save].into_iter().for_each(|wish| wish.set(false));
    let mut reporter = Reporter {
        inbox,
        open,
        data,
        speed,
        log: String::new(),
        best: None,
        looked: None,
        saved: None,
        has_begun: false,
        is_stored: true,
        shown: None,
        steps: (0.0, 0.0),
        settings,
    };
    let (weights, result) = reporter.run(weights, device, resume).await;
    let (operations, seconds) = reporter.steps;
    Outcome { weights, adapter: reporter.best, speed: (seconds > 0.0).then(|| operations / seconds), result }
}

struct Reporter<'a> {
    inbox: &'a Inbox,
    open: &'a OpenModel,
    data: &'a OpenData,
    settings: Settings,
    speed: Speed,
    /// The run's events so far, one JSON object a line.
    log: String,
    /// The adapter to keep.
    best: Option<StoredAdapter>,
    /// When the norms were last looked at.
    looked: Option<Instant>,
    /// The step of the last save.
    saved: Option<usize>,
    /// Whether the storage knows of the run.
    has_begun: bool,
    /// Whether the storage took what was saved last.
    is_stored: bool,
    /// The step after which everything was shown that is due.
    shown: Option<usize>,
    /// Operations, and the seconds they took.
    steps: (f64, f64),
}

impl Reporter<'_> {
    async fn run(
        &mut self,
        weights: Model,
        device: &str,
        resume: Option<(Snapshot, String)>,
    ) -> (Option<Model>, Result<()>) {
        let limit = self.open.config.max_position_embeddings;
        let max_seq_length = self.data.files.options.max_seq_length.min(limit);
        let config = TrainConfig { max_seq_length, ..self.settings.train.clone() }.checked();
        let checked = adapter(&self.settings, self.open).and_then(|adapter| {
            let config = config?;
            let setup = memory_setup(self.open, &adapter, &config, Some(self.data));
            check_batches(&self.open.name, &setup, &self.open.device)?;
            Ok((adapter, config))
        });
        let (adapter, config) = match checked {
            Ok(checked) => checked,
            Err(error) => return (Some(weights), Err(error)),
        };
        let mut trainer = match Trainer::new(weights, self.open.name.clone(), adapter, config) {
            Ok(trainer) => trainer,
            Err(error) => return (None, Err(error)),
        };
        let mut result = self.steps(&mut trainer, device, resume).await;
        let weights = trainer.into_base();
        if result.is_ok() {
            result = self.finish(&weights).await;
        }
        (Some(weights), result)
    }

    async fn steps(&mut self, trainer: &mut Trainer, device: &str, resume: Option<(Snapshot, String)>) -> Result<()> {
        let data = self.data;
        let rows = TrainRows::new(&data.train, trainer.config().pack_capacity());
        let snapshot = resume.as_ref().map(|(snapshot, _)| snapshot);
        let run = Run::new(trainer, rows, data.valid.as_ref(), device, snapshot).await?;
        match resume {
            None => {
                let begun = self.begin().await;
                self.stored(begun, 0)?;
            }
            Some((snapshot, log)) => {
                self.has_begun = true;
                // The page has forgotten it all. What came after the save is not so any more.
                let step = snapshot.progress.step;
                let events = log.lines().filter_map(|line| serde_json::from_str(line).ok());
                for event in events.take_while(|event: &TrainEvent| !event.is_after(step)) {
                    self.log_line(&event);
                    post(&Event::Training(event));
                }
                self.best = Some(snapshot.adapter);
            }
        }
        run.train(self).await
    }

    /// All steps are done.
    async fn finish(&mut self, weights: &Model) -> Result<()> {
        if let (Some(test), Some(best)) = (&self.data.test, self.best.clone()) {
            let adapters = Adapters::of(best, weights);
            let batch_size = self.settings.train.batch_size;
            let report: EvalReport = evaluate(weights, Some(&adapters), test, batch_size, 0).await?;
            self.event(&TrainEvent::Test(report))?;
        }
        // Nothing is left to go on with.
        checkpoints::clear().await
    }

    /// Notes in the storage what is to be trained, unless it is there.
    async fn begin(&mut self) -> Result<()> {
        if !self.has_begun {
            checkpoints::begin(&self.saved_run()).await?;
            self.has_begun = true;
        }
        Ok(())
    }

    async fn store(&mut self, files: &[(&str, Vec<u8>)], step: usize, best: Option<usize>) -> Result<()> {
        self.begin().await?;
        checkpoints::save(files, step, best, &self.log).await
    }

    /// Whether something was stored. A full storage is no reason to stop: what is trained is there as long as the tab.
    fn stored(&mut self, outcome: Result<()>, step: usize) -> Result<bool> {
        let error = outcome.err();
        if let Some(error) = error.as_ref().filter(|_| self.is_stored) {
            let message = format!("{error}. Training goes on, but what it learns now is lost if this tab closes.");
            self.event(&TrainEvent::Warning { step, message })?;
        }
        self.is_stored = error.is_none();
        Ok(self.is_stored)
    }

    fn log_line(&mut self, event: &TrainEvent) {
        self.log += &serde_json::to_string(event).expect("JSON of plain values");
        self.log.push('\n');
    }

    fn saved_run(&self) -> serde_json::Value {
        let run = SavedRun {
            model: self.open.from.clone(),
            model_name: self.open.name.clone(),
            data: self.data.files.clone(),
            settings: self.settings.clone(),
        };
        serde_json::to_value(&run).expect("JSON of plain values")
    }

    /// Whether the norms, and whether samples are due after `step`.
    fn due(&self, step: usize) -> (bool, bool) {
        let TrainConfig { iters, steps_per_eval, .. } = self.settings.train;
        let last = step == iters;
        (
            last || self.looked.is_none_or(|then| then.elapsed() >= NORMS_EVERY),
            last || steps_per_eval > 0 && step.is_multiple_of(steps_per_eval),
        )
    }

    /// Norms and samples, where they are due.
    async fn show(&mut self, trainer: &mut Trainer) -> Result<()> {
        let step = trainer.steps_done();
        let (norms_due, samples_due) = self.due(step);
        if norms_due {
            let matrices = update_norms(&trainer.stored().await?, &self.open.config);
            post(&Event::Norms { step, matrices });
            self.looked = Some(Instant::now());
        }
        if samples_due {
            for (prompt, question) in self.settings.prompts.iter().enumerate() {
                let text = talk::sample(self.open, trainer, question).await?;
                post(&Event::Sample { step, prompt, text });
                if self.inbox.wishes().stop.get() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Hears what can be heard while training goes on.
    async fn hear(&mut self, trainer: &mut Trainer) -> Result<()> {
        while let Some(letter) = self.inbox.take() {
            let name = letter.request.name();
            let done = match letter.request {
                request @ Request::Generate { .. } => {
                    talk::answer(self.open, Speaker::Training(trainer), request, self.inbox).await
                }
                Request::Plan { settings } => {
                    plan(&settings, self.open, Some(self.data), self.speed).map(|plan| post(&Event::Plan(plan)))
                }
                Request::DownloadAdapter => send_adapter(&trainer.stored().await?, self.open),
                _ => Err(Error::Usage("training is running; stop it first".into())),
            };
            if let Err(error) = done {
                refuse(name, &error);
            }
        }
        Ok(())
    }
}

impl Observer for Reporter<'_> {
    fn event(&mut self, event: &TrainEvent) -> Result<()> {
        if let TrainEvent::Step(report) = event {
            let trainable = self.best.as_ref().map_or(0, |best| best.values.iter().map(Vec::len).sum::<usize>());
            let seconds = report.tokens as f64 / report.tokens_per_second;
            self.steps.0 += operations(self.open, trainable as u64, report.tokens as u64);
            self.steps.1 += seconds;
        }
        self.log_line(event);
        post(&Event::Training(event.clone()));
        Ok(())
    }

    async fn save(&mut self, snapshot: &Snapshot, is_best: bool) -> Result<Option<String>> {
        let step = snapshot.progress.step;
        let best = snapshot.progress.best.map(|best| best.step);
        let files = snapshot.to_files(&self.open.config)?;
        let outcome = self.store(&files, step, best).await;
        self.saved = Some(step);
        if is_best || self.best.is_none() {
            self.best = Some(snapshot.adapter.clone());
        }
        Ok(self.stored(outcome, step)?.then(|| "this browser".to_owned()))
    }

    fn wants_to_be_asked(&mut self, step: usize) -> bool {
        let wishes = self.inbox.wishes();
        let wished = wishes.stop.get() || wishes.save.get() || wishes.pause.get();
        wished || self.inbox.has_letters() || self.due(step) != (false, false)
    }

    async fn between_steps(&mut self, trainer: &mut Trainer) -> Result<Next> {
        let step = trainer.steps_done();
        if self.shown != Some(step) {
            self.shown = Some(step);
            self.show(trainer).await?;
        }
        self.hear(trainer).await?;
        let wishes = self.inbox.wishes();
        if wishes.stop.get() {
            return Ok(Next::Stop);
        }
        if wishes.save.take() || wishes.pause.get() && self.saved != Some(step) {
            return Ok(Next::Save);
        }
        if wishes.pause.get() {
            post(&Event::Paused { step });
            while wishes.pause.get() && !wishes.stop.get() {
                self.inbox.changed().await;
                self.hear(trainer).await?;
            }
            post(&Event::Resumed { step });
        }
        Ok(if wishes.stop.get() { Next::Stop } else { Next::Step })
    }
}
