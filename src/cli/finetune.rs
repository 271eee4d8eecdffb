//! `diablo finetune`: trains an adapter.

use super::common::{self, DataArgs, DeviceArgs, ModelArgs, Opened};
use super::progress::Progress;
use super::run_folder::{Earlier, RunFolder};
use super::{interrupt, output};
use crate::adapter::{AdapterConfig, Method};
use crate::data::{Dataset, load_rows};
use crate::device::SelectedDevice;
use crate::error::{Error, Result};
use crate::model::{ModelConfig, Projection};
use crate::train::{Run, Schedule, TrainConfig, Trainer};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde_json::{Value, json};
use std::path::PathBuf;

/// LoRA's rank unless told otherwise, as in PEFT.
const DEFAULT_RANK: usize = 8;

/// Train an adapter for a model on your own data
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  diablo finetune --model SmolLM2-135M-Instruct --data train.jsonl
  diablo finetune --model SmolLM2-135M-Instruct --data chats --mask-prompt --iters 300 --blocks 32")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    /// Folder in which the adapter is saved
    #[arg(long, value_name = "FOLDER", default_value = "adapters")]
    adapter_path: PathBuf,
    #[command(flatten)]
    adapter: AdapterFlags,
    #[command(flatten)]
    train: TrainFlags,
    /// Go on with the run in --adapter-path from its newest checkpoint
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Replace a run in --adapter-path that was not finished
    #[arg(long)]
    overwrite: bool,
    /// Steps between lines about the loss, where there is no terminal
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps_per_report: usize,
    #[command(flatten)]
    device: DeviceArgs,
    /// TOML file of flags, such as: iters = 300; flags given here count more, and paths in it start from this folder
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// All settings of the run, as such a file.
    #[arg(skip)]
    pub settings: String,
}

/// What is about to run, for the header.
struct Plan<'a> {
    model: &'a Opened,
    adapter: &'a AdapterConfig,
    device: &'a SelectedDevice,
    train: &'a Dataset,
    valid: Option<&'a Dataset>,
    config: &'a TrainConfig,
}

impl Args {
    pub async fn run(self, json: bool) -> Result<()> {
        // Cheap checks first: nobody wants to hear of a typing error after the weights were read.
        let (model_path, data_path) = (self.model.path()?, self.data.path()?);
        let config = self.train.config(self.data.max_seq_length)?;
        let opened = self.model.open().await?;
        let adapter = self.adapter.config(&opened.source.config)?;
        let splits = load_rows(data_path)?;
        let train = self.data.dataset(&splits.train, None, &opened)?;
        let valid = splits.valid.as_ref().map(|file| self.data.dataset(file, None, &opened)).transpose()?;
        common::check_writable(&self.adapter_path)?;
        let (folder, resume) = RunFolder::open(&self.adapter_path, &opened.source.config, self.earlier())?;
        let device = self.device.select(true).await?;

        let mut progress = Progress::new(json, folder, config.iters, self.steps_per_report);
        let plan = Plan {
            model: &opened,
            adapter: &adapter,
            device: &device,
            train: &train,
            valid: valid.as_ref(),
            config: &config,
        };
        progress.header(&plan.to_json(), &plan.to_text())?;

        let model = opened.load(&device).await?;
        let mut trainer = Trainer::new(model, opened.source.name.clone(), adapter, config)?;
        interrupt::watch("stopping after this step, and saving")?;
        let run = Run::new(&mut trainer, &train, valid.as_ref(), &device.info.name, resume.as_ref()).await?;
        progress.folder().begin(resume.as_ref())?;
        let result = run.train(&mut progress).await;
        progress.finish();
        if let Err(error @ Error::Io { .. }) = &result {
            progress.folder().say_what_is_left(error);
        }
        result?;
        if json {
            return Ok(());
        }
        output::line(&format!(
            "\nTry it: diablo generate --model {} --adapter-path {} --compare --prompt \"...\"",
            output::shell_word(model_path),
            output::shell_word(&self.adapter_path)
        ))
    }
}

