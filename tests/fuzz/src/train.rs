//! Settings and events of training.

#[path = "../../../src/train/config.rs"]
mod config;
#[path = "../../../src/train/event.rs"]
mod event;
#[path = "../../../src/train/schedule.rs"]
mod schedule;

pub use config::TrainConfig;
pub use event::{EvalReport, StepReport, TrainEvent};
pub use schedule::{LearningRate, Schedule};
