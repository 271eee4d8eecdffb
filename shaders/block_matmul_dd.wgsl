// Gradient of the block-diagonal product to its blocks: dd[i, b, c] = sum_t x[t, i*d_in + b] * g[t, i*d_out + c].
// The sum over tokens is cut into `splits` stretches of fixed length; with SUM they are added in order.
// Twin: src/kernels/block_matmul/twin.rs.

struct Params {
    tokens: u32,
    blocks: u32,
    d_in: u32,
    d_out: u32,
    tokens_per_split: u32,
    splits: u32,
    pad0: u32,
    pad1: u32,
}

//#if SUM
@group(0) @binding(0) var<storage, read_write> partials: array<f32>; // [splits, blocks, d_in, d_out]
@group(0) @binding(1) var<storage, read_write> dd: array<f32>; // [blocks, d_in, d_out]
@group(0) @binding(2) var<uniform> p: Params;

// One invocation for each value.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let at = id.y * groups.x * {{ WG_X }}u + id.x;
    let count = p.blocks * p.d_in * p.d_out;
    if (at >= count) {
        return;
    }
    var sum = partials[at];
    for (var split = 1u; split < p.splits; split++) {
        sum += partials[split * count + at];
    }
    dd[at] = sum;
}
//#else
//#if VECTORS
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [tokens, blocks * d_in / 4]
@group(0) @binding(1) var<storage, read_write> g: array<vec4<f32>>; // [tokens, blocks * d_out / 4]
//#else
@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [tokens, blocks * d_in]
@group(0) @binding(1) var<storage, read_write> g: array<f32>; // [tokens, blocks * d_out]
//#end
@group(0) @binding(2) var<storage, read_write> partials: array<f32>; // [splits, blocks, d_in, d_out]
@group(0) @binding(3) var<uniform> p: Params;

fn store(split: u32, block: u32, b: u32, c: u32, sums: vec4<f32>) {
    if (b >= p.d_in || c >= p.d_out) {
        return;
    }
    let at = ((split * p.blocks + block) * p.d_in + b) * p.d_out + c;
    for (var j = 0u; j < min(4u, p.d_out - c); j++) {
        partials[at + j] = sums[j];
    }
}

fn outer(column: vec4<f32>, row: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(row * column.x, row * column.y, row * column.z, row * column.w);
}

fn store_four(split: u32, block: u32, b: u32, c: u32, sums: mat4x4<f32>) {
    store(split, block, b, c, sums[0]);
    store(split, block, b + 1u, c, sums[1]);
    store(split, block, b + 2u, c, sums[2]);
    store(split, block, b + 3u, c, sums[3]);
}

//#if register
// Four values of a block's row, from the `quad`-th four on; what comes of those past the end is not stored.
fn x_four(row: u32, quad: u32) -> vec4<f32> {
    //#if VECTORS
    return x[row * p.d_in / 4u + min(quad, p.d_in / 4u - 1u)];
    //#else
    let at = row * p.d_in + min(quad * 4u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.d_in - 1u));
    return vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]);
    //#end
}

fn g_four(row: u32, quad: u32) -> vec4<f32> {
    //#if VECTORS
    return g[row * p.d_out / 4u + min(quad, p.d_out / 4u - 1u)];
    //#else
    let at = row * p.d_out + min(quad * 4u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.d_out - 1u));
    return vec4<f32>(g[at.x], g[at.y], g[at.z], g[at.w]);
    //#end
}

