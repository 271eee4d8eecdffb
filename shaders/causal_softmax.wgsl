// Softmax of attention scores under a causal mask, in place: softmax(scale · scores) over the keys that a query sees,
// zero elsewhere. With BACKWARD the gradient to the scores, scale · p · (g − Σ p·g), written over g.
// Twin: src/kernels/causal_softmax.rs.

struct Params {
    // Score rows in all, queries of a row of tokens, score rows of one (heads * length), keys.
    score_rows: u32,
    length: u32,
    rows_per_row: u32,
    seen: u32,
    // Keys before those of the first query.
    start: u32,
    scale: f32,
    // First keys of a row of tokens, and which of them is the first query's.
    all_queries: u32,
    first_query: u32,
}

@group(0) @binding(0) var<storage, read_write> scores: array<f32>; // [rows, heads, length, seen]; p with BACKWARD
//#if BACKWARD
@group(0) @binding(1) var<storage, read_write> g: array<f32>;
//#end
//#if PACKED
@group(0) @binding({{ PACKED }}) var<storage, read_write> first_keys: array<i32>; // [rows, all_queries]
//#end
@group(0) @binding({{ PARAMS }}) var<uniform> p: Params;

// The first key that the query of a score row sees, and the one after the last.
fn visible(row: u32) -> vec2<u32> {
    let t = row % p.length;
    let end = min(p.start + t + 1u, p.seen);
    var begin = 0u;
//#if PACKED
    begin = min(u32(first_keys[row / p.rows_per_row * p.all_queries + p.first_query + t]), end - 1u);
//#end
    return vec2<u32>(begin, end);
}

//#if register
// One invocation for each score row.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if (row >= p.score_rows) {
        return;
    }
    let keys = visible(row);
    let base = row * p.seen;
//#if BACKWARD
    var mean = 0.0;
    for (var key = keys.x; key < keys.y; key++) {
        mean += scores[base + key] * g[base + key];
    }
    for (var key = 0u; key < p.seen; key++) {
        let value = p.scale * scores[base + key] * (g[base + key] - mean);
        g[base + key] = select(0.0, value, key >= keys.x && key < keys.y);
    }
//#else
    var largest = scores[base + keys.x];
    for (var key = keys.x + 1u; key < keys.y; key++) {
        largest = max(largest, scores[base + key]);
    }
    var sum = 0.0;
    for (var key = keys.x; key < keys.y; key++) {
        let value = exp((scores[base + key] - largest) * p.scale);
        scores[base + key] = value;
        sum += value;
    }
    let inverse = 1.0 / sum;
    for (var key = 0u; key < p.seen; key++) {
        let value = scores[base + key] * inverse;
        scores[base + key] = select(0.0, value, key >= keys.x && key < keys.y);
    }
//#end
}
//#else
var<workgroup> lanes: array<f32, {{ WG_X }}>;

// One workgroup for each score row, whose invocations stride through it.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if (row >= p.score_rows) {
        return;
    }
    let keys = visible(row);
    let base = row * p.seen;
    var mine = 0.0;
//#if BACKWARD
    for (var key = keys.x + lane; key < keys.y; key += {{ WG_X }}u) {
        mine += scores[base + key] * g[base + key];
    }
//#else
    // Less than any score, and no infinity, of which a difference could be made.
    mine = -3.0e38;
    for (var key = keys.x + lane; key < keys.y; key += {{ WG_X }}u) {
        mine = max(mine, scores[base + key]);
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
    for (var key = keys.x + lane; key < keys.y; key += {{ WG_X }}u) {
        let value = exp((scores[base + key] - largest) * p.scale);
        scores[base + key] = value;
        mine += value;
    }
//#end
    lanes[lane] = mine;
    workgroupBarrier();
    for (var reach = {{ WG_X }}u / 2u; reach > 0u; reach /= 2u) {
        if (lane < reach) {
            lanes[lane] += lanes[lane + reach];
        }
        workgroupBarrier();
    }
    let sum = lanes[0];
    // Each invocation meets the keys that it met before, so it may write without another barrier.
    for (var key = lane; key < keys.x; key += {{ WG_X }}u) {
        put(base + key, 0.0);
    }
    for (var key = keys.x + lane; key < keys.y; key += {{ WG_X }}u) {
//#if BACKWARD
        put(base + key, p.scale * scores[base + key] * (g[base + key] - sum));
//#else
        put(base + key, scores[base + key] / sum);
//#end
    }
    for (var key = keys.y + lane; key < p.seen; key += {{ WG_X }}u) {
        put(base + key, 0.0);
    }
}

fn put(at: u32, value: f32) {
//#if BACKWARD
    g[at] = value;
//#else
    scores[at] = value;
//#end
}
//#end
