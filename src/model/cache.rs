//! Keys and values of the tokens seen so far, for generation.

use burn::tensor::Tensor;

/// Keys and values of one layer, `[rows, seen, kv_heads * head_dim]`; empty before the first tokens.
pub type LayerCache = Option<(Tensor<3>, Tensor<3>)>;

/// What a layer's attention has from passes before this one, or leaves to later ones.
#[derive(Debug)]
pub enum Memory<'a> {
    /// Nothing.
    Nothing,
    /// Keys and values of the tokens before, to which it adds those of this pass.
    Cache(&'a mut LayerCache),
    /// Its result, `[rows * length, heads * head_dim]`, goes here.
    Keep(&'a mut Vec<Tensor<2>>),
    /// Its result, from a pass over the same input, is taken from the end of these.
    Take(&'a mut Vec<Tensor<2>>),
}

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
            *layer = kept.map(|(k, v)| (k.narrow(1, 0, length), v.narrow(1, 0, length)));
        }
    }

    pub(super) fn layer(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }
}

/// Appends `keys` and `values`, `[rows * length, kv_heads * head_dim]`, to what the layer holds and returns all of them.
pub(super) fn extend(
    cache: &mut LayerCache,
    keys: Tensor<2>,
    values: Tensor<2>,
    rows: usize,
) -> (Tensor<2>, Tensor<2>) {
    let [tokens, width] = keys.dims();
    let by_row = |x: Tensor<2>| x.reshape([rows, tokens / rows, width]);
    let (keys, values) = (by_row(keys), by_row(values));
    let (keys, values) = match cache.take() {
        None => (keys, values),
        Some((k, v)) => (Tensor::cat(vec![k, keys], 1), Tensor::cat(vec![v, values], 1)),
    };
    *cache = Some((keys.clone(), values.clone()));
    let flat = |x: Tensor<3>| x.flatten(0, 1);
    (flat(keys), flat(values))
}
