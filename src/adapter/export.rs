//! A base with its adapter added, as a Hugging Face folder that other tools read.

use super::file::StoredAdapter;
use super::merge::add_update;
use super::slots::{Slot, slots};
use crate::error::{Error, Result};
use crate::files::{create_folder, write_atomically};
use crate::source::{Assets, Source};
use crate::weights::FloatType;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

const MODEL_FILE: &str = "model.safetensors";
/// Values that are converted at once; more than this is held only as f32.
const PIECE: usize = 1 << 20;

/// Writes `source` with `adapter` added to the folder `target`, every tensor as `dtype`. Sums are taken in f32.
///
/// No more than one tensor is in memory at a time. `progress` hears of each one that is written: how many, of how
/// many. The folder is written beside its place and renamed at the end: it appears whole or not at all.
///
/// # Errors
/// If `target` holds something already, a tensor cannot be read or written, a value is too large for `dtype`, or
/// `progress` fails.
pub async fn export(
    source: &Source,
    adapter: &StoredAdapter,
    target: &Path,
    dtype: FloatType,
    progress: impl FnMut(usize, usize) -> Result<()>,
) -> Result<()> {
    check_unused(target)?;
    let beside = beside(target)?;
    create_folder(&beside)?;
    let written = match write_folder(source, adapter, &beside, dtype, progress).await {
        Ok(()) => replace(&beside, target),
        error => error,
    };
    if written.is_err() {
        // The half-written folder is of no use to anyone; that it cannot be removed is no second error.
        let _ = fs::remove_dir_all(&beside);
    }
    written
}

/// An error unless `target` is free: nothing there, or an empty folder.
fn check_unused(target: &Path) -> Result<()> {
    let taken = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_some(),
        Err(e) => e.kind() != std::io::ErrorKind::NotFound,
    };
    if taken {
        return Err(Error::Usage(format!(
            "{} exists already; name a folder that does not, or an empty one",
            target.display()
        )));
    }
    Ok(())
}

/// Where the folder grows until it is complete: on the same file system, so that it can be renamed.
fn beside(target: &Path) -> Result<PathBuf> {
    let name = target
        .file_name()
        .ok_or_else(|| Error::Usage(format!("\"{}\" does not name a folder to write", target.display())))?;
    Ok(target.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id())))
}

/// Puts the finished folder in its place, which is free or an empty folder.
fn replace(finished: &Path, target: &Path) -> Result<()> {
    // Not every system renames onto an empty folder.
    if target.is_dir() {
        fs::remove_dir(target).map_err(|e| Error::io(target, "replacing the empty folder", e))?;
    }
    fs::rename(finished, target).map_err(|e| Error::io(target, "renaming the finished folder", e))
}

async fn write_folder(
    source: &Source,
    adapter: &StoredAdapter,
    folder: &Path,
    dtype: FloatType,
    progress: impl FnMut(usize, usize) -> Result<()>,
) -> Result<()> {
    for (name, bytes) in asset_files(&source.assets, dtype) {
        write_atomically(&folder.join(name), |file| file.write_all(&bytes))?;
    }
    let path = folder.join(MODEL_FILE);
    let mut file = File::create(&path).map_err(|e| Error::io(&path, "creating the file", e))?;
    write_tensors(source, adapter, &mut file, &path, dtype, progress).await?;
    file.sync_all().map_err(|e| Error::io(&path, "writing", e))
}

/// All files but the weights.
fn asset_files(assets: &Assets, dtype: FloatType) -> Vec<(&'static str, Vec<u8>)> {
    let mut config = assets.config_json.clone();
    // Newer files call it "dtype".
    let key = if config.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    config[key] = dtype.torch_name().into();
    let mut files = vec![("config.json", pretty(&config)), ("tokenizer.json", assets.tokenizer_json.clone())];
    let optional = [
        ("tokenizer_config.json", &assets.tokenizer_config),
        ("special_tokens_map.json", &assets.special_tokens_map),
        ("generation_config.json", &assets.generation_config),
    ];
    files.extend(optional.iter().filter_map(|(name, value)| Some((*name, pretty(value.as_ref()?)))));
    // The template is written once: beside the configuration, unless that has it already.
    let stored = assets.tokenizer_config.as_ref().map_or(&Value::Null, |config| &config["chat_template"]);
    if let Some(template) = &assets.chat_template
        && !stored.is_array()
        && stored.as_str() != Some(template)
    {
        files.push(("chat_template.jinja", template.clone().into_bytes()));
    }
    files
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("JSON of plain values");
    text.push(b'\n');
    text
}

/// Writes the whole safetensors file, tensor by tensor.
async fn write_tensors(
    source: &Source,
    adapter: &StoredAdapter,
    file: &mut File,
    path: &Path,
    dtype: FloatType,
    mut progress: impl FnMut(usize, usize) -> Result<()>,
) -> Result<()> {
    let names: Vec<&str> = source.tensor_names().collect();
    let slots = slots(&adapter.config, &source.config);
    let mut matrices = matrices(&slots);
    let writing = |e| Error::io(path, "writing", e);

    file.write_all(&header(source, &names, dtype)?).map_err(writing)?;
    for (index, name) in names.iter().enumerate() {
        let mut values = source.read_f32(name).await?;
        if let Some(range) = matrices.remove(*name) {
            add_update(&adapter.config, &slots[range.clone()], &adapter.values[range], &mut values);
        }
        for piece in values.chunks(PIECE) {
            let bytes =
                to_bytes(piece, dtype).map_err(|what| Error::model(format!("{}: {name}", source.name), what))?;
            file.write_all(&bytes).map_err(writing)?;
        }
        progress(index + 1, names.len())?;
    }
    match matrices.keys().min() {
        None => Ok(()),
        Some(name) => Err(Error::adapter(name, "is adapted, but the model has no such matrix")),
    }
}

