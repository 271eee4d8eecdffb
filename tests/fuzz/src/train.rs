//! Settings and events of training.

#[path = "../../../src/train/checkpoint.rs"]
pub mod checkpoint;
#[path = "../../../src/train/config.rs"]
mod config;
#[path = "../../../src/train/event.rs"]
mod event;
#[path = "../../../src/train/guard.rs"]
mod guard;
#[path = "../../../src/train/schedule.rs"]
mod schedule;
#[path = "../../../src/train/snapshot.rs"]
mod snapshot;

pub use config::TrainConfig;
pub use event::{EvalReport, StepReport, TrainEvent};
pub use schedule::{LearningRate, Schedule};
pub use snapshot::{Best, OPTIMIZER_FILE, RunIdentity, RunProgress, STATE_FILE, Snapshot};
