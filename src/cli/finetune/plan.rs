//! What is about to run, for the header.

use crate::adapter::{AdapterConfig, Method};
use crate::cli::common::{self, Opened};
use crate::cli::output;
use crate::data::{Dataset, TrainRows};
use crate::device::SelectedDevice;
use crate::source::Holding;
use crate::train::{MemoryPlan, TrainConfig};
use serde_json::{Value, json};

/// What is about to run, for the header.
pub struct Plan<'a> {
    pub model: &'a Opened,
    pub adapter: &'a AdapterConfig,
    pub device: &'a SelectedDevice,
    pub holding: &'a Holding,
    pub train: &'a Dataset,
    pub rows: &'a TrainRows<'a>,
    pub valid: Option<&'a Dataset>,
    pub config: &'a TrainConfig,
    pub memory: MemoryPlan,
}

impl Plan<'_> {
    /// As an event.
    pub fn to_json(&self) -> Value {
        let Self { model, adapter, device, holding, train, valid, config, .. } = self;
        let modules: Vec<_> = adapter.modules.iter().map(|module| module.name()).collect();
        let mut object = json!({
            "event": "start",
            "model": model.source.name,
            "parameters": model.source.parameter_count(),
            "dtype": model.source.dtype_name(),
            "method": adapter.method.name(),
            "modules": modules,
            "trainable_parameters": self.trainable(),
            "device": device.info,
            "reason": device.reason,
            "base_dtype": holding.dtype.name(),
            "base_dtype_reason": holding.reason,
            "base_bytes": model.source.held_bytes(holding.dtype),
            "rows": train.summary.rows,
            "truncated_rows": train.summary.truncated,
            "tokens": train.summary.tokens,
            "target_tokens": train.summary.target_tokens,
            "valid_rows": valid.map_or(0, |valid| valid.summary.rows),
            "steps": config.iters,
            "memory": self.memory,
        });
        match adapter.method {
            Method::Diablo { blocks } => object["blocks"] = blocks.into(),
            Method::Lora { rank, alpha } => (object["rank"], object["lora_alpha"]) = (rank.into(), alpha.into()),
            Method::Full | Method::AllWeights => {}
        }
        object
    }

    /// A label and what stands behind it, line by line.
    pub fn to_text(&self) -> Vec<(&'static str, String)> {
        let Self { model, adapter, device, holding, train, valid, config, .. } = self;
        let number = output::thousands;
        let (all, trained) = (model.source.parameter_count(), self.trainable());
        let valid = valid.map_or(String::new(), |valid| format!("; validation {} rows", number(valid.summary.rows)));
        let all_rows = self.rows.count();
        let rows = config.batch_size.min(all_rows) * config.grad_accumulation_steps;
        let epochs = (config.iters * rows) as f64 / all_rows as f64;
        vec![
            ("model", format!("{}, {} parameters, {}", model.source.name, number(all), model.source.dtype_name())),
            ("adapter", adapter.to_string()),
            (
                "trained",
                format!("{} values, {:.2}% of the model", number(trained), 100.0 * trained as f64 / all as f64),
            ),
            ("device", common::describe(device)),
            ("dtype", model.held(holding)),
            ("memory", self.memory.to_string()),
            (
                "data",
                format!(
                    "{} rows, {} tokens, {} of them trained{valid}",
                    number(train.summary.rows),
                    number(train.summary.tokens),
                    number(train.summary.target_tokens)
                ),
            ),
            (
                "steps",
                format!(
                    "{} of {rows} {}, {epochs:.2} epochs",
                    number(config.iters),
                    if config.pack { "packed rows" } else { "rows" }
                ),
            ),
        ]
    }

    /// Every setting by name, for the report.
    pub fn settings(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut settings: Vec<(String, String)> =
            self.to_text().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let config = serde_json::to_value(self.config).expect("plain values");
        settings
            .extend(config.as_object().into_iter().flatten().map(|(key, value)| (key.replace('_', "-"), text(value))));
        settings
    }

    fn trainable(&self) -> usize {
        self.adapter.parameter_count(&self.model.source.config)
    }
}
