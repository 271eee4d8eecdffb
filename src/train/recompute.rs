//! Gradients with the activations of one layer at a time (arXiv 1604.06174): only the inputs of layers are kept, and each
//! layer is computed once more when its turn comes in the backward pass, all but its attention: what that gave is kept, too,
//! as one more of the residual stream's size, since making it costs the square of the sequence.

use crate::adapter::Adapters;
use crate::model::{Memory, Model, Targets, Tokens, next_token_loss};
use burn::tensor::{Gradients, Tensor};

/// The summed loss over `targets`, divided by `total`, and the gradients of the leaves of `tracked`, last layer first.
///
/// `plain` are the same adapters without autodiff. All of them belong to one layer each.
pub fn loss_and_gradients(
    model: &Model,
    tokens: &Tokens,
    targets: &Targets,
    total: usize,
    plain: &Adapters,
    tracked: &Adapters,
) -> (Tensor<1>, Vec<Gradients>) {
    let rotary = model.rotary(tokens, 0);
    let [mut inputs, mut attended] = [const { Vec::new() }; 2];
    let mut x = model.embed(tokens);
    for index in 0..model.layers.len() {
        inputs.push(x.clone());
        x = model.layer(index, x, tokens, &rotary, Some(plain), Memory::Keep(&mut attended));
    }

    let top = x.autodiff().require_grad();
    let loss = next_token_loss(model, model.norm.forward(top.clone()), targets) / total as f64;
    let mut grads = loss.backward();
    let mut g = top.grad_remove(&mut grads).expect("the loss depends on the last layer");
    drop(top);

    let mut gradients = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.into_iter().enumerate().rev() {
        // Nothing lies below the first layer that a gradient could be for.
        let input = if index == 0 { input.autodiff() } else { input.autodiff().require_grad() };
        let y = model.layer(index, input.clone(), tokens, &rotary, Some(tracked), Memory::Take(&mut attended));
        // Its gradient to y is g.
        let mut grads = (y * g.clone()).sum().backward();
        if index > 0 {
            g = input.grad_remove(&mut grads).expect("a layer depends on its input");
        }
        gradients.push(grads);
    }
    (loss.inner(), gradients)
}
