//! Which tensors an adapter has: names, shapes, order, first values.

use super::config::{AdapterConfig, Method};
use crate::model::{ModelConfig, Projection, names::expected_tensors};
use crate::random::splitmix64;

/// One trained tensor of an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Key in the adapter file, as PEFT forms it.
    pub name: String,
    /// Name of the base's tensor that it changes.
    pub tensor: String,
    /// Layer and matrix; `None` where every weight is trained, which are more than these matrices.
    pub matrix: Option<(usize, Projection)>,
    /// Its shape.
    pub shape: Vec<usize>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Starts at zero.
    Zero,
    /// Starts uniform in ±1/√width, which is PEFT's Kaiming uniform with a = √5. `matrix` counts adapted matrices.
    Uniform { matrix: u64 },
}

impl Slot {
    /// The update of a whole tensor of the base, in its own shape.
    fn of_tensor(tensor: String, shape: Vec<usize>) -> Self {
        Self { name: format!("base_model.model.{tensor}"), tensor, matrix: None, shape, kind: Kind::Zero }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no element; never so for a checked configuration.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape with a fixed rank.
    pub(crate) fn shape_of<const D: usize>(&self) -> [usize; D] {
        self.shape.as_slice().try_into().expect("rank of the slot")
    }

    /// Values before the first step.
    ///
    /// Random ones come from a hash of seed, matrix and position, in a form that any language can repeat:
    /// key = seed·2⁴⁸ + matrix·2³² + position, u = top 24 bits of splitmix64(key) / 2²⁴, value = (2u − 1)/√width.
    pub fn initial_values(&self, seed: u64) -> Vec<f32> {
        match self.kind {
            Kind::Zero => vec![0.0; self.len()],
            Kind::Uniform { matrix } => {
                let width = self.shape[1];
                let bound = (1.0 / (width as f64).sqrt()) as f32;
                let base = (seed << 48).wrapping_add(matrix << 32);
                (0..self.len() as u64)
                    .map(|position| {
                        let u = (splitmix64(base.wrapping_add(position)) >> 40) as f32 / (1 << 24) as f32;
                        (2.0 * u - 1.0) * bound
                    })
                    .collect()
            }
        }
    }
}

/// Every tensor of an adapter of this configuration on this model, layer by layer, projections in their order.
pub fn slots(config: &AdapterConfig, model: &ModelConfig) -> Vec<Slot> {
    if config.method == Method::AllWeights {
        return expected_tensors(model).into_iter().map(|(tensor, shape)| Slot::of_tensor(tensor, shape)).collect();
    }
    let matrices = (0..model.num_hidden_layers).flat_map(|layer| config.modules.iter().map(move |p| (layer, *p)));
    matrices
        .enumerate()
        .flat_map(|(matrix, (layer, projection))| {
            let [d_in, d_out] = projection.size(model);
            let slot = |suffix: &str, shape: Vec<usize>, kind| Slot {
                name: format!("base_model.model.{}.{suffix}", projection.path(layer)),
                tensor: format!("{}.weight", projection.path(layer)),
                matrix: Some((layer, projection)),
                shape,
                kind,
            };
            match config.method {
                Method::Diablo { blocks } => {
                    vec![slot("diablo_blocks", vec![blocks, d_in / blocks, d_out / blocks], Kind::Zero)]
                }
                Method::Full | Method::AllWeights => {
                    vec![slot("diablo_blocks", vec![1, d_in, d_out], Kind::Zero)]
                }
                Method::Lora { rank, .. } => vec![
                    slot("lora_A.weight", vec![rank, d_in], Kind::Uniform { matrix: matrix as u64 }),
                    slot("lora_B.weight", vec![d_out, rank], Kind::Zero),
                ],
            }
        })
        .collect()
}
