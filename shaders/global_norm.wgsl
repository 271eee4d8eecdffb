// Euclidean norm of a flat buffer, in two launches of the same code: partial sums of squares over stretches
// of fixed length, then the root of their sum. The order of the sum depends on nothing but the length.
// Twin: src/kernels/global_norm.rs.

struct Params {
    length: u32,
    // Elements that one invocation (register) or one workgroup (workgroup) sums.
    stretch: u32,
    // 1: elements are squared as they are read; 0: they are partial sums already.
    square: u32,
    // 1: the result is the root of the sum.
    root: u32,
}

@group(0) @binding(0) var<storage, read_write> values: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>; // one for each stretch
@group(0) @binding(2) var<uniform> p: Params;

fn term(index: u32) -> f32 {
    let value = values[index];
    return select(value, value * value, p.square == 1u);
}

fn result(sum: f32) -> f32 {
    return select(sum, sqrt(sum), p.root == 1u);
}

//#if register
// One invocation for each stretch; four running sums keep rounding small.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let start = id.x * p.stretch;
    if (start >= p.length) {
        return;
    }
    let end = min(start + p.stretch, p.length);
    var sum = vec4<f32>(0.0);
    var at = start;
    for (; at + 4u <= end; at += 4u) {
        sum += vec4<f32>(term(at), term(at + 1u), term(at + 2u), term(at + 3u));
    }
    for (; at < end; at++) {
        sum.x += term(at);
    }
    sums[id.x] = result((sum.x + sum.y) + (sum.z + sum.w));
}
//#else
var<workgroup> lanes: array<f32, {{ WG_X }}>;

// One workgroup for each stretch: each invocation strides through it, then a tree adds the lanes.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * p.stretch;
    let end = min(start + p.stretch, p.length);
    var sum = 0.0;
    for (var at = start + lane; at < end; at += {{ WG_X }}u) {
        sum += term(at);
    }
    lanes[lane] = sum;
    workgroupBarrier();
    for (var reach = {{ WG_X }}u / 2u; reach > 0u; reach /= 2u) {
        if (lane < reach) {
            lanes[lane] += lanes[lane + reach];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        sums[group.x] = result(lanes[0]);
    }
}
//#end
