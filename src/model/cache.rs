//! Keys and values of the tokens seen so far, for generation.

use burn::tensor::Tensor;

/// Keys and values of one layer, `[rows, kv_heads, seen, head_dim]`; empty before the first tokens.
pub type LayerCache = Option<(Tensor<4>, Tensor<4>)>;

/// The key/value cache of a model.
#[derive(Debug, Clone)]
pub struct Cache {
    layers: Vec<LayerCache>,
    length: usize,
}

impl Cache {
    /// An empty cache for a model of `layers` layers.
    pub fn new(layers: usize) -> Self {
        Self { layers: vec![None; layers], length: 0 }
    }

    /// Tokens seen so far.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Forgets all but the first `length` tokens.
    pub fn truncate(&mut self, length: usize) {
        if length >= self.length {
            return;
        }
        self.length = length;
        for layer in &mut self.layers {
            // Nothing can have a size of 0.
            let kept = layer.take().filter(|_| length > 0);
            *layer = kept.map(|(k, v)| (k.narrow(2, 0, length), v.narrow(2, 0, length)));
        }
    }

    pub(super) fn layer(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }
}

/// Appends `keys` and `values` to what the layer holds and returns all of them.
pub(super) fn extend(cache: &mut LayerCache, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
    let all = match cache.take() {
        None => (keys, values),
        Some((k, v)) => (Tensor::cat(vec![k, keys], 2), Tensor::cat(vec![v, values], 2)),
    };
    *cache = Some(all.clone());
    all
}
