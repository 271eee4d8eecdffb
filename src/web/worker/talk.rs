//! Answers, sent while they grow.

use super::inbox::Inbox;
use super::model::OpenModel;
use super::post::post;
use crate::adapter::Adapters;
use crate::error::Result;
use crate::generate::{Sampler, Sampling, Session, generate};
use crate::text::Message;
use crate::web::protocol::{Event, Request, Side};
use std::ops::ControlFlow;
use web_time::Instant;

/// Tokens of an answer to one of the run's own questions, at most.
const SAMPLE_TOKENS: usize = 64;

/// Gives the answers that `request` asks for; `adapters` are those of the tuned side.
pub async fn answer(open: &OpenModel, adapters: Option<&Adapters>, request: Request, inbox: &Inbox) -> Result<()> {
    let Request::Generate { id, messages, sides, max_tokens, sampling } = request else { return Ok(()) };
    let prompt = open.prompt(&messages)?;
    inbox.wishes().stop_generating.set(false);
    for side in sides {
        let mut session = Session::new(&open.model, adapters.filter(|_| side == Side::Tuned));
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
pub async fn sample(open: &OpenModel, adapters: &Adapters, question: &str) -> Result<String> {
    let prompt = open.prompt(&[Message::new("user", question)])?;
    let mut sampler = Sampler::new(Sampling::default())?;
    let go_on = |_| ControlFlow::Continue(());
    let ids = generate(&open.model, Some(adapters), &prompt, SAMPLE_TOKENS, &mut sampler, go_on).await?;
    Ok(open.codec.tokenizer.decode(&ids, true)?.trim().to_owned())
}
