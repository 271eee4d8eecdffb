// The numbers of a training step, and whether it may change anything: the gradient's norm and the loss, with the norm
// made infinite, which stops the optimizer, where one of them is not finite or an earlier step's norm was not. So the
// state before the first bad step stays, whatever was queued behind it.
// Everything is bits: compilers may assume that floats are finite, and WGSL has no way to write one that is not.
// Twin: src/kernels/step_guard.rs.

@group(0) @binding(0) var<storage, read_write> norm: array<u32>; // one f32
@group(0) @binding(1) var<storage, read_write> loss: array<u32>; // one f32
@group(0) @binding(2) var<storage, read_write> before: array<u32>; // the numbers of the step before
@group(0) @binding(3) var<storage, read_write> numbers: array<u32>; // norm and loss, two f32

const INFINITY = 0x7f800000u;

fn is_finite(bits: u32) -> bool {
    return (bits & INFINITY) != INFINITY;
}

// One invocation.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main() {
    let good = is_finite(norm[0]) && is_finite(loss[0]) && is_finite(before[0]);
    numbers[0] = select(INFINITY, norm[0], good);
    numbers[1] = loss[0];
}
