// A frozen linear layer: y[t, o] = sum_i x[t, i] * w[o, i], the weight as Hugging Face stores it; and the gradient
// to its input, dx[t, i] = sum_o g[t, o] * w[o, i]. Below, `x` is what is multiplied (x or g) and `y` the result.
// Register form only: a GPU's workgroup form is the matmul of the tensor library.

struct Params {
    tokens: u32,
    width: u32, // of the result
    depth: u32, // vectors in a row of x
    x_last: u32, // vectors in x, less one
    w_last: u32,
    // Vectors of w from one of its rows to the next, from four columns of the result to the next four, and from four
    // terms of the sum to the next four.
    w_row: u32,
    w_block: u32,
    w_step: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [tokens, 4 * depth]
@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>; // [out, in]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [tokens, width]
@group(0) @binding(3) var<uniform> p: Params;

const LANES = vec4<u32>(0u, 1u, 2u, 3u);

// Weights of four columns of the result (rows here) and four terms (columns here). Columns past the end are not
// stored, and terms past the end meet a zero in x.
fn weights(at: vec4<u32>) -> mat4x4<f32> {
    let i = min(at, vec4<u32>(p.w_last));
    let rows = mat4x4<f32>(w[i.x], w[i.y], w[i.z], w[i.w]);
    //#if FORWARD
    return transpose(rows);
    //#else
    return rows;
    //#end
}

fn store(t: u32, c: u32, sums: vec4<f32>) {
    if (t >= p.tokens) {
        return;
    }
    let at = t * p.width + c;
    for (var j = 0u; j < 4u; j++) {
        if (c + j < p.width) {
            y[at + j] = sums[j];
        }
    }
}

//#if SINGLE
// Generation: one invocation for each four columns of the only token's result.
@compute @workgroup_size({{ WG_X }}, {{ WG_Y }}, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x * 4u >= p.width) {
        return;
    }
    var w0 = LANES * p.w_row + id.x * p.w_block;
    var sums = vec4<f32>(0.0);
    for (var k = 0u; k < p.depth; k++) {
        sums += weights(w0) * x[k];
        w0 += p.w_step;
    }
    store(0u, id.x * 4u, sums);
}
//#else
// Four terms of four tokens, a token a column. Tokens past the end read another one's and are not stored.
fn tokens(at: vec4<u32>) -> mat4x4<f32> {
    let i = min(at, vec4<u32>(p.x_last));
    return mat4x4<f32>(x[i.x], x[i.y], x[i.z], x[i.w]);
}

fn store_four(t: u32, c: u32, sums: mat4x4<f32>) {
    store(t, c, sums[0]);
    store(t + 1u, c, sums[1]);
    store(t + 2u, c, sums[2]);
    store(t + 3u, c, sums[3]);
}

// One invocation for each 16 x 16 tile of the result, as 4 x 4 matrices; four terms of the sum at a time. Where a
// processor poses as a GPU a load costs a dozen multiplications, so a wide tile wins although its sums do not fit
// into registers.
@compute @workgroup_size({{ WG_X }}, {{ WG_Y }}, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = id.x * 16u;
    let t = id.y * 16u;
    if (c >= p.width || t >= p.tokens) {
        return;
    }
    var x0 = (t + LANES) * p.depth;
    var x1 = x0 + 4u * p.depth;
    var x2 = x1 + 4u * p.depth;
    var x3 = x2 + 4u * p.depth;
    var w0 = LANES * p.w_row + c / 4u * p.w_block;
    var w1 = w0 + p.w_block;
    var w2 = w1 + p.w_block;
    var w3 = w2 + p.w_block;
    var sum00 = mat4x4<f32>();
    var sum01 = mat4x4<f32>();
    var sum02 = mat4x4<f32>();
    var sum03 = mat4x4<f32>();
    var sum10 = mat4x4<f32>();
    var sum11 = mat4x4<f32>();
    var sum12 = mat4x4<f32>();
    var sum13 = mat4x4<f32>();
    var sum20 = mat4x4<f32>();
    var sum21 = mat4x4<f32>();
    var sum22 = mat4x4<f32>();
    var sum23 = mat4x4<f32>();
    var sum30 = mat4x4<f32>();
    var sum31 = mat4x4<f32>();
    var sum32 = mat4x4<f32>();
    var sum33 = mat4x4<f32>();
    for (var k = 0u; k < p.depth; k++) {
        let a0 = tokens(x0);
        let a1 = tokens(x1);
        let a2 = tokens(x2);
        let a3 = tokens(x3);
        let b0 = weights(w0);
        sum00 += b0 * a0;
        sum10 += b0 * a1;
        sum20 += b0 * a2;
        sum30 += b0 * a3;
        let b1 = weights(w1);
        sum01 += b1 * a0;
        sum11 += b1 * a1;
        sum21 += b1 * a2;
        sum31 += b1 * a3;
        let b2 = weights(w2);
        sum02 += b2 * a0;
        sum12 += b2 * a1;
        sum22 += b2 * a2;
        sum32 += b2 * a3;
        let b3 = weights(w3);
        sum03 += b3 * a0;
        sum13 += b3 * a1;
        sum23 += b3 * a2;
        sum33 += b3 * a3;
        x0 += 1u;
        x1 += 1u;
        x2 += 1u;
        x3 += 1u;
        w0 += p.w_step;
        w1 += p.w_step;
        w2 += p.w_step;
        w3 += p.w_step;
    }
    store_four(t, c, sum00);
    store_four(t, c + 4u, sum01);
    store_four(t, c + 8u, sum02);
    store_four(t, c + 12u, sum03);
    store_four(t + 4u, c, sum10);
    store_four(t + 4u, c + 4u, sum11);
    store_four(t + 4u, c + 8u, sum12);
    store_four(t + 4u, c + 12u, sum13);
    store_four(t + 8u, c, sum20);
    store_four(t + 8u, c + 4u, sum21);
    store_four(t + 8u, c + 8u, sum22);
    store_four(t + 8u, c + 12u, sum23);
    store_four(t + 12u, c, sum30);
    store_four(t + 12u, c + 4u, sum31);
    store_four(t + 12u, c + 8u, sum32);
    store_four(t + 12u, c + 12u, sum33);
}
//#end
