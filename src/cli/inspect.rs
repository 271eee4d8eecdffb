//! `diablo inspect`: what is in a model, an adapter or a checkpoint.

use super::output::{self, Style};
use crate::error::Result;
use crate::inspect::{
    AdapterSummary, CheckpointSummary, FileSummary, Inspection, ModelSummary, TensorGroup, TensorRow, UpdateNorm,
    inspect,
};
use crate::source::Source;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Show what is in a model, an adapter or a checkpoint: sizes, tensors, norms of the update
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  diablo inspect SmolLM2-135M-Instruct
  diablo inspect adapters --model SmolLM2-135M-Instruct
  diablo inspect adapters/checkpoint-000100 --hash")]
pub struct Args {
    /// A model folder, a .gguf file, an adapter folder, or a checkpoint
    path: PathBuf,
    /// Model of the adapter, for the share that is trained [default: the one it was trained on, where it still is]
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// List every tensor, not groups of them
    #[arg(long)]
    tensors: bool,
    /// Compute the SHA-256 of every file, and compare it with a checkpoint's list
    #[arg(long)]
    hash: bool,
}

impl Args {
    pub async fn run(self, json: bool) -> Result<()> {
        let found = inspect(&self.path, self.hash).await?;
        let base = self.base_parameters(found.adapter.as_ref()).await?;
        if json { output::json(&self.event(&found, base)) } else { output::text(&self.report(&found, base)) }
    }

    /// Number of weights of the adapter's base, if that is known.
    async fn base_parameters(&self, adapter: Option<&AdapterSummary>) -> Result<Option<usize>> {
        match (adapter, &self.model) {
            (Some(_), Some(model)) => Ok(Some(Source::open(model).await?.parameter_count())),
            // It may have been moved since, or be another model now.
            (Some(adapter), None) => Ok(Source::open(Path::new(&adapter.base)).await.ok().map(|s| s.parameter_count())),
            (None, _) => Ok(None),
        }
    }

    fn event(&self, found: &Inspection, base: Option<usize>) -> Value {
        let mut event = json!({ "event": "inspect" });
        if let (Value::Object(fields), Some(event)) =
            (serde_json::to_value(found).expect("JSON of plain values"), event.as_object_mut())
        {
            event.extend(fields);
        }
        if let Some(base) = base {
            event["adapter"]["base_parameters"] = base.into();
        }
        if !self.tensors {
            for (file, summary) in event["files"].as_array_mut().into_iter().flatten().zip(&found.files) {
                if let Some(file) = file.as_object_mut().filter(|_| !summary.tensors.is_empty()) {
                    file.shift_remove("tensors");
                    file.insert("groups".into(), json!(summary.groups()));
                }
            }
        }
        event
    }

    fn report(&self, found: &Inspection, base: Option<usize>) -> String {
        let style = Style::stdout();
        let mut text = format!("{} {}\n", style.heading(found.kind), found.path);
        if let Some(model) = &found.model {
            text += &describe_model(model);
        }
        if let Some(checkpoint) = &found.checkpoint {
            text += &describe_checkpoint(checkpoint);
        }
        if let Some(adapter) = &found.adapter {
            text += &describe_adapter(adapter, base);
            text += &format!("\n{}\n{}", style.heading("norm of the update"), norm_table(&adapter.norms));
        }
        for file in found.files.iter().filter(|file| !file.tensors.is_empty()) {
            let counts = format!("{} tensors, {} values", file.tensors.len(), output::thousands(file.parameters()));
            text += &format!("\n{} {counts}\n", style.heading(&file.name));
            text += &if self.tensors { tensor_table(&file.tensors) } else { group_table(file) };
        }
        text += &format!("\n{}\n", style.heading("files"));
        for file in &found.files {
            text += &format!("  {:>10}  {}", output::bytes(file.bytes), file.name);
            text += &file.sha256.as_ref().map_or_else(String::new, |hash| format!("  sha256 {hash}"));
            text += match file.matches {
                None => "\n",
                Some(true) => "  as listed\n",
                Some(false) => "  DAMAGED: the checkpoint lists another hash\n",
            };
        }
        text
    }
}

/// A label and what it says.
fn line(label: &str, text: impl std::fmt::Display) -> String {
    format!("  {label:<15} {text}\n")
}

