//! `diablo merge`: a model and its adapter as one model.

use super::common::{AdapterArgs, ModelArgs};
use super::output;
use super::writing::Writing;
use crate::error::Result;
use crate::export::export_folder;
use crate::weights::FloatType;
use std::path::PathBuf;

/// Add an adapter to its model and write a Hugging Face folder that other tools read
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  diablo merge --model SmolLM2-135M-Instruct --adapter-path adapters --save-path merged")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Folder to write; must be new or empty
    #[arg(long, value_name = "FOLDER")]
    save_path: PathBuf,
    /// Number format of the weights [default: the model's own; f32 if it is quantised]
    #[arg(long, value_enum, value_name = "TYPE")]
    dtype: Option<FloatType>,
}

impl Args {
    pub async fn run(self, json: bool) -> Result<()> {
        let opened = self.model.open().await?;
        let adapter = self.adapter.required(&opened.source.config)?;
        let dtype = self.dtype.unwrap_or_else(|| opened.source.base_dtype());
        let writing = Writing::start(json, "tensors")?;
        let progress = |written, all| writing.written(written, all);
        export_folder(&opened.source, &adapter, &self.save_path, dtype, progress).await?;
        drop(writing);
        let path = self.save_path.display();
        if json {
            return output::json(
                &serde_json::json!({"event": "done", "path": path.to_string(), "dtype": dtype.name()}),
            );
        }
        output::line(&format!("merged model in {path} ({})", dtype.name()))
    }
}

impl clap::ValueEnum for FloatType {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::F32, Self::F16, Self::BF16]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        }))
    }
}
