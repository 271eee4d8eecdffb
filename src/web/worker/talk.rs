//! Answers, sent while they grow.

use super::inbox::Inbox;
use super::model::OpenModel;
use super::post::post;
use crate::adapter::Adapters;
use crate::error::Result;
use crate::generate::{Sampler, Sampling, Session, generate};
use crate::model::Model;
use crate::text::Message;
use crate::train::Trainer;
use crate::web::protocol::{Event, Request, Side};
use std::ops::ControlFlow;
use web_time::Instant;

/// Tokens of an answer to one of the run's own questions, at most.
const SAMPLE_TOKENS: usize = 64;

/// Who answers.
pub enum Speaker<'a> {
    /// A model at rest, and the adapters of its tuned side.
    Resting(&'a Model, Option<&'a Adapters>),
    /// One that is being trained.
    Training(&'a mut Trainer),
}

impl Speaker<'_> {
    fn side(&mut self, side: Side) -> (&Model, Option<Adapters>) {
        match (self, side) {
            (Self::Resting(model, _), Side::Base) => (model, None),
            (Self::Resting(model, adapters), Side::Tuned) => (model, adapters.cloned()),
            (Self::Training(trainer), Side::Base) => (trainer.base(), None),
            (Self::Training(trainer), Side::Tuned) => trainer.tuned(),
        }
    }
}

/// Gives the answers that `request` asks for.
pub async fn answer(open: &OpenModel, mut speaker: Speaker<'_>, request: Request, inbox: &Inbox) -> Result<()> {
    let Request::Generate { id, messages, sides, max_tokens, sampling } = request else { return Ok(()) };
    let prompt = open.prompt(&messages)?;
    inbox.wishes().stop_generating.set(false);
    for side in sides {
        let (model, adapters) = speaker.side(side);
        let mut session = Session::new(model, adapters.as_ref());
        let mut sampler = Sampler::new(sampling)?;
        let mut decoder = open.codec.tokenizer.stream(true);
        let start = Instant::now();
        let send = |text: String| {
            if !text.is_empty() {
                post(&Event::Token { id, side, text });
            }
        };
        let mut sent = Ok(());
        let on_token = |token| {
            sent = decoder.push(token).map(send);
            if sent.is_ok() && !inbox.wishes().stop_generating.get() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let tokens = session.generate(&prompt, max_tokens, &mut sampler, on_token).await?;
        sent?;
        send(decoder.finish()?);
        let stopped = inbox.wishes().stop_generating.get();
        post(&Event::Answered { id, side, tokens: tokens.len(), seconds: start.elapsed().as_secs_f64(), stopped });
        if stopped {
            break;
        }
    }
    Ok(())
}

/// The likeliest answer to a question, whole.
pub async fn sample(open: &OpenModel, trainer: &mut Trainer, question: &str) -> Result<String> {
    let prompt = open.prompt(&[Message::new("user", question)])?;
    let mut sampler = Sampler::new(Sampling::default())?;
    let go_on = |_| ControlFlow::Continue(());
    let (model, adapters) = trainer.tuned();
    let ids = generate(model, adapters.as_ref(), &prompt, SAMPLE_TOKENS, &mut sampler, go_on).await?;
    Ok(open.codec.tokenizer.decode(&ids, true)?.trim().to_owned())
}
