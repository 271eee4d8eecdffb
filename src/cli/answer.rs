//! Answers of a model, printed while they grow: what `generate` and `chat` share.

use super::output;
use crate::error::Result;
use crate::generate::{DEFAULT_MAX_TOKENS, Sampler, Sampling, Session};
use crate::text::Tokenizer;
use serde::Serialize;
use std::ops::ControlFlow;
use std::time::Instant;

/// How answers are drawn, and how long they may be.
#[derive(Debug, clap::Args)]
pub struct AnswerArgs {
    /// Tokens to generate at most
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_TOKENS)]
    pub max_tokens: usize,
    /// Temperature; 0 always takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = Sampling::default().temperature)]
    pub temp: f64,
    /// Draw only from the likeliest tokens that together have this probability
    #[arg(long, value_name = "P", default_value_t = Sampling::default().top_p)]
    top_p: f64,
    /// Seed of the draw
    #[arg(long, value_name = "N", default_value_t = Sampling::default().seed)]
    pub seed: u64,
}

impl AnswerArgs {
    /// A sampler with the given seed, or the one after it by `index`.
    ///
    /// # Errors
    /// On settings out of range.
    pub fn sampler(&self, index: u64) -> Result<Sampler> {
        Sampler::new(Sampling { temperature: self.temp, top_p: self.top_p, seed: self.seed.wrapping_add(index) })
    }
}

/// One answer, as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    /// The subcommand.
    pub event: &'static str,
    /// "base" or "tuned".
    pub which: &'a str,
    /// Of the draw, where every answer has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    pub text: String,
    pub tokens: usize,
    pub prompt_tokens: usize,
    /// Tokens of the prompt that the model had read before.
    pub known_tokens: usize,
    pub tokens_per_second: f64,
}

/// How answers are made and shown.
pub struct Speaker<'a> {
    pub tokenizer: &'a Tokenizer,
    pub max_tokens: usize,
    /// Whether nothing is printed while the answer grows.
    pub quiet: bool,
    /// Whether the answer is to end where it is.
    pub is_stopped: fn() -> bool,
}

impl Speaker<'_> {
    /// The answer of `session` to `prompt`.
    pub async fn answer<'w>(
        &self,
        (event, which): (&'static str, &'w str),
        session: &mut Session<'_>,
        prompt: &[u32],
        sampler: &mut Sampler,
    ) -> Result<Answer<'w>> {
        let start = Instant::now();
        let known_tokens = session.known(prompt);
        let mut decoder = self.tokenizer.stream(true);
        let mut text = String::new();
        let mut print = |piece: Result<String>| {
            let piece = piece?;
            text.push_str(&piece);
            if self.quiet || piece.is_empty() { Ok(()) } else { output::answer(&piece) }
        };
        let mut printed = Ok(());
        let on_token = |token| {
            printed = print(decoder.push(token));
            if printed.is_ok() && !(self.is_stopped)() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let tokens = session.generate(prompt, self.max_tokens, sampler, on_token).await?;
        printed?;
        print(decoder.finish())?;
        Ok(Answer {
            event,
            which,
            seed: None,
            text,
            tokens: tokens.len(),
            prompt_tokens: prompt.len(),
            known_tokens,
            tokens_per_second: tokens.len() as f64 / start.elapsed().as_secs_f64(),
        })
    }
}

impl Answer<'_> {
    /// Ends what was printed of the answer: with a line break and, for people, its speed; or all of it as JSON.
    pub fn finish(&self, json: bool) -> Result<()> {
        if json {
            return output::json(self);
        }
        output::line("")?;
        output::status(&format!("{} tokens, {:.1} tokens/s", self.tokens, self.tokens_per_second));
        Ok(())
    }
}
