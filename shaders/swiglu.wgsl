// SwiGLU (arXiv 2002.05202): silu(gate) · up; with BACKWARD both gradients, written over gate and up.
// Twin: src/kernels/swiglu.rs.

struct Params {
    length: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<storage, read_write> gate: array<f32>;
@group(0) @binding(1) var<storage, read_write> up: array<f32>;
//#if BACKWARD
@group(0) @binding(2) var<storage, read_write> g: array<f32>;
//#else
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
//#end
@group(0) @binding(3) var<uniform> p: Params;

// Of −|x|, so that the exponential stays below one on both sides.
fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    let small = e / (1.0 + e);
    return select(1.0 - small, small, x < 0.0);
}

// One invocation for each element.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let at = id.y * groups.x * {{ WG_X }}u + id.x;
    if (at >= p.length) {
        return;
    }
    let a = gate[at];
    let s = sigmoid(a);
//#if BACKWARD
    let d = g[at];
    gate[at] = d * up[at] * s * (1.0 + a * (1.0 - s));
    up[at] = d * a * s;
//#else
    y[at] = a * s * up[at];
//#end
}
