//! `diablo generate`: an answer from the model, with an adapter or without, or both to compare.

use super::common::{self, AdapterArgs, DeviceArgs, ModelArgs, Opened};
use super::output;
use crate::adapter::Adapters;
use crate::error::{Error, Result};
use crate::generate::{Sampler, Sampling, generate};
use crate::model::Model;
use crate::text::{Message, Tokenizer};
use serde::Serialize;
use std::io::Read;
use std::ops::ControlFlow;
use std::time::Instant;

/// Answer a prompt with a model, with its adapter, or with both to compare
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  diablo generate --model SmolLM2-135M-Instruct --adapter-path adapters --prompt \"Hello\" --compare
  cat question.txt | diablo generate --model SmolLM2-135M-Instruct --prompt -")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// What to answer; - reads it from standard input
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// System message before the prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system_prompt: Option<String>,
    /// Continue the prompt as it is, without the chat template
    #[arg(long)]
    raw: bool,
    /// Tokens to generate at most
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Temperature; 0 always takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = Sampling::default().temperature)]
    temp: f64,
    /// Draw only from the likeliest tokens that together have this probability
    #[arg(long, value_name = "P", default_value_t = Sampling::default().top_p)]
    top_p: f64,
    /// Seed of the draw
    #[arg(long, value_name = "N", default_value_t = Sampling::default().seed)]
    seed: u64,
    /// Answer first without the adapter, then with it
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// One answer, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    event: &'static str,
    which: &'a str,
    text: String,
    tokens: usize,
    prompt_tokens: usize,
    tokens_per_second: f64,
}

impl Args {
    pub async fn run(self, json: bool) -> Result<()> {
        if self.compare && !self.adapter.is_given() {
            return Err(Error::Usage(
                "--compare shows answers without and with an adapter; it needs --adapter-path".into(),
            ));
        }
        let sampling = Sampling { temperature: self.temp, top_p: self.top_p, seed: self.seed };
        let sampler = Sampler::new(sampling)?;
        let opened = self.model.open().await?;
        let prompt = self.prompt_ids(&opened)?;
        let stored = self.adapter.load(&opened.source.config)?;
        let device = self.device.select(json).await?;
        let model = opened.load(&device).await?;
        let adapters = stored.map(|stored| common::on_device(stored, &model));

        let base = ("base", None);
        let answers = match &adapters {
            None => vec![base],
            Some(adapters) if self.compare => vec![base, ("tuned", Some(adapters))],
            Some(adapters) => vec![("tuned", Some(adapters))],
        };
        let question = Question {
            model: &model,
            tokenizer: &opened.tokenizer,
            prompt: &prompt,
            max_tokens: self.max_tokens,
            sampler,
            quiet: json,
        };
        let style = output::Style::stdout();
        for (index, (which, adapters)) in answers.into_iter().enumerate() {
            if self.compare && !json {
                let gap = if index > 0 { "\n" } else { "" };
                output::line(&format!("{gap}{}", style.heading(&format!("{which}:"))))?;
            }
            let answer = question.answer(which, adapters).await?;
            if json {
                output::json(&answer)?;
            } else {
                output::line("")?;
                output::status(&format!("{} tokens, {:.1} tokens/s", answer.tokens, answer.tokens_per_second));
            }
        }
        Ok(())
    }

    fn prompt_ids(&self, opened: &Opened) -> Result<Vec<u32>> {
        let prompt = if self.prompt == "-" { read_stdin()? } else { self.prompt.clone() };
        if self.raw {
            return opened.encode(&prompt);
        }
        let Some(template) = &opened.template else {
            return Err(Error::Usage("this model has no chat template; --raw continues the prompt as it is".into()));
        };
        let system = self.system_prompt.iter().map(|text| Message::new("system", text));
        let messages: Vec<_> = system.chain([Message::new("user", prompt)]).collect();
        opened.encode(&template.render(&messages, true)?)
    }
}

/// What base and tuned model are asked alike.
struct Question<'a> {
    model: &'a Model,
    tokenizer: &'a Tokenizer,
    prompt: &'a [u32],
    max_tokens: usize,
    /// At the start of its draws, which are the same for every answer.
    sampler: Sampler,
    /// Whether nothing is printed while the answer grows.
    quiet: bool,
}

impl Question<'_> {
    async fn answer<'w>(&self, which: &'w str, adapters: Option<&Adapters>) -> Result<Answer<'w>> {
        let start = Instant::now();
        let mut decoder = self.tokenizer.stream(true);
        let mut text = String::new();
        let mut print = |piece: Result<String>| {
            let piece = piece?;
            text.push_str(&piece);
            if self.quiet || piece.is_empty() { Ok(()) } else { output::text(&piece) }
        };
        let mut printed = Ok(());
        let mut sampler = self.sampler.clone();
        let on_token = |token| {
            printed = print(decoder.push(token));
            if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let tokens = generate(self.model, adapters, self.prompt, self.max_tokens, &mut sampler, on_token).await?;
        printed?;
        print(decoder.finish())?;
        Ok(Answer {
            event: "generate",
            which,
            text,
            tokens: tokens.len(),
            prompt_tokens: self.prompt.len(),
            tokens_per_second: tokens.len() as f64 / start.elapsed().as_secs_f64(),
        })
    }
}

/// All of standard input, without the line break that ends it.
fn read_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|e| Error::io("standard input", "reading", e))?;
    let end = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text).len();
    text.truncate(end);
    Ok(text)
}
