//! Everything that can be looked at, and what cannot.

use super::*;
use crate::adapter::{Method, StoredAdapter, add_update, slots};
use crate::export::testing::{adapter, config, source, tokenizer};
use crate::export::{GgufType, export_folder, export_gguf};
use crate::model::Projection;
use crate::weights::FloatType;
use pollster::block_on;
use serde_json::json;

fn look(path: &Path, hash: bool) -> Result<Inspection> {
    block_on(inspect(path, hash))
}

#[test]
fn models_of_both_kinds() {
    let base = source(&config(), &tokenizer());
    let none = adapter(Method::Lora { rank: 1, alpha: 1.0 }, &[Projection::Q], &base.config);
    let folder = tempfile::tempdir().unwrap();
    let (hf, gguf) = (folder.path().join("hf"), folder.path().join("x.gguf"));
    block_on(export_folder(&base, &none, &hf, FloatType::BF16, |_, _| Ok(()))).unwrap();
    block_on(export_gguf(&base, &none, &gguf, GgufType::Q8_0, |_, _| Ok(()))).unwrap();
    for (path, format, dtype) in [(&hf, "folder", "BF16"), (&gguf, "gguf", "Q8_0")] {
        let found = look(path, false).unwrap();
        assert_eq!((found.kind, &found.adapter, &found.checkpoint), ("model", &None, &None));
        let model = found.model.unwrap();
        assert_eq!((model.format, model.dtype, model.chat_template), (format, dtype, true));
        assert_eq!((model.config, model.parameters), (base.config.clone(), base.parameter_count()));
        // A folder's tokenizer ends before its model; a GGUF file's has been filled up.
        assert_eq!(model.tokens, Some(if format == "gguf" { 300 } else { 264 }));
        let weights = found.files.iter().find(|file| !file.tensors.is_empty()).unwrap();
        assert_eq!(
            (weights.parameters(), weights.tensors.len()),
            (base.parameter_count(), base.tensor_names().count())
        );
        let groups = weights.groups();
        assert_eq!(groups.len(), 3 + 2 + 7 + 4);
        assert!(groups.iter().any(|group| group.count == 3 && group.shape == [96, 64] && group.dtype == dtype));
        assert!(found.files.iter().all(|file| file.sha256.is_none()));
    }
}

#[test]
fn adapters_with_the_norms_of_their_updates() {
    let model = source(&config(), &tokenizer()).config;
    let modules = [Projection::Q, Projection::Up];
    for method in [Method::Diablo { blocks: 8 }, Method::Lora { rank: 3, alpha: 6.0 }, Method::Full, Method::AllWeights]
    {
        let stored = adapter(method, &modules, &model);
        let folder = tempfile::tempdir().unwrap();
        stored.save(folder.path(), &model).unwrap();
        let found = look(folder.path(), false).unwrap();
        assert_eq!((found.kind, found.files.len()), ("adapter", 2));
        let summary = found.adapter.unwrap();
        assert_eq!(summary.parameters, stored.config.parameter_count(&model));
        assert_eq!((summary.base.as_str(), summary.modules), ("some/model", vec!["q_proj", "up_proj"]));
        if method == Method::AllWeights {
            assert_eq!(summary.norms.len(), slots(&stored.config, &model).len());
            continue;
        }
        let expected = expected_norms(&stored, &model);
        assert_eq!(summary.norms.len(), expected.len());
        for (norm, (layer, module, expected)) in summary.norms.iter().zip(&expected) {
            assert_eq!((norm.layer, norm.module.as_str()), (Some(*layer), *module));
            assert!((norm.norm - expected).abs() < 1e-5 * expected, "{norm:?} {expected}");
        }
        let all: f64 = expected.iter().map(|(.., norm)| norm * norm).sum();
        assert!((summary.norm - all.sqrt()).abs() < 1e-5 * all.sqrt());
    }
}

