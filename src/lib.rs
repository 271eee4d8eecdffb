//! diablo: fine-tune small language models with DiaBlo adapters (arXiv 2506.03230) on any GPU, on the CPU,
//! or in a browser. One engine for all of them, on Burn.
//!
//! The modules in the order data flows:
//!
//! - [`source`]: a model on disk: configuration, tokenizer, tensors by name
//! - [`weights`]: safetensors and GGUF files, dequantisation
//! - [`text`]: tokenizer and chat template
//! - [`data`]: rows, examples with loss masks, batches
//! - [`model`]: the decoder-only transformer
//! - [`adapter`]: DiaBlo and LoRA on chosen matrices; files, adding to weights
//! - [`kernels`]: WGSL kernels, their gradients, their CPU twins
//! - [`train`]: step, optimizer, schedule, loop, events
//! - [`generate`]: sampling and streaming
//! - [`eval`]: loss and perplexity
//! - [`report`]: what a run did, as a page and as a curve in the terminal
//! - [`device`]: which GPU or CPU, and its limits
//! - [`selftest`]: every kernel against its twin on a device, and a toy run
//!
//! and beside them [`error`], [`hash`], [`random`], [`write`], and natively `cli`, `demo` (the bundled model), `export`,
//! `files` and `inspect`.

pub mod adapter;
#[cfg(not(target_family = "wasm"))]
mod allocator;
#[cfg(not(target_family = "wasm"))]
pub mod bench;
#[cfg(not(target_family = "wasm"))]
pub mod cli;
pub mod data;
pub mod demo;
pub mod device;
pub mod error;
pub mod eval;
#[cfg(not(target_family = "wasm"))]
pub mod export;
#[cfg(not(target_family = "wasm"))]
pub mod files;
pub mod generate;
pub mod hash;
#[cfg(not(target_family = "wasm"))]
pub mod inspect;
pub mod kernels;
pub mod model;
pub mod random;
pub mod report;
pub mod selftest;
pub mod source;
#[cfg(test)]
mod testing;
pub mod text;
pub mod train;
pub mod web;
pub mod weights;
pub mod write;

pub use error::{Error, Result};
