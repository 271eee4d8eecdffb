// Block-diagonal product: y[t, i*outer + c] += sum_b x[t, i*inner + b] * d[i, b, c]; TRANSPOSED, for the gradient to the
// input, writes y, with d[i, c, b]. VECTORS loads and stores four values at once, in the register form of widths that are
// multiples of four.
// Twin: src/kernels/block_matmul/twin.rs. Everything is read_write because sub-slices of one buffer may meet.

struct Params {
    tokens: u32,
    blocks: u32,
    inner: u32,
    outer: u32,
}

//#if VECTORS
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [tokens, blocks * inner / 4]
@group(0) @binding(1) var<storage, read_write> d: array<vec4<f32>>; // [blocks, inner, outer / 4], or [blocks, outer, inner / 4]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // [tokens, blocks * outer / 4]
//#else
@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [tokens, blocks * inner]
@group(0) @binding(1) var<storage, read_write> d: array<f32>; // [blocks, inner, outer] or [blocks, outer, inner]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [tokens, blocks * outer]
//#end
@group(0) @binding(3) var<uniform> p: Params;

fn store(t: u32, block: u32, c: u32, sums: vec4<f32>) {
    if (t >= p.tokens || c >= p.outer) {
        return;
    }
    let at = (t * p.blocks + block) * p.outer + c;
    //#if VECTORS
    //#if TRANSPOSED
    y[at / 4u] = sums;
    //#else
    y[at / 4u] += sums;
    //#end
    //#else
    for (var j = 0u; j < min(4u, p.outer - c); j++) {
        //#if TRANSPOSED
        y[at + j] = sums[j];
        //#else
        y[at + j] += sums[j];
        //#end
    }
    //#end
}

// Index in d of what takes the `b`-th value of a row of x to the `c`-th of its block in a row of y.
fn place(block: u32, b: u32, c: u32) -> u32 {
    //#if TRANSPOSED
    return (block * p.outer + c - block) * p.inner + b;
    //#else
    return b * p.outer + c;
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

// Four values of a row of x, from the `b`-th on; zeros past the end of its block.
fn x_vector(t: u32, b: u32, end: u32) -> vec4<f32> {
    let row = t * p.blocks * p.inner;
    //#if VECTORS
    return x[(row + b) / 4u];
    //#else
    let wanted = b + LANES;
    let at = row + min(wanted, vec4<u32>(end - 1u));
    return select(vec4<f32>(0.0), vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), wanted < vec4<u32>(end));
    //#end
}

// The same of four rows, a column each; rows past the end are the last one's.
fn x_four(t: u32, b: u32, end: u32) -> mat4x4<f32> {
    let rows = min(t + LANES, vec4<u32>(p.tokens - 1u));
    return mat4x4<f32>(x_vector(rows.x, b, end), x_vector(rows.y, b, end), x_vector(rows.z, b, end), x_vector(rows.w, b, end));
}

//#if VECTORS
// Four terms of four columns of the output, the `column`-th four, a column for each term; past the end anything.
fn d_four(block: u32, b: u32, end: u32, column: u32) -> mat4x4<f32> {
    let c = min(column * 4u, p.outer - 4u);
    //#if TRANSPOSED
    let at = (place(block, b, c) + LANES * p.inner) / 4u;
    return transpose(mat4x4<f32>(d[at.x], d[at.y], d[at.z], d[at.w]));
    //#else
    let at = (place(block, b, c) + LANES * p.outer) / 4u;
    return mat4x4<f32>(d[at.x], d[at.y], d[at.z], d[at.w]);
    //#end
}
//#else
fn d_vector(block: u32, b: u32, end: u32, column: u32) -> vec4<f32> {
    let c = min(column * 4u + LANES, vec4<u32>(p.outer - 1u));
    let row = min(b, end - 1u);
    return vec4<f32>(
        d[place(block, row, c.x)],
        d[place(block, row, c.y)],
        d[place(block, row, c.z)],
        d[place(block, row, c.w)],
    );
}

fn d_four(block: u32, b: u32, end: u32, column: u32) -> mat4x4<f32> {
    let d0 = d_vector(block, b, end, column);
    let d1 = d_vector(block, b + 1u, end, column);
    return mat4x4<f32>(d0, d1, d_vector(block, b + 2u, end, column), d_vector(block, b + 3u, end, column));
}
//#end

// One invocation for each tile of one block's output: TALL times four tokens, WIDE times four columns. A processor that
// poses as a GPU pays for loads, and a large tile has fewer of them for a product.
@compute @workgroup_size({{ WG_X }}, {{ WG_Y }}, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let tiles = (p.outer + {{ WIDE }}u * 4u - 1u) / ({{ WIDE }}u * 4u);
    let block = id.x / tiles;
    let c = id.x % tiles * {{ WIDE }}u;
    let t = id.y * {{ TALL }}u * 4u;
    if (block >= p.blocks || t >= p.tokens) {
        return;
    }
    //#for I TALL
    //#for J WIDE
    var sum{{ I }}{{ J }} = mat4x4<f32>();
    //#end
    //#end
    // A loop whose bounds are uniforms alone has Mesa compile the shader anew for each launch: these tell the block, too.
    let end = (block + 1u) * p.inner;
    for (var b = block * p.inner; b < end; b += 4u) {
        //#for I TALL
        let x{{ I }} = x_four(t + {{ I }}u * 4u, b, end);
        //#end
        //#for J WIDE
        let d{{ J }} = d_four(block, b, end, c + {{ J }}u);
        //#for I TALL
        sum{{ I }}{{ J }} += d{{ J }} * x{{ I }};
        //#end
        //#end
    }
    //#for I TALL
    //#for J WIDE
    store_four(t + {{ I }}u * 4u, block, c + {{ J }}u, sum{{ I }}{{ J }});
    //#end
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
            let value = d[place(block, block * p.inner + min(b, p.inner - 1u), min(c, p.outer - 1u))];
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
