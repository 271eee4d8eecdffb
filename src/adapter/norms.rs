//! How large an adapter's update is, matrix by matrix and block by block.

use super::config::Method;
use super::file::StoredAdapter;
use super::slots::{Slot, slots};
use crate::model::{ModelConfig, Projection};

/// Frobenius norms of the update of one matrix.
#[derive(Debug, Clone, PartialEq)]
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
                vec![alpha / rank as f64 * product_norm(slot, values, b)]
            }
            _ => values.chunks_exact(values.len() / slot.shape[0]).map(norm).collect(),
        };
        norms.push(MatrixNorms { layer, projection, blocks });
    }
    norms
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// `‖B·A‖` from the small products `A·Aᵀ` and `Bᵀ·B`: its square is the sum of their element-wise product.
fn product_norm(slot: &Slot, a: &[f32], b: &[f32]) -> f64 {
    let (rank, width) = (slot.shape[0], slot.shape[1]);
    let rows: Vec<&[f32]> = a.chunks_exact(width).collect();
    let dot = |x: &mut dyn Iterator<Item = (f32, f32)>| x.map(|(p, q)| f64::from(p) * f64::from(q)).sum::<f64>();
    let mut sum = 0.0;
    for i in 0..rank {
        for j in 0..rank {
            let of_a = dot(&mut rows[i].iter().copied().zip(rows[j].iter().copied()));
            let of_b = dot(&mut b.chunks_exact(rank).map(|row| (row[i], row[j])));
            sum += of_a * of_b;
        }
    }
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
