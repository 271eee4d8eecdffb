// RMS norm (arXiv 1910.07467) of every row, x · r · weight with r = 1 / sqrt(mean(x²) + eps); with BACKWARD the gradient
// to x: with h = g · weight, r·h − x · r³ · mean(h·x).
// Twin: src/kernels/rms_norm.rs.

struct Params {
    rows: u32,
    width: u32,
    eps: f32,
    pad: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [rows, width]
@group(0) @binding(1) var<storage, read_write> weight: array<f32>; // [width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows, width]
//#if BACKWARD
@group(0) @binding(3) var<storage, read_write> g: array<f32>; // [rows, width]
@group(0) @binding(4) var<uniform> p: Params;
//#else
@group(0) @binding(3) var<uniform> p: Params;
//#end

// Σ x² in x, and with BACKWARD Σ g·weight·x in y.
fn terms(start: u32, column: u32) -> vec2<f32> {
    let value = x[start + column];
//#if BACKWARD
    return vec2<f32>(value * value, g[start + column] * weight[column] * value);
//#else
    return vec2<f32>(value * value, 0.0);
//#end
}

fn put(start: u32, column: u32, sums: vec2<f32>) {
    let r = 1.0 / sqrt(sums.x / f32(p.width) + p.eps);
    let at = start + column;
//#if BACKWARD
    let along = r * r * r * (sums.y / f32(p.width));
    y[at] = r * (g[at] * weight[column]) - x[at] * along;
//#else
    y[at] = x[at] * r * weight[column];
//#end
}

//#if register
// One invocation for each row.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= p.rows) {
        return;
    }
    let start = id.x * p.width;
    var sums = vec2<f32>(0.0);
    for (var column = 0u; column < p.width; column++) {
        sums += terms(start, column);
    }
    for (var column = 0u; column < p.width; column++) {
        put(start, column, sums);
    }
}
//#else
var<workgroup> lanes: array<vec2<f32>, {{ WG_X }}>;

// One workgroup for each row, whose invocations stride through it.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if (row >= p.rows) {
        return;
    }
    let start = row * p.width;
    var mine = vec2<f32>(0.0);
    for (var column = lane; column < p.width; column += {{ WG_X }}u) {
        mine += terms(start, column);
    }
    lanes[lane] = mine;
    workgroupBarrier();
    for (var reach = {{ WG_X }}u / 2u; reach > 0u; reach /= 2u) {
        if (lane < reach) {
            lanes[lane] += lanes[lane + reach];
        }
        workgroupBarrier();
    }
    let sums = lanes[0];
    for (var column = lane; column < p.width; column += {{ WG_X }}u) {
        put(start, column, sums);
    }
}
//#end
