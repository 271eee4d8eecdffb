//! `diablo bench`: how fast this machine trains a model, and how close that is to what it could do.

use super::common::{DeviceArgs, ModelArgs};
use super::output;
use crate::adapter::{AdapterConfig, Method};
use crate::bench::{
    Ceiling, KernelRate, StepRate, StepSetup, Subject, measure_ceiling, measure_kernels, measure_steps, step_operations,
};
use crate::error::{Error, Result, did_you_mean};
use crate::model::{ModelConfig, Projection};
use crate::train::{BaseBytes, BatchShape, Mode, check_batches};
use serde_json::{Value, json};

/// Measure training steps, each kernel, and the limits of the device
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  diablo bench --model SmolLM2-135M-Instruct --blocks 48 --seq 512
  diablo bench --model SmolLM2-135M-Instruct --methods frozen,diablo,lora --json
  diablo bench --model SmolLM2-135M-Instruct --methods \"\" --device gpu

The last one times kernels only. On a GPU each dense product of a layer is computed in three ways: by Burn's matmul
(burn), in register tiles (register) and in workgroup tiles (tiled). DIABLO_MATMUL=burn, register or tiled in the
environment makes any command compute in one of them.")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Whose steps are timed, in turns, separated by commas: frozen (no adapter: what no method can do without), diablo,
    /// diablo-side (not merged into the weights), lora, full; none: \"\"
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
    #[arg(long, alias = "max-seq-length", value_name = "N", default_value_t = 512)]
    seq: usize,
    /// Rows in a batch
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch_size: usize,
    /// Steps before the clock starts, each time a method's turn comes
    #[arg(long, value_name = "N", default_value_t = 1)]
    warmup: usize,
    /// Steps that are timed
    #[arg(long, value_name = "N", default_value_t = 8)]
    steps: usize,
    /// Compute layers twice, to keep less
    #[arg(long)]
    grad_checkpoint: bool,
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
        let subjects = self.subjects(config)?;
        let device = self.device.select(json).await?;
        let out = Output { json };
        let mut rates = Vec::new();
        // Steps first: the ceiling's buffers would count into their peak memory.
        if !subjects.is_empty() {
            let holding = self.device.holding(&opened, &device)?;
            if !json {
                output::status(&format!("base {}", opened.held(&holding)));
            }
            let setup = StepSetup {
                batch_size: self.batch_size,
                sequence: self.seq,
                warmup: self.warmup,
                steps: self.steps,
                grad_checkpoint: self.grad_checkpoint,
                device: device.info.kind,
                base: BaseBytes::held(&opened.source, &holding),
            };
            for subject in &subjects {
                check_batches(&opened.source.name, &setup.memory(config, subject), &device.info)?;
            }
            let model = opened.load(&device, &holding).await?;
            rates = measure_steps(model, &subjects, setup).await?;
        }
        if self.steps_only {
            out.steps(&rates)?;
        } else {
            let tokens = self.batch_size * self.seq;
            let ceiling = measure_ceiling(config, tokens, &device.device)?;
            let batch = BatchShape { rows: self.batch_size, length: self.seq };
            for (rate, subject) in rates.iter_mut().zip(&subjects) {
                let gflops = step_operations(config, subject, batch) / rate.step_seconds / 1e9;
                rate.share_of_ceiling = Some(gflops / ceiling.matmul_gflops);
            }
            out.steps(&rates)?;
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

    fn subjects(&self, model: &ModelConfig) -> Result<Vec<Subject>> {
        let modules = Projection::parse_list(&self.target_modules)?;
        let names = self.methods.split(',').map(str::trim).filter(|name| !name.is_empty());
        let adapter = |method| AdapterConfig { method, modules: modules.clone(), dropout: 0.0 }.checked(model);
        names
            .map(|name| {
                Ok(match name {
                    "frozen" => Subject::Frozen,
                    "diablo" => Subject::Adapter(self.diablo(modules.clone(), model)?, Mode::Merged),
                    "diablo-side" => Subject::Adapter(self.diablo(modules.clone(), model)?, Mode::Side),
                    "lora" => {
                        let method = Method::Lora { rank: self.rank, alpha: self.rank as f64 };
                        Subject::Adapter(adapter(method)?, Mode::Side)
                    }
                    "full" => Subject::Adapter(adapter(Method::Full)?, Mode::Merged),
                    other => {
                        let known = ["frozen", "diablo", "diablo-side", "lora", "full"];
                        let hint = did_you_mean(other, known);
                        return Err(Error::Usage(format!(
                            "unknown method \"{other}\"{hint}; known: {}",
                            known.join(", ")
                        )));
                    }
                })
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

    fn steps(&self, rates: &[StepRate]) -> Result<()> {
        let Some(first) = rates.first() else { return Ok(()) };
        if !self.json {
            output::line(&format!("\nsteps of {} x {} tokens", first.batch_size, first.sequence))?;
            let heading = format!(
                "{:<16}{:>12}{:>12}{:>12}{:>12}{:>10}{:>12}{:>12}{:>12}{:>8}",
                "method",
                "trained",
                "tokens/s",
                "s a step",
                "fastest",
                "launches",
                "memory MB",
                "device MB",
                "planned MB",
                "share"
            );
            output::line(&output::Style::stdout().heading(&heading))?;
        }
        for rate in rates {
            self.put("bench", rate, || {
                format!(
                    "{:<16}{:>12}{:>12.1}{:>12.3}{:>12.3}{:>10}{:>12}{:>12}{:>12.0}{:>8}",
                    if rate.mode == "none" { rate.method.into() } else { format!("{} {}", rate.method, rate.mode) },
                    output::thousands(rate.trainable_parameters),
                    rate.tokens_per_second,
                    rate.step_seconds,
                    rate.step_seconds_min,
                    rate.launches_per_step.map_or(String::new(), output::thousands),
                    rate.peak_rss_mb.map_or(String::new(), |mb| format!("{mb:.0}")),
                    rate.peak_device_mb.map_or(String::new(), |mb| format!("{mb:.0}")),
                    rate.planned_mb,
                    rate.share_of_ceiling.map_or(String::new(), |share| format!("{:.0}%", 100.0 * share))
                )
            })?;
        }
        Ok(())
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
            let heading = format!(
                "{:<25}{:<34}{:>10}{:>10}{:>8}{:>8}{:>10}",
                "kernel", "shape", "us", "GFLOP/s", "GB/s", "share", "of dense"
            );
            output::line(&format!("\n{}", output::Style::stdout().heading(&heading)))?;
        }
        for rate in rates {
            self.put("kernel", rate, || {
                format!(
                    "{:<25}{:<34}{:>10.0}{:>10.2}{:>8.2}{:>7.0}%{}",
                    rate.kernel,
                    rate.shape,
                    rate.microseconds,
                    rate.gflops,
                    rate.gb_per_second,
                    100.0 * rate.share_of_ceiling,
                    rate.share_of_dense.map_or(String::new(), |share| format!("{:>9.0}%", 100.0 * share))
                )
            })?;
        }
        Ok(())
    }
}