impl Args {
    fn earlier(&self) -> Earlier {
        match (self.resume, self.overwrite) {
            (true, _) => Earlier::Resume,
            (false, true) => Earlier::Overwrite,
            (false, false) => Earlier::KeepUnfinished,
        }
    }
}

impl Plan<'_> {
    fn to_json(&self) -> Value {
        let Self { model, adapter, device, train, valid, config } = self;
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
            "rows": train.summary.rows,
            "truncated_rows": train.summary.truncated,
            "tokens": train.summary.tokens,
            "target_tokens": train.summary.target_tokens,
            "valid_rows": valid.map_or(0, |valid| valid.summary.rows),
            "steps": config.iters,
        });
        match adapter.method {
            Method::Diablo { blocks } => object["blocks"] = blocks.into(),
            Method::Lora { rank, alpha } => (object["rank"], object["lora_alpha"]) = (rank.into(), alpha.into()),
            Method::Full | Method::AllWeights => {}
        }
        object
    }

    /// A label and what stands behind it, line by line.
    fn to_text(&self) -> Vec<(&'static str, String)> {
        let Self { model, adapter, device, train, valid, config } = self;
        let number = output::thousands;
        let (all, trained) = (model.source.parameter_count(), self.trainable());
        let valid = valid.map_or(String::new(), |valid| format!("; validation {} rows", number(valid.summary.rows)));
        let rows = config.batch_size.min(train.summary.rows) * config.grad_accumulation_steps;
        let epochs = (config.iters * rows) as f64 / train.summary.rows as f64;
        vec![
            ("model", format!("{}, {} parameters, {}", model.source.name, number(all), model.source.dtype_name())),
            ("adapter", adapter.to_string()),
            (
                "trained",
                format!("{} values, {:.2}% of the model", number(trained), 100.0 * trained as f64 / all as f64),
            ),
            ("device", common::describe(device)),
            (
                "data",
                format!(
                    "{} rows, {} tokens, {} of them trained{valid}",
                    number(train.summary.rows),
                    number(train.summary.tokens),
                    number(train.summary.target_tokens)
                ),
            ),
            ("steps", format!("{} of {rows} rows, {epochs:.2} epochs", number(config.iters))),
        ]
    }

    fn trainable(&self) -> usize {
        self.adapter.parameter_count(&self.model.source.config)
    }
}

