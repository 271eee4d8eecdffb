//! Training: one optimizer step, the schedule, the loop, and the events that a front end draws.

#[cfg(not(target_family = "wasm"))]
pub mod checkpoint;
pub(crate) mod checkpoint_files;
mod config;
mod event;
mod guard;
mod memory;
mod merged;
mod parameters;
mod queued;
mod reading;
mod recompute;
mod run;
mod schedule;
mod snapshot;
mod trainer;

pub use config::TrainConfig;
pub use event::{EvalReport, StepReport, TrainEvent};
pub use memory::{BaseBytes, BatchShape, MemoryPlan, MemorySetup, check_batches, too_much};
pub use parameters::Parameters;
pub use queued::QueuedStep;
pub(crate) use reading::read;
pub use run::{Next, Observer, Run};
pub use schedule::{LearningRate, Schedule};
pub use snapshot::{Best, OPTIMIZER_FILE, RunIdentity, RunProgress, STATE_FILE, Snapshot};
pub use trainer::{Mode, Trainer};
