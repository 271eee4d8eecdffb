//! Files that the command line reads.

#[path = "../../../src/cli/config_file/mod.rs"]
pub mod config_file;
