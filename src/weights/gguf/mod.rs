//! GGUF files, versions 2 and 3: metadata, and where each tensor lies; and the header of one that is written.
//!
//! Our own reader, since none of the crates (looked at in 2025: `gguf` 0.1, `gguf-rs` 0.1, `gguf-rs-lib` 0.3, `ggus`
//! 0.5) reads from an asynchronous source by range, as a browser needs. They want the whole file as a slice, or a
//! blocking reader; some allocate what a length field says, unwrap on it, or replace bad UTF-8 silently.
//!
//! This one uses checked arithmetic throughout and compares every count and length with what is left of the file
//! before it allocates. It refuses what llama.cpp refuses (nested arrays, more than four dimensions, names given
//! twice) and overlapping tensors.

mod header;
mod metadata;
mod reader;
mod types;
mod writer;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use metadata::Metadata;
pub use writer::{HeaderWriter, padding};

use crate::error::Result;
use crate::weights::{Storage, TensorInfo};
use std::collections::BTreeMap;

/// The first bytes of every GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// What a GGUF file says before its data.
#[derive(Debug)]
pub struct Gguf {
    /// Configuration, tokenizer and chat template, by key.
    pub metadata: Metadata,
    /// Tensors by name, with shapes outermost first (the file lists them innermost first).
    pub tensors: BTreeMap<String, TensorInfo>,
}

impl Gguf {
    /// Reads the header, not the tensors' data.
    ///
    /// # Errors
    /// If the file breaks the format.
    pub async fn read(storage: &Storage) -> Result<Self> {
        header::read(storage).await
    }
}
