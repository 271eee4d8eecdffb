//! Generation: one token at a time through the key/value cache.

mod sampler;

pub use sampler::{Sampler, Sampling};

use crate::adapter::Adapters;
use crate::error::{Error, Result};
use crate::model::{Cache, Model, Tokens};
use crate::train::read;
use std::ops::ControlFlow;

/// Continues `prompt` until an end token, `max_tokens`, or until `on_token` breaks; returns the new tokens,
/// without the end token.
///
/// # Errors
/// If the prompt is empty or longer than the model's positions, or the device is lost.
pub async fn generate(
    model: &Model,
    adapters: Option<&Adapters>,
    prompt: &[u32],
    max_tokens: usize,
    sampler: &mut Sampler,
    mut on_token: impl FnMut(u32) -> ControlFlow<()>,
) -> Result<Vec<u32>> {
    let limit = model.config.max_position_embeddings;
    if prompt.is_empty() || prompt.len() >= limit {
        return Err(Error::Usage(format!(
            "the prompt has {} tokens; this model takes 1 to {}",
            prompt.len(),
            limit - 1
        )));
    }
    let device = model.device();
    let effective = adapters.map(|adapters| adapters.effective(model));
    let model = effective.as_deref().unwrap_or(model);
    let mut cache = Cache::new(model.config.num_hidden_layers);
    let mut next: Vec<i32> = prompt.iter().map(|id| *id as i32).collect();
    let mut output = Vec::new();
    for _ in 0..max_tokens.min(limit - prompt.len()) {
        let hidden = model.forward(&Tokens::new(&next, 1, &device), adapters, Some(&mut cache));
        let last = hidden.narrow(0, next.len() - 1, 1);
        let token = sampler.sample(&read(model.logits(last)).await?);
        if model.config.eos_token_ids.contains(&token) {
            break;
        }
        output.push(token);
        if on_token(token).is_break() {
            break;
        }
        next = vec![token as i32];
    }
    Ok(output)
}
