// Dense products of a batch of matrices, y = x * w, where either side may be stored turned over. If it is not, a row of x
// holds the terms of one sum, and so does a row of w (the weights of Hugging Face): y[t, c] = sum_k x[t, k] * w[c, k].
// Turned over, rows follow the sum: x[k, t] and w[k, c]. Which it is, is told at run time: a processor that poses as a GPU
// takes nearly a second to compile the tile, and less than a tenth of its time to choose.
// Register form only: matmul_tiled.wgsl, or the matmul of the tensor library, is for other GPUs.

struct Params {
    tokens: u32, // rows of the result
    width: u32, // columns of the result
    terms: u32, // of a sum
    batch: u32, // matrices, each a layer of workgroups
    // Of x, in vectors: from one row to the next, from four rows of the result to the next four, from four terms to
    // the next four, from one matrix of the batch to the next; and the last vector.
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

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [batch, tokens, width]
@group(0) @binding(3) var<uniform> p: Params;

const LANES = vec4<u32>(0u, 1u, 2u, 3u);

fn transpose_if(turned: bool, m: mat4x4<f32>) -> mat4x4<f32> {
    let t = transpose(m);
    return mat4x4<f32>(
        select(m[0], t[0], turned),
        select(m[1], t[1], turned),
        select(m[2], t[2], turned),
        select(m[3], t[3], turned),
    );
}

// Four terms (rows here) of four rows of the result (columns here). Those past the end are not stored.
fn tokens(at: vec4<u32>) -> mat4x4<f32> {
    let i = min(at, vec4<u32>(p.x_last));
    return transpose_if(p.x_turned == 1u, mat4x4<f32>(x[i.x], x[i.y], x[i.z], x[i.w]));
}

// Four columns of the result (rows here) by four terms (columns here). Columns past the end are not stored, and terms
// past the end meet a zero in x.
fn weights(at: vec4<u32>) -> mat4x4<f32> {
    let i = min(at, vec4<u32>(p.w_last));
    return transpose_if(p.w_turned == 0u, mat4x4<f32>(w[i.x], w[i.y], w[i.z], w[i.w]));
}

fn store(matrix: u32, t: u32, c: u32, sums: vec4<f32>) {
    if (t >= p.tokens) {
        return;
    }
    let at = (matrix * p.tokens + t) * p.width + c;
    for (var j = 0u; j < 4u; j++) {
        if (c + j < p.width) {
            y[at + j] = sums[j];
        }
    }
}

//#if SINGLE
// One invocation for each four columns of the only row, as in generating; x is not turned over.
@compute @workgroup_size({{ WG_X }}, {{ WG_Y }}, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x * 4u >= p.width) {
        return;
    }
    let x0 = id.z * p.x_matrix;
    var w0 = id.z * p.w_matrix + LANES * p.w_row + id.x * p.w_block;
    var sums = vec4<f32>(0.0);
    let end = x0 + (p.terms + 3u) / 4u;
    for (var at = x0; at < end; at++) {
        sums += weights(w0) * x[at];
        w0 += p.w_step;
    }
    store(id.z, 0u, id.x * 4u, sums);
}
//#else
fn store_four(matrix: u32, t: u32, c: u32, sums: mat4x4<f32>) {
    store(matrix, t, c, sums[0]);
    store(matrix, t + 1u, c, sums[1]);
    store(matrix, t + 2u, c, sums[2]);
    store(matrix, t + 3u, c, sums[3]);
}

// One invocation for each tile of the result, as SIDE x SIDE matrices of 4 x 4; four terms of the sum at a time. Where a
// processor poses as a GPU a load costs a dozen multiplications, so a wide tile wins although its sums do not fit
// into registers.
@compute @workgroup_size({{ WG_X }}, {{ WG_Y }}, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x * {{ SIDE }}u * 4u;
    let t = id.y * {{ SIDE }}u * 4u;
    if (c >= p.width || t >= p.tokens) {
        return;
    }
    //#for I SIDE
    var x{{ I }} = id.z * p.x_matrix + LANES * p.x_row + (t / 4u + {{ I }}u) * p.x_block;
    var w{{ I }} = id.z * p.w_matrix + LANES * p.w_row + (c / 4u + {{ I }}u) * p.w_block;
    //#for J SIDE
    var sum{{ I }}{{ J }} = mat4x4<f32>();
    //#end
    //#end
    // The loop ends by where it reads: Mesa compiles a shader anew for each launch where a bound is a uniform alone.
    let end = x0.x + (p.terms + 3u) / 4u * p.x_step;
    while (x0.x < end) {
        //#for I SIDE
        let a{{ I }} = tokens(x{{ I }});
        //#end
        //#for J SIDE
        let b{{ J }} = weights(w{{ J }});
        //#for I SIDE
        sum{{ I }}{{ J }} += b{{ J }} * a{{ I }};
        //#end
        //#end
        //#for I SIDE
        x{{ I }} += p.x_step;
        w{{ I }} += p.w_step;
        //#end
    }
    //#for I SIDE
    //#for J SIDE
    store_four(id.z, t + {{ I }}u * 4u, c + {{ J }}u * 4u, sum{{ I }}{{ J }});
    //#end
    //#end
}
//#end
