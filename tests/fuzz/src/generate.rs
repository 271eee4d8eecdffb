//! Choosing the next token.

#[path = "../../../src/generate/sampler.rs"]
mod sampler;

pub use sampler::*;
