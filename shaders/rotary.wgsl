// Rotary position embedding (arXiv 2104.09864), halves of a head rotated against each other, in place:
// (x1, x2) becomes (x1·cos − x2·sin, x2·cos + x1·sin). The gradient is the rotation back.
// Twin: src/kernels/rotary.rs.

struct Params {
    // Pairs in all, and in a row.
    pairs: u32,
    pairs_per_row: u32,
    // Rows of the tables; row r of x is at position r % length.
    length: u32,
    // Pairs of a head.
    half: u32,
    // 1, or −1 to rotate back.
    sign: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [rows, heads * 2 * half]
@group(0) @binding(1) var<storage, read_write> cosines: array<f32>; // [length, half]
@group(0) @binding(2) var<storage, read_write> sines: array<f32>; // [length, half]
@group(0) @binding(3) var<uniform> p: Params;

// One invocation for each pair.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let pair = id.y * groups.x * {{ WG_X }}u + id.x;
    if (pair >= p.pairs) {
        return;
    }
    let row = pair / p.pairs_per_row;
    let within = pair % p.pairs_per_row;
    let lane = within % p.half;
    let first = 2u * (pair - lane) + lane;
    let second = first + p.half;
    let table = row % p.length * p.half + lane;
    let c = cosines[table];
    let s = sines[table] * p.sign;
    let x1 = x[first];
    let x2 = x[second];
    x[first] = x1 * c - x2 * s;
    x[second] = x2 * c + x1 * s;
}
