//! The parts of diablo that compile without Burn, from the very files of the package: what reads data, models,
//! adapters and settings. Fuzz targets link this instead of the whole engine.

#![allow(dead_code, missing_docs, unused_imports)]

pub mod adapter;
pub mod cli;
#[path = "../../../src/data/mod.rs"]
pub mod data;
#[path = "../../../src/demo/mod.rs"]
pub mod demo;
#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/export/mod.rs"]
pub mod export;
#[path = "../../../src/files.rs"]
pub mod files;
pub mod generate;
#[path = "../../../src/hash.rs"]
pub mod hash;
#[path = "../../../src/inspect/mod.rs"]
pub mod inspect;
pub mod model;
#[path = "../../../src/random.rs"]
pub mod random;
#[path = "../../../src/report/mod.rs"]
pub mod report;
#[path = "../../../src/source/mod.rs"]
pub mod source;
#[path = "../../../src/text/mod.rs"]
pub mod text;
#[path = "../../../src/train"]
pub mod train {
    pub mod checkpoint;
    mod checkpoint_files;
    mod config;
    mod event;
    mod guard;
    mod schedule;
    mod snapshot;

    pub use config::TrainConfig;
    pub use event::{EvalReport, StepReport, TrainEvent};
    pub use schedule::{LearningRate, Schedule};
    pub use snapshot::{Best, OPTIMIZER_FILE, RunIdentity, RunProgress, STATE_FILE, Snapshot};
}
#[path = "../../../src/weights/mod.rs"]
pub mod weights;

pub use error::{Error, Result};
