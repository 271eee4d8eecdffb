//! The bundled tiny model and its data sets: a Llama of 1.6 million parameters that knows one invented village. The
//! program carries them, so that `diablo finetune` works at once, without a download and without a network.
//!
//! How they were made, and how to make them again, is in `web/demo/README.md`. The page fetches the same files.

use crate::adapter::{AdapterConfig, Method};
use crate::data::{DataFile, FileKind, Row, Splits};
use crate::error::{Error, Result, did_you_mean};
use crate::model::Projection;
use crate::source::Source;
use crate::train::TrainConfig;
use crate::weights::Storage;

/// What `--model` calls the bundled model.
pub const NAME: &str = "demo";

/// How many of a data set's held-out questions are shown after training.
const SHOWN: usize = 5;

/// The bundled data sets train answers only.
pub const MASK_PROMPT: bool = true;

/// The files of the model's folder.
const MODEL: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../../web/demo/model/config.json")),
    ("generation_config.json", include_bytes!("../../web/demo/model/generation_config.json")),
    ("model.safetensors", include_bytes!("../../web/demo/model/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../web/demo/model/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../web/demo/model/tokenizer_config.json")),
];

/// Opens the bundled model.
///
/// # Errors
/// None, unless the program was built from broken files.
pub async fn source() -> Result<Source> {
    let files = MODEL.map(|(name, bytes)| (name.to_owned(), Storage::from_bytes(format!("{NAME}/{name}"), bytes)));
    Source::from_files(NAME, files.into()).await
}

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

    /// Its rows: 180 to 210 to train on, 20 to 30 each for validation, and a test.
    pub fn splits(self) -> Splits {
        let [train, valid, test] = match self {
            Self::Style => [
                include_str!("../../web/demo/style/train.jsonl"),
                include_str!("../../web/demo/style/valid.jsonl"),
                include_str!("../../web/demo/style/test.jsonl"),
            ],
            Self::Facts => [
                include_str!("../../web/demo/facts/train.jsonl"),
                include_str!("../../web/demo/facts/valid.jsonl"),
                include_str!("../../web/demo/facts/test.jsonl"),
            ],
        };
        let file = |part: &str, text: &str| DataFile {
            place: format!("{}/{part}.jsonl", self.name()),
            kind: FileKind::Jsonl,
            text: text.to_owned(),
        };
        Splits { train: file("train", train), valid: Some(file("valid", valid)), test: Some(file("test", test)) }
    }

    /// Held-out questions that show what was learned, the first of the test.
    ///
    /// # Errors
    /// None, unless the program was built from broken files.
    pub fn prompts(self) -> Result<Vec<String>> {
        let Splits { test: Some(test), .. } = self.splits() else { return Ok(Vec::new()) };
        let question = |(line, number): (&str, usize)| {
            let place = format!("{}:{number}", test.place);
            match Row::parse(line, &place)? {
                Row::Messages(messages) => Ok(messages.first().and_then(|message| message.text()).map(str::to_owned)),
                _ => Err(Error::data(place, "not a row of messages")),
            }
        };
        let questions = test.text.lines().zip(1..).take(SHOWN).map(question).collect::<Result<Vec<_>>>()?;
        Ok(questions.into_iter().flatten().collect())
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
