//! The kernels this project exists for: each a WGSL shader in `shaders/`, its launch and gradient here,
//! and a CPU twin of the same name that is at once its oracle and the CPU product.
//!
//! Every kernel is a Burn backend extension: `CubeBackend` launches the shader, `Flex` runs the twin,
//! `Autodiff` adds the hand-written gradient. All tensors are f32.
//!
//! Five more operations are fused on the CPU only, since Burn runs their parts there one by one on one thread:
//! [`causal_softmax`], [`cross_entropy`], [`rms_norm`], [`rotary`] and [`swiglu`]. On GPUs they are compositions of plain
//! Burn operations, which are also what the fused forms are tested against.

pub mod adamw;
pub mod block_matmul;
pub mod causal_softmax;
mod cpu;
pub mod cross_entropy;
pub mod global_norm;
pub mod launch;
pub mod matmul;
pub mod rms_norm;
pub mod rotary;
pub mod swiglu;

pub use adamw::{AdamWStep, adamw};
pub use block_matmul::block_matmul;
pub use causal_softmax::{FirstKeys, causal_softmax};
pub use cross_entropy::cross_entropy;
pub use global_norm::global_norm;
pub use launch::Form;
pub use matmul::{linear, matmul, matmul_transposed};
pub use rms_norm::rms_norm;
pub use rotary::rotary;
pub use swiglu::swiglu;

use burn::tensor::Device;

#[cfg(test)]
mod fused_tests;
#[cfg(test)]
mod tests;

/// Whether tensors of `device` live on the CPU backend.
pub(crate) fn on_cpu(device: &Device) -> bool {
    device.clone().inner() == Device::flex()
}

/// Gradients of gradients are never asked for: training needs first derivatives only.
fn no_second_derivative(operation: &str) -> ! {
    panic!("{operation} has no second derivative")
}
