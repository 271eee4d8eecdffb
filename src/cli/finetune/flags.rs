//! The flags that say what is trained, and how.

use crate::adapter::{AdapterConfig, DEFAULT_RANK, Method};
use crate::error::{Error, Result};
use crate::model::{ModelConfig, Projection};
use crate::train::{Schedule, TrainConfig};
use clap::ValueEnum;
use clap::builder::PossibleValue;

/// What is trained.
#[derive(Debug, clap::Args)]
pub struct AdapterFlags {
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
pub struct TrainFlags {
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
    /// Keep only what goes into layers and what their attention gives, and compute the rest twice: less memory, about a
    /// third more time, the same losses
    #[arg(long)]
    grad_checkpoint: bool,
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
    pub fn config(&self, model: &ModelConfig) -> Result<AdapterConfig> {
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
    /// The settings these flags describe, checked.
    pub fn config(&self, max_seq_length: usize) -> Result<TrainConfig> {
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
            grad_checkpoint: self.grad_checkpoint,
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