fn expected_norms(adapter: &StoredAdapter, model: &ModelConfig) -> Vec<(usize, &'static str, f64)> {
    let all = slots(&adapter.config, model);
    let pairs = if matches!(adapter.config.method, Method::Lora { .. }) { 2 } else { 1 };
    let norm = |(slots, values): (&[crate::adapter::Slot], &[Vec<f32>])| {
        let (layer, projection) = slots[0].matrix.unwrap();
        let mut update = vec![0.0; projection.size(model).iter().product()];
        add_update(&adapter.config, slots, values, &mut update);
        let norm = update.iter().map(|value: &f32| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        (layer, projection.name(), norm)
    };
    all.chunks(pairs).zip(adapter.values.chunks(pairs)).map(norm).collect()
}

#[test]
fn checkpoints_and_their_hashes() {
    let model = source(&config(), &tokenizer()).config;
    let stored = adapter(Method::Diablo { blocks: 8 }, &[Projection::Q], &model);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    stored.save(path, &model).unwrap();
    let state = json!({"format": 1, "progress": {"step": 120, "loss": 1.5, "best": null}, "config": {"seed": 3}});
    fs::write(path.join(STATE_FILE), state.to_string()).unwrap();
    let found = look(path, true).unwrap();
    assert_eq!(found.kind, "checkpoint");
    assert!(!found.checkpoint.unwrap().complete);

    let hash = crate::hash::sha256(state.to_string().as_bytes());
    let list = format!("{hash}  {STATE_FILE}\n{hash}  {CONFIG_FILE}\n");
    fs::write(path.join(COMPLETE_FILE), list).unwrap();
    let found = look(path, true).unwrap();
    let checkpoint = found.checkpoint.unwrap();
    assert!(checkpoint.complete && found.adapter.is_some());
    assert_eq!(checkpoint.state["progress.step"], 120);
    let keys: Vec<_> = checkpoint.state.keys().map(String::as_str).collect();
    assert_eq!(keys, ["format", "progress.step", "progress.loss", "config.seed"]);
    let matches = |name: &str| found.files.iter().find(|file| file.name == name).unwrap().matches;
    let wanted = [Some(true), Some(false), None, None];
    assert_eq!([STATE_FILE, CONFIG_FILE, WEIGHTS_FILE, COMPLETE_FILE].map(matches), wanted);
    assert_eq!(look(path, false).unwrap().files[0].matches, None);
}

#[test]
fn what_cannot_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let error = |path: &Path| look(path, false).unwrap_err().to_string();
    assert!(error(&path.join("none")).contains("no such file or folder; inspect takes a model folder"));
    assert!(error(path).contains("holds nothing that this program knows"));
    fs::write(path.join("notes.txt"), "x").unwrap();
    assert!(error(&path.join("notes.txt")).contains("is neither"));
    fs::write(path.join(CONFIG_FILE), "{").unwrap();
    assert!(error(path).contains(WEIGHTS_FILE));
    fs::write(path.join(WEIGHTS_FILE), "x").unwrap();
    assert!(error(path).contains("adapter_config.json: is not valid JSON"));
    fs::write(
        path.join(CONFIG_FILE),
        json!({"peft_type": "LORA", "r": 0, "lora_alpha": 1, "target_modules": []}).to_string(),
    )
    .unwrap();
    assert!(error(path).contains("truncated"));
}

/// Whatever the files say, an error or a summary.
#[test]
fn hostile_adapters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let file = |tensors: &[(&str, &[usize])]| {
        let tensors = tensors.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect::<Vec<_>>();
        let values: usize = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        let mut bytes = crate::weights::safetensors::header(tensors, FloatType::F32, &[], "x").unwrap();
        bytes.resize(bytes.len() + 4 * values, 0);
        fs::write(path.join(WEIGHTS_FILE), bytes).unwrap();
    };
    for rank in [0u64, 1, 2, u64::MAX] {
        let config = json!({"peft_type": "LORA", "r": rank, "lora_alpha": 1, "target_modules": ["q_proj"]});
        fs::write(path.join(CONFIG_FILE), config.to_string()).unwrap();
        file(&[("a.lora_A.weight", &[2, 3]), ("a.lora_B.weight", &[5, 2])]);
        assert_eq!(look(path, false).is_ok(), rank == 2, "{rank}");
        file(&[("a.lora_A.weight", &[2, 3])]);
        assert!(look(path, false).unwrap_err().to_string().contains("is missing"));
        file(&[("a.lora_A.weight", &[2]), ("a.lora_B.weight", &[])]);
        assert!(look(path, false).unwrap_err().to_string().contains("are no matrices"));
        file(&[("a.lora_A.weight", &[0, 3]), ("a.lora_B.weight", &[5, 0])]);
        assert_eq!(look(path, false).is_ok(), rank == 0, "{rank}");
        fs::write(path.join(WEIGHTS_FILE), [&2u64.to_le_bytes()[..], b"{}"].concat()).unwrap();
        assert_eq!(look(path, false).unwrap().adapter.unwrap().norm, 0.0);
    }
}
