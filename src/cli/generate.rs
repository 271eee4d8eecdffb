//! `diablo generate`: an answer from the model, with an adapter or without, or both to compare.

use super::answer::{AnswerArgs, Speaker};
use super::common::{AdapterArgs, DeviceArgs, ModelArgs, Opened};
use super::output;
use crate::adapter::Adapters;
use crate::error::{Error, Result};
use crate::generate::Session;
use crate::text::Message;
use std::io::Read;

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
    #[arg(long, alias = "system", value_name = "TEXT", conflicts_with = "raw")]
    system_prompt: Option<String>,
    /// Continue the prompt as it is, without the chat template
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    answer: AnswerArgs,
    /// Answers to give, with the seeds from --seed on
    #[arg(long, value_name = "N", default_value_t = 1)]
    num: u64,
    /// Answer first without the adapter, then with it
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Args {
    pub async fn run(self, json: bool) -> Result<()> {
        self.check()?;
        let opened = self.model.open().await?;
        let prompt = self.prompt_ids(&opened)?;
        let stored = self.adapter.load(&opened.source.config)?;
        let device = self.device.select(json).await?;
        let model = opened.load(&device, &self.device.holding(&opened, &device)?).await?;
        let adapters = stored.map(|stored| Adapters::of(stored, &model));

        let base = ("base", None);
        let answers = match &adapters {
            None => vec![base],
            Some(adapters) if self.compare => vec![base, ("tuned", Some(adapters))],
            Some(adapters) => vec![("tuned", Some(adapters))],
        };
        let tokenizer = &opened.codec.tokenizer;
        let speaker = Speaker { tokenizer, max_tokens: self.answer.max_tokens, quiet: json, is_stopped: || false };
        let mut is_first = true;
        for (which, adapters) in answers {
            let mut session = Session::new(&model, adapters);
            for index in 0..self.num {
                if !json {
                    self.heading(which, index, is_first)?;
                }
                is_first = false;
                let mut sampler = self.answer.sampler(index)?;
                let mut answer = speaker.answer(("generate", which), &mut session, &prompt, &mut sampler).await?;
                answer.seed = Some(self.seed(index));
                answer.finish(json)?;
            }
        }
        Ok(())
    }

    /// Cheap checks first: nobody wants to hear of a typing error after the weights were read.
    fn check(&self) -> Result<()> {
        self.answer.sampler(0)?;
        if self.compare && !self.adapter.is_given() {
            let what = "--compare shows answers without and with an adapter; it needs --adapter-path";
            return Err(Error::Usage(what.into()));
        }
        if self.num == 0 {
            return Err(Error::Usage("--num is 0; expected 1 or more".into()));
        }
        if self.num > 1 && self.answer.temp == 0.0 {
            let what = "--num gives the same answer every time at a temperature of 0; add, for example, --temp 0.8";
            return Err(Error::Usage(what.into()));
        }
        Ok(())
    }

    /// What tells several answers apart: which model it is, and the seed.
    fn heading(&self, which: &str, index: u64, is_first: bool) -> Result<()> {
        let heading = match (self.compare, self.num > 1) {
            (false, false) => return Ok(()),
            (true, false) => format!("{which}:"),
            (false, true) => format!("seed {}:", self.seed(index)),
            (true, true) => format!("{which}, seed {}:", self.seed(index)),
        };
        let gap = if is_first { "" } else { "\n" };
        output::line(&format!("{gap}{}", output::Style::stdout().heading(&heading)))
    }

    fn seed(&self, index: u64) -> u64 {
        self.answer.seed.wrapping_add(index)
    }

    fn prompt_ids(&self, opened: &Opened) -> Result<Vec<u32>> {
        let prompt = if self.prompt == "-" { read_stdin()? } else { self.prompt.clone() };
        if self.raw {
            return opened.codec.encode(&prompt);
        }
        let system = self.system_prompt.iter().map(|text| Message::new("system", text));
        let messages: Vec<_> = system.chain([Message::new("user", prompt)]).collect();
        opened.codec.encode_chat(&messages)
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
