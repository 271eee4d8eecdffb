//! How many multiplications and additions a training step cannot do without.

use super::Subject;
use crate::adapter::Method;
use crate::model::{ModelConfig, Projection};
use crate::train::{BatchShape, Mode};

/// Operations (each multiplication and each addition is one) of the products of a step over `batch`, every token but the
/// first of a row a target:
///
/// - a projection `in × out` takes `2·in·out` a token forward, and as many for the gradient to its input, which the first
///   layer's q, k and v do without where nothing below them is trained;
/// - the head the same for every target;
/// - attention `2·heads·head_dim` for each pair of a query and a key that it sees, for scores and for values, forward,
///   and twice that for its gradients;
/// - what is trained `2` a value and token for its gradient; beside the weight as many forward, and to its input.
///
/// What is computed once more to save memory is no part of it: scores in the backward pass, and layers with
/// `--grad-checkpoint`.
pub fn step_operations(model: &ModelConfig, subject: &Subject, batch: BatchShape) -> f64 {
    let BatchShape { rows, length } = batch;
    let tokens = (rows * length) as f64;
    let size = |projection: &Projection| projection.size(model).map(|width| width as f64).iter().product::<f64>();
    let layer: f64 = Projection::ALL.iter().map(size).sum();
    let layers = model.num_hidden_layers as f64;
    let needs_first = match subject {
        Subject::Frozen => true,
        Subject::Adapter(adapter, _) => adapter.method == Method::AllWeights,
    };
    let first: f64 = if needs_first { 0.0 } else { Projection::ALL[..3].iter().map(size).sum() };
    let head = (model.vocab_size * model.hidden_size) as f64;
    let targets = (rows * (length - 1)) as f64;
    let pairs = rows as f64 * length as f64 * (length as f64 + 1.0) / 2.0;
    let trained = match subject {
        Subject::Frozen => 0.0,
        Subject::Adapter(adapter, mode) => {
            let passes = if *mode == Mode::Merged || adapter.method == Method::AllWeights { 1.0 } else { 3.0 };
            passes * 2.0 * tokens * adapter.parameter_count(model) as f64
        }
    };
    4.0 * tokens * layer * layers - 2.0 * tokens * first
        + 4.0 * targets * head
        + 12.0 * pairs * model.q_size() as f64 * layers
        + trained
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::AdapterConfig;
    use crate::model::names::tests::config;

    #[test]
    fn operations_of_a_step_by_hand() {
        // Of one layer with a head as wide as the residual stream, counted out.
        let mut model = config();
        model.num_hidden_layers = 1;
        let [hidden, q, kv, mlp, vocab] =
            [model.hidden_size, model.q_size(), model.kv_size(), model.intermediate_size, model.vocab_size]
                .map(|width| width as f64);
        let batch = BatchShape { rows: 2, length: 3 };
        let weights = 2.0 * hidden * q + 2.0 * hidden * kv + 3.0 * hidden * mlp;
        // Six tokens, four targets, and in each row 1 + 2 + 3 pairs.
        let frozen = 6.0 * 4.0 * weights + 4.0 * 4.0 * hidden * vocab + 12.0 * 12.0 * q;
        assert_eq!(step_operations(&model, &Subject::Frozen, batch), frozen);
        let adapter =
            AdapterConfig { method: Method::Diablo { blocks: 2 }, modules: vec![Projection::V], dropout: 0.0 };
        let first = 6.0 * 2.0 * hidden * (q + 2.0 * kv);
        for (mode, passes) in [(Mode::Merged, 1.0), (Mode::Side, 3.0)] {
            let expected = frozen - first + passes * 6.0 * 2.0 * hidden * kv / 2.0;
            assert_eq!(step_operations(&model, &Subject::Adapter(adapter.clone(), mode), batch), expected);
        }
    }
}
