//! What other programs read: a base with its adapter added, as a Hugging Face folder or as a GGUF file; or the adapter
//! alone, as LoRA.
//!
//! Models are written tensor by tensor: no more than one is in memory at a time. Everything is written beside its
//! place and renamed at the end, so it appears whole or not at all.

mod folder;
mod gguf;
mod lora;
mod merged;
mod target;

#[cfg(test)]
pub(crate) mod testing;

pub use folder::export_folder;
pub use gguf::{GgufReport, GgufType, export_gguf};
pub use lora::{LoraReport, MatrixError, export_lora};
