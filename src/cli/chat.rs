//! `diablo chat`: a conversation with a model, with its adapter or without.

mod command;
mod lines;

use super::answer::{AnswerArgs, Speaker};
use super::common::{AdapterArgs, DeviceArgs, ModelArgs};
use super::{interrupt, output};
use crate::adapter::Adapters;
use crate::error::{Error, Result};
use crate::generate::{Sampler, Session};
use crate::text::{Codec, Message};
use command::{Command, HELP};
use lines::{Line, Lines};

/// Talk with a model, with its adapter or without; /help there lists what else can be typed
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  diablo chat --model SmolLM2-135M-Instruct --adapter-path adapters --temp 0.7
  printf 'Hello\\nWhat did I say?\\n' | diablo chat --model SmolLM2-135M-Instruct     (a line, an answer)")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// System message before the conversation
    #[arg(long, alias = "system-prompt", value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    answer: AnswerArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Args {
    pub async fn run(self, json: bool) -> Result<()> {
        let sampler = self.answer.sampler(0)?;
        let opened = self.model.open().await?;
        // A model that cannot chat says so before its weights are read.
        opened.codec.encode_chat(&[Message::new("user", "")])?;
        let stored = self.adapter.load(&opened.source.config)?;
        let device = self.device.select(json).await?;
        let model = opened.load(&device, &self.device.holding(&opened, &device)?).await?;
        let adapters = stored.map(|stored| Adapters::of(stored, &model));
        let (tokenizer, max_tokens) = (&opened.codec.tokenizer, self.answer.max_tokens);
        let mut chat = Chat {
            codec: &opened.codec,
            limit: model.config.max_position_embeddings,
            speaker: Speaker { tokenizer, max_tokens, quiet: json, is_stopped: interrupt::requested },
            sampler,
            base: Session::new(&model, None),
            tuned: adapters.as_ref().map(|adapters| Session::new(&model, Some(adapters))),
            is_tuned: adapters.is_some(),
            system: self.system,
            turns: Vec::new(),
            json,
        };
        let mut lines = Lines::open(json)?;
        interrupt::watch("stopping the answer")?;
        interrupt::end();
        if lines.is_terminal() {
            output::status("/help lists what can be typed besides messages; Ctrl-D ends");
        }
        chat.converse(&mut lines).await
    }
}

/// A conversation.
struct Chat<'a> {
    codec: &'a Codec,
    /// Tokens that the model takes at most.
    limit: usize,
    speaker: Speaker<'a>,
    sampler: Sampler,
    base: Session<'a>,
    tuned: Option<Session<'a>>,
    /// Whether the adapter answers.
    is_tuned: bool,
    system: Option<String>,
    /// The user's and the model's, in turn.
    turns: Vec<Message>,
    json: bool,
}

impl Chat<'_> {
    /// Answers line after line.
    async fn converse(&mut self, lines: &mut Lines) -> Result<()> {
        loop {
            let line = match lines.next("> ")? {
                Line::Text(line) => line,
                Line::Interrupted => {
                    output::status("Ctrl-D or /quit ends the conversation");
                    continue;
                }
                Line::End => return Ok(()),
            };
            let done = match Command::parse(&line) {
                Ok(Command::Quit) => return Ok(()),
                Ok(command) => self.carry_out(command).await,
                Err(what) => Err(Error::Usage(what)),
            };
            match done {
                // A person can try again; a script should not go on as if nothing had happened.
                Err(error @ (Error::Usage(_) | Error::Template(_))) if lines.is_terminal() => {
                    output::note(&error.to_string());
                }
                done => done?,
            }
        }
    }

    async fn carry_out(&mut self, command: Command<'_>) -> Result<()> {
        match command {
            Command::Blank | Command::Quit => {}
            Command::Say(text) => return self.say(text).await,
            Command::Help => output::note(HELP),
            Command::Reset => {
                self.turns.clear();
                output::status("the conversation is forgotten");
            }
            Command::Adapter(true) if self.tuned.is_none() => {
                return Err(Error::Usage("there is no adapter; start with --adapter-path FOLDER".into()));
            }
            Command::Adapter(is_on) => {
                self.is_tuned = is_on;
                output::status(if is_on { "the adapter answers" } else { "the model answers as it was before" });
            }
            Command::System(text) => {
                self.system = (!text.is_empty()).then(|| text.to_owned());
                output::status(if text.is_empty() { "no system message" } else { "another system message" });
            }
        }
        Ok(())
    }

    /// Answers the message `text`; if that is not possible, the conversation is as before.
    async fn say(&mut self, text: &str) -> Result<()> {
        self.turns.push(Message::new("user", text));
        match self.answer().await {
            Ok(answer) => {
                self.turns.push(Message::new("assistant", answer));
                Ok(())
            }
            Err(error) => {
                self.turns.pop();
                Err(error)
            }
        }
    }

    async fn answer(&mut self) -> Result<String> {
        let prompt = self.prompt()?;
        let (which, session) = match &mut self.tuned {
            Some(tuned) if self.is_tuned => ("tuned", tuned),
            _ => ("base", &mut self.base),
        };
        interrupt::begin();
        let answer = self.speaker.answer(("chat", which), session, &prompt, &mut self.sampler).await;
        interrupt::end();
        let answer = answer?;
        answer.finish(self.json)?;
        Ok(answer.text)
    }

    /// The conversation as tokens. Where it grows too long for the model, its oldest turns are forgotten.
    fn prompt(&mut self) -> Result<Vec<u32>> {
        // What an answer needs, but a model that takes little must not spend it all on that.
        let reserve = self.speaker.max_tokens.min(self.limit / 4);
        let mut forgotten = 0;
        let prompt = loop {
            let system = self.system.iter().map(|text| Message::new("system", text));
            let messages: Vec<Message> = system.chain(self.turns[forgotten..].iter().cloned()).collect();
            let prompt = self.codec.encode_chat(&messages)?;
            if prompt.len() + reserve <= self.limit || self.turns.len() - forgotten == 1 {
                break prompt;
            }
            forgotten += 2;
        };
        if prompt.len() >= self.limit {
            return Err(Error::Usage(format!(
                "the message makes {} tokens, but this model takes {} and has to answer; shorten it{}",
                prompt.len(),
                self.limit,
                if self.system.is_some() { ", or the system message" } else { "" }
            )));
        }
        if forgotten > 0 {
            self.turns.drain(..forgotten);
            let what = if forgotten == 2 { "message and its answer are" } else { "messages and their answers are" };
            output::note(&format!(
                "note: the conversation is longer than the {} tokens that this model takes; its oldest {what} forgotten",
                self.limit
            ));
        }
        Ok(prompt)
    }
}
