// Block-diagonal product: y[t, i*outer + c] (+)= sum_b x[t, i*inner + b] * d[i, b, c].
// The strides of `d` make the same code serve the gradient to the input, where each block is transposed.
// Twin: src/kernels/block_matmul/twin.rs. Everything is read_write because sub-slices of one buffer may meet.

struct Params {
    tokens: u32,
    blocks: u32,
    inner: u32,
    outer: u32,
    inner_stride: u32,
    outer_stride: u32,
    accumulate: u32,
    pad: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [tokens, blocks * inner]
@group(0) @binding(1) var<storage, read_write> d: array<f32>; // [blocks, inner, outer] or transposed
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [tokens, blocks * outer]
@group(0) @binding(3) var<uniform> p: Params;

fn store(t: u32, block: u32, c: u32, sums: vec4<f32>) {
    if (t >= p.tokens) {
        return;
    }
    let at = t * p.blocks * p.outer + block * p.outer + c;
    for (var j = 0u; j < 4u; j++) {
        if (c + j < p.outer) {
            if (p.accumulate == 1u) {
                y[at + j] += sums[j];
            } else {
                y[at + j] = sums[j];
            }
        }
    }
}

//#if register
// One invocation for each 4 x 4 tile of one block's output.
@compute @workgroup_size({{ WG_X }}, {{ WG_Y }}, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let tiles = (p.outer + 3u) / 4u;
    let block = id.x / tiles;
    let c = (id.x % tiles) * 4u;
    let t = id.y * 4u;
    if (block >= p.blocks || t >= p.tokens) {
        return;
    }
    // Rows and columns past the end read a neighbour's value instead and are not stored.
    let d_in = p.blocks * p.inner;
    let rows = min(vec4<u32>(t, t + 1u, t + 2u, t + 3u), vec4<u32>(p.tokens - 1u)) * d_in + block * p.inner;
    let columns = min(vec4<u32>(c, c + 1u, c + 2u, c + 3u), vec4<u32>(p.outer - 1u)) * p.outer_stride;
    var d_at = block * p.inner * p.outer;
    var sum0 = vec4<f32>(0.0);
    var sum1 = vec4<f32>(0.0);
    var sum2 = vec4<f32>(0.0);
    var sum3 = vec4<f32>(0.0);
    for (var b = 0u; b < p.inner; b++) {
        let w = vec4<f32>(d[d_at + columns.x], d[d_at + columns.y], d[d_at + columns.z], d[d_at + columns.w]);
        sum0 += x[rows.x + b] * w;
        sum1 += x[rows.y + b] * w;
        sum2 += x[rows.z + b] * w;
        sum3 += x[rows.w + b] * w;
        d_at += p.inner_stride;
    }
    store(t, block, c, sum0);
    store(t + 1u, block, c, sum1);
    store(t + 2u, block, c, sum2);
    store(t + 3u, block, c, sum3);
}
//#else
const DEPTH: u32 = {{ DEPTH }}u;
const ROWS: u32 = {{ WG_Y }}u * 4u;
const COLUMNS: u32 = {{ WG_X }}u * 4u;
const THREADS: u32 = {{ WG_X }}u * {{ WG_Y }}u;

// Both tiles lie with the sum's index outermost, so that a register tile reads four neighbours at once.
var<workgroup> x_tile: array<f32, DEPTH * ROWS>;
var<workgroup> d_tile: array<f32, DEPTH * COLUMNS>;

// One workgroup for each ROWS x COLUMNS tile of one block's output; DEPTH terms of the sum staged at a time.
@compute @workgroup_size({{ WG_X }}, {{ WG_Y }}, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (p.outer + COLUMNS - 1u) / COLUMNS;
    let block = group.x / tiles;
    let c0 = (group.x % tiles) * COLUMNS;
    let t0 = group.y * ROWS;
    let d_in = p.blocks * p.inner;
    var sum0 = vec4<f32>(0.0);
    var sum1 = vec4<f32>(0.0);
    var sum2 = vec4<f32>(0.0);
    var sum3 = vec4<f32>(0.0);
    for (var b0 = 0u; b0 < p.inner; b0 += DEPTH) {
        for (var e = lane; e < DEPTH * ROWS; e += THREADS) {
            let t = t0 + e / DEPTH;
            let b = b0 + e % DEPTH;
            var value = 0.0;
            if (t < p.tokens && b < p.inner) {
                value = x[t * d_in + block * p.inner + b];
            }
            x_tile[(e % DEPTH) * ROWS + e / DEPTH] = value;
        }
        for (var e = lane; e < DEPTH * COLUMNS; e += THREADS) {
            let b = b0 + e / COLUMNS;
            let c = c0 + e % COLUMNS;
            var value = 0.0;
            if (b < p.inner && c < p.outer) {
                value = d[block * p.inner * p.outer + b * p.inner_stride + c * p.outer_stride];
            }
            d_tile[e] = value;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let at = k * COLUMNS + id.x * 4u;
            let w = vec4<f32>(d_tile[at], d_tile[at + 1u], d_tile[at + 2u], d_tile[at + 3u]);
            let row = k * ROWS + id.y * 4u;
            sum0 += x_tile[row] * w;
            sum1 += x_tile[row + 1u] * w;
            sum2 += x_tile[row + 2u] * w;
            sum3 += x_tile[row + 3u] * w;
        }
        workgroupBarrier();
    }
    let c = c0 + id.x * 4u;
    let t = t0 + id.y * 4u;
    store(t, block, c, sum0);
    store(t + 1u, block, c, sum1);
    store(t + 2u, block, c, sum2);
    store(t + 3u, block, c, sum3);
}
//#end
