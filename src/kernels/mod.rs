//! The kernels this project exists for: each a WGSL shader in `shaders/`, its launch and gradient here,
//! and a CPU twin of the same name that is at once its oracle and the CPU product.
//!
//! Every kernel is a Burn backend extension: `CubeBackend` launches the shader, `Flex` runs the twin,
//! `Autodiff` adds the hand-written gradient. All tensors are f32.

pub mod adamw;
pub mod attention;
pub mod block_matmul;
pub mod causal_softmax;
mod cpu;
pub mod cross_entropy;
pub mod dequantize;
pub mod global_norm;
pub mod launch;
pub mod linear_cross_entropy;
pub mod matmul;
pub mod matmul_tiled;
pub mod merge_blocks;
pub mod merged_linear;
pub mod rms_norm;
pub mod rotary;
pub mod step_guard;
pub mod stored_linear;
pub mod swiglu;
mod template;
mod tiles;

pub use adamw::{AdamWStep, adamw};
pub use attention::{AttentionShape, causal_attention, known_causal_attention};
pub use block_matmul::block_matmul;
pub use causal_softmax::{FirstKeys, KeyStarts, causal_softmax};
pub use cross_entropy::cross_entropy;
pub use dequantize::StoredWeight;
pub use global_norm::global_norm;
pub use launch::Form;
pub use linear_cross_entropy::{linear_cross_entropy, stored_linear_cross_entropy};
pub use matmul::{Strategy, linear, matmul, matmul_transposed};
pub use merge_blocks::{diagonal_blocks, merge_blocks};
pub use merged_linear::{merged_linear, merged_linear_in_place};
pub use rms_norm::rms_norm;
pub use rotary::rotary;
pub use step_guard::step_guard;
pub use stored_linear::stored_linear;
pub use swiglu::swiglu;

#[cfg(test)]
mod fused_tests;
#[cfg(test)]
mod tests;

/// Gradients of gradients are never asked for: training needs first derivatives only.
fn no_second_derivative(operation: &str) -> ! {
    panic!("{operation} has no second derivative")
}
