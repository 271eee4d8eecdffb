//! A model with an update added to every one of its tensors: what training all weights runs on.

use super::{Linear, Model, RmsNorm, Weight};
use burn::tensor::Tensor;
use std::slice::Iter;

impl Model {
    /// The model with `updates` added: one flat tensor for each of its own, in the order of
    /// [`expected_tensors`](super::names::expected_tensors). Gradients flow to the updates. All of it is in
    /// f32.
    ///
    /// # Panics
    /// If there are fewer or more updates than tensors, or one has another size.
    pub fn updated(&self, updates: &[Tensor<1>]) -> Self {
        let mut model = self.clone();
        let mut rest = updates.iter();
        matrix(&mut model.embedding, &mut rest);
        for layer in &mut model.layers {
            norm(&mut layer.input_norm, &mut rest);
            let attention = &mut layer.attention;
            for projection in [&mut attention.q, &mut attention.k, &mut attention.v, &mut attention.o] {
                linear(projection, &mut rest);
            }
            if let Some((q, k)) = &mut attention.qk_norm {
                norm(q, &mut rest);
                norm(k, &mut rest);
            }
            norm(&mut layer.post_attention_norm, &mut rest);
            let mlp = &mut layer.mlp;
            for projection in [&mut mlp.gate, &mut mlp.up, &mut mlp.down] {
                linear(projection, &mut rest);
            }
        }
        norm(&mut model.norm, &mut rest);
        if let Some(head) = &mut model.head {
            matrix(head, &mut rest);
        }
        assert!(rest.next().is_none(), "more updates than tensors");
        model
    }
}

fn add<const D: usize>(tensor: &mut Tensor<D>, updates: &mut Iter<'_, Tensor<1>>) {
    let update = updates.next().expect("an update for every tensor").clone();
    *tensor = tensor.clone() + update.reshape(tensor.dims());
}

fn matrix(weight: &mut Weight, updates: &mut Iter<'_, Tensor<1>>) {
    let mut dense = weight.to_dense();
    add(&mut dense, updates);
    *weight = Weight::Dense(dense);
}

fn norm(norm: &mut RmsNorm, updates: &mut Iter<'_, Tensor<1>>) {
    add(&mut norm.weight, updates);
}

fn linear(linear: &mut Linear, updates: &mut Iter<'_, Tensor<1>>) {
    matrix(&mut linear.weight, updates);
    if let Some(bias) = &mut linear.bias {
        add(bias, updates);
    }
}
