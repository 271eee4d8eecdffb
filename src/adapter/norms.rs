//! How large an adapter's update is, matrix by matrix and block by block.

use super::config::Method;
use super::file::StoredAdapter;
use super::slots::slots;
use crate::model::{ModelConfig, Projection};
use serde::{Deserialize, Serialize};

/// Frobenius norms of the update of one matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatrixNorms {
    /// Its layer.
    pub layer: usize,
    /// Which matrix of the layer.
    pub projection: Projection,
    /// Of every block, in order; one for LoRA and for whole matrices.
    pub blocks: Vec<f64>,
}

impl MatrixNorms {
    /// Of the whole update.
    pub fn total(&self) -> f64 {
        self.blocks.iter().map(|norm| norm * norm).sum::<f64>().sqrt()
    }
}

/// The norms of every adapted matrix; none where all weights are trained.
pub fn update_norms(adapter: &StoredAdapter, model: &ModelConfig) -> Vec<MatrixNorms> {
    let slots = slots(&adapter.config, model);
    let mut rest = slots.iter().zip(&adapter.values);
    let mut norms = Vec::new();
    while let Some((slot, values)) = rest.next() {
        let Some((layer, projection)) = slot.matrix else { continue };
        let blocks = match adapter.config.method {
            Method::Lora { rank, alpha } => {
                let (_, b) = rest.next().expect("slots come as pairs of A and B");
                vec![alpha / rank as f64 * product_norm(rank, values, b)]
            }
            _ => values.chunks_exact(values.len() / slot.shape[0]).map(norm).collect(),
        };
        norms.push(MatrixNorms { layer, projection, blocks });
    }
    norms
}

/// The Frobenius norm of `values`.
pub(crate) fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// `‖B·A‖` for A `[rank, in]` and B `[out, rank]`: its square is the trace of (A·Aᵀ)·(Bᵀ·B), which are `[rank, rank]`.
pub(crate) fn product_norm(rank: usize, a: &[f32], b: &[f32]) -> f64 {
    // Of no size: no rank is too high for it, and none is worth a loop.
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let rows: Vec<&[f32]> = a.chunks_exact(a.len() / rank).collect();
    let mut sum = 0.0;
    for k in 0..rank {
        for l in 0..=k {
            let in_a: f64 = rows[k].iter().zip(rows[l]).map(|(p, q)| f64::from(*p) * f64::from(*q)).sum();
            let in_b: f64 = b.chunks_exact(rank).map(|row| f64::from(row[k]) * f64::from(row[l])).sum();
            sum += if k == l { in_a * in_b } else { 2.0 * in_a * in_b };
        }
    }
    // Rounding may leave less than nothing of an update that is zero.
    sum.max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{AdapterConfig, add_update};
    use crate::random::Random;

    #[test]
    fn the_norm_is_that_of_what_is_added_to_the_weight() {
        let model = crate::model::names::tests::config();
        let mut random = Random::new(3);
        for method in [
            Method::Diablo { blocks: 4 },
            Method::Full,
            Method::Lora { rank: 3, alpha: 5.0 },
            Method::Lora { rank: 1, alpha: 1.0 },
        ] {
            let config = AdapterConfig { method, modules: vec![Projection::Q, Projection::Down], dropout: 0.0 };
            let slots = slots(&config, &model);
            let values: Vec<Vec<f32>> =
                slots.iter().map(|slot| (0..slot.len()).map(|_| random.next_f32() - 0.5).collect()).collect();
            let adapter = StoredAdapter { config: config.clone(), base: String::new(), values: values.clone() };
            let norms = update_norms(&adapter, &model);
            assert_eq!(norms.len(), 2 * model.num_hidden_layers);
            let each = slots.len() / norms.len();
            for (index, norms) in norms.iter().enumerate() {
                let [d_in, d_out] = norms.projection.size(&model);
                let mut weight = vec![0.0; d_in * d_out];
                let range = index * each..(index + 1) * each;
                add_update(&config, &slots[range.clone()], &values[range], &mut weight);
                let expected = norm(&weight);
                assert!((norms.total() - expected).abs() < 1e-5 * expected, "{method:?}: {} {expected}", norms.total());
            }
        }
    }
}
