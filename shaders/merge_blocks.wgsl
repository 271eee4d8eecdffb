// Writes blocks into the diagonal of a weight that is stored as [out, in], which is their transpose:
// W[i * do + c, i * di + b] = original[i, b, c] (+ update[i, b, c]).
// The sum is made anew from both at every call, so that nothing drifts and the original comes back bit by bit.
// Twin: src/kernels/merge_blocks.rs.

struct Params {
    blocks: u32,
    d_in: u32,
    d_out: u32,
    // 1: original + update; 0: the original alone.
    with_update: u32,
}

@group(0) @binding(0) var<storage, read_write> original: array<f32>;
@group(0) @binding(1) var<storage, read_write> update: array<f32>;
@group(0) @binding(2) var<storage, read_write> weight: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

// One invocation for each element, in the order of the weight: its rows are written in one stretch a block.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let at = id.y * groups.x * {{ WG_X }}u + id.x;
    if (at >= p.blocks * p.d_in * p.d_out) {
        return;
    }
    let b = at % p.d_in;
    let row = at / p.d_in; // of the weight
    let block = row / p.d_out;
    let source = (block * p.d_in + b) * p.d_out + row % p.d_out;
    var value = original[source];
    if (p.with_update != 0u) {
        value += update[source];
    }
    weight[(row * p.blocks + block) * p.d_in + b] = value;
}
