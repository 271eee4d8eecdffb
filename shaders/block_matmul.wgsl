// Block-diagonal product: y[t, i*outer + c] (+)= sum_b x[t, i*inner + b] * d[i, b, c].
// The strides of `d` make the same code serve the gradient to the input, where each block is transposed. VECTORS
// loads and stores four values at once, in the register form of widths that are multiples of four.
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

//#if VECTORS
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [tokens, blocks * inner / 4]
@group(0) @binding(1) var<storage, read_write> d: array<vec4<f32>>; // [blocks, inner, outer / 4], or transposed and / 4
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // [tokens, blocks * outer / 4]
//#else
@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [tokens, blocks * inner]
@group(0) @binding(1) var<storage, read_write> d: array<f32>; // [blocks, inner, outer] or transposed
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [tokens, blocks * outer]
//#end
@group(0) @binding(3) var<uniform> p: Params;

fn store(t: u32, block: u32, c: u32, sums: vec4<f32>) {
    if (t >= p.tokens || c >= p.outer) {
        return;
    }
    let at = (t * p.blocks + block) * p.outer + c;
    //#if VECTORS
    if (p.accumulate == 1u) {
        y[at / 4u] += sums;
    } else {
        y[at / 4u] = sums;
    }
    //#else
    for (var j = 0u; j < min(4u, p.outer - c); j++) {
        if (p.accumulate == 1u) {
            y[at + j] += sums[j];
        } else {
            y[at + j] = sums[j];
        }
    }
    //#end
}

fn store_four(t: u32, block: u32, quad: u32, sums: mat4x4<f32>) {
    store(t, block, quad * 4u, sums[0]);
    store(t + 1u, block, quad * 4u, sums[1]);
    store(t + 2u, block, quad * 4u, sums[2]);
    store(t + 3u, block, quad * 4u, sums[3]);
}

//#if register
const LANES = vec4<u32>(0u, 1u, 2u, 3u);

// Four terms of a row of x, the `quad`-th; zeros past the end.
fn x_vector(row: u32, quad: u32) -> vec4<f32> {
    //#if VECTORS
    return x[row * p.inner / 4u + quad];
    //#else
    let b = quad * 4u + LANES;
    let at = row * p.inner + min(b, vec4<u32>(p.inner - 1u));
    return select(vec4<f32>(0.0), vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), b < vec4<u32>(p.inner));
    //#end
}

// The same of four rows, a column each; rows past the end are the last one's.
fn x_four(t: u32, block: u32, quad: u32) -> mat4x4<f32> {
    let rows = min(t + LANES, vec4<u32>(p.tokens - 1u)) * p.blocks + block;
    return mat4x4<f32>(x_vector(rows.x, quad), x_vector(rows.y, quad), x_vector(rows.z, quad), x_vector(rows.w, quad));
}

//#if VECTORS
fn d_four(block: u32, quad: u32, column: u32) -> mat4x4<f32> {
    let first = block * p.inner * p.outer / 4u;
    let c = min(column, p.outer / 4u - 1u);
    //#if TRANSPOSED
    let at = first + (c * 4u + LANES) * p.inner / 4u + quad;
    return transpose(mat4x4<f32>(d[at.x], d[at.y], d[at.z], d[at.w]));
    //#else
    let at = first + (quad * 4u + LANES) * p.outer / 4u + c;
    return mat4x4<f32>(d[at.x], d[at.y], d[at.z], d[at.w]);
    //#end
}
//#else
fn d_vector(block: u32, b: u32, column: u32) -> vec4<f32> {
    let c = min(column * 4u + LANES, vec4<u32>(p.outer - 1u));
    let at = block * p.inner * p.outer + min(b, p.inner - 1u) * p.inner_stride + c * p.outer_stride;
    return vec4<f32>(d[at.x], d[at.y], d[at.z], d[at.w]);
}

// Four terms of four columns of the output, a column for each term; past the end anything.
fn d_four(block: u32, quad: u32, column: u32) -> mat4x4<f32> {
    let b = quad * 4u;
    let d0 = d_vector(block, b, column);
    let d1 = d_vector(block, b + 1u, column);
    return mat4x4<f32>(d0, d1, d_vector(block, b + 2u, column), d_vector(block, b + 3u, column));
}
//#end

// One invocation for each tile of one block's output: eight tokens, and WIDE times four columns, up to three. A processor
// that poses as a GPU pays for loads, and a wide tile has fewer of them for a product.
@compute @workgroup_size({{ WG_X }}, {{ WG_Y }}, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let tiles = (p.outer + {{ WIDE }}u * 4u - 1u) / ({{ WIDE }}u * 4u);
    let block = id.x / tiles;
    let c = id.x % tiles * {{ WIDE }}u;
    let t = id.y * 8u;
    if (block >= p.blocks || t >= p.tokens) {
        return;
    }
    var sum00 = mat4x4<f32>();
    var sum01 = mat4x4<f32>();
    var sum02 = mat4x4<f32>();
    var sum10 = mat4x4<f32>();
    var sum11 = mat4x4<f32>();
    var sum12 = mat4x4<f32>();
    for (var quad = 0u; quad < (p.inner + 3u) / 4u; quad++) {
        let x0 = x_four(t, block, quad);
        let x1 = x_four(t + 4u, block, quad);
        let d0 = d_four(block, quad, c);
        sum00 += d0 * x0;
        sum10 += d0 * x1;
        //#if WIDE2
        let d1 = d_four(block, quad, c + 1u);
        sum01 += d1 * x0;
        sum11 += d1 * x1;
        //#end
        //#if WIDE3
        let d2 = d_four(block, quad, c + 2u);
        sum02 += d2 * x0;
        sum12 += d2 * x1;
        //#end
    }
    store_four(t, block, c, sum00);
    store_four(t + 4u, block, c, sum10);
    //#if WIDE2
    store_four(t, block, c + 1u, sum01);
    store_four(t + 4u, block, c + 1u, sum11);
    //#end
    //#if WIDE3
    store_four(t, block, c + 2u, sum02);
    store_four(t + 4u, block, c + 2u, sum12);
    //#end
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
    var sums = mat4x4<f32>();
    for (var b0 = 0u; b0 < p.inner; b0 += DEPTH) {
        for (var e = lane; e < DEPTH * ROWS; e += THREADS) {
            let t = t0 + e / DEPTH;
            let b = b0 + e % DEPTH;
            let value = x[(min(t, p.tokens - 1u) * p.blocks + block) * p.inner + min(b, p.inner - 1u)];
            x_tile[(e % DEPTH) * ROWS + e / DEPTH] = select(0.0, value, t < p.tokens && b < p.inner);
        }
        for (var e = lane; e < DEPTH * COLUMNS; e += THREADS) {
            let b = b0 + e / COLUMNS;
            let c = c0 + e % COLUMNS;
            let at = min(b, p.inner - 1u) * p.inner_stride + min(c, p.outer - 1u) * p.outer_stride;
            let value = d[block * p.inner * p.outer + at];
            d_tile[e] = select(0.0, value, b < p.inner && c < p.outer);
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let at = k * COLUMNS + id.x * 4u;
            let w = vec4<f32>(d_tile[at], d_tile[at + 1u], d_tile[at + 2u], d_tile[at + 3u]);
            let row = k * ROWS + id.y * 4u;
            sums += mat4x4<f32>(x_tile[row] * w, x_tile[row + 1u] * w, x_tile[row + 2u] * w, x_tile[row + 3u] * w);
        }
        workgroupBarrier();
    }
    store_four(t0 + id.y * 4u, block, c0 / 4u + id.x, sums);
}
//#end
