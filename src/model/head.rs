//! From hidden states to the loss.

use super::{Model, Weight};
use crate::kernels::{linear_cross_entropy, stored_linear_cross_entropy};
use burn::tensor::{Device, Int, Tensor};

/// The positions of a batch that are trained, and what each should predict.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Rows of the hidden states, `[n]`.
    pub positions: Tensor<1, Int>,
    /// The token each of them should predict, `[n]`.
    pub tokens: Tensor<1, Int>,
    /// n.
    pub count: usize,
}

impl Targets {
    /// From labels as Hugging Face has them: `labels[t]` belongs to the token at `t`, is predicted at `t - 1`,
    /// and is left out where it is negative. `labels` holds `rows` rows of one length.
    ///
    /// Returns `None` where nothing is left to predict.
    pub fn new(labels: &[i32], rows: usize, device: &Device) -> Option<Self> {
        let length = labels.len() / rows;
        let (mut positions, mut tokens) = (Vec::new(), Vec::new());
        for (row, labels) in labels.chunks_exact(length).enumerate() {
            for (t, &label) in labels.iter().enumerate().skip(1).filter(|(_, label)| **label >= 0) {
                positions.push((row * length + t - 1) as i32);
                tokens.push(label);
            }
        }
        let count = tokens.len();
        (count > 0).then(|| Self {
            positions: Tensor::from_data(positions.as_slice(), device),
            tokens: Tensor::from_data(tokens.as_slice(), device),
            count,
        })
    }
}

/// Sum of `−log p(target)` over the targets, `[1]`; masked positions never reach the head, and no tensor of tokens ×
/// vocabulary is ever whole.
///
/// `hidden: [rows * length, hidden]`, as [`Model::forward`] gives it.
pub fn next_token_loss(model: &Model, hidden: Tensor<2>, targets: &Targets) -> Tensor<1> {
    let hidden = hidden.select(0, targets.positions.clone()); // [n, hidden]
    match model.head_weight() {
        Weight::Dense(head) => linear_cross_entropy(hidden, head.clone(), targets.tokens.clone()),
        Weight::Stored(head) => stored_linear_cross_entropy(hidden, head, targets.tokens.clone()),
    }
}
