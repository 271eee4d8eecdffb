//! Rows to token ids, and which of them are trained.

use serde::Serialize;

use crate::data::Row;
use crate::error::{Error, Result};
use crate::text::{ChatTemplate, Message, Tokenizer};

/// The label of a token that is not trained.
pub const IGNORED: i32 = -100;

/// The tokens of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Token ids.
    pub input_ids: Vec<u32>,
    /// One for each token: its own id if the model is to learn to predict it, else [`IGNORED`]. The first token of a
    /// row is never predicted, whatever its label.
    pub labels: Vec<i32>,
}

impl Example {
    /// How many tokens count in the loss.
    pub fn target_tokens(&self) -> usize {
        self.labels.iter().skip(1).filter(|&&label| label != IGNORED).count()
    }
}

/// How rows become examples.
#[derive(Debug, Clone, Copy)]
pub struct RowOptions {
    /// Train the answer only: the completion, or the last message of a conversation.
    pub mask_prompt: bool,
    /// Rows of more tokens are cut at their end.
    pub max_seq_length: usize,
    /// The token that ends a text, where the model has one.
    pub eos_id: Option<u32>,
}

/// One example as `preview` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The text that the model sees, special tokens included.
    pub text: String,
    /// As in [`Example::input_ids`].
    pub input_ids: Vec<u32>,
    /// As in [`Example::labels`].
    pub labels: Vec<i32>,
}

impl Preview {
    /// Shows `example`.
    pub fn new(example: &Example, tokenizer: &Tokenizer) -> Result<Self> {
        let Example { input_ids, labels } = example.clone();
        Ok(Self { text: tokenizer.decode(&input_ids, false)?, input_ids, labels })
    }
}

/// Turns rows into examples.
#[derive(Debug, Clone, Copy)]
pub struct RowEncoder<'a> {
    tokenizer: &'a Tokenizer,
    template: Option<&'a ChatTemplate>,
    options: RowOptions,
}

impl<'a> RowEncoder<'a> {
    /// For a model with this tokenizer, and this chat template if it has one.
    pub fn new(tokenizer: &'a Tokenizer, template: Option<&'a ChatTemplate>, options: RowOptions) -> Result<Self> {
        if options.max_seq_length < 2 {
            // The first token of a row is never predicted.
            return Err(Error::Usage("--max-seq-length must be at least 2".into()));
        }
        Ok(Self { tokenizer, template, options })
    }

    /// The tokens of `row`, and whether it had to be cut. `place` is its `file:line`, for errors.
    pub fn encode(&self, row: &Row, place: &str) -> Result<(Example, bool)> {
        let mut example = self.whole(row).map_err(|e| match e {
            Error::Data { what, place: inner } if inner.is_empty() => Error::data(place, what),
            other => Error::data(place, other.to_string()),
        })?;
        let (tokens, targets) = (example.input_ids.len(), example.target_tokens());
        let limit = self.options.max_seq_length;
        example.input_ids.truncate(limit);
        example.labels.truncate(limit);
        if example.target_tokens() == 0 {
            let why = if targets > 0 {
                format!(
                    "what is to be trained begins after token {limit}, where the row is cut; raise --max-seq-length \
                     (the whole row has {tokens} tokens) or shorten the row"
                )
            } else if tokens == 1 {
                "it has only one, and the first of a row is never predicted".into()
            } else {
                "nothing is left to learn from it".into()
            };
            return Err(Error::data(place, format!("every token of the row is masked: {why}")));
        }
        Ok((example, tokens > limit))
    }

    /// The tokens of `text` and the end of text, cut into windows of the maximum length. Each begins with the last token
    /// of the one before, so that every token but the first is predicted once. `place` is its file, for errors.
    pub fn windows(&self, text: &str, place: &str) -> Result<Vec<Example>> {
        // What ends lines on one system only is nothing to learn.
        let text = text.trim_end().replace("\r\n", "\n");
        let mut whole = all_trained(self.tokenizer.encode(&text)?);
        self.end(&mut whole);
        let Example { input_ids, labels } = whole;
        let tokens = input_ids.len();
        if tokens < 2 {
            return Err(Error::data(
                place,
                format!("{tokens} tokens of text; nothing can be learnt from fewer than 2"),
            ));
        }
        let stride = self.options.max_seq_length - 1;
        let window = |start| {
            let range = start..tokens.min(start + stride + 1);
            Example { input_ids: input_ids[range.clone()].to_vec(), labels: labels[range].to_vec() }
        };
        Ok((0..tokens - 1).step_by(stride).map(window).collect())
    }

