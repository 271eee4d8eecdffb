//! An adapter as LoRA, which PEFT and programs that read its files can load.
//!
//! A DiaBlo update is block-diagonal, so of full rank where every block is: exact factors are then as large as the
//! matrices themselves. A smaller rank leaves something out; how much is measured and told.

mod factors;

#[cfg(test)]
mod tests;

use super::target::new_folder;
use crate::adapter::{AdapterConfig, CONFIG_FILE, Method, Slot, StoredAdapter, WEIGHTS_FILE, header_metadata, slots};
use crate::error::{Error, Result};
use crate::files::{NewFile, write_atomically};
use crate::model::ModelConfig;
use crate::weights::{FloatType, safetensors};
use factors::{Blocks, Factors};
use rayon::prelude::*;
use serde::Serialize;
use std::path::Path;

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoraReport {
    /// One rank for all matrices, since not every program knows others.
    pub rank: usize,
    /// The smallest rank that leaves nothing out.
    pub exact_rank: usize,
    /// ‖D − B·A‖ / ‖D‖ over all matrices together, Frobenius.
    pub error: f64,
    /// The same for each matrix.
    pub matrices: Vec<MatrixError>,
    /// Size of the weights' file.
    pub bytes: u64,
}

/// How far the factors of one matrix are from its update.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MatrixError {
    /// The base's tensor.
    pub tensor: String,
    /// ‖D − B·A‖ / ‖D‖, Frobenius; 0 for an update that is zero.
    pub error: f64,
}

/// Writes `adapter`, which is for `model`, as a LoRA adapter to the folder `target`: of rank `rank`, or of the
/// smallest that is exact. alpha is the rank, so the scale is 1. A LoRA adapter is written as it is.
///
/// `progress` hears of each matrix that is written: how many, of how many.
///
/// # Errors
/// If `target` holds something already, the adapter changes more than matrices, a LoRA adapter has another rank than
/// asked for, the system refuses, or `progress` fails.
pub async fn export_lora(
    adapter: &StoredAdapter,
    model: &ModelConfig,
    target: &Path,
    rank: Option<usize>,
    progress: impl FnMut(usize, usize) -> Result<()>,
) -> Result<LoraReport> {
    match adapter.config.method {
        Method::AllWeights => Err(Error::Usage(
            "this adapter changes all weights, norms and embedding too, which LoRA cannot; export a folder or a GGUF file"
                .into(),
        )),
        Method::Lora { rank: own, .. } => match rank.filter(|rank| *rank != own) {
            Some(rank) => Err(Error::Usage(format!("--rank is {rank}, but this is a LoRA adapter of rank {own}"))),
            None => copy(adapter, model, target, own).await,
        },
        Method::Diablo { .. } | Method::Full => convert(adapter, model, target, rank, progress).await,
    }
}

async fn copy(adapter: &StoredAdapter, model: &ModelConfig, target: &Path, rank: usize) -> Result<LoraReport> {
    let bytes = new_folder(target, async |folder| {
        adapter.save(folder, model)?;
        size(&folder.join(WEIGHTS_FILE))
    });
    let bytes = bytes.await?;
    let a_factors = slots(&adapter.config, model).into_iter().step_by(2);
    let matrices = a_factors.map(|slot| MatrixError { tensor: slot.tensor, error: 0.0 }).collect();
    Ok(LoraReport { rank, exact_rank: rank, error: 0.0, matrices, bytes })
}

async fn convert(
    adapter: &StoredAdapter,
    model: &ModelConfig,
    target: &Path,
    rank: Option<usize>,
    mut progress: impl FnMut(usize, usize) -> Result<()>,
) -> Result<LoraReport> {
    let updates = slots(&adapter.config, model);
    let blocks: Vec<Blocks<'_>> =
        updates.iter().zip(&adapter.values).map(|(slot, values)| blocks(slot, values)).collect();
    let exact_rank = blocks.par_iter().map(Blocks::exact_rank).max().unwrap_or(0).max(1);
    if rank == Some(0) {
        return Err(Error::Usage(format!("--rank is 0; expected 1 to {exact_rank}, which is exact")));
    }
    let rank = rank.unwrap_or(exact_rank).min(exact_rank);
    let config = AdapterConfig {
        method: Method::Lora { rank, alpha: rank as f64 },
        modules: adapter.config.modules.clone(),
        dropout: 0.0,
    };
    let factor_slots = slots(&config, model);

    new_folder(target, async |folder| {
        let path = folder.join(WEIGHTS_FILE);
        let mut file = NewFile::create(&path)?;
        let tensors = factor_slots.into_iter().map(|slot| (slot.name, slot.shape));
        file.write(&safetensors::header(tensors, FloatType::F32, &header_metadata(model), WEIGHTS_FILE)?)?;
        let (mut matrices, mut error, mut norm) = (Vec::new(), 0.0, 0.0);
        // A few at a time: all at once could be larger than memory.
        let at_once = 2 * rayon::current_num_threads();
        for (slots, blocks) in updates.chunks(at_once).zip(blocks.chunks(at_once)) {
            let factors: Vec<Factors> = blocks.par_iter().map(|blocks| blocks.factors(rank)).collect();
            for (slot, factors) in slots.iter().zip(factors) {
                file.write(bytemuck::cast_slice(&factors.a))?;
                file.write(bytemuck::cast_slice(&factors.b))?;
                error += factors.error;
                norm += factors.norm;
                matrices
                    .push(MatrixError { tensor: slot.tensor.clone(), error: relative(factors.error, factors.norm) });
                progress(matrices.len(), updates.len())?;
            }
        }
        file.finish()?;
        let mut json = serde_json::to_vec_pretty(&config.to_json(&adapter.base, model)).expect("JSON of plain values");
        json.push(b'\n');
        write_atomically(&folder.join(CONFIG_FILE), |file| file.write_all(&json))?;
        Ok(LoraReport { rank, exact_rank, error: relative(error, norm), matrices, bytes: size(&path)? })
    })
    .await
}

fn blocks<'a>(slot: &Slot, values: &'a [f32]) -> Blocks<'a> {
    let [n, d_in, d_out] = slot.shape_of::<3>();
    Blocks { values, n, d_in, d_out }
}

/// √(error / norm) of two squared norms.
fn relative(error: f64, norm: f64) -> f64 {
    if norm == 0.0 { 0.0 } else { (error / norm).sqrt() }
}

fn size(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).map_err(|e| Error::io(path, "reading", e))?.len())
}
