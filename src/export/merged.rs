//! The tensors of a base with its adapter added.

use crate::adapter::{Slot, StoredAdapter, add_update, slots};
use crate::error::{Error, Result};
use crate::model::names::expected_tensors;
use crate::source::Source;
use std::collections::HashMap;
use std::ops::Range;

/// A base and the adapter that is added to it, tensor by tensor.
pub struct Merged<'a> {
    source: &'a Source,
    adapter: &'a StoredAdapter,
    slots: Vec<Slot>,
    /// Which of `slots` change which tensor.
    updates: HashMap<String, Range<usize>>,
}

impl<'a> Merged<'a> {
    /// # Errors
    /// If the adapter changes a tensor that the base does not have.
    pub fn new(source: &'a Source, adapter: &'a StoredAdapter) -> Result<Self> {
        let slots = slots(&adapter.config, &source.config);
        let updates = updates(&slots);
        match updates.keys().filter(|name| source.shape(name).is_none()).min() {
            None => Ok(Self { source, adapter, slots, updates }),
            Some(name) => Err(Error::adapter(name, "is adapted, but the model has no such tensor")),
        }
    }

    /// Names and shapes of the tensors, in the order of the forward pass.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        expected_tensors(&self.source.config)
    }

    /// The values of a tensor with its update added, in f32.
    pub async fn read(&self, name: &str) -> Result<Vec<f32>> {
        let mut values = self.source.read_f32(name).await?;
        if let Some(range) = self.updates.get(name) {
            let Self { adapter, slots, .. } = self;
            add_update(&adapter.config, &slots[range.clone()], &adapter.values[range.clone()], &mut values);
        }
        Ok(values)
    }

    /// The error for a value of tensor `name` that the number format `ty` cannot hold.
    pub fn too_large(&self, name: &str, value: f32, ty: &str) -> Error {
        let what = format!("holds {value}, which is too large for {ty}; use another --dtype");
        Error::model(format!("{}: {name}", self.source.name), what)
    }
}

/// Which of `slots` belong to which tensor.
fn updates(slots: &[Slot]) -> HashMap<String, Range<usize>> {
    let mut start = 0;
    slots
        .chunk_by(|a, b| a.tensor == b.tensor)
        .map(|slots| {
            let range = start..start + slots.len();
            start = range.end;
            (slots[0].tensor.clone(), range)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{AdapterConfig, Method};
    use crate::model::Projection;
    use crate::model::names::tests::config as model;

    #[test]
    fn factors_of_one_matrix_stay_together() {
        let config = |method| AdapterConfig { method, modules: vec![Projection::Q, Projection::Down], dropout: 0.0 };
        let found = updates(&slots(&config(Method::Lora { rank: 2, alpha: 2.0 }), &model()));
        assert_eq!(found["model.layers.0.self_attn.q_proj.weight"], 0..2);
        assert_eq!(found["model.layers.0.mlp.down_proj.weight"], 2..4);
        let found = updates(&slots(&config(Method::Full), &model()));
        assert_eq!(found["model.layers.0.mlp.down_proj.weight"], 1..2);
    }
}
