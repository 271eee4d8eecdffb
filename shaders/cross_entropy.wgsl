// Cross-entropy of rows of logits, log Σ exp(logits) − logits[target], and its gradient softmax(logits) − one-hot(target),
// written over the logits.
// Twin: src/kernels/cross_entropy.rs.

struct Params {
    rows: u32,
    classes: u32,
    // Register form: stretches of STRETCH classes in a row.
    stretches: u32,
    pad: u32,
}

@group(0) @binding(0) var<storage, read_write> logits: array<f32>; // [rows, classes]
//#if register
// In three launches: partial results of stretches, those of rows, the gradient. Few rows keep all invocations busy, and
// none of them loops for long, which software Vulkan cuts off after 65,535 rounds.
const STRETCH = 1024u;

//#if PARTIAL
@group(0) @binding(1) var<storage, read_write> partial: array<vec2<f32>>; // largest, Σ exp(logit − largest)
@group(0) @binding(2) var<uniform> p: Params;

// One invocation for each stretch.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= p.rows * p.stretches) {
        return;
    }
    let row = id.x / p.stretches;
    let start = row * p.classes + id.x % p.stretches * STRETCH;
    let end = min(start + STRETCH, (row + 1u) * p.classes);
    var largest = logits[start];
    for (var at = start + 1u; at < end; at++) {
        largest = max(largest, logits[at]);
    }
    var sum = 0.0;
    for (var at = start; at < end; at++) {
        sum += exp(logits[at] - largest);
    }
    partial[id.x] = vec2<f32>(largest, sum);
}
//#end
//#if NORM
@group(0) @binding(1) var<storage, read_write> partial: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> targets: array<i32>; // [rows]
@group(0) @binding(3) var<storage, read_write> losses: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read_write> norms: array<f32>; // [rows]
@group(0) @binding(5) var<uniform> p: Params;

// One invocation for each row.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if (row >= p.rows) {
        return;
    }
    let start = row * p.stretches;
    let end = start + p.stretches;
    var largest = partial[start].x;
    for (var at = start + 1u; at < end; at++) {
        largest = max(largest, partial[at].x);
    }
    var sum = 0.0;
    for (var at = start; at < end; at++) {
        sum += partial[at].y * exp(partial[at].x - largest);
    }
    let norm = largest + log(sum);
    norms[row] = norm;
    losses[row] = norm - logits[row * p.classes + u32(targets[row])];
}
//#end
//#if GRADIENT
@group(0) @binding(1) var<storage, read_write> targets: array<i32>;
@group(0) @binding(2) var<storage, read_write> norms: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

// One invocation for each stretch.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= p.rows * p.stretches) {
        return;
    }
    let row = id.x / p.stretches;
    let start = row * p.classes + id.x % p.stretches * STRETCH;
    let end = min(start + STRETCH, (row + 1u) * p.classes);
    let norm = norms[row];
    let wanted = row * p.classes + u32(targets[row]);
    for (var at = start; at < end; at++) {
        let value = exp(logits[at] - norm);
        logits[at] = select(value, value - 1.0, at == wanted);
    }
}
//#end
//#else
@group(0) @binding(1) var<storage, read_write> targets: array<i32>; // [rows]
@group(0) @binding(2) var<storage, read_write> losses: array<f32>; // [rows]
@group(0) @binding(3) var<uniform> p: Params;

var<workgroup> lanes: array<f32, {{ WG_X }}>;

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
    let start = row * p.classes;
    let end = start + p.classes;
    // Less than any logit, and no infinity, of which a difference could be made.
    var mine = -3.0e38;
    for (var at = start + lane; at < end; at += {{ WG_X }}u) {
        mine = max(mine, logits[at]);
    }
    lanes[lane] = mine;
    workgroupBarrier();
    for (var reach = {{ WG_X }}u / 2u; reach > 0u; reach /= 2u) {
        if (lane < reach) {
            lanes[lane] = max(lanes[lane], lanes[lane + reach]);
        }
        workgroupBarrier();
    }
    let largest = lanes[0];
    workgroupBarrier();
    mine = 0.0;
    for (var at = start + lane; at < end; at += {{ WG_X }}u) {
        mine += exp(logits[at] - largest);
    }
    lanes[lane] = mine;
    workgroupBarrier();
    for (var reach = {{ WG_X }}u / 2u; reach > 0u; reach /= 2u) {
        if (lane < reach) {
            lanes[lane] += lanes[lane + reach];
        }
        workgroupBarrier();
    }
    let norm = largest + log(lanes[0]);
    let wanted = start + u32(targets[row]);
    if (wanted % {{ WG_X }}u == (start + lane) % {{ WG_X }}u) {
        // The invocation that writes over it below.
        losses[row] = norm - logits[wanted];
    }
//#if GRADIENT
    for (var at = start + lane; at < end; at += {{ WG_X }}u) {
        let value = exp(logits[at] - norm);
        logits[at] = select(value, value - 1.0, at == wanted);
    }
//#end
}
//#end
