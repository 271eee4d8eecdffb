//! A Hugging Face folder.

use super::merged::Merged;
use super::target::new_folder;
use crate::adapter::StoredAdapter;
use crate::error::Result;
use crate::files::{NewFile, write_atomically};
use crate::source::{Assets, Source};
use crate::weights::{FloatType, safetensors};
use serde_json::Value;
use std::path::Path;

const MODEL_FILE: &str = "model.safetensors";
/// Values that are converted at once; more than this is held only as f32.
const PIECE: usize = 1 << 20;

/// Writes `source` with `adapter` added to the folder `target`, every tensor as `dtype`. Sums are taken in f32.
///
/// `progress` hears of each tensor that is written: how many, of how many.
///
/// # Errors
/// If `target` holds something already, a tensor cannot be read or written, a value is too large for `dtype`, or
/// `progress` fails.
pub async fn export_folder(
    source: &Source,
    adapter: &StoredAdapter,
    target: &Path,
    dtype: FloatType,
    progress: impl FnMut(usize, usize) -> Result<()>,
) -> Result<()> {
    let merged = Merged::new(source, adapter)?;
    new_folder(target, async |folder| {
        for (name, bytes) in asset_files(&source.assets, dtype) {
            write_atomically(&folder.join(name), |file| file.write_all(&bytes))?;
        }
        write_tensors(&merged, &folder.join(MODEL_FILE), dtype, progress).await
    })
    .await
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
    merged: &Merged<'_>,
    path: &Path,
    dtype: FloatType,
    mut progress: impl FnMut(usize, usize) -> Result<()>,
) -> Result<()> {
    let mut file = NewFile::create(path)?;
    let mut tensors = merged.tensors();
    tensors.sort(); // by name, as Hugging Face has them
    let metadata = [("format", "pt".to_owned())];
    file.write(&safetensors::header(tensors.clone(), dtype, &metadata, MODEL_FILE)?)?;
    for (index, (name, _)) in tensors.iter().enumerate() {
        for piece in merged.read(name).await?.chunks(PIECE) {
            file.write(&dtype.encode(piece).map_err(|value| merged.too_large(name, value, dtype.name()))?)?;
        }
        progress(index + 1, tensors.len())?;
    }
    file.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
}
