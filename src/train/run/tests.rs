//! A run that queues steps ahead is the run that does not, whatever comes between its steps.

use super::*;
use crate::adapter::{AdapterConfig, Method};
use crate::data::Example;
use crate::kernels::Form;
use crate::model::{Model, ModelConfig, Projection};
use crate::random::Random;
use crate::testing::{gpu, tiny_config, with_form};
use crate::train::{Schedule, TrainConfig};
use burn::tensor::{Device, Tensor};
use pollster::block_on;

/// A token whose embedding is no number.
const BAD_TOKEN: u32 = 299;

/// `count` rows, with [`BAD_TOKEN`] in row `bad`.
fn rows(count: usize, bad: Option<usize>) -> Dataset {
    let mut random = Random::new(11);
    let mut data = Dataset::default();
    data.examples = (0..count)
        .map(|row| {
            let length = 4 + random.below(6) as usize;
            let mut input_ids: Vec<u32> = (0..length).map(|_| random.below(u64::from(BAD_TOKEN)) as u32).collect();
            if bad == Some(row) {
                input_ids[1] = BAD_TOKEN;
            }
            Example { labels: input_ids.iter().map(|id| *id as i32).collect(), input_ids }
        })
        .collect();
    data
}

fn trainer(device: &Device, dropout: f64, iters: usize) -> Trainer {
    let config = ModelConfig { tie_word_embeddings: false, ..tiny_config() };
    let mut model = Model::random(config, device, 0.2, 5);
    let [vocab, hidden] = model.embedding.dims();
    let good = model.embedding.to_dense().narrow(0, 0, vocab - 1);
    model.embedding = Tensor::cat(vec![good, Tensor::full([1, hidden], f32::NAN, device)], 0).into();
    let adapter =
        AdapterConfig { method: Method::Diablo { blocks: 4 }, modules: Projection::DEFAULT.to_vec(), dropout };
    let config = TrainConfig {
        iters,
        batch_size: 1,
        grad_accumulation_steps: 2,
        learning_rate: 1e-2,
        lr_schedule: Schedule::Constant,
        shuffle: false,
        steps_per_eval: 5,
        save_every: 3,
        ..TrainConfig::default()
    };
    Trainer::new(model, "tiny".into(), adapter, config).expect("a trainer")
}

/// Keeps what it hears, and stops after a step.
#[derive(Default)]
struct Watcher {
    events: Vec<TrainEvent>,
    saved: Vec<Snapshot>,
    /// Steps behind which another one might have been queued.
    heard: Vec<usize>,
    /// What the steps took, as they told.
    seconds: f64,
    /// After which step it has a wish, and which.
    wish: Option<(usize, Next)>,
}

impl Observer for Watcher {
    fn event(&mut self, event: &TrainEvent) -> Result<()> {
        let mut event = event.clone();
        match &mut event {
            TrainEvent::Step(report) => {
                self.seconds += report.tokens as f64 / report.tokens_per_second;
                report.tokens_per_second = 0.0;
            }
            TrainEvent::Done { seconds, .. } => *seconds = 0.0,
            _ => {}
        }
        self.events.push(event);
        Ok(())
    }

    async fn save(&mut self, snapshot: &Snapshot, _: bool) -> Result<Option<String>> {
        let mut snapshot = snapshot.clone();
        snapshot.progress.seconds = 0.0;
        self.saved.push(snapshot);
        Ok(Some("here".into()))
    }

    fn wants_to_be_asked(&mut self, step: usize) -> bool {
        self.heard.push(step);
        self.wish.is_some_and(|(at, _)| step >= at)
    }

    async fn between_steps(&mut self, trainer: &mut Trainer) -> Result<Next> {
        let wish = self.wish.take_if(|(at, _)| trainer.steps_done() >= *at);
        Ok(wish.map_or(Next::Step, |(_, next)| next))
    }
}

/// With all kernels in the form that this machine's GPU takes, whatever other tests choose meanwhile.
fn on_both_devices(test: impl Fn(&Device)) {
    for device in [Device::flex(), gpu()] {
        with_form(Form::Register, || test(&device));
    }
}

/// Trains with steps queued `ahead` or not; the error that ended the run, if one did.
fn train(
    trainer: &mut Trainer,
    bad: Option<usize>,
    ahead: bool,
    wish: Option<(usize, Next)>,
    resume: Option<&Snapshot>,
) -> (Watcher, Result<()>) {
    let (data, valid) = (rows(30, bad), rows(3, None));
    let mut watcher = Watcher { wish, ..Watcher::default() };
    let rows = TrainRows::new(&data, None);
    let mut run = block_on(Run::new(trainer, rows, Some(&valid), "test", resume)).expect("a run");
    run.ahead = ahead;
    let ended = block_on(run.train(&mut watcher));
    (watcher, ended)
}