/// Which of `slots` belong to which weight.
fn matrices(slots: &[Slot]) -> HashMap<String, Range<usize>> {
    let mut start = 0;
    let same = |a: &Slot, b: &Slot| a.tensor == b.tensor;
    slots
        .chunk_by(same)
        .map(|slots| {
            let range = start..start + slots.len();
            start = range.end;
            (slots[0].tensor.clone(), range)
        })
        .collect()
}

/// The length and the header of a safetensors file that holds `names` one after the other.
fn header(source: &Source, names: &[&str], dtype: FloatType) -> Result<Vec<u8>> {
    let (dtype, size) = match dtype {
        FloatType::F32 => (Dtype::F32, 4),
        FloatType::F16 => (Dtype::F16, 2),
        FloatType::BF16 => (Dtype::BF16, 2),
    };
    let mut end = 0;
    let tensors = names
        .iter()
        .map(|name| {
            let shape = source.shape(name).unwrap_or_default().to_vec();
            let start = end;
            end += shape.iter().product::<usize>() * size;
            ((*name).to_owned(), TensorInfo { dtype, shape, data_offsets: (start, end) })
        })
        .collect();
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(metadata), tensors).map_err(|e| Error::model(MODEL_FILE, e.to_string()))?;
    let mut header = serde_json::to_vec(&metadata).expect("JSON of plain values");
    // Blanks at the end align the data behind it.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes(), header.as_slice()].concat())
}

/// `values` as they lie in the file; what is wrong with them where one is too large for `dtype`.
fn to_bytes(values: &[f32], dtype: FloatType) -> Result<Vec<u8>, String> {
    let check = |value: f32, rounded: f32| match value.is_finite() && rounded.is_infinite() {
        false => Ok(()),
        true => Err(format!("holds {value}, which is too large for {}; use another --dtype", dtype.name())),
    };
    let mut bytes = Vec::with_capacity(values.len() * 4);
    for value in values {
        match dtype {
            FloatType::F32 => bytes.extend(value.to_le_bytes()),
            FloatType::F16 => {
                let half = half::f16::from_f32(*value);
                check(*value, half.to_f32())?;
                bytes.extend(half.to_le_bytes());
            }
            FloatType::BF16 => {
                let half = half::bf16::from_f32(*value);
                check(*value, half.to_f32())?;
                bytes.extend(half.to_le_bytes());
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{AdapterConfig, Method};
    use crate::model::Projection;
    use serde_json::json;

    #[test]
    fn factors_of_one_matrix_stay_together() {
        let config = |method| AdapterConfig { method, modules: vec![Projection::Q, Projection::Down], dropout: 0.0 };
        let model = crate::testing::tiny_config();
        let found = matrices(&slots(&config(Method::Lora { rank: 2, alpha: 2.0 }), &model));
        assert_eq!(found["model.layers.0.self_attn.q_proj.weight"], 0..2);
        assert_eq!(found["model.layers.0.mlp.down_proj.weight"], 2..4);
        let found = matrices(&slots(&config(Method::Full), &model));
        assert_eq!(found["model.layers.0.mlp.down_proj.weight"], 1..2);
    }

    #[test]
    fn values_are_rounded_to_nearest_and_never_to_infinity() {
        let bits = |value: f32, dtype| {
            to_bytes(&[value], dtype).map(|bytes| u16::from_le_bytes(bytes.try_into().expect("two bytes")))
        };
        assert_eq!(bits(1.0, FloatType::BF16), Ok(0x3f80));
        // Halfway between two: to the even one.
        assert_eq!(bits(f32::from_bits(0x3f81_8000), FloatType::BF16), Ok(0x3f82));
        assert_eq!(bits(65504.0, FloatType::F16), Ok(0x7bff));
        assert!(bits(1e5, FloatType::F16).unwrap_err().contains("too large for F16"));
        // What is not finite in the base stays what it is.
        assert_eq!(bits(f32::INFINITY, FloatType::F16), Ok(0x7c00));
        assert_eq!(to_bytes(&[1e5], FloatType::F32), Ok(1e5f32.to_le_bytes().to_vec()));
    }

    #[test]
    fn the_template_is_written_once() {
        let assets = |stored: Value, template: Option<&str>| Assets {
            config_json: json!({"torch_dtype": "float32"}),
            tokenizer_json: b"{}".to_vec(),
            tokenizer_config: Some(json!({ "chat_template": stored })),
            generation_config: None,
            special_tokens_map: None,
            chat_template: template.map(str::to_owned),
        };
        let names =
            |assets: &Assets| asset_files(assets, FloatType::BF16).iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let usual = ["config.json", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(names(&assets(json!("a"), Some("a"))), usual);
        assert_eq!(names(&assets(json!([{"name": "default", "template": "a"}]), Some("a"))), usual);
        assert_eq!(names(&assets(json!(null), None)), usual);
        assert_eq!(names(&assets(json!(null), Some("a")))[3..], ["chat_template.jinja"]);
        let config = &asset_files(&assets(json!("a"), None), FloatType::BF16)[0].1;
        assert_eq!(serde_json::from_slice::<Value>(config).unwrap(), json!({"torch_dtype": "bfloat16"}));
    }

    #[test]
    fn only_a_free_place_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(check_unused(path).is_ok());
        assert!(check_unused(&path.join("new")).is_ok());
        fs::write(path.join("file"), "x").unwrap();
        assert!(check_unused(path).unwrap_err().to_string().contains("exists already"));
        assert!(check_unused(&path.join("file")).is_err());
        assert!(beside(Path::new("/")).is_err());
    }
}