// One invocation for each tile of one block and one split: TALL x WIDE matrices of 4 x 4. A processor that poses as a GPU
// pays for loads, and a wide tile has fewer of them for a product.
@compute @workgroup_size({{ WG_X }}, {{ WG_Y }}, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let across = (p.d_out + {{ WIDE }}u * 4u - 1u) / ({{ WIDE }}u * 4u);
    let down = (p.d_in + {{ TALL }}u * 4u - 1u) / ({{ TALL }}u * 4u);
    let block = id.x / (across * down);
    let b = (id.x / across) % down * {{ TALL }}u;
    let c = id.x % across * {{ WIDE }}u;
    let split = id.y;
    if (block >= p.blocks || split >= p.splits) {
        return;
    }
    //#for I TALL
    //#for J WIDE
    var sum{{ I }}{{ J }} = mat4x4<f32>();
    //#end
    //#end
    let end = min((split + 1u) * p.tokens_per_split, p.tokens);
    for (var t = split * p.tokens_per_split; t < end; t++) {
        let row = t * p.blocks + block;
        //#for J WIDE
        let g{{ J }} = g_four(row, c + {{ J }}u);
        //#end
        //#for I TALL
        let x{{ I }} = x_four(row, b + {{ I }}u);
        //#for J WIDE
        sum{{ I }}{{ J }} += outer(x{{ I }}, g{{ J }});
        //#end
        //#end
    }
    //#for I TALL
    //#for J WIDE
    store_four(split, block, (b + {{ I }}u) * 4u, (c + {{ J }}u) * 4u, sum{{ I }}{{ J }});
    //#end
    //#end
}
//#else
const STAGED: u32 = {{ STAGED }}u;
const ROWS: u32 = {{ WG_Y }}u * 4u;
const COLUMNS: u32 = {{ WG_X }}u * 4u;
const SLICES: u32 = {{ WG_Z }}u;
const THREADS: u32 = {{ WG_X }}u * {{ WG_Y }}u;

var<workgroup> x_tile: array<f32, SLICES * STAGED * ROWS>;
var<workgroup> g_tile: array<f32, SLICES * STAGED * COLUMNS>;

// One workgroup for each ROWS x COLUMNS tile of a block and SLICES splits, one a z; STAGED tokens of each at a time.
@compute @workgroup_size({{ WG_X }}, {{ WG_Y }}, {{ WG_Z }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>) {
    let across = (p.d_out + COLUMNS - 1u) / COLUMNS;
    let down = (p.d_in + ROWS - 1u) / ROWS;
    let block = group.x / (across * down);
    let b0 = ((group.x / across) % down) * ROWS;
    let c0 = (group.x % across) * COLUMNS;
    let split = group.y * SLICES + id.z;
    let lane = id.y * {{ WG_X }}u + id.x;
    let x_base = id.z * STAGED * ROWS;
    let g_base = id.z * STAGED * COLUMNS;
    let start = split * p.tokens_per_split;
    let end = min(start + p.tokens_per_split, p.tokens);
    var sums = mat4x4<f32>();
    // Every split runs the same number of rounds, so that all invocations meet at each barrier.
    for (var done = 0u; done < p.tokens_per_split; done += STAGED) {
        for (var e = lane; e < STAGED * ROWS; e += THREADS) {
            let t = start + done + e / ROWS;
            let b = b0 + e % ROWS;
            let value = x[(min(t, end - 1u) * p.blocks + block) * p.d_in + min(b, p.d_in - 1u)];
            x_tile[x_base + e] = select(0.0, value, t < end && b < p.d_in);
        }
        for (var e = lane; e < STAGED * COLUMNS; e += THREADS) {
            let t = start + done + e / COLUMNS;
            let c = c0 + e % COLUMNS;
            let value = g[(min(t, end - 1u) * p.blocks + block) * p.d_out + min(c, p.d_out - 1u)];
            g_tile[g_base + e] = select(0.0, value, t < end && c < p.d_out);
        }
        workgroupBarrier();
        for (var k = 0u; k < STAGED; k++) {
            let at = g_base + k * COLUMNS + id.x * 4u;
            let w = vec4<f32>(g_tile[at], g_tile[at + 1u], g_tile[at + 2u], g_tile[at + 3u]);
            let row = x_base + k * ROWS + id.y * 4u;
            sums += outer(vec4<f32>(x_tile[row], x_tile[row + 1u], x_tile[row + 2u], x_tile[row + 3u]), w);
        }
        workgroupBarrier();
    }
    store_four(split, block, b0 + id.y * 4u, c0 + id.x * 4u, sums);
}
//#end
//#end
