//! What a model is, without the model.

#[path = "../../../src/model/config.rs"]
pub mod config;
#[path = "../../../src/model/frequencies.rs"]
mod frequencies;
#[path = "../../../src/model/hf_config.rs"]
pub(crate) mod hf_config;
#[path = "../../../src/model/names.rs"]
pub mod names;
#[path = "../../../src/model/projection.rs"]
mod projection;

pub use config::{Architecture, ModelConfig};
pub use frequencies::RopeScaling;
pub use projection::Projection;
