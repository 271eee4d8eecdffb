//! `diablo bench`: how fast this machine trains a model, and how close that is to what it could do.

use super::common::{DeviceArgs, ModelArgs};
use super::output;
use crate::adapter::{AdapterConfig, Method};
use crate::bench::{Ceiling, KernelRate, StepRate, StepSetup, measure_ceiling, measure_kernels, measure_step};
use crate::error::{Error, Result, did_you_mean};
use crate::model::{ModelConfig, Projection};
use serde_json::{Value, json};

/// Measure training steps, each kernel, and the limits of the device
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  diablo bench --model SmolLM2-135M-Instruct --blocks 48 --seq 512
  diablo bench --model SmolLM2-135M-Instruct --methods diablo,lora --json")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Methods whose steps are timed, one after the other, separated by commas; none: \"\"
    #[arg(long, value_name = "LIST", default_value = "diablo")]
    methods: String,
    /// DiaBlo: number of blocks [default: 64, or the largest number below it that divides every matrix]
    #[arg(long, value_name = "N")]
    blocks: Option<usize>,
    /// LoRA: rank
    #[arg(long, value_name = "R", default_value_t = 8)]
    rank: usize,
    /// Matrices that are adapted in every layer, separated by commas
    #[arg(long, value_name = "LIST", default_value_t = Projection::DEFAULT.map(Projection::name).join(","))]
    target_modules: String,
    /// Tokens in a row
    #[arg(long, value_name = "N", default_value_t = 512)]
    seq: usize,
    /// Rows in a batch
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch_size: usize,
    /// Steps before the clock starts
    #[arg(long, value_name = "N", default_value_t = 2)]
    warmup: usize,
    /// Steps that are timed
    #[arg(long, value_name = "N", default_value_t = 8)]
    steps: usize,
    /// Time the steps only, not the kernels and the limits of the device
    #[arg(long)]
    steps_only: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Args {
    pub async fn run(self, json: bool) -> Result<()> {
        for (flag, value) in [("seq", self.seq), ("batch-size", self.batch_size), ("steps", self.steps)] {
            if value == 0 {
                return Err(Error::Usage(format!("--{flag} is 0; expected 1 or more")));
            }
        }
        let opened = self.model.open().await?;
        let config = &opened.source.config;
        let adapters = self.adapters(config)?;
        let device = self.device.select(json).await?;
        let out = Output { json };
        // Steps first: the ceiling's buffers would count into their peak memory.
        if !adapters.is_empty() {
            let model = opened.load(&device).await?;
            let setup =
                StepSetup { batch_size: self.batch_size, sequence: self.seq, warmup: self.warmup, steps: self.steps };
            for adapter in adapters {
                out.step(&measure_step(&model, adapter, setup).await?)?;
            }
        }
        if !self.steps_only {
            let tokens = self.batch_size * self.seq;
            let ceiling = measure_ceiling(config, tokens, &device.device)?;
            out.ceiling(&ceiling)?;
            let modules = Projection::parse_list(&self.target_modules)?;
            let adapter = self.diablo(modules, config)?;
            out.kernels(&measure_kernels(&adapter, config, tokens, &device.device, &ceiling)?)?;
        }
        Ok(())
    }

    fn diablo(&self, modules: Vec<Projection>, model: &ModelConfig) -> Result<AdapterConfig> {
        let method = match self.blocks {
            Some(blocks) => Method::Diablo { blocks },
            None => Method::default_diablo(&modules, model),
        };
        AdapterConfig { method, modules, dropout: 0.0 }.checked(model)
    }

    fn adapters(&self, model: &ModelConfig) -> Result<Vec<AdapterConfig>> {
        let modules = Projection::parse_list(&self.target_modules)?;
        let names = self.methods.split(',').map(str::trim).filter(|name| !name.is_empty());
        names
            .map(|name| {
                let method = match name {
                    "diablo" => return self.diablo(modules.clone(), model),
                    "lora" => Method::Lora { rank: self.rank, alpha: self.rank as f64 },
                    "full" => Method::Full,
                    other => {
                        let known = ["diablo", "lora", "full"];
                        let hint = did_you_mean(other, known);
                        return Err(Error::Usage(format!(
                            "unknown method \"{other}\"{hint}; known: {}",
                            known.join(", ")
                        )));
                    }
                };
                AdapterConfig { method, modules: modules.clone(), dropout: 0.0 }.checked(model)
            })
            .collect()
    }
}

struct Output {
    json: bool,
}

impl Output {
    /// One JSON object a measurement, or what `text` makes of it.
    fn put(&self, event: &str, value: impl serde::Serialize, text: impl FnOnce() -> String) -> Result<()> {
        if !self.json {
            return output::line(&text());
        }
        let mut object = json!({ "event": event });
        if let Value::Object(fields) = serde_json::to_value(value).expect("JSON of plain values") {
            object.as_object_mut().expect("an object").extend(fields);
        }
        output::json(&object)
    }

    fn step(&self, rate: &StepRate) -> Result<()> {
        self.put("bench", rate, || {
            let memory = rate.peak_rss_mb.map_or(String::new(), |mb| format!(", peak memory {mb:.0} MB"));
            format!(
                "{} ({}), {} x {} tokens, {} trained values: {:.1} tokens/s, {:.3} s a step (fastest {:.3}){memory}",
                rate.method,
                rate.mode,
                rate.batch_size,
                rate.sequence,
                output::thousands(rate.trainable_parameters),
                rate.tokens_per_second,
                rate.step_seconds,
                rate.step_seconds_min,
            )
        })
    }

    fn ceiling(&self, ceiling: &Ceiling) -> Result<()> {
        self.put("ceiling", ceiling, || {
            let shapes = ceiling.matmul.iter().map(|(t, i, o, rate)| format!("\n  {t} x {i} x {o}: {rate:.1} GFLOP/s"));
            format!(
                "\ndense matmul {:.1} GFLOP/s over the model's shapes, copy {:.1} GB/s{}",
                ceiling.matmul_gflops,
                ceiling.copy_gb_per_second,
                shapes.collect::<String>()
            )
        })
    }

    fn kernels(&self, rates: &[KernelRate]) -> Result<()> {
        if !self.json {
            let heading =
                format!("{:<22}{:<34}{:>10}{:>10}{:>8}{:>8}", "kernel", "shape", "us", "GFLOP/s", "GB/s", "share");
            output::line(&format!("\n{}", output::Style::stdout().heading(&heading)))?;
        }
        for rate in rates {
            self.put("kernel", rate, || {
                format!(
                    "{:<22}{:<34}{:>10.0}{:>10.2}{:>8.2}{:>7.0}%",
                    rate.kernel,
                    rate.shape,
                    rate.microseconds,
                    rate.gflops,
                    rate.gb_per_second,
                    100.0 * rate.share_of_ceiling
                )
            })?;
        }
        Ok(())
    }
}
