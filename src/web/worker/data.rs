//! Reading data, as the open model will see it.

use super::fetch::fetch;
use super::model::OpenModel;
use crate::data::{DataFile, Dataset, Example, IGNORED, QuestionFinder, RowOptions, Splits};
use crate::demo::Set;
use crate::error::{Error, Result};
use crate::web::protocol::{DataOptions, DataReport, DataSource, PreviewRow};
use crate::weights::Storage;
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast, JsValue};

/// Rows that are shown.
const PREVIEW_ROWS: usize = 8;
/// Tokens that are shown of a row.
const PREVIEW_TOKENS: usize = 1024;
/// Questions that are answered as training goes.
const QUESTIONS: usize = 4;
/// The largest file that is read whole.
const MAX_BYTES: u64 = 512 << 20;

/// Files of rows, with which a run can be begun again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DataFiles {
    /// For people.
    pub name: String,
    /// Train, valid and test file: name and text.
    files: [Option<(String, String)>; 3],
    /// How rows become examples.
    pub options: DataOptions,
}

/// Data as the open model sees it.
pub struct OpenData {
    pub files: DataFiles,
    pub train: Dataset,
    pub valid: Option<Dataset>,
    pub test: Option<Dataset>,
    pub report: DataReport,
}

impl DataFiles {
    /// Reads what `source` names.
    pub async fn read(source: DataSource, options: DataOptions, attachments: &[JsValue]) -> Result<Self> {
        let (name, files) = match source {
            DataSource::Demo { name } => {
                Set::from_name(&name)?;
                let mut files = [const { None }; 3];
                for (file, part) in files.iter_mut().zip(PARTS) {
                    let bytes = fetch(&format!("{name}/{part}.jsonl")).await?;
                    *file = Some(text(format!("{name}/{part}.jsonl"), bytes)?);
                }
                (name, files)
            }
            DataSource::Text { text, kind } => {
                let name = format!("pasted.{kind}");
                ("pasted text".to_owned(), [Some((name, text)), None, None])
            }
            DataSource::Files => picked(attachments).await?,
        };
        Ok(Self { name, files, options })
    }

    fn splits(&self) -> Result<Splits> {
        let file = |(name, text): &(String, String)| DataFile::from_bytes(name, text.clone().into_bytes());
        let [train, valid, test] = self.files.each_ref().map(|part| part.as_ref().map(file).transpose());
        let train = train?.ok_or_else(|| Error::data(&self.name, "has no rows to train on"))?;
        Ok(Splits { train, valid: valid?, test: test? })
    }
}

const PARTS: [&str; 3] = ["train", "valid", "test"];

/// One file to train on, or train, valid and test files by their names.
async fn picked(attachments: &[JsValue]) -> Result<(String, [Option<(String, String)>; 3])> {
    let mut found = Vec::new();
    for file in attachments.iter().filter_map(|file| file.dyn_ref::<web_sys::File>()) {
        let name = file.name();
        let bytes = Storage::from_blob(name.as_str(), file.clone().into()).read_all(MAX_BYTES).await?;
        found.push(text(name, bytes)?);
    }
    if found.len() == 1 {
        let file = found.remove(0);
        return Ok((file.0.clone(), [Some(file), None, None]));
    }
    let mut files = [const { None }; 3];
    for (file, part) in files.iter_mut().zip(PARTS) {
        let at = found.iter().position(|(name, _)| name.split('.').next() == Some(part));
        *file = at.map(|at| found.swap_remove(at));
    }
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    match &files[0] {
        Some(train) if names.is_empty() => Ok((train.0.clone(), files)),
        Some(_) => {
            let what = "beside train, valid and test there can be no other file; give one file, or these three";
            Err(Error::data(names.join(", "), what))
        }
        None => Err(Error::data(
            if names.is_empty() { "the files".to_owned() } else { names.join(", ") },
            "which of them to train on? Give one file, or name them train.jsonl, valid.jsonl and test.jsonl",
        )),
    }
}

