//! How far an adapter moves each matrix.

use crate::adapter::{AdapterConfig, CONFIG_FILE, Method, WEIGHTS_FILE, norm, product_norm};
use crate::error::{Error, Result};
use crate::weights::{Storage, TensorInfo, quoted, safetensors, zeroed};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The largest `adapter_config.json` that is read.
const MAX_CONFIG: u64 = 16 << 20;

/// An adapter, without its base.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterSummary {
    /// Method, sizes, modules and dropout in words.
    pub description: String,
    /// "diablo", "lora" or "full".
    pub method: &'static str,
    /// Number of blocks of DiaBlo.
    pub blocks: Option<usize>,
    /// Rank of LoRA.
    pub rank: Option<usize>,
    /// alpha of LoRA: the update is scaled by alpha / rank.
    pub alpha: Option<f64>,
    /// Adapted matrices of every layer.
    pub modules: Vec<&'static str>,
    /// The model it was trained on, as that was called then.
    pub base: String,
    /// Number of trained values.
    pub parameters: usize,
    /// Frobenius norm of the update of each tensor.
    pub norms: Vec<UpdateNorm>,
    /// The same of all tensors together.
    pub norm: f64,
}

/// The Frobenius norm of the update of one tensor: of diag(D), or of B·A times its scale.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpdateNorm {
    /// The layer; `None` for what belongs to none.
    pub layer: Option<usize>,
    /// The module: "q_proj", or what else the tensor is called.
    pub module: String,
    /// ‖update‖.
    pub norm: f64,
}

/// Reads the adapter whose files are `config` and `weights`.
///
/// # Errors
/// If one is broken, or a tensor is not what the configuration says.
pub async fn read(config: &Storage, weights: &Storage) -> Result<AdapterSummary> {
    let json: Value = serde_json::from_slice(&config.read_all(MAX_CONFIG).await?)
        .map_err(|e| Error::adapter(config.place(), format!("is not valid JSON: {e}")))?;
    let adapter = AdapterConfig::from_json(&json, config.place())?;
    let tensors = safetensors::read_header(weights).await?;
    let parameters = tensors.values().map(|info| info.shape.iter().product::<usize>()).sum();
    let mut norms = match adapter.method {
        Method::Lora { rank, alpha } => lora_norms(weights, &tensors, rank, alpha / rank as f64).await?,
        _ => norms(weights, &tensors).await?,
    };
    norms.sort_by(|a, b| (a.layer, &a.module).cmp(&(b.layer, &b.module)));
    let (blocks, rank, alpha) = match adapter.method {
        Method::Diablo { blocks } => (Some(blocks), None, None),
        Method::Lora { rank, alpha } => (None, Some(rank), Some(alpha)),
        Method::Full | Method::AllWeights => (None, None, None),
    };
    Ok(AdapterSummary {
        description: adapter.to_string(),
        method: adapter.method.name(),
        blocks,
        rank,
        alpha,
        modules: adapter.modules.iter().map(|module| module.name()).collect(),
        base: json["base_model_name_or_path"].as_str().unwrap_or_default().to_owned(),
        parameters,
        norm: norms.iter().map(|norm| norm.norm * norm.norm).sum::<f64>().sqrt(),
        norms,
    })
}

async fn norms(weights: &Storage, tensors: &BTreeMap<String, TensorInfo>) -> Result<Vec<UpdateNorm>> {
    let mut norms = Vec::new();
    for (name, info) in tensors {
        let values = values(weights, name, info).await?;
        norms.push(UpdateNorm::of(name, norm(&values)));
    }
    Ok(norms)
}

async fn lora_norms(
    weights: &Storage,
    tensors: &BTreeMap<String, TensorInfo>,
    rank: usize,
    scale: f64,
) -> Result<Vec<UpdateNorm>> {
    let mut norms = Vec::new();
    for (name, info) in tensors.iter().filter(|(name, _)| name.ends_with("lora_A.weight")) {
        let wrong =
            |name: &str, what: String| Error::adapter(weights.place(), format!("tensor {} {what}", quoted(name)));
        let other = name.replace("lora_A.weight", "lora_B.weight");
        let b = tensors.get(&other).ok_or_else(|| wrong(&other, "is missing".into()))?;
        let (&[first, _], &[_, last]) = (&info.shape[..], &b.shape[..]) else {
            return Err(wrong(name, "and its B are no matrices".into()));
        };
        if first != rank || last != rank {
            return Err(wrong(name, format!("and its B have ranks {first} and {last}, {CONFIG_FILE} says {rank}")));
        }
        let a = values(weights, name, info).await?;
        let b = values(weights, &other, b).await?;
        norms.push(UpdateNorm::of(name, product_norm(rank, &a, &b) * scale));
    }
    Ok(norms)
}

async fn values(weights: &Storage, name: &str, info: &TensorInfo) -> Result<Vec<f32>> {
    let wrong = |what: String| Error::adapter(weights.place(), format!("tensor {} {what}", quoted(name)));
    let ty =
        info.ty.clone().map_err(|ty| wrong(format!("is stored as {ty}, which is not supported in {WEIGHTS_FILE}")))?;
    let bytes = weights.read(info.range.clone()).await?;
    let mut values: Vec<f32> = zeroed(info.shape.iter().product::<usize>() as u64, weights.place())?;
    ty.dequantize(&bytes, &mut values);
    Ok(values)
}

impl UpdateNorm {
    /// Finds layer and module in a name such as `base_model.model.model.layers.3.self_attn.q_proj.diablo_blocks`.
    fn of(name: &str, norm: f64) -> Self {
        let name = name.strip_prefix("base_model.model.").unwrap_or(name);
        let endings = [".lora_A.weight", ".diablo_blocks", ".weight"];
        let name = endings.into_iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        let parts: Vec<&str> = name.split('.').collect();
        let layer = parts.windows(2).find(|pair| pair[0] == "layers").and_then(|pair| pair[1].parse().ok());
        let module = match parts.as_slice() {
            [.., parent, "bias"] => format!("{parent}.bias"),
            [.., last] => (*last).to_owned(),
            [] => name.to_owned(),
        };
        Self { layer, module, norm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_modules_by_name() {
        for (name, layer, module) in [
            ("base_model.model.model.layers.3.self_attn.q_proj.diablo_blocks", Some(3), "q_proj"),
            ("base_model.model.model.layers.12.mlp.up_proj.lora_A.weight", Some(12), "up_proj"),
            ("base_model.model.model.embed_tokens.weight", None, "embed_tokens"),
            ("base_model.model.model.layers.0.self_attn.q_proj.bias", Some(0), "q_proj.bias"),
            ("", None, ""),
        ] {
            assert_eq!(UpdateNorm::of(name, 1.0), UpdateNorm { layer, module: module.into(), norm: 1.0 });
        }
    }
}
