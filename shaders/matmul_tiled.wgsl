// The dense products of matmul.wgsl for GPUs with workgroup memory: y = x * w for a batch of matrices, where either side may
// be stored turned over. If it is not, a row of it holds the terms of one sum (the weights of Hugging Face do); turned
// over, rows follow the sum. Which it is, is told at run time: two branches for a thousand multiplications.
// VECTORS: all three matrices have rows of a multiple of four values, which are loaded and stored as vectors.
// Workgroup form only: matmul.wgsl is for processors that pose as GPUs.

struct Params {
    tokens: u32, // rows of the result
    width: u32, // columns of the result
    terms: u32, // of a sum
    batch: u32, // matrices
    // Of x, in what it is bound as, vectors or values: from one stored row to the next, from four rows of the result to the
    // next four, from four terms to the next four, from one matrix to the next; and the last one.
    x_row: u32,
    x_block: u32,
    x_step: u32,
    x_matrix: u32,
    x_last: u32,
    // The same of w, with the columns of the result.
    w_row: u32,
    w_block: u32,
    w_step: u32,
    w_matrix: u32,
    w_last: u32,
    // Whether each side is turned over: 1 or 0.
    x_turned: u32,
    w_turned: u32,
}

//#if VECTORS
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // [batch, tokens, width / 4]
//#else
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [batch, tokens, width]
//#end
@group(0) @binding(3) var<uniform> p: Params;

const TILE: u32 = {{ TILE }}u; // rows, and columns, of the result that a workgroup computes
const FOURS: u32 = TILE / 4u;
const STEPS: u32 = 64u / FOURS; // fours of terms in a stage: each invocation brings one 4 x 4 block of either side
const LANES = vec4<u32>(0u, 1u, 2u, 3u);

// A stage of either side, term by term: FOURS vectors of four rows (or columns) of the result each. 8 KiB in all.
var<workgroup> x_tile: array<vec4<f32>, 256>;
var<workgroup> w_tile: array<vec4<f32>, 256>;

// Where the `four`-th vector of the first of four terms lies. Shifted about from step to step, so that eight neighbours, who
// bring blocks of different steps but read the same one, touch different banks of memory both times.
fn place(step: u32, four: u32) -> u32 {
    return step * 4u * FOURS + (four ^ (step * (FOURS / 8u)));
}

fn load_x(at: u32) -> vec4<f32> {
    //#if VECTORS
    return x[min(at, p.x_last)];
    //#else
    let i = min(at + LANES, vec4<u32>(p.x_last));
    return vec4<f32>(x[i.x], x[i.y], x[i.z], x[i.w]);
    //#end
}

fn load_w(at: u32) -> vec4<f32> {
    //#if VECTORS
    return w[min(at, p.w_last)];
    //#else
    let i = min(at + LANES, vec4<u32>(p.w_last));
    return vec4<f32>(w[i.x], w[i.y], w[i.z], w[i.w]);
    //#end
}

// Four terms, a column each, of four rows (or columns) of the result. What lies past the end of these is not stored, and
// terms past the end are zeros.
fn block_of(turned: u32, term: u32, stored: mat4x4<f32>) -> mat4x4<f32> {
    var block = stored;
    if (turned == 0u) {
        block = transpose(stored);
    }
    let zero = vec4<f32>(0.0);
    return mat4x4<f32>(
        select(zero, block[0], term < p.terms),
        select(zero, block[1], term + 1u < p.terms),
        select(zero, block[2], term + 2u < p.terms),
        select(zero, block[3], term + 3u < p.terms),
    );
}

fn outer(rows: vec4<f32>, columns: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(columns * rows.x, columns * rows.y, columns * rows.z, columns * rows.w);
}

fn store(matrix: u32, t: u32, c: u32, sums: vec4<f32>) {
    if (t >= p.tokens || c >= p.width) {
        return;
    }
    let at = (matrix * p.tokens + t) * p.width + c;
    //#if VECTORS
    y[at / 4u] = sums;
    //#else
    for (var j = 0u; j < min(4u, p.width - c); j++) {
        y[at + j] = sums[j];
    }
    //#end
}