#[test]
fn queued_ahead_or_not_it_is_the_same_run() {
    on_both_devices(|device| {
        for dropout in [0.0, 0.2] {
            let run = |ahead| {
                let start = Instant::now();
                let (watcher, ended) = train(&mut trainer(device, dropout, 11), None, ahead, None, None);
                ended.expect("a run to its end");
                let whole = start.elapsed().as_secs_f64();
                assert!(watcher.seconds > 0.0 && watcher.seconds < whole, "{} s of {whole} s", watcher.seconds);
                watcher
            };
            let (ahead, waiting) = (run(true), run(false));
            assert_eq!(ahead.events, waiting.events);
            assert!(ahead.saved == waiting.saved, "the checkpoints differ");
            let saved: Vec<_> = ahead.saved.iter().map(|snapshot| snapshot.progress.step).collect();
            assert_eq!(
                saved,
                [3, 5, 6, 9, 10, 11],
                "every third, those after an evaluation that is the best, the last"
            );
            // 3, 5, 6, 9, 10 and 11 are due: nothing is queued behind them.
            assert_eq!(ahead.heard, [1, 2, 4, 7, 8]);
            assert!(waiting.heard.is_empty());
        }
    });
}

#[test]
fn a_wish_is_granted_with_nothing_queued() {
    on_both_devices(|device| {
        let whole = train(&mut trainer(device, 0.2, 11), None, true, None, None).0;
        for at in [1, 4, 5, 7] {
            let (stopped, ended) = train(&mut trainer(device, 0.2, 11), None, true, Some((at, Next::Stop)), None);
            assert!(matches!(ended, Err(Error::Interrupted)), "step {at}: {ended:?}");
            let last = stopped.saved.last().expect("a checkpoint");
            assert_eq!(last.progress.step, at, "the step it was asked for is the last one");
            let (resumed, ended) = train(&mut trainer(device, 0.2, 11), None, true, None, Some(last));
            ended.expect("a run to its end");
            assert!(resumed.saved.last() == whole.saved.last(), "stopped after step {at}, it ends elsewhere");
        }
        let saved = train(&mut trainer(device, 0.2, 11), None, true, Some((7, Next::Save)), None).0;
        assert!(saved.saved.iter().any(|snapshot| snapshot.progress.step == 7));
        assert!(saved.saved.last() == whole.saved.last(), "saved in between, it ends elsewhere");
    });
}

#[test]
fn a_step_that_is_not_finite_leaves_the_state_before_it() {
    on_both_devices(|device| {
        for dropout in [0.0, 0.2] {
            // Rows 0 and 1 are the first step's. Step 8, with step 9 queued behind it, which is sound in itself.
            let mut broken = trainer(device, dropout, 15);
            let (watcher, ended) = train(&mut broken, Some(14), true, None, None);
            assert!(matches!(ended, Err(Error::NotFinite { step: 8, what: "loss" })), "{ended:?}");
            assert!(watcher.heard.contains(&8), "another step was queued behind it");
            assert_eq!(watcher.events.last(), Some(&TrainEvent::Diverged { step: 8 }));
            let last = watcher.saved.last().expect("a checkpoint");

            let (whole, ended) = train(&mut trainer(device, dropout, 7), Some(14), false, None, None);
            ended.expect("seven good steps");
            let expected = whole.saved.last().expect("a checkpoint");
            assert!(last.adapter == expected.adapter, "the values are not those before the step");
            assert!(last.moments == expected.moments, "the moments are not those before the step");
            let RunProgress { best, evaluated, evaluations_without_gain, .. } = last.progress;
            let expected = RunProgress { best, evaluated, evaluations_without_gain, ..expected.progress };
            assert_eq!(last.progress, expected, "all but the evaluation of the last step");

            // The trainer is as good as before it.
            assert_eq!((broken.steps_done(), broken.passes()), (7, last.progress.passes));
            let good = TrainRows::new(&rows(30, None), None).batch(&[0, 1]);
            let report = block_on(broken.step(&[good])).expect("a sound step");
            assert_eq!(report.step, 8);
            assert!(block_on(broken.values()).expect("values") != last.adapter.values, "it changed nothing");
        }
    });
}
