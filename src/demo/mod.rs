//! The bundled tiny model and its data sets: a Llama of 1.6 million parameters that knows one invented village. The
//! program carries them, so that `diablo finetune` works at once, without a download and without a network.
//!
//! How they were made, and how to make them again, is in `web/demo/README.md`. The page fetches the same files.

#[cfg(not(target_family = "wasm"))]
mod carried;

#[cfg(not(target_family = "wasm"))]
pub use carried::source;

use crate::adapter::{AdapterConfig, Method};
use crate::error::{Error, Result, did_you_mean};
use crate::model::Projection;
use crate::train::TrainConfig;

/// What `--model` calls the bundled model.
pub const NAME: &str = "demo";

/// The bundled data sets train answers only.
pub const MASK_PROMPT: bool = true;

/// The bundled data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Answers the way a sailor gives them; what is asked for in the test is nowhere in the training rows.
    Style,
    /// Juno the toymaker and her cat, whom the model does not know; the test asks in other words than were trained.
    Facts,
}

impl Set {
    /// All of them; the first is what `finetune` takes by itself.
    pub const ALL: [Self; 2] = [Self::Facts, Self::Style];

    /// What `--data` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Style => "demo/style",
            Self::Facts => "demo/facts",
        }
    }

    /// The data set that `--data` calls `name`.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name);
            let hint = did_you_mean(name, known);
            Error::Usage(format!("no bundled data set {name:?}{hint}; there are {}", known.join(" and ")))
        })
    }

    /// What is trained by default on this data set: 16 diagonal blocks in the usual matrices.
    pub fn adapter(self) -> AdapterConfig {
        let modules = Projection::DEFAULT.to_vec();
        AdapterConfig { method: Method::Diablo { blocks: 16 }, modules, dropout: 0.0 }
    }

    /// The default run on this data set as the flags of `finetune`, in the form of a configuration file; without the
    /// size of the adapter if it is to be of another method.
    pub fn run_toml(self, is_diablo: bool) -> String {
        let values = |config: &TrainConfig| match serde_json::to_value(config) {
            Ok(serde_json::Value::Object(values)) => values,
            _ => serde_json::Map::new(),
        };
        let (own, usual) = (values(&self.settings()), values(&TrainConfig::default()));
        let mut text = format!("model = \"{NAME}\"\ndata = \"{}\"\nmask-prompt = {MASK_PROMPT}\n", self.name());
        if let Method::Diablo { blocks } = self.adapter().method
            && is_diablo
        {
            text += &format!("blocks = {blocks}\n");
        }
        for (key, value) in own.iter().filter(|(key, value)| usual.get(*key) != Some(value)) {
            text += &format!("{} = {value}\n", key.replace('_', "-"));
        }
        text
    }

    /// How it is trained by default: well under a minute on two cores.
    pub fn settings(self) -> TrainConfig {
        TrainConfig {
            iters: 200,
            batch_size: 8,
            max_seq_length: 128,
            learning_rate: 5e-3,
            warmup_steps: 10,
            steps_per_eval: 40,
            val_batches: 0,
            ..TrainConfig::default()
        }
    }
}
