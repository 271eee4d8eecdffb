//! Everything by which a model's texts become tokens: its tokenizer, its chat template, its special tokens.

use serde_json::Value;

use crate::data::{Dataset, Example};
use crate::error::{Error, Result};
use crate::source::Source;
use crate::text::{ChatTemplate, Message, Tokenizer};

/// What turns texts and conversations into the tokens of a model, and back.
#[derive(Debug)]
pub struct Codec {
    /// Cuts texts into tokens.
    pub tokenizer: Tokenizer,
    /// Makes conversations texts, where the model knows conversations.
    pub template: Option<ChatTemplate>,
    /// Ends a text, where the model has such a token.
    pub eos_id: Option<u32>,
    /// The model's name, for errors.
    name: String,
    /// The model knows the tokens below this one.
    known: usize,
}

impl Codec {
    /// The tokenizer and chat template of `source`.
    ///
    /// # Errors
    /// If one of them is broken.
    pub fn new(source: &Source) -> Result<Self> {
        let (name, config, assets) = (source.name.clone(), &source.config, &source.assets);
        let tokenizer = Tokenizer::from_bytes(&assets.tokenizer_json, &format!("{name}: tokenizer.json"))?;
        // The tokenizer's settings name these tokens by text, the model's by id; either may be missing.
        let special = |key: &str, id: Option<u32>| {
            let settings = [&assets.tokenizer_config, &assets.special_tokens_map].into_iter().flatten();
            let named = settings.map(|settings| &settings[key]).find_map(token_text).map(str::to_owned);
            named.or_else(|| tokenizer.token(id?)).unwrap_or_default()
        };
        let bos = special("bos_token", config.bos_token_id);
        let eos = special("eos_token", config.eos_token_ids.first().copied());
        let template = assets.chat_template.as_deref();
        let template = template.map(|template| ChatTemplate::new(template, &bos, &eos)).transpose()?;
        let eos_id = tokenizer.token_id(&eos).or_else(|| config.eos_token_ids.first().copied());
        Ok(Self { tokenizer, template, eos_id, name, known: config.vocab_size })
    }

    /// The token ids of `text`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.tokenizer.encode(text)?;
        self.check_ids(ids.iter().copied())?;
        Ok(ids)
    }

    /// The token ids of a conversation, after which the model is to answer.
    ///
    /// # Errors
    /// If the model has no chat template, or it does not take these `messages`.
    pub fn encode_chat(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let missing = || {
            let what = "has no chat template; diablo generate --raw continues a text as it is";
            Error::Usage(format!("{} {what}", self.name))
        };
        self.encode(&self.template.as_ref().ok_or_else(missing)?.render(messages, true)?)
    }

    /// An error if the model does not know a token of `data`, or a label.
    pub fn check_data(&self, data: &Dataset) -> Result<()> {
        data.examples.iter().try_for_each(|Example { input_ids, labels }| {
            let labels = labels.iter().filter_map(|label| u32::try_from(*label).ok());
            self.check_ids(input_ids.iter().copied().chain(labels))
        })
    }

    /// An error if the model does not know all of `ids`: some tokenizers have more tokens than their model.
    pub fn check_ids(&self, mut ids: impl Iterator<Item = u32>) -> Result<()> {
        match ids.find(|id| *id as usize >= self.known) {
            None => Ok(()),
            Some(id) => {
                let what = format!("the tokenizer gives token {id}, but the model knows only {}", self.known);
                Err(Error::model(&self.name, what))
            }
        }
    }
}

/// The text of a special token: a string, or an object that holds one.
fn token_text(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}
