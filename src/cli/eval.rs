//! `diablo eval`: loss and perplexity of a model on data, with or without an adapter.

use super::common::{AdapterArgs, DataArgs, DeviceArgs, ModelArgs};
use super::output;
use crate::adapter::Adapters;
use crate::data::{DataFile, find_split, load_file};
use crate::error::{Error, Result};
use crate::eval::evaluate;
use crate::train::{BaseBytes, BatchShape, MemorySetup, TrainConfig, TrainEvent, check_batches};
use std::path::Path;

/// Measure loss and perplexity on data, with or without an adapter
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  diablo eval --model SmolLM2-135M-Instruct --data chats --mask-prompt
  diablo eval --model SmolLM2-135M-Instruct --data chats --mask-prompt --adapter-path adapters")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Rows in a batch
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().batch_size)]
    batch_size: usize,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Args {
    pub async fn run(self, json: bool) -> Result<()> {
        if self.batch_size == 0 {
            return Err(Error::Usage("--batch-size is 0; expected 1 or more".into()));
        }
        let data_path = self.data.path()?;
        let opened = self.model.open().await?;
        let adapter = self.adapter.load(&opened.source.config)?;
        let file = match self.data.bundled()?.and_then(|splits| splits.test) {
            Some(test) => test,
            None => rows(data_path)?,
        };
        let data = self.data.dataset(&file, None, &opened)?;
        let device = self.device.select(json).await?;
        let holding = self.device.holding(&opened, &device)?;
        let rows = BatchShape { rows: data.summary.rows.min(self.batch_size), length: data.summary.longest };
        let base = BaseBytes::held(&opened.source, &holding);
        let setup = MemorySetup::of_evaluation(&opened.source.config, base, device.info.kind, rows);
        check_batches(&opened.source.name, &setup, &device.info)?;
        let model = opened.load(&device, &holding).await?;
        let adapters = adapter.map(|adapter| Adapters::of(adapter, &model));
        let report = evaluate(&model, adapters.as_ref(), &data, self.batch_size, 0).await?;
        if json {
            return output::json(&TrainEvent::Eval(report));
        }
        let (loss, perplexity, tokens) = (report.loss, report.perplexity, output::thousands(report.tokens));
        output::line(&format!("loss {loss:.4}  perplexity {perplexity:.2}  {tokens} tokens"))
    }
}

/// The file at `path`; of a folder the test rows, else the validation rows, and says which.
fn rows(path: &Path) -> Result<DataFile> {
    if !path.is_dir() {
        return load_file(path);
    }
    let file = match find_split(path, "test")? {
        None => find_split(path, "valid")?,
        test => test,
    };
    let file = file.ok_or_else(|| {
        let what = "no test.jsonl, valid.jsonl, or like them, in this folder; --data takes one of its files as well";
        Error::data(path.display().to_string(), what)
    })?;
    output::note(&format!("evaluating {}", file.display()));
    load_file(file)
}
