// Rows of a weight that is kept as its file has it, as f32: the arithmetic of TensorType::dequantize (src/weights), bit for
// bit. With BLOCKS the diagonal blocks of an adapter are added on the way: row i·do + c, column i·di + b gets D[i, b, c].
// With GATHER the rows are those of token ids, as far as this part of the weight holds them.
// Twin: src/kernels/dequantize.rs.

struct Params {
    // Groups of values, in all rows.
    groups: u32,
    // Values and bytes of a row.
    width: u32,
    row_bytes: u32,
    // First row: in `words`; with GATHER, the row of the weight at which `words` begin, and how many they are.
    first: u32,
    held: u32,
    // BLOCKS: which row of the weight comes out first; the size of a block.
    row: u32,
    d_in: u32,
    d_out: u32,
}

@group(0) @binding(0) var<storage, read_write> words: array<u32>;
//#if VECTORS
@group(0) @binding(1) var<storage, read_write> values: array<vec4<f32>>; // [rows, width / 4]
//#else
@group(0) @binding(1) var<storage, read_write> values: array<f32>; // [rows, width]
//#end
//#if BLOCKS
@group(0) @binding(2) var<storage, read_write> blocks: array<f32>; // [n, d_in, d_out]
//#end
//#if GATHER
@group(0) @binding(2) var<storage, read_write> ids: array<u32>; // [rows]
//#end
@group(0) @binding({{ PARAMS }}) var<uniform> p: Params;

// Two bytes from an even byte on; above them anything.
fn two(byte: u32) -> u32 {
    return words[byte >> 2u] >> ((byte & 2u) << 3u);
}

// The f16 there. By whole numbers: a driver may flush what is subnormal as f16.
fn half(byte: u32) -> f32 {
    let bits = two(byte);
    let exponent = (bits >> 10u) & 0x1fu;
    let mantissa = bits & 0x3ffu;
    var magnitude = ((exponent + 112u) << 23u) | (mantissa << 13u);
    if (exponent == 0u) {
        magnitude = bitcast<u32>(f32(mantissa) * 0x1p-24f);
    } else if (exponent == 31u) {
        magnitude = 0x7f800000u | (mantissa << 13u);
    }
    return bitcast<f32>(((bits & 0x8000u) << 16u) | magnitude);
}

// Four bytes, from any byte on.
fn four(byte: u32) -> u32 {
    let at = byte >> 2u;
    let shift = (byte & 3u) << 3u;
    if (shift == 0u) {
        return words[at];
    }
    return (words[at] >> shift) | (words[at + 1u] << (32u - shift));
}

// One byte.
fn one(byte: u32) -> u32 {
    return (words[byte >> 2u] >> ((byte & 3u) << 3u)) & 0xffu;
}

// A signed byte, from bits that end with it.
fn signed(bits: u32) -> f32 {
    return f32(bitcast<i32>(bits << 24u) >> 24u);
}