/// What is trained.
#[derive(Debug, clap::Args)]
struct AdapterFlags {
    /// Diagonal blocks, low-rank factors, or whole matrices
    #[arg(long, value_enum, default_value_t = MethodName::Diablo)]
    method: MethodName,
    /// DiaBlo: number of blocks [default: 64, or the largest number below it that divides every matrix]
    #[arg(long, value_name = "N")]
    blocks: Option<usize>,
    /// LoRA: rank [default: 8]
    #[arg(long, value_name = "R")]
    rank: Option<usize>,
    /// LoRA: the update is scaled by alpha / rank [default: the rank]
    #[arg(long, value_name = "ALPHA")]
    lora_alpha: Option<f64>,
    /// Matrices that are adapted in every layer, separated by commas
    #[arg(long, value_name = "LIST", default_value_t = Projection::DEFAULT.map(Projection::name).join(","))]
    target_modules: String,
    /// Full: train every tensor of the model, not only the target modules
    #[arg(long)]
    all_weights: bool,
    /// Dropout on the adapter's input
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    dropout: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MethodName {
    Diablo,
    Lora,
    Full,
}

/// How it is trained. The defaults are [`TrainConfig`]'s.
#[derive(Debug, clap::Args)]
struct TrainFlags {
    /// Optimizer steps
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().iters)]
    iters: usize,
    /// Rows in a batch
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().batch_size)]
    batch_size: usize,
    /// Batches in an optimizer step
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().grad_accumulation_steps)]
    grad_accumulation_steps: usize,
    /// Highest learning rate
    #[arg(long, value_name = "LR", default_value_t = TrainConfig::default().learning_rate)]
    learning_rate: f64,
    /// How the learning rate goes on after warm-up
    #[arg(long, value_enum, value_name = "SCHEDULE", default_value_t = TrainConfig::default().lr_schedule)]
    lr_schedule: Schedule,
    /// Steps in which the learning rate rises to its highest
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().warmup_steps)]
    warmup_steps: usize,
    /// Decoupled weight decay of AdamW
    #[arg(long, value_name = "DECAY", default_value_t = TrainConfig::default().weight_decay)]
    weight_decay: f64,
    /// Gradients of a larger global norm are scaled down to it; 0: never
    #[arg(long, value_name = "NORM", default_value_t = TrainConfig::default().max_grad_norm)]
    max_grad_norm: f64,
    /// Let short rows share one of up to --max-seq-length tokens; they do not see each other
    #[arg(long)]
    pack: bool,
    /// Take rows in the order of the file, every time
    #[arg(long)]
    no_shuffle: bool,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().seed)]
    seed: u64,
    /// Batches in an evaluation; 0: all
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().val_batches)]
    val_batches: usize,
    /// Steps between evaluations; 0: never
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().steps_per_eval)]
    steps_per_eval: usize,
    /// Evaluations without a lower loss after which training stops; 0: never
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().patience)]
    patience: usize,
    /// Steps between checkpoints; 0: only at the end
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().save_every)]
    save_every: usize,
}

impl AdapterFlags {
    /// The adapter these flags describe, checked against `model`.
    fn config(&self, model: &ModelConfig) -> Result<AdapterConfig> {
        let modules = Projection::parse_list(&self.target_modules)?;
        let method = match self.method {
            MethodName::Diablo => match self.blocks {
                Some(blocks) => Method::Diablo { blocks },
                None => Method::default_diablo(&modules, model),
            },
            MethodName::Lora => {
                let rank = self.rank.unwrap_or(DEFAULT_RANK);
                Method::Lora { rank, alpha: self.lora_alpha.unwrap_or(rank as f64) }
            }
            MethodName::Full if self.all_weights => Method::AllWeights,
            MethodName::Full => Method::Full,
        };
        let foreign = [
            ("blocks", self.blocks.is_some(), MethodName::Diablo),
            ("rank", self.rank.is_some(), MethodName::Lora),
            ("lora-alpha", self.lora_alpha.is_some(), MethodName::Lora),
            ("all-weights", self.all_weights, MethodName::Full),
        ];
        for (flag, is_given, owner) in foreign {
            if is_given && owner != self.method {
                return Err(Error::Usage(format!(
                    "--{flag} belongs to --method {}, but the method is {}",
                    name(&owner),
                    name(&self.method)
                )));
            }
        }
        AdapterConfig { method, modules, dropout: self.dropout }.checked(model)
    }
}

impl TrainFlags {
    fn config(&self, max_seq_length: usize) -> Result<TrainConfig> {
        TrainConfig {
            iters: self.iters,
            batch_size: self.batch_size,
            grad_accumulation_steps: self.grad_accumulation_steps,
            max_seq_length,
            learning_rate: self.learning_rate,
            lr_schedule: self.lr_schedule,
            warmup_steps: self.warmup_steps,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            pack: self.pack,
            shuffle: !self.no_shuffle,
            seed: self.seed,
            val_batches: self.val_batches,
            steps_per_eval: self.steps_per_eval,
            patience: self.patience,
            save_every: self.save_every,
            ..TrainConfig::default()
        }
        .checked()
    }
}

/// The name by which `--help` calls a value.
fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl ValueEnum for Schedule {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Constant, Self::Linear, Self::Cosine]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
        }))
    }
}
