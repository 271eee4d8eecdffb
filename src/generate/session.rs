//! Several texts one after the other, which often begin alike.

use super::Sampler;
use crate::adapter::Adapters;
use crate::error::{Error, Result};
use crate::model::{Cache, Model, Tokens};
use crate::train::read;
use std::borrow::Cow;
use std::ops::ControlFlow;

/// A model, with its adapters or without, and what it has read. Where a prompt begins as the text before did, the model
/// goes on from there.
#[derive(Debug)]
pub struct Session<'a> {
    model: Cow<'a, Model>,
    adapters: Option<&'a Adapters>,
    cache: Cache,
    /// The tokens whose keys and values are in the cache.
    seen: Vec<u32>,
}

impl<'a> Session<'a> {
    /// A model that has read nothing.
    pub fn new(model: &'a Model, adapters: Option<&'a Adapters>) -> Self {
        let cache = Cache::new(model.config.num_hidden_layers);
        let model = adapters.map_or(Cow::Borrowed(model), |adapters| adapters.effective(model));
        Self { model, adapters, cache, seen: Vec::new() }
    }

    /// How many tokens of `prompt` need not be read again. The last one always is: what comes after it is wanted.
    pub fn known(&self, prompt: &[u32]) -> usize {
        let equal = self.seen.iter().zip(prompt).take_while(|(seen, new)| seen == new).count();
        equal.min(prompt.len().saturating_sub(1))
    }

    /// Continues `prompt` until an end token, `max_tokens`, or until `on_token` breaks; returns the new tokens, without
    /// the end token.
    ///
    /// # Errors
    /// If the prompt is empty or longer than the model's positions, or the device is lost.
    pub async fn generate(
        &mut self,
        prompt: &[u32],
        max_tokens: usize,
        sampler: &mut Sampler,
        mut on_token: impl FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Vec<u32>> {
        let limit = self.model.config.max_position_embeddings;
        if prompt.is_empty() || prompt.len() >= limit {
            return Err(Error::Usage(format!(
                "the prompt has {} tokens; this model takes 1 to {}",
                prompt.len(),
                limit - 1
            )));
        }
        let known = self.known(prompt);
        self.cache.truncate(known);
        self.seen.truncate(known);
        let mut next = prompt[known..].to_vec();
        let mut output = Vec::new();
        for _ in 0..max_tokens.min(limit - prompt.len()) {
            let token = sampler.sample(&self.logits_after(&next).await?);
            if self.model.config.eos_token_ids.contains(&token) {
                break;
            }
            output.push(token);
            if on_token(token).is_break() {
                break;
            }
            next = vec![token];
        }
        Ok(output)
    }

    /// Reads `tokens` after those seen so far, and returns the logits of what comes next.
    async fn logits_after(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let device = self.model.device();
        let ids: Vec<i32> = tokens.iter().map(|id| *id as i32).collect();
        let hidden = self.model.forward(&Tokens::new(&ids, 1, &device), self.adapters, Some(&mut self.cache));
        self.seen.extend(tokens);
        let last = hidden.narrow(0, tokens.len() - 1, 1);
        read(self.model.logits(last)).await
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;
    use crate::device::cpu;
    use crate::generate::Sampling;
    use crate::testing::tiny_config;
    use pollster::block_on;

    fn greedy(session: &mut Session<'_>, prompt: &[u32]) -> Vec<u32> {
        let mut sampler = Sampler::new(Sampling::default()).unwrap();
        block_on(session.generate(prompt, 8, &mut sampler, |_| ControlFlow::Continue(()))).unwrap()
    }

    #[test]
    fn what_was_read_before_changes_no_answer() {
        let model = Model::random(tiny_config(), &cpu("test").device, 0.1, 3);
        let mut session = Session::new(&model, None);
        let long: Vec<u32> = (10..60).collect();
        let mut other = long.clone();
        other[20] = 7;
        let grown = [&long[..], &greedy(&mut Session::new(&model, None), &long), &[9, 8]].concat();
        // Again, longer, shorter, different in the middle, from the start, and one token only.
        for (prompt, known) in [
            (&long[..], 0),
            (&long, 49),
            (&grown, 57),
            (&long[..5], 4),
            (&long, 5),
            (&other, 20),
            (&[5, 6], 0),
            (&[5], 0),
        ] {
            assert_eq!(session.known(prompt), known);
            assert_eq!(greedy(&mut session, prompt), greedy(&mut Session::new(&model, None), prompt), "{known}");
        }
    }

    #[test]
    fn prompts_that_do_not_fit() {
        let model = Model::random(tiny_config(), &cpu("test").device, 0.1, 3);
        let mut session = Session::new(&model, None);
        let mut sampler = Sampler::new(Sampling::default()).unwrap();
        for length in [0, 256, 300] {
            let prompt = vec![5; length];
            let answer = session.generate(&prompt, 8, &mut sampler, |_| ControlFlow::Continue(()));
            let error = block_on(answer).unwrap_err().to_string();
            assert_eq!(error, format!("the prompt has {length} tokens; this model takes 1 to 255"));
        }
        assert_eq!(greedy(&mut session, &[5; 255]).len(), 1);
    }
}