// `t` and `c` in fours.
fn store_four(matrix: u32, t: u32, c: u32, sums: mat4x4<f32>) {
    store(matrix, t * 4u, c * 4u, sums[0]);
    store(matrix, t * 4u + 1u, c * 4u, sums[1]);
    store(matrix, t * 4u + 2u, c * 4u, sums[2]);
    store(matrix, t * 4u + 3u, c * 4u, sums[3]);
}

// One workgroup for each TILE x TILE tile of the result. Tiles below each other come first: they read the same part of w,
// which is the larger side of a layer. An invocation has the rows id.y and the columns id.x of each 32, in fours.
@compute @workgroup_size({{ WG_X }}, {{ WG_Y }}, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let down = (p.tokens + TILE - 1u) / TILE;
    let across = (p.width + TILE - 1u) / TILE;
    let tile = group.y * groups.x + group.x;
    let matrix = tile / (down * across);
    if (matrix >= p.batch) {
        return;
    }
    let t = tile % down * FOURS;
    let c = tile / down % across * FOURS;
    // The block that this invocation brings: neighbours take neighbouring terms.
    let step = lane % STEPS;
    let four = lane / STEPS;
    let to = place(step, four);
    var x_at = matrix * p.x_matrix + (t + four) * p.x_block + step * p.x_step;
    var w_at = matrix * p.w_matrix + (c + four) * p.w_block + step * p.w_step;
    var sum00 = mat4x4<f32>();
    var sum01 = mat4x4<f32>();
    var sum10 = mat4x4<f32>();
    var sum11 = mat4x4<f32>();
    for (var k = 0u; k < p.terms; k += STEPS * 4u) {
        let term = k + step * 4u;
        let x_stored = mat4x4<f32>(
            load_x(x_at), load_x(x_at + p.x_row), load_x(x_at + 2u * p.x_row), load_x(x_at + 3u * p.x_row));
        let w_stored = mat4x4<f32>(
            load_w(w_at), load_w(w_at + p.w_row), load_w(w_at + 2u * p.w_row), load_w(w_at + 3u * p.w_row));
        let x_block = block_of(p.x_turned, term, x_stored);
        let w_block = block_of(p.w_turned, term, w_stored);
        workgroupBarrier(); // all have read the stage before
        x_tile[to] = x_block[0];
        x_tile[to + FOURS] = x_block[1];
        x_tile[to + 2u * FOURS] = x_block[2];
        x_tile[to + 3u * FOURS] = x_block[3];
        w_tile[to] = w_block[0];
        w_tile[to + FOURS] = w_block[1];
        w_tile[to + 2u * FOURS] = w_block[2];
        w_tile[to + 3u * FOURS] = w_block[3];
        workgroupBarrier();
        for (var s = 0u; s < STEPS; s++) {
            let a = place(s, id.y);
            let b = place(s, id.x);
            for (var j = 0u; j < 4u * FOURS; j += FOURS) {
                let a0 = x_tile[a + j];
                let b0 = w_tile[b + j];
                sum00 += outer(a0, b0);
                //#if LARGE
                let a1 = x_tile[a + j + 8u];
                let b1 = w_tile[b + j + 8u];
                sum01 += outer(a0, b1);
                sum10 += outer(a1, b0);
                sum11 += outer(a1, b1);
                //#end
            }
        }
        x_at += STEPS * p.x_step;
        w_at += STEPS * p.w_step;
    }
    store_four(matrix, t + id.y, c + id.x, sum00);
    //#if LARGE
    store_four(matrix, t + id.y, c + id.x + 8u, sum01);
    store_four(matrix, t + id.y + 8u, c + id.x, sum10);
    store_four(matrix, t + id.y + 8u, c + id.x + 8u, sum11);
    //#end
}
