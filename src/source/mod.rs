//! Where a model comes from: its configuration, its tokenizer, and its tensors by their Hugging Face names.
//!
//! A [`Source`] is opened from a Hugging Face folder or from a GGUF file; which of the two no longer shows after that.
//! Opening reads headers only and checks that every tensor of the configuration is there, with the right shape and
//! in a number format that can be read.

mod assets;
mod fits;
mod folder;
mod gguf;
mod holding;
pub mod hub;
mod tensors;

#[cfg(test)]
mod tests;

pub use assets::Assets;
pub use fits::check_trained_fits;
pub(crate) use fits::what_fits;
#[cfg(not(target_family = "wasm"))]
pub(crate) use gguf::{ROPE_DIVISORS, is_permuted, pre_tokenizer_name, stored_name};
pub use holding::{BaseDtype, HeldDtype, Holding};
#[cfg(not(target_family = "wasm"))]
pub(crate) use tensors::unpermuted;

use crate::error::{Error, Result};
use crate::model::config::ModelConfig;
use crate::weights::gguf::MAGIC;
use crate::weights::{FloatType, Storage, TensorType, quoted};
use std::sync::Arc;
use tensors::Tensors;

#[cfg(not(target_family = "wasm"))]
use std::path::Path;

/// A model on disk, in memory or in a browser's storage.
#[derive(Debug)]
pub struct Source {
    /// As the user gave it.
    pub name: String,
    /// Sizes and constants. The end-of-text tokens of the generation settings are among them.
    pub config: ModelConfig,
    /// What belongs to the model besides weights.
    pub assets: Assets,
    tensors: Tensors,
    /// The file, if it is one GGUF file.
    #[cfg_attr(target_family = "wasm", allow(dead_code))] // exports are native
    gguf: Option<Arc<Storage>>,
}

impl Source {
    /// Opens a Hugging Face folder or a GGUF file.
    ///
    /// # Errors
    /// If `path` is neither, or something in it is missing, broken or not supported.
    #[cfg(not(target_family = "wasm"))]
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let wrong =
            |what: &str| Error::model(&name, format!("{what}; a model is a Hugging Face folder or a .gguf file"));
        if !path.exists() {
            return Err(wrong("no such file or folder"));
        }
        let files = if path.is_dir() {
            folder::open(path)?
        } else {
            let storage = Storage::open(path)?;
            if !is_gguf(&name, &storage).await? {
                return Err(wrong("is neither"));
            }
            vec![(name.clone(), storage)]
        };
        Self::from_files(name, files).await
    }

    /// Opens a model from its files by name: those of a Hugging Face folder, or one GGUF file.
    ///
    /// # Errors
    /// If something in them is missing, broken or not supported.
    pub async fn from_files(name: impl Into<String>, mut files: Vec<(String, Storage)>) -> Result<Self> {
        let name = name.into();
        if let [(file, storage)] = files.as_slice()
            && is_gguf(file, storage).await?
        {
            gguf::read(name, files.swap_remove(0).1).await
        } else {
            folder::read(name, files).await
        }
    }

    /// Names of the model's tensors, as in Hugging Face's files: `model.layers.0.self_attn.q_proj.weight`.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.names()
    }

    /// Shape of a tensor, `[out, in]` for a matrix; `None` if the model has no tensor of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| tensor.shape())
    }

    /// The values of a tensor as f32, dequantised, in Hugging Face's order of rows.
    ///
    /// # Errors
    /// If the model has no tensor of this name, reading fails, or memory does not suffice.
    pub async fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        match self.tensors.get(name) {
            Some(tensor) => tensor.read_f32().await,
            None => Err(Error::model(&self.name, format!("has no tensor {}", quoted(name)))),
        }
    }

    /// The GGUF file that this model is, if it is one.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn gguf(&self) -> Option<&Storage> {
        self.gguf.as_deref()
    }

    /// The number format of most of the weights' bytes.
    pub fn dtype(&self) -> TensorType {
        self.tensors.main_type()
    }

    /// Name of [`dtype`](Self::dtype), for people: "BF16", "Q4_1".
    pub fn dtype_name(&self) -> &'static str {
        self.dtype().name()
    }

    /// The number format in which a model made from this one should be written: its own, or F32 if it is quantised.
    pub fn base_dtype(&self) -> FloatType {
        self.dtype().into()
    }

    /// Number of weights.
    pub fn parameter_count(&self) -> usize {
        self.tensors.parameter_count()
    }
}

/// By name or by content, since some programs (Ollama) store files under their hash.
async fn is_gguf(name: &str, storage: &Storage) -> Result<bool> {
    let start = storage.read(0..storage.len().min(MAGIC.len() as u64)).await?;
    Ok(start == MAGIC || name.to_ascii_lowercase().ends_with(".gguf"))
}
