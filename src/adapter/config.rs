//! What an adapter is made of, and `adapter_config.json`, shaped like PEFT's.

use crate::error::{Error, Result};
use crate::model::{ModelConfig, Projection, names::expected_tensors};
use crate::weights::{plain, quoted};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How the chosen matrices are trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Method {
    /// Diagonal blocks.
    Diablo {
        /// Number of blocks; divides width and height of every adapted matrix.
        blocks: usize,
    },
    /// Low-rank factors.
    Lora {
        /// Rank.
        rank: usize,
        /// The update is scaled by alpha / rank.
        alpha: f64,
    },
    /// The whole matrix: DiaBlo with one block.
    Full,
    /// Every tensor of the model, embedding and norms included: what pretraining needs.
    AllWeights,
}

/// The configuration of an adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterConfig {
    /// Method and its size.
    pub method: Method,
    /// Adapted projections, in order, the same in every layer.
    pub modules: Vec<Projection>,
    /// Rate of dropout on the adapter's input in training.
    pub dropout: f64,
}

/// LoRA's rank unless told otherwise, as in PEFT; its alpha is then the same.
pub const DEFAULT_RANK: usize = 8;

/// N wherever it divides every adapted matrix; otherwise the largest divisor below it.
const DEFAULT_BLOCKS: usize = 64;

/// Every N that divides width and height of all of `modules`, ascending.
pub fn common_divisors(modules: &[Projection], model: &ModelConfig) -> Vec<usize> {
    divisors_of_all(&modules.iter().flat_map(|module| module.size(model)).collect::<Vec<_>>())
}

/// Every N that divides all of `sizes`, ascending.
pub fn divisors_of_all(sizes: &[usize]) -> Vec<usize> {
    let smallest = sizes.iter().copied().min().unwrap_or(1);
    (1..=smallest).filter(|n| sizes.iter().all(|size| size.is_multiple_of(*n))).collect()
}

impl Method {
    /// DiaBlo with the default number of blocks for `modules`: 64, or the largest common divisor below it.
    pub fn default_diablo(modules: &[Projection], model: &ModelConfig) -> Self {
        let divisors = common_divisors(modules, model);
        let blocks = divisors.into_iter().rfind(|n| *n <= DEFAULT_BLOCKS).unwrap_or(1);
        Self::Diablo { blocks }
    }

    /// Whether what it trains are blocks of the weights themselves.
    pub fn has_blocks(self) -> bool {
        matches!(self, Self::Diablo { .. } | Self::Full)
    }

    /// Name as in `--method`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Diablo { .. } => "diablo",
            Self::Lora { .. } => "lora",
            Self::Full | Self::AllWeights => "full",
        }
    }
}

impl std::fmt::Display for AdapterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.method {
            Method::Diablo { blocks } => write!(f, "diablo, {blocks} blocks")?,
            Method::Lora { rank, alpha } => write!(f, "lora, rank {rank}, alpha {alpha}")?,
            Method::Full => write!(f, "full")?,
            Method::AllWeights => return write!(f, "all weights"),
        }
        let modules: Vec<_> = self.modules.iter().map(|module| module.name()).collect();
        write!(f, " on {}", modules.join(", "))?;
        if self.dropout > 0.0 { write!(f, ", dropout {}", self.dropout) } else { Ok(()) }
    }
}

impl AdapterConfig {
    /// The method; that of one block and that of whole matrices are the same.
    pub(crate) fn kind(&self) -> Method {
        if self.method == Method::Full { Method::Diablo { blocks: 1 } } else { self.method }
    }