fn describe_model(model: &ModelSummary) -> String {
    let config = &model.config;
    let family = serde_json::to_value(config.architecture).ok();
    let family = family.as_ref().and_then(Value::as_str).unwrap_or_default();
    let kind = if model.format == "gguf" { "GGUF file" } else { "Hugging Face folder" };
    let tied = if config.tie_word_embeddings { ", tied to the head" } else { "" };
    let tokenizer =
        model.tokens.map_or("cannot be read".into(), |tokens| format!("{} tokens", output::thousands(tokens)));
    [
        line("family", format!("{family} ({kind})")),
        line("parameters", format!("{} ({})", output::thousands(model.parameters), model.dtype)),
        line("layers", config.num_hidden_layers),
        line("hidden size", config.hidden_size),
        line("MLP size", config.intermediate_size),
        line(
            "heads",
            format!(
                "{} of width {}, {} for keys and values",
                config.num_attention_heads, config.head_dim, config.num_key_value_heads
            ),
        ),
        line("embedding", format!("{} rows{tied}", output::thousands(config.vocab_size))),
        line("context", format!("{} tokens", output::thousands(config.max_position_embeddings))),
        line("tokenizer", tokenizer),
        line("chat template", if model.chat_template { "yes" } else { "no" }),
    ]
    .concat()
}

fn describe_adapter(adapter: &AdapterSummary, base: Option<usize>) -> String {
    let share = base.filter(|base| *base > 0).map(|base| {
        let percent = 100.0 * adapter.parameters as f64 / base as f64;
        format!(", {percent:.3}% of the model's {}", output::thousands(base))
    });
    [
        line("method", &adapter.description),
        line("base", if adapter.base.is_empty() { "not named" } else { &adapter.base }),
        line("trained values", output::thousands(adapter.parameters) + &share.unwrap_or_default()),
        line("update", format!("norm {:.4}", adapter.norm)),
    ]
    .concat()
}

fn describe_checkpoint(checkpoint: &CheckpointSummary) -> String {
    let complete = if checkpoint.complete { "yes" } else { "no: it was being written when the run ended" };
    let state = checkpoint.state.iter().map(|(key, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("  {key:<32} {value}\n")
    });
    line("complete", complete) + &state.collect::<String>()
}

/// A row for each layer, a column for each module, in the order in which they first come.
fn norm_table(norms: &[UpdateNorm]) -> String {
    let mut modules: Vec<&str> = Vec::new();
    let mut layers: Vec<Option<usize>> = Vec::new();
    for norm in norms {
        if !modules.contains(&norm.module.as_str()) {
            modules.push(&norm.module);
        }
        if !layers.contains(&norm.layer) {
            layers.push(norm.layer);
        }
    }
    let cell = |layer: Option<usize>, module: &str| {
        let norm = norms.iter().find(|norm| norm.layer == layer && norm.module == module);
        norm.map_or_else(String::new, |norm| format!("{:.4}", norm.norm))
    };
    let mut rows = vec![["layer".to_owned()].into_iter().chain(modules.iter().map(|m| (*m).to_owned())).collect()];
    for layer in layers {
        let name = layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string());
        rows.push([name].into_iter().chain(modules.iter().map(|module| cell(layer, module))).collect());
    }
    table(&rows)
}

fn tensor_table(tensors: &[TensorRow]) -> String {
    let row = |tensor: &TensorRow| {
        vec![tensor.dtype.clone(), shape(&tensor.shape), output::bytes(tensor.bytes), tensor.name.clone()]
    };
    table(&tensors.iter().map(row).collect::<Vec<_>>())
}

fn group_table(file: &FileSummary) -> String {
    let groups = file.groups();
    let row = |group: &TensorGroup| {
        let count = format!("{} x", group.count);
        vec![count, group.dtype.clone(), shape(&group.shape), output::bytes(group.bytes), group.pattern.clone()]
    };
    table(&groups.iter().map(row).collect::<Vec<_>>())
}

/// `576 x 1536`.
fn shape(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

/// Columns that are as wide as need be, all to the right but the last.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("  {cell:>width$}"));
        let (last, cells) = (row.last(), cells.take(row.len().saturating_sub(1)).collect::<String>());
        text += &format!("{cells}  {}\n", last.map_or("", String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_by_layer_and_module() {
        let norm = |layer, module: &str, norm| UpdateNorm { layer, module: module.into(), norm };
        let norms =
            [norm(None, "norm", 3.0), norm(Some(0), "q", 1.0), norm(Some(0), "up", 2.5), norm(Some(10), "q", 0.25)];
        assert_eq!(
            norm_table(&norms),
            "  layer    norm       q  up\n      -  3.0000          \n      0          1.0000  2.5000\n     10          0.2500  \n"
        );
        assert_eq!(table(&[]), "");
    }
}
