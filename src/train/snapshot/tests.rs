use super::*;
use crate::adapter::{AdapterConfig, Method};
use crate::model::Projection;

/// A snapshot whose values tell their places apart.
pub(in crate::train) fn snapshot(method: Method, step: usize, model: &ModelConfig) -> Snapshot {
    let config = AdapterConfig { method, modules: vec![Projection::Q, Projection::Down], dropout: 0.1 };
    let values = |base: f32| {
        let slot = |(index, slot): (usize, &Slot)| {
            (0..slot.len()).map(|at| base + index as f32 + at as f32 / 1024.0).collect::<Vec<_>>()
        };
        slots(&config, model).iter().enumerate().map(slot).collect::<Vec<_>>()
    };
    let moments = [values(100.0), values(200.0)];
    let adapter = StoredAdapter { values: values(step as f32), config, base: "base".into() };
    let progress = RunProgress {
        step,
        passes: 7,
        cursor: Cursor { epoch: 1, position: 2 },
        tokens: 99,
        seconds: 1.5,
        loss: Some(0.1),
        best: Some(Best { step: 3, loss: 1.0 / 3.0 }),
        ..RunProgress::default()
    };
    let identity = RunIdentity {
        build: RunIdentity::build(),
        device: "cpu".into(),
        model: "m".into(),
        data: "d".into(),
        config: TrainConfig { learning_rate: 0.1 + 0.2, ..TrainConfig::default() },
    };
    Snapshot { adapter, moments, progress, identity }
}

fn model() -> ModelConfig {
    crate::model::names::tests::config()
}

fn read(files: &[(&'static str, Vec<u8>)]) -> Result<Snapshot> {
    let file = |name: &str| {
        let found = files.iter().find(|(known, _)| *known == name);
        found.map(|(_, bytes)| bytes.clone()).ok_or_else(|| Error::adapter(name, "is missing"))
    };
    Snapshot::from_files(file, &model(), "here")
}

#[test]
fn every_method_comes_back_as_it_was() {
    for method in [
        Method::Diablo { blocks: 4 },
        Method::Lora { rank: 2, alpha: 4.0 },
        Method::Diablo { blocks: 1 },
        Method::AllWeights,
    ] {
        let mut snapshot = snapshot(method, 5, &model());
        if method == Method::AllWeights {
            snapshot.adapter.config.dropout = 0.0;
        }
        let back = read(&snapshot.to_files(&model()).unwrap()).unwrap();
        assert_eq!(back.adapter.values, snapshot.adapter.values);
        assert_eq!(back.moments, snapshot.moments);
        assert_eq!(back.progress.cursor, snapshot.progress.cursor);
        assert!(snapshot.identity.continues(&back.identity).unwrap().is_empty());
    }
}

#[test]
fn what_is_broken_is_named() {
    let good = snapshot(Method::Diablo { blocks: 4 }, 5, &model()).to_files(&model()).unwrap();
    let with = |name: &str, bytes: &[u8]| {
        let mut files = good.clone();
        files.iter_mut().find(|(known, _)| *known == name).unwrap().1 = bytes.to_vec();
        read(&files).unwrap_err().to_string()
    };
    assert!(with(STATE_FILE, b"{").starts_with("here/trainer_state.json: is not valid JSON"));
    assert!(with(STATE_FILE, br#"{"format": 9}"#).contains("has format 9, and this program reads format 1"));
    assert!(with(STATE_FILE, br#"{"format": 1}"#).contains("does not hold the state of a run"));
    assert!(with(OPTIMIZER_FILE, b"").starts_with("here/optimizer.safetensors: is not a safetensors file"));
    let lora = snapshot(Method::Lora { rank: 2, alpha: 4.0 }, 5, &model()).to_files(&model()).unwrap();
    let foreign = &lora.iter().find(|(name, _)| *name == OPTIMIZER_FILE).unwrap().1;
    assert!(with(OPTIMIZER_FILE, foreign).contains("tensors, expected"));
}

#[test]
fn only_the_same_run_goes_on() {
    let saved = snapshot(Method::Diablo { blocks: 4 }, 5, &model()).identity;
    let changed = |change: &dyn Fn(&mut RunIdentity)| {
        let mut identity = saved.clone();
        change(&mut identity);
        identity.continues(&saved).map_err(|e| e.to_string())
    };
    assert_eq!(changed(&|_| {}), Ok(vec![]));
    let error = changed(&|identity| identity.config.batch_size = 5).unwrap_err();
    assert_eq!(error, "cannot resume: batch-size is 5, but 4 in the checkpoint");
    assert!(changed(&|identity| identity.data = "x".into()).unwrap_err().contains("the training data"));
    assert!(changed(&|identity| identity.model = "x".into()).unwrap_err().contains("another model"));
    let notes = changed(&|identity| identity.config.iters = 2000).unwrap();
    assert_eq!(notes, ["2000 steps in all instead of 1000"]);
    let notes = changed(&|identity| identity.build = "x".into()).unwrap();
    assert_eq!(notes, [format!("another build ({} before)", saved.build)]);
}
