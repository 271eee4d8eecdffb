//! The bundled files, as the native program carries them.

use super::{NAME, Set};
use crate::data::{DataFile, FileKind, Row, Splits};
use crate::error::{Error, Result};
use crate::source::Source;
use crate::weights::Storage;

/// How many of a data set's held-out questions are shown after training.
const SHOWN: usize = 5;

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

impl Set {
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
}
