//! Adding an adapter to the weights it was trained beside.

use super::config::{AdapterConfig, Method};
use super::slots::Slot;

/// Adds the adapter of one tensor to it, in f32.
///
/// `weight: [out, in]`, as Hugging Face stores it, so DiaBlo's blocks are added transposed. `slots` and `values`
/// are those of this matrix: the blocks, or A and B. Entries off the blocks keep their bits.
pub fn add_update(config: &AdapterConfig, slots: &[Slot], values: &[Vec<f32>], weight: &mut [f32]) {
    match config.method {
        Method::AllWeights => weight.iter_mut().zip(&values[0]).for_each(|(weight, update)| *weight += update),
        Method::Diablo { .. } | Method::Full => {
            let [n, di, dd] = slots[0].shape_of::<3>();
            let width = n * di;
            for (i, block) in values[0].chunks_exact(di * dd).enumerate() {
                for (b, row) in block.chunks_exact(dd).enumerate() {
                    for (c, value) in row.iter().enumerate() {
                        weight[(i * dd + c) * width + i * di + b] += value;
                    }
                }
            }
        }
        Method::Lora { rank, alpha } => {
            let scale = alpha / rank as f64;
            let width = slots[0].shape[1];
            let (a, b) = (&values[0], &values[1]);
            for (row, factors) in weight.chunks_exact_mut(width).zip(b.chunks_exact(rank)) {
                for (factor, a) in factors.iter().zip(a.chunks_exact(width)) {
                    let factor = (f64::from(*factor) * scale) as f32;
                    for (weight, a) in row.iter_mut().zip(a) {
                        *weight += factor * a;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Projection;

    #[test]
    fn a_rectangular_block_lands_transposed_and_nothing_else_moves() {
        let config =
            AdapterConfig { method: Method::Diablo { blocks: 2 }, modules: vec![Projection::Up], dropout: 0.0 };
        let model =
            crate::model::ModelConfig { hidden_size: 4, intermediate_size: 6, ..crate::model::names::tests::config() };
        let slots = crate::adapter::slots(&config, &model);
        // in 4, out 6: two blocks of 2 x 3.
        let values = vec![(1..=12).map(|v| v as f32).collect::<Vec<_>>()];
        let mut weight = vec![0.5f32; 24];
        add_update(&config, &slots[..1], &values, &mut weight);
        let at = |out: usize, input: usize| weight[out * 4 + input];
        assert_eq!(at(0, 0), 1.5);
        assert_eq!(at(2, 0), 3.5); // D[0][0][2]
        assert_eq!(at(0, 1), 4.5); // D[0][1][0]
        assert_eq!(at(5, 3), 12.5); // D[1][1][2]
        assert_eq!(at(3, 0), 0.5);
        assert_eq!(at(0, 2), 0.5);
    }
}
