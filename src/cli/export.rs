//! `diablo export`: a model and its adapter for other programs.

use super::common::{AdapterArgs, ModelArgs};
use super::output;
use super::writing::Writing;
use crate::error::{Error, Result, did_you_mean};
use crate::export::{GgufType, LoraReport, export_folder, export_gguf, export_lora};
use crate::weights::FloatType;
use serde_json::json;
use std::path::PathBuf;

/// Write a model with its adapter added as GGUF or Hugging Face folder, or the adapter alone as LoRA
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  diablo export --model SmolLM2-135M-Instruct --adapter-path adapters --format gguf --dtype q8_0 --save-path mine.gguf
  diablo export --model SmolLM2-135M-Instruct --adapter-path adapters --format lora --rank 64 --save-path lora")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// gguf: the merged model for llama.cpp; lora: the adapter for PEFT; folder: the merged model for transformers
    #[arg(long, value_name = "FORMAT")]
    format: String,
    /// File (gguf) or folder to write; must be new, a folder may be empty
    #[arg(long, value_name = "PATH")]
    save_path: PathBuf,
    /// Number format: f32, f16, bf16 or q8_0 (gguf only) [default: gguf: f16; folder: the model's own, f32 if quantised]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// LoRA: rank; what it leaves out is told [default: the smallest that leaves nothing out]
    #[arg(long, value_name = "R")]
    rank: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Gguf,
    Lora,
    Folder,
}

const FORMATS: [(&str, Format); 3] = [("gguf", Format::Gguf), ("lora", Format::Lora), ("folder", Format::Folder)];
const TYPES: [(&str, GgufType); 4] = [
    ("f32", GgufType::Float(FloatType::F32)),
    ("f16", GgufType::Float(FloatType::F16)),
    ("bf16", GgufType::Float(FloatType::BF16)),
    ("q8_0", GgufType::Q8_0),
];

impl Args {
    pub async fn run(self, json: bool) -> Result<()> {
        let format = parse("format", &self.format, &FORMATS)?;
        let dtype = self.dtype.as_deref().map(|dtype| parse("dtype", dtype, &TYPES)).transpose()?;
        self.check(format, dtype)?;
        let source = self.model.open().await?.source;
        let adapter = self.adapter.required(&source.config)?;

        let unit = if format == Format::Lora { "matrices" } else { "tensors" };
        let writing = Writing::start(json, unit)?;
        let progress = |written, all| writing.written(written, all);
        let path = self.save_path.display();
        let (event, text) = match format {
            Format::Folder => {
                let dtype = match dtype {
                    Some(GgufType::Float(dtype)) => dtype,
                    _ => source.base_dtype(),
                };
                export_folder(&source, &adapter, &self.save_path, dtype, progress).await?;
                let text = format!("merged model in {path} ({})", dtype.name());
                (json!({"event": "done", "format": "folder", "path": path.to_string(), "dtype": dtype.name()}), text)
            }
            Format::Gguf => {
                let dtype = dtype.unwrap_or(GgufType::Float(FloatType::F16));
                let report = export_gguf(&source, &adapter, &self.save_path, dtype, progress).await?;
                let unquantized = match report.unquantized {
                    0 => String::new(),
                    n => format!("; {n} matrices are F16, since their rows are no multiple of 32"),
                };
                let size = output::bytes(report.bytes);
                let text = format!("merged model in {path} ({}, {size}){unquantized}", dtype.name());
                let event = json!({"event": "done", "format": "gguf", "path": path.to_string(), "dtype": dtype.name(),
                    "tensors": report.tensors, "unquantized": report.unquantized, "bytes": report.bytes});
                (event, text)
            }
            Format::Lora => {
                let report = export_lora(&adapter, &source.config, &self.save_path, self.rank, progress).await?;
                let text = format!("LoRA adapter in {path} ({})", describe(&report));
                let mut event = json!({"event": "done", "format": "lora", "path": path.to_string()});
                let fields = serde_json::to_value(&report).expect("JSON of plain values");
                if let Some((event, fields)) = event.as_object_mut().zip(fields.as_object()) {
                    event.extend(fields.clone());
                }
                (event, text)
            }
        };
        drop(writing);
        if json { output::json(&event) } else { output::line(&text) }
    }

    /// Flags that the format has no use for are mistakes.
    fn check(&self, format: Format, dtype: Option<GgufType>) -> Result<()> {
        let wrong = |what: String| Err(Error::Usage(what));
        let name = &self.format;
        match format {
            Format::Lora if dtype.is_some() => {
                wrong("--dtype has no use with --format lora, which is always written as f32".into())
            }
            Format::Folder if dtype == Some(GgufType::Q8_0) => {
                wrong("--dtype q8_0 is a number format of GGUF; with --format folder use f32, f16 or bf16".into())
            }
            Format::Gguf | Format::Folder if self.rank.is_some() => {
                wrong(format!("--rank has no use with --format {name}; it belongs to --format lora"))
            }
            _ => Ok(()),
        }
    }
}

/// The value called `given` of a flag, or an error that lists those there are.
fn parse<T: Copy>(flag: &str, given: &str, known: &[(&str, T)]) -> Result<T> {
    let names = || known.iter().map(|(name, _)| *name);
    known.iter().find(|(name, _)| name.eq_ignore_ascii_case(given)).map(|(_, value)| *value).ok_or_else(|| {
        let hint = did_you_mean(given, names());
        let names = names().collect::<Vec<_>>().join(", ");
        Error::Usage(format!("unknown --{flag} \"{given}\"{hint}; known: {names}"))
    })
}

/// `rank 64, 26.5 MB; relative error 0.31, worst 0.42 in …; exact at rank 576`.
fn describe(report: &LoraReport) -> String {
    let size = format!("rank {}, {}", report.rank, output::bytes(report.bytes));
    let worst = report.matrices.iter().max_by(|a, b| a.error.total_cmp(&b.error));
    match worst.filter(|worst| worst.error > 0.0) {
        None if report.rank > 64 => format!("{size}; exact; --rank writes a smaller one and tells its error"),
        None => format!("{size}; exact"),
        Some(worst) => format!(
            "{size}; relative error {:.3e}, at worst {:.3e} in {}; exact at rank {}",
            report.error, worst.error, worst.tensor, report.exact_rank
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::MatrixError;

    #[test]
    fn names_in_any_case_and_near_misses() {
        assert_eq!(parse("dtype", "Q8_0", &TYPES).unwrap(), GgufType::Q8_0);
        let error = parse("format", "ggfu", &FORMATS).unwrap_err().to_string();
        assert_eq!(error, "unknown --format \"ggfu\" (did you mean \"gguf\"?); known: gguf, lora, folder");
    }

    #[test]
    fn the_error_is_told() {
        let matrix = |error| MatrixError { tensor: "q".into(), error };
        let report = |rank, errors: &[f64]| LoraReport {
            rank,
            exact_rank: 9,
            error: errors[0],
            matrices: errors.iter().copied().map(matrix).collect(),
            bytes: 1_500_000,
        };
        assert_eq!(describe(&report(9, &[0.0, 0.0])), "rank 9, 1.5 MB; exact");
        assert_eq!(
            describe(&report(3, &[0.25, 0.5])),
            "rank 3, 1.5 MB; relative error 2.500e-1, at worst 5.000e-1 in q; exact at rank 9"
        );
    }
}