    /// The tokens of `row`, however many.
    fn whole(&self, row: &Row) -> Result<Example> {
        match row {
            Row::Text(text) => {
                let mut example = all_trained(self.tokenizer.encode(text)?);
                self.end(&mut example);
                Ok(example)
            }
            Row::Completion { prompt, completion } if self.template.is_none() => {
                let mut example = self.trained_from(&[prompt.as_str(), completion].concat(), prompt.len())?;
                self.end(&mut example);
                Ok(example)
            }
            // Unlike a prompt, an instruction does not say where the answer goes on.
            Row::Instruction { prompt, output } if self.template.is_none() => {
                let prompt = format!("{prompt}\n\n");
                let mut example = self.trained_from(&[&prompt, output.as_str()].concat(), prompt.len())?;
                self.end(&mut example);
                Ok(example)
            }
            Row::Completion { prompt, completion: answer } | Row::Instruction { prompt, output: answer } => {
                self.turns(&[Message::new("user", prompt)], &[Message::new("assistant", answer)])
            }
            Row::Turns { prompt, completion } => self.turns(prompt, completion),
            Row::Messages(messages) => match messages.split_last() {
                Some((answer, before)) if answer.role == "assistant" || !self.options.mask_prompt => {
                    self.turns(before, std::slice::from_ref(answer))
                }
                last => {
                    let role = last.map_or("nobody", |(answer, _)| &answer.role);
                    Err(in_row(format!(
                        "the last message is from {role:?}, but with --mask-prompt only the last answer of \"assistant\" \
                         is trained; end the row with one, or leave --mask-prompt out"
                    )))
                }
            },
            Row::Tokens { input_ids, labels } => self.tokens(input_ids, labels.as_deref()),
        }
    }

    /// A conversation; with a masked prompt, only `answer` is trained.
    fn turns(&self, before: &[Message], answer: &[Message]) -> Result<Example> {
        let template = self.template.ok_or_else(|| {
            in_row(
                "the model has no chat template, which rows of messages need; use \"text\", or \"prompt\" and \
                 \"completion\" as strings",
            )
        })?;
        let text = template.render(&[before, answer].concat(), false)?;
        let start = if self.options.mask_prompt { answer_start(template, &text, before, answer)? } else { 0 };
        self.trained_from(&text, start)
    }

    /// The tokens of `text`; with a masked prompt, those that lie wholly before byte `start` are not trained.
    ///
    /// `text` is cut into tokens in one piece, as at inference, and not at `start`. A token on both sides carries a
    /// part of the answer, so it is trained.
    fn trained_from(&self, text: &str, start: usize) -> Result<Example> {
        if !self.options.mask_prompt {
            return Ok(all_trained(self.tokenizer.encode(text)?));
        }
        let (input_ids, ends) = self.tokenizer.encode_with_ends(text)?;
        let label = |(&id, end)| if end > start { id as i32 } else { IGNORED };
        let labels = input_ids.iter().zip(ends).map(label).collect();
        Ok(Example { input_ids, labels })
    }

    /// Puts the end of text after the last token, unless it is there.
    fn end(&self, example: &mut Example) {
        if let Some(eos) = self.options.eos_id
            && example.input_ids.last() != Some(&eos)
        {
            example.input_ids.push(eos);
            example.labels.push(eos as i32);
        }
    }

    /// Token ids from the file, as they are.
    fn tokens(&self, input_ids: &[u32], labels: Option<&[i32]>) -> Result<Example> {
        self.check_ids("input_ids", input_ids.iter().copied())?;
        let Some(labels) = labels else { return Ok(all_trained(input_ids.to_vec())) };
        self.check_ids("labels", labels.iter().filter_map(|&label| u32::try_from(label).ok()))?;
        Ok(Example { input_ids: input_ids.to_vec(), labels: labels.to_vec() })
    }

    fn check_ids(&self, key: &str, mut ids: impl Iterator<Item = u32>) -> Result<()> {
        let size = self.tokenizer.vocab_size();
        match ids.find(|&id| id as usize >= size) {
            Some(id) => Err(in_row(format!("\"{key}\" has {id}, but the tokenizer's ids end at {}", size - 1))),
            None => Ok(()),
        }
    }
}

/// Where in `text`, the rendering of `before` and `answer`, the answer begins.
fn answer_start(template: &ChatTemplate, text: &str, before: &[Message], answer: &[Message]) -> Result<usize> {
    // Where the model will begin to write, if the template can say so.
    if answer.first().is_some_and(|message| message.role == "assistant") {
        match template.render(before, true) {
            Ok(prompt) if text.starts_with(&prompt) => return Ok(prompt.len()),
            // Many templates cannot render a conversation of no message.
            Err(e) if !before.is_empty() => return Err(e),
            _ => {}
        }
    }
    // Some templates end the prompt with what they do not render again, such as the start of a thought. Then the
    // answer's own text is looked for after the messages before it.
    let prompt = if before.is_empty() { String::new() } else { template.render(before, false)? };
    let rest = text.strip_prefix(&prompt).ok_or_else(|| {
        in_row(
            "the chat template renders the messages before the answer differently once the answer follows, so that \
             --mask-prompt cannot tell them apart; leave it out, or use \"input_ids\" and \"labels\"",
        )
    })?;
    let answer_text = answer.first().and_then(Message::text).unwrap_or_default().trim();
    Ok(prompt.len() + rest.find(answer_text).unwrap_or(0))
}

fn all_trained(input_ids: Vec<u32>) -> Example {
    // Ids fit: no vocabulary has 2^31 tokens.
    let labels = input_ids.iter().map(|&id| id as i32).collect();
    Example { input_ids, labels }
}

/// An error of the row at hand; [`RowEncoder::encode`] adds where it is.
fn in_row(what: impl Into<String>) -> Error {
    Error::data("", what)
}

#[cfg(test)]
mod tests;
