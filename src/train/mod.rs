//! Training: one optimizer step, the schedule, the loop, and the events that a front end draws.

mod config;
mod event;
mod parameters;
mod run;
mod schedule;
mod trainer;

pub use config::TrainConfig;
pub use event::{EvalReport, StepReport, TrainEvent};
pub use parameters::Parameters;
pub(crate) use parameters::read;
pub use run::{Observer, run};
pub use schedule::{LearningRate, Schedule};
pub use trainer::Trainer;