// The lowest of `mask` in each of four bytes.
fn each(bits: u32, mask: u32) -> vec4<u32> {
    return (vec4<u32>(bits) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(mask);
}

// What the values of a group are multiplied with, and what is added. `block`: the block's first byte; `at`: the group's
// first value in it.
fn scales(block: u32, at: u32) -> vec2<f32> {
//#if ONE_SCALE
    return vec2<f32>(half(block), 0.0);
//#end
//#if Q4_1
    return vec2<f32>(half(block), half(block + 2u));
//#end
//#if Q4_K
    let packed = block + 4u + at / 32u;
    var s = one(packed) & 0x3fu;
    var m = one(packed + 4u);
    if (at < 128u) {
        m &= 0x3fu;
    } else {
        s = (m & 0xfu) | ((one(packed - 4u) >> 6u) << 4u);
        m = (m >> 4u) | ((one(packed) >> 6u) << 4u);
    }
    return vec2<f32>(half(block) * f32(s), half(block + 2u) * f32(m));
//#end
//#if Q6_K
    return vec2<f32>(half(block + 208u) * signed(one(block + 192u + at / 16u)), 0.0);
//#end
//#if FLOATS
    return vec2<f32>();
//#end
}

// Four values from the one at `at` of the block on.
fn quad(block: u32, at: u32, scale: vec2<f32>) -> vec4<f32> {
//#if Q8_0
    let bits = vec4<u32>(four(block + 2u + at));
    return scale.x * vec4<f32>(bitcast<vec4<i32>>(bits << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
//#end
//#if Q4_0
    return scale.x * (vec4<f32>(each(four(block + 2u + at % 16u) >> (at / 16u * 4u), 0xfu)) - 8.0);
//#end
//#if Q4_1
    return scale.x * vec4<f32>(each(four(block + 4u + at % 16u) >> (at / 16u * 4u), 0xfu)) + scale.y;
//#end
//#if Q4_K
    let bits = four(block + 16u + at / 64u * 32u + at % 32u) >> (at % 64u / 32u * 4u);
    return scale.x * vec4<f32>(each(bits, 0xfu)) - scale.y;
//#end
//#if Q6_K
    let low = four(block + at / 128u * 64u + at % 64u) >> (at % 128u / 64u * 4u);
    let high = four(block + 128u + at / 128u * 32u + at % 32u) >> (at % 128u / 32u * 2u);
    return scale.x * (vec4<f32>(each(low, 0xfu) | (each(high, 3u) << vec4<u32>(4u))) - 32.0);
//#end
//#if FLOATS
    return vec4<f32>(value(block), value(block + SIZE), value(block + 2u * SIZE), value(block + 3u * SIZE));
//#end
}

//#if FLOATS
const SIZE = {{ BLOCK_BYTES }}u;

// Beyond the words the last of them: what was asked for is not written.
fn value(byte: u32) -> f32 {
    let at = min(byte, (arrayLength(&words) << 2u) - SIZE);
//#if F32
    return bitcast<f32>(words[at >> 2u]);
//#end
//#if F16
    return half(at);
//#end
//#if BF16
    return bitcast<f32>(two(at) << 16u);
//#end
}
//#end

// Values of a group, and of a block.
const GROUP = {{ QUADS }}u * 4u;
const BLOCK = {{ BLOCK_VALUES }}u;

// One invocation for each group.
@compute @workgroup_size({{ WG_X }}, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let group = id.y * groups.x * {{ WG_X }}u + id.x;
    if (group >= p.groups) {
        return;
    }
    let groups_per_row = (p.width + GROUP - 1u) / GROUP;
    let row = group / groups_per_row;
    let start = group % groups_per_row * GROUP;
//#if GATHER
    let wanted = ids[row];
    if (wanted < p.first || wanted >= p.first + p.held) {
        return;
    }
    let bytes = (wanted - p.first) * p.row_bytes;
//#else
    let bytes = (p.first + row) * p.row_bytes;
//#end
//#if BLOCKS
    let block = (p.row + row) / p.d_out;
    let within = (p.row + row) % p.d_out;
//#end
    let scale = scales(bytes + start / BLOCK * {{ BLOCK_BYTES }}u, start % BLOCK);
    for (var column = start; column < min(start + GROUP, p.width); column += 4u) {
        var result = quad(bytes + column / BLOCK * {{ BLOCK_BYTES }}u, column % BLOCK, scale);
//#if BLOCKS
        for (var k = 0u; k < 4u; k++) {
            if ((column + k) / p.d_in == block) {
                result[k] += blocks[(column + k) * p.d_out + within];
            }
        }
//#end
//#if VECTORS
        values[(row * p.width + column) / 4u] = result;
//#else
        for (var k = 0u; k < min(4u, p.width - column); k++) {
            values[row * p.width + column + k] = result[k];
        }
//#end
    }
}