    /// The configuration itself if it fits `model`.
    ///
    /// # Errors
    /// If N does not divide a matrix (the message lists those that do), the rank is 0 or larger than every matrix's,
    /// or the dropout rate is outside `[0, 1)`.
    pub fn checked(self, model: &ModelConfig) -> Result<Self> {
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::Usage(format!("dropout is {}; expected 0 or more and less than 1", self.dropout)));
        }
        if self.modules.is_empty() {
            return Err(Error::Usage("no target modules given".into()));
        }
        match self.method {
            Method::Diablo { blocks } => {
                let misfit = self
                    .modules
                    .iter()
                    .find(|module| blocks == 0 || module.size(model).iter().any(|size| !size.is_multiple_of(blocks)));
                if let Some(module) = misfit {
                    let [d_in, d_out] = module.size(model);
                    let fitting: Vec<_> = common_divisors(&self.modules, model).iter().map(usize::to_string).collect();
                    return Err(Error::Usage(format!(
                        "{blocks} blocks do not divide {} ({d_in} x {d_out}); for these modules N can be {}",
                        module.name(),
                        fitting.join(", ")
                    )));
                }
            }
            Method::Lora { rank, alpha } => {
                // More than some matrices need is allowed: an exported adapter has one rank for all.
                let needed = self.modules.iter().map(|module| module.size(model).into_iter().min().unwrap_or(0));
                let largest = needed.max().unwrap_or(0);
                if rank == 0 || rank > largest {
                    return Err(Error::Usage(format!("rank is {rank}; for these modules it can be 1 to {largest}")));
                }
                if !alpha.is_finite() || alpha <= 0.0 {
                    return Err(Error::Usage(format!("alpha is {alpha}; expected a positive number")));
                }
            }
            Method::Full => {}
            Method::AllWeights if self.dropout > 0.0 => {
                return Err(Error::Usage(
                    "--dropout acts on adapters' inputs; with --all-weights there are none".into(),
                ));
            }
            Method::AllWeights => {}
        }
        Ok(self)
    }

    /// Number of trained values on `model`.
    pub fn parameter_count(&self, model: &ModelConfig) -> usize {
        super::slots(self, model).iter().map(super::Slot::len).sum()
    }

    /// `adapter_config.json` for an adapter of the base called `base`.
    pub fn to_json(&self, base: &str, model: &ModelConfig) -> Value {
        let modules: Vec<_> = self.modules.iter().map(|module| module.name()).collect();
        match self.method {
            Method::Diablo { .. } | Method::Full | Method::AllWeights => json!({
                "peft_type": "DIABLO",
                "task_type": "CAUSAL_LM",
                "base_model_name_or_path": base,
                "base_shapes_sha256": shapes_hash(model),
                "num_blocks": if let Method::Diablo { blocks } = self.method { blocks } else { 1 },
                "all_weights": self.method == Method::AllWeights,
                "target_modules": modules,
                "diablo_dropout": self.dropout,
                "bias": "none",
                "fan_in_fan_out": false,
                "inference_mode": true,
            }),
            Method::Lora { rank, alpha } => json!({
                "peft_type": "LORA",
                "task_type": "CAUSAL_LM",
                "base_model_name_or_path": base,
                "r": rank,
                "lora_alpha": alpha,
                "target_modules": modules,
                "lora_dropout": self.dropout,
                "bias": "none",
                "fan_in_fan_out": false,
                "init_lora_weights": true,
                "inference_mode": true,
                "modules_to_save": null,
            }),
        }
    }

    /// Reads `adapter_config.json`; `place` names the file in errors.
    ///
    /// # Errors
    /// On another kind of adapter, a missing key, an unknown module, or a feature this program does not have.
    pub fn from_json(config: &Value, place: &str) -> Result<Self> {
        let wrong = |what: String| Error::adapter(place, what);
        let count = |key: &str| {
            let value = config[key].as_u64().and_then(|n| usize::try_from(n).ok());
            value.ok_or_else(|| {
                wrong(format!("\"{key}\" is {}; expected a whole number", plain(&config[key].to_string())))
            })
        };
        let listed = config["target_modules"].as_array().ok_or_else(|| {
            let found = plain(&config["target_modules"].to_string());
            wrong(format!("\"target_modules\" is {found}; expected a list of names"))
        })?;
        let mut modules = listed
            .iter()
            .map(|name| {
                Projection::from_name(name.as_str().unwrap_or_default()).map_err(|e| wrong(plain(&e.to_string())))
            })
            .collect::<Result<Vec<_>>>()?;
        modules.sort();
        modules.dedup();
        let (method, dropout) = match config["peft_type"].as_str() {
            Some("DIABLO") if config["all_weights"] == true => (Method::AllWeights, "diablo_dropout"),
            Some("DIABLO") => (Method::Diablo { blocks: count("num_blocks")? }, "diablo_dropout"),
            Some("LORA") => {
                for key in ["use_dora", "use_rslora"] {
                    if config[key].as_bool() == Some(true) {
                        return Err(wrong(format!("\"{key}\" is not supported")));
                    }
                }
                let alpha = config["lora_alpha"].as_f64();
                let alpha = alpha.ok_or_else(|| wrong("\"lora_alpha\" is not a number".into()))?;
                (Method::Lora { rank: count("r")?, alpha }, "lora_dropout")
            }
            other => {
                return Err(wrong(format!(
                    "\"peft_type\" is {}; this program loads \"DIABLO\" and \"LORA\"",
                    other.map_or("missing".into(), quoted)
                )));
            }
        };
        Ok(Self { method, modules, dropout: config[dropout].as_f64().unwrap_or(0.0) })
    }
}

/// A hash of the base's tensor names and shapes: an adapter for another model is told apart by it.
pub(super) fn shapes_hash(model: &ModelConfig) -> String {
    let mut hash = Sha256::new();
    for (name, shape) in expected_tensors(model) {
        hash.update(format!("{name} {shape:?}\n"));
    }
    crate::hash::hex(hash.finalize())
}