fn text(name: String, bytes: Vec<u8>) -> Result<(String, String)> {
    let text = DataFile::from_bytes(&name, bytes)?.text;
    Ok((name, text))
}

impl OpenData {
    /// Cuts the rows into the tokens of `model`.
    pub fn new(files: DataFiles, model: &OpenModel, seed: u64) -> Result<Self> {
        let splits = files.splits()?;
        let limit = model.config.max_position_embeddings;
        let options = RowOptions {
            mask_prompt: files.options.mask_prompt,
            max_seq_length: files.options.max_seq_length.min(limit),
            eos_id: model.codec.eos_id,
        };
        let dataset = |file: &DataFile| {
            let codec = &model.codec;
            let data = Dataset::from_file(file, None, &codec.tokenizer, codec.template.as_ref(), &options)?;
            codec.check_data(&data)?;
            Ok(data)
        };
        let mut train = dataset(&splits.train)?;
        let mut valid = splits.valid.as_ref().map(dataset).transpose()?;
        let test = splits.test.as_ref().map(dataset).transpose()?;
        if valid.is_none() && files.options.val_split > 0.0 && train.examples.len() > 1 {
            let (rest, apart) = train.split(files.options.val_split, seed)?;
            (train, valid) = (rest, Some(apart));
        }
        let report = report(&files, model, &train, valid.as_ref(), test.as_ref(), options.max_seq_length)?;
        Ok(Self { files, train, valid, test, report })
    }
}

fn report(
    files: &DataFiles,
    model: &OpenModel,
    train: &Dataset,
    valid: Option<&Dataset>,
    test: Option<&Dataset>,
    limit: usize,
) -> Result<DataReport> {
    let rows = |data: Option<&Dataset>| data.map_or(0, |data| data.summary.rows);
    let summary = train.summary;
    let mut warnings = Vec::new();
    if summary.truncated > 0 {
        warnings.push(format!("{} of {} rows are cut after {limit} tokens", summary.truncated, summary.rows));
    }
    if summary.target_tokens == 0 {
        warnings.push("no token is trained: every one is masked".to_owned());
    }
    if valid.is_none() {
        warnings.push("there are no rows for validation, so nothing tells when to stop".to_owned());
    }
    Ok(DataReport {
        name: files.name.clone(),
        rows: [summary.rows, rows(valid), rows(test)],
        tokens: summary.tokens,
        trained_tokens: summary.target_tokens,
        longest: summary.longest,
        truncated: summary.truncated,
        preview: train
            .examples
            .iter()
            .take(PREVIEW_ROWS)
            .map(|example| preview(example, model))
            .collect::<Result<_>>()?,
        prompts: questions(model, test.or(valid).unwrap_or(train))?,
        warnings,
    })
}

/// A row, token by token; parts of one character stand with the last of them.
fn preview(example: &Example, model: &OpenModel) -> Result<PreviewRow> {
    let mut decoder = model.codec.tokenizer.stream(false);
    let ids = example.input_ids.iter().zip(&example.labels).take(PREVIEW_TOKENS);
    let token = |(at, (id, label)): (usize, (&u32, &i32))| Ok((decoder.push(*id)?, at > 0 && *label != IGNORED));
    Ok(PreviewRow { tokens: ids.enumerate().map(token).collect::<Result<_>>()? })
}

/// Questions of held-out rows.
fn questions(model: &OpenModel, data: &Dataset) -> Result<Vec<String>> {
    let Some(template) = &model.codec.template else { return Ok(Vec::new()) };
    let Some(finder) = QuestionFinder::new(&model.codec.tokenizer, template)? else { return Ok(Vec::new()) };
    let found = data.spread(QUESTIONS).map(|example| finder.find(example));
    found.filter_map(Result::transpose).map(|question| Ok(question?.text)).collect()
}
