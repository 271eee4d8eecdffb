//! Adapter configurations and files, and what is made of them.

#[path = "../../../src/adapter/config.rs"]
mod config;
#[path = "../../../src/adapter/file.rs"]
mod file;
#[path = "../../../src/adapter/merge.rs"]
mod merge;
#[path = "../../../src/adapter/norms.rs"]
mod norms;
#[path = "../../../src/adapter/slots.rs"]
mod slots;

pub use config::{AdapterConfig, DEFAULT_RANK, Method, common_divisors, divisors_of_all};
pub(crate) use file::header_metadata;
pub use file::{CONFIG_FILE, StoredAdapter, WEIGHTS_FILE};
pub use merge::add_update;
pub(crate) use norms::{norm, product_norm};
pub use norms::{MatrixNorms, update_norms};
pub use slots::{Slot, slots};
