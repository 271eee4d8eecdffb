//! The page: it draws, and asks the worker.
//!
//! It compiles what the protocol is made of from the library's own files, and does not link the library: the GPU stack's
//! constructors are kept in whatever links it, and would make the page fourteen times as large.
#![cfg_attr(target_family = "wasm", allow(dead_code, unused_imports, missing_docs))]

#[cfg(target_family = "wasm")]
#[path = "../adapter"]
mod adapter {
    mod config;
    mod file;
    mod norms;
    mod slots;

    pub use config::{AdapterConfig, DEFAULT_RANK, Method, common_divisors, divisors_of_all};
    pub use file::{CONFIG_FILE, StoredAdapter, WEIGHTS_FILE};
    pub use norms::{MatrixNorms, update_norms};
    pub use slots::{Slot, slots};
}
#[cfg(target_family = "wasm")]
#[path = "../data"]
mod data {
    mod batcher;

    pub use batcher::{Batcher, Cursor};
}
#[cfg(target_family = "wasm")]
#[path = "../error.rs"]
mod error;
#[cfg(target_family = "wasm")]
#[path = "../generate"]
mod generate {
    mod sampler;

    pub use sampler::{DEFAULT_MAX_TOKENS, Sampler, Sampling};
}
#[cfg(target_family = "wasm")]
#[path = "../hash.rs"]
mod hash;
#[cfg(target_family = "wasm")]
#[path = "../model"]
mod model {
    pub mod config;
    mod frequencies;
    pub(crate) mod hf_config;
    pub mod names;
    mod projection;

    pub use config::{Architecture, ModelConfig};
    pub use frequencies::RopeScaling;
    pub use projection::Projection;
}
#[cfg(target_family = "wasm")]
#[path = "../random.rs"]
mod random;
#[cfg(target_family = "wasm")]
#[path = "../report"]
mod report {
    pub(crate) mod axis;
    pub(crate) mod color;
    pub(crate) mod series;
}
#[cfg(target_family = "wasm")]
#[path = "../text"]
mod text {
    mod message;

    pub use message::Message;
}
#[cfg(target_family = "wasm")]
#[path = "../train"]
mod train {
    mod config;
    mod event;
    mod guard;
    mod schedule;
    mod snapshot;

    pub use config::TrainConfig;
    pub use event::{EvalReport, StepReport, TrainEvent};
    pub use schedule::{LearningRate, Schedule};
    pub use snapshot::{Best, RunIdentity, RunProgress, Snapshot};
}
#[cfg(target_family = "wasm")]
#[path = "../web"]
mod web {
    pub mod page;
    pub mod protocol;
}
#[cfg(target_family = "wasm")]
#[path = "../weights/mod.rs"]
mod weights;
#[cfg(target_family = "wasm")]
#[path = "../write.rs"]
mod write;

#[cfg(target_family = "wasm")]
use error::{Error, Result};

#[cfg(target_family = "wasm")]
fn main() {
    web::page::run();
}

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    diablo::web::for_the_browser_only("web")
}
