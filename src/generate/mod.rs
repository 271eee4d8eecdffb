//! Generation: one token at a time through the key/value cache.

mod sampler;
mod session;

pub use sampler::{DEFAULT_MAX_TOKENS, Sampler, Sampling};
pub use session::Session;

use crate::adapter::Adapters;
use crate::error::Result;
use crate::model::Model;
use std::ops::ControlFlow;

/// Continues one `prompt`; see [`Session::generate`].
///
/// # Errors
/// If the prompt is empty or longer than the model's positions, or the device is lost.
pub async fn generate(
    model: &Model,
    adapters: Option<&Adapters>,
    prompt: &[u32],
    max_tokens: usize,
    sampler: &mut Sampler,
    on_token: impl FnMut(u32) -> ControlFlow<()>,
) -> Result<Vec<u32>> {
    Session::new(model, adapters).generate(prompt, max_tokens, sampler, on_token).await
}
