//! A frozen linear layer with an optional adapter.

use super::Weight;
use crate::adapter::LinearAdapter;
use burn::tensor::Tensor;

/// `y = x·Wᵀ + b`, the weight as Hugging Face stores it.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Weight,
    /// `[out]`.
    pub bias: Option<Tensor<1>>,
}

impl Linear {
    /// `[n, in] -> [n, out]`, the adapter's part added.
    pub fn forward(&self, x: Tensor<2>, adapter: Option<&LinearAdapter>) -> Tensor<2> {
        let y = match adapter {
            None => self.base(x),
            Some(adapter) => adapter.forward(self, x),
        };
        match &self.bias {
            None => y,
            Some(bias) => y + bias.clone().unsqueeze(),
        }
    }

    /// `x·Wᵀ` alone, without bias and adapter.
    pub(crate) fn base(&self, x: Tensor<2>) -> Tensor<2> {
        self.weight.linear(x)
    }
}
