//! Rows of text to batches of token ids: [`Row`] (one line of a file), [`Example`] (its tokens, and which of them are
//! trained), [`Dataset`] (all examples of a file), [`Batcher`] and [`Batch`] (what one training step sees).

mod batch;
mod batcher;
mod dataset;
mod example;
mod files;
mod pack;
mod row;

pub use batch::Batch;
pub use batcher::{Batcher, Cursor};
pub use dataset::{Dataset, Summary};
pub use example::{Example, IGNORED, Preview, RowEncoder, RowOptions};
pub use files::{JsonlFile, utf8_text};
#[cfg(not(target_family = "wasm"))]
pub use files::{Splits, load_rows};
pub use pack::{TrainRows, pack};
pub use row::Row;
