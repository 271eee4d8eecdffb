//! Adapters of every method, written and loaded again.

use super::*;
use crate::adapter::add_update;
use crate::export::testing::{adapter, config};
use crate::model::Projection;
use pollster::block_on;

fn model() -> ModelConfig {
    ModelConfig::from_hf(&config(), "config.json").unwrap()
}

/// q: 64 x 64, k: 64 x 32, down: 96 x 64.
const MODULES: [Projection; 3] = [Projection::Q, Projection::K, Projection::Down];

fn exported(adapter: &StoredAdapter, rank: Option<usize>) -> Result<(LoraReport, StoredAdapter)> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("lora");
    let report = block_on(export_lora(adapter, &model(), &target, rank, |_, _| Ok(())))?;
    Ok((report, StoredAdapter::load(&target, &model()).unwrap()))
}

/// The updates of every matrix, dense: `[out, in]`.
fn updates(adapter: &StoredAdapter) -> Vec<(String, Vec<f32>)> {
    let all = slots(&adapter.config, &model());
    let pairs = if matches!(adapter.config.method, Method::Lora { .. }) { 2 } else { 1 };
    all.chunks(pairs)
        .zip(adapter.values.chunks(pairs))
        .map(|(slots, values)| {
            let [d_in, d_out] = slots[0].matrix.unwrap().1.size(&model());
            let mut update = vec![0.0; d_in * d_out];
            add_update(&adapter.config, slots, values, &mut update);
            (slots[0].tensor.clone(), update)
        })
        .collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

#[test]
fn exact_unless_told_otherwise() {
    for method in [Method::Diablo { blocks: 8 }, Method::Diablo { blocks: 32 }, Method::Full] {
        let adapter = adapter(method, &MODULES, &model());
        for rank in [None, Some(64), Some(1000)] {
            let (report, lora) = exported(&adapter, rank).unwrap();
            assert_eq!((report.rank, report.exact_rank, report.error), (64, 64, 0.0));
            assert_eq!(lora.config.method, Method::Lora { rank: 64, alpha: 64.0 });
            assert_eq!(lora.base, adapter.base);
            assert_eq!(updates(&lora), updates(&adapter));
        }
    }
}

#[test]
fn a_smaller_rank_tells_its_error() {
    for method in [Method::Diablo { blocks: 8 }, Method::Full] {
        let adapter = adapter(method, &MODULES, &model());
        let mut last = 1.0;
        for rank in [1, 8, 33, 63] {
            let (report, lora) = exported(&adapter, Some(rank)).unwrap();
            let (mut error, mut norm) = (0.0, 0.0);
            for ((wanted, found), stated) in updates(&adapter).iter().zip(updates(&lora)).zip(&report.matrices) {
                let (off, size) = (distance(&wanted.1, &found.1), distance(&wanted.1, &vec![0.0; wanted.1.len()]));
                assert_eq!((&stated.tensor, &wanted.0), (&wanted.0, &found.0));
                assert!((stated.error - (off / size).sqrt()).abs() < 1e-6, "{rank}: {stated:?}");
                (error, norm) = (error + off, norm + size);
            }
            assert_eq!(report.matrices.len(), 9);
            assert!((report.error - (error / norm).sqrt()).abs() < 1e-6);
            assert!(report.error < last && report.error > 0.0, "{rank}: {}", report.error);
            last = report.error;
            // k has a rank of 32 at most, whatever the others need.
            let k = report.matrices.iter().find(|matrix| matrix.tensor.contains("k_proj")).unwrap();
            assert_eq!(k.error == 0.0, rank >= 32);
        }
    }
}

#[test]
fn lora_stays_what_it_is() {
    let adapter = adapter(Method::Lora { rank: 3, alpha: 7.0 }, &MODULES, &model());
    for rank in [None, Some(3)] {
        let (report, lora) = exported(&adapter, rank).unwrap();
        assert_eq!((report.rank, report.error, report.matrices.len()), (3, 0.0, 9));
        assert_eq!(lora, adapter);
    }
    let error = exported(&adapter, Some(2)).unwrap_err().to_string();
    assert_eq!(error, "--rank is 2, but this is a LoRA adapter of rank 3");
}

#[test]
fn untrained_adapters_and_impossible_ones() {
    let mut untrained = adapter(Method::Diablo { blocks: 4 }, &MODULES, &model());
    untrained.values.iter_mut().flatten().for_each(|value| *value = 0.0);
    let (report, lora) = exported(&untrained, None).unwrap();
    assert_eq!((report.rank, report.error), (1, 0.0));
    assert_eq!(updates(&lora), updates(&untrained));
    assert!(exported(&untrained, Some(0)).unwrap_err().to_string().starts_with("--rank is 0"));
    let all = adapter(Method::AllWeights, &MODULES, &model());
    assert!(exported(&all, None).unwrap_err().to_string().contains("changes all weights"));
}

#[test]
fn nothing_is_left_of_a_failure() {
    let adapter = adapter(Method::Diablo { blocks: 8 }, &MODULES, &model());
    let folder = tempfile::tempdir().unwrap();
    let stop = |done, _| if done == 3 { Err(Error::Interrupted) } else { Ok(()) };
    let stopped = block_on(export_lora(&adapter, &model(), &folder.path().join("x"), None, stop));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let taken = block_on(export_lora(&adapter, &model(), folder.path(), None, |_, _| Ok(())));
    assert!(taken.unwrap_err().to_string().contains("exists already"));
}
