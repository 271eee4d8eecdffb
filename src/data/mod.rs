//! Rows of text to batches of token ids: [`DataFile`] (a file, read), [`Row`] (one row of it), [`Example`] (its tokens,
//! and which of them are trained), [`Dataset`] (all examples of a file), [`Batcher`] and [`Batch`] (what one training
//! step sees).

mod batch;
mod batcher;
mod dataset;
mod example;
mod files;
mod json;
mod pack;
mod question;
mod records;
mod row;
mod split;
mod table;

pub use batch::Batch;
pub use batcher::{Batcher, Cursor};
pub use dataset::{Dataset, Summary};
pub use example::{Example, IGNORED, Preview, RowEncoder, RowOptions};
pub use files::{DataFile, FileKind, Splits};
#[cfg(not(target_family = "wasm"))]
pub use files::{find_split, load_file, load_rows};
pub use pack::{TrainRows, pack};
pub use question::{Question, QuestionFinder};
pub use row::Row;
