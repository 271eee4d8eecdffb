//! What is in a model, an adapter or a checkpoint, read from headers and small files; only norms read all values.

mod tensors;
mod update;

#[cfg(test)]
mod tests;

pub use tensors::{TensorGroup, TensorRow};
pub use update::{AdapterSummary, UpdateNorm};

use crate::adapter::{CONFIG_FILE, WEIGHTS_FILE};
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::source::Source;
use crate::text::Tokenizer;
use crate::weights::Storage;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// Names inside a checkpoint.
const COMPLETE_FILE: &str = "COMPLETE";
const STATE_FILE: &str = "trainer_state.json";

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// "model", "adapter" or "checkpoint".
    pub kind: &'static str,
    /// As the user gave it.
    pub path: String,
    /// Of a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSummary>,
    /// Of an adapter, or the one in a checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterSummary>,
    /// Of a checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointSummary>,
    /// The files that belong to it.
    pub files: Vec<FileSummary>,
}

/// A model without its weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelSummary {
    /// "folder" or "gguf".
    pub format: &'static str,
    /// Sizes and constants.
    pub config: ModelConfig,
    /// Number of weights.
    pub parameters: usize,
    /// Number format of most of the weights' bytes.
    pub dtype: &'static str,
    /// One more than the largest token id of the tokenizer; nothing if it cannot be read.
    pub tokens: Option<usize>,
    /// Whether it has a chat template.
    pub chat_template: bool,
}

/// The state of a run at rest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointSummary {
    /// Whether its last file is there, which says that all others were written.
    pub complete: bool,
    /// Numbers and words of the trainer's state.
    pub state: Map<String, Value>,
}

/// A file, and the tensors in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileSummary {
    /// Its name in the folder.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Whether the hash is the one that a checkpoint lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<bool>,
    /// In the file's order; none in other files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<TensorRow>,
}

impl FileSummary {
    /// Its tensors by pattern.
    pub fn groups(&self) -> Vec<TensorGroup> {
        tensors::group(&self.tensors)
    }

    /// Number of elements of its tensors.
    pub fn parameters(&self) -> usize {
        self.tensors.iter().map(TensorRow::elements).sum()
    }
}

/// Looks at a model folder, a .gguf file, an adapter folder or a checkpoint. `hash` also reads all bytes of all files
/// for their SHA-256, which takes time.
///
/// # Errors
/// If `path` is none of these, or something in it is broken.
pub async fn inspect(path: &Path, hash: bool) -> Result<Inspection> {
    let place = path.display().to_string();
    let wrong = |what: &str| {
        let known = "a model folder, a .gguf file, an adapter folder or a checkpoint";
        Err(Error::Usage(format!("{place}: {what}; inspect takes {known}")))
    };
    let has = |name: &str| path.join(name).is_file();
    let mut found =
        Inspection { kind: "model", path: place.clone(), model: None, adapter: None, checkpoint: None, files: vec![] };
    if !path.exists() {
        return wrong("no such file or folder");
    }
    if has(STATE_FILE) || has(COMPLETE_FILE) {
        found.kind = "checkpoint";
        found.checkpoint = Some(checkpoint(path)?);
        // An incomplete one may lack these.
        if has(CONFIG_FILE) && has(WEIGHTS_FILE) {
            found.adapter = Some(adapter(path).await?);
        }
    } else if has(CONFIG_FILE) || has(WEIGHTS_FILE) {
        found.kind = "adapter";
        found.adapter = Some(adapter(path).await?);
    } else if path.is_file() || has("config.json") {
        found.model = Some(model(path).await?);
    } else {
        return wrong("holds nothing that this program knows");
    }
    let is_gguf = found.model.as_ref().is_some_and(|model| model.format == "gguf");
    for file in files(path)? {
        found.files.push(file_summary(path, &file, is_gguf, hash).await?);
    }
    Ok(found)
}

async fn adapter(folder: &Path) -> Result<AdapterSummary> {
    update::read(&Storage::open(folder.join(CONFIG_FILE))?, &Storage::open(folder.join(WEIGHTS_FILE))?).await
}

async fn model(path: &Path) -> Result<ModelSummary> {
    let source = Source::open(path).await?;
    // A tokenizer that is broken or of another kind is no reason to say nothing of the rest.
    let tokens = Tokenizer::from_bytes(&source.assets.tokenizer_json, "tokenizer.json").ok();
    Ok(ModelSummary {
        format: if source.gguf().is_some() { "gguf" } else { "folder" },
        parameters: source.parameter_count(),
        dtype: source.dtype_name(),
        tokens: tokens.map(|tokenizer| tokenizer.vocab_size()),
        chat_template: source.assets.chat_template.is_some(),
        config: source.config,
    })
}

fn checkpoint(folder: &Path) -> Result<CheckpointSummary> {
    let complete = folder.join(COMPLETE_FILE).is_file();
    let path = folder.join(STATE_FILE);
    let state = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|e| Error::adapter(path.display().to_string(), format!("is not valid JSON: {e}")))?,
        Err(_) if !complete => Value::Null,
        Err(e) => return Err(Error::io(&path, "reading the checkpoint", e)),
    };
    let mut plain = Map::new();
    flatten("", &state, &mut plain);
    Ok(CheckpointSummary { complete, state: plain })
}

/// The numbers and words in `value`, by their path in it: `progress.step`.
fn flatten(path: &str, value: &Value, plain: &mut Map<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, plain);
            }
        }
        Value::Null | Value::Array(_) => (),
        value => {
            plain.insert(path.to_owned(), value.clone());
        }
    }
}

/// Names of the files of a folder, or `path` itself; hidden ones and folders are passed over.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let listing = |e| Error::io(path, "listing the folder", e);
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(listing)? {
        let entry = entry.map_err(listing)?;
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !is_hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

async fn file_summary(path: &Path, file: &Path, is_gguf: bool, hash: bool) -> Result<FileSummary> {
    let storage = Storage::open(file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let has_tensors = is_gguf || name.ends_with(".safetensors");
    let tensors = if has_tensors { tensors::read(&storage, is_gguf).await? } else { Vec::new() };
    let sha256 = if hash { Some(sha256(&storage).await?) } else { None };
    let matches = sha256.as_ref().and_then(|sha256| Some(listed(path, &name)? == *sha256));
    Ok(FileSummary { name, bytes: storage.len(), sha256, matches, tensors })
}

/// The hash of a file in the list of a checkpoint, which is in the form of `sha256sum`.
fn listed(folder: &Path, name: &str) -> Option<String> {
    let list = fs::read_to_string(folder.join(COMPLETE_FILE)).ok()?;
    let mut lines = list.lines().filter_map(|line| line.split_once("  "));
    lines.find(|(_, listed)| *listed == name).map(|(hash, _)| hash.to_owned())
}

async fn sha256(storage: &Storage) -> Result<String> {
    const PIECE: u64 = 4 << 20;
    let mut hash = Sha256::new();
    let mut start = 0;
    while start < storage.len() {
        let end = storage.len().min(start + PIECE);
        hash.update(storage.read(start..end).await?);
        start = end;
    }
    Ok(crate::hash::hex(hash.finalize()))
}
