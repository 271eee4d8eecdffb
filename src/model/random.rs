//! A model with random weights.

use super::{Attention, Layer, Linear, Mlp, Model, ModelConfig, Projection, RmsNorm, RotaryTables, Weight};
use crate::random::Random;
use burn::tensor::{Device, Tensor, TensorData};

impl Model {
    /// Weights drawn from N(0, `deviation`²) and norms of one, a function of `config` and `seed` alone.
    pub fn random(config: ModelConfig, device: &Device, deviation: f32, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut matrix = |shape: [usize; 2]| {
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| deviation * normal(&mut random)).collect();
            Weight::Dense(Tensor::from_data(TensorData::new(values, shape), device))
        };
        let norm = |width: usize| RmsNorm { weight: Tensor::ones([width], device), eps: config.rms_norm_eps };
        let embedding = matrix([config.vocab_size, config.hidden_size]);
        let layers = (0..config.num_hidden_layers)
            .map(|_| {
                let mut linear = |projection: Projection| {
                    let [d_in, d_out] = projection.size(&config);
                    let bias = projection.has_bias(&config).then(|| Tensor::zeros([d_out], device));
                    Linear { weight: matrix([d_out, d_in]), bias }
                };
                Layer {
                    input_norm: norm(config.hidden_size),
                    attention: Attention {
                        q: linear(Projection::Q),
                        k: linear(Projection::K),
                        v: linear(Projection::V),
                        o: linear(Projection::O),
                        qk_norm: config.qk_norm.then(|| (norm(config.head_dim), norm(config.head_dim))),
                        head_dim: config.head_dim,
                    },
                    post_attention_norm: norm(config.hidden_size),
                    mlp: Mlp {
                        gate: linear(Projection::Gate),
                        up: linear(Projection::Up),
                        down: linear(Projection::Down),
                    },
                }
            })
            .collect();
        let head = (!config.tie_word_embeddings).then(|| matrix([config.vocab_size, config.hidden_size]));
        let tables = RotaryTables::default();
        Self { embedding, layers, norm: norm(config.hidden_size), head, config, tables }
    }
}

/// One draw from N(0, 1), by the Box–Muller transform.
fn normal(random: &mut Random) -> f32 {
    // 1 − u is never 0, so the logarithm is finite.
    let radius = (-2.0 * f64::from(1.0 - random.next_f32()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * f64::from(random.next_f32())).cos()) as f32
}
