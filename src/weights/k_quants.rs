//! GGUF's K-quants: blocks of 256 elements with scales of scales, in the order of operations of `ggml-quants.c`.

use super::tensor_type::scale;

/// Elements in a block.
pub(super) const BLOCK: usize = 256;

/// Scales and minima (16), 2 low bits (64), `d` and `dmin` in f16.
pub(super) fn q2_k(bytes: &[u8; 84], values: &mut [f32; BLOCK]) {
    let (scales, rest) = bytes.split_at(16);
    let (low, d) = rest.split_at(64);
    let (d, dmin) = (scale([d[0], d[1]]), scale([d[2], d[3]]));
    for (i, value) in values.iter_mut().enumerate() {
        let packed = scales[i / 16];
        let (dl, ml) = (d * f32::from(packed & 0xf), dmin * f32::from(packed >> 4));
        *value = dl * f32::from(two_bits(low, i)) - ml;
    }
}

/// Third bits (32), 2 low bits (64), scales (12), `d` in f16. A third bit that is not set takes 4 away.
pub(super) fn q3_k(bytes: &[u8; 110], values: &mut [f32; BLOCK]) {
    let (high, rest) = bytes.split_at(32);
    let (low, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(12);
    let d = scale([d[0], d[1]]);
    for (i, value) in values.iter_mut().enumerate() {
        let group = i / 16;
        let low_scale = scales[group % 8] >> (4 * (group / 8)) & 0xf;
        let high_scale = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
        let dl = d * (f32::from(low_scale | high_scale << 4) - 32.0);
        let q = f32::from(two_bits(low, i) | one_bit(high, i) << 2) - 4.0;
        *value = dl * q;
    }
}

/// `d` and `dmin` in f16, scales and minima (12), nibbles (128).
pub(super) fn q4_k(bytes: &[u8; 144], values: &mut [f32; BLOCK]) {
    let (head, nibbles) = bytes.split_at(16);
    scaled(head, values, |i| nibble(nibbles, i));
}

/// `d` and `dmin` in f16, scales and minima (12), fifth bits (32), nibbles (128).
pub(super) fn q5_k(bytes: &[u8; 176], values: &mut [f32; BLOCK]) {
    let (head, rest) = bytes.split_at(16);
    let (high, nibbles) = rest.split_at(32);
    scaled(head, values, |i| nibble(nibbles, i) | one_bit(high, i) << 4);
}

/// 4 low bits (128), 2 high bits (64), signed scales (16), `d` in f16.
pub(super) fn q6_k(bytes: &[u8; 210], values: &mut [f32; BLOCK]) {
    let (low, rest) = bytes.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(16);
    let d = scale([d[0], d[1]]);
    for (i, value) in values.iter_mut().enumerate() {
        // Each half has 64 bytes: the low nibbles of all of them, then the high ones.
        let (half, within) = (i / 128, i % 128);
        let nibble = low[half * 64 + within % 64] >> (4 * (within / 64)) & 0xf;
        let q = f32::from(nibble | two_bits(high, i) << 4) - 32.0;
        *value = d * f32::from(scales[i / 16].cast_signed()) * q;
    }
}

/// `d·s·q − dmin·m` with `d` and `dmin` in f16 and 6 bits of `s` and `m` for every 32 elements, all in `head`.
fn scaled(head: &[u8], values: &mut [f32; BLOCK], quant: impl Fn(usize) -> u8) {
    let (d, dmin) = (scale([head[0], head[1]]), scale([head[2], head[3]]));
    let packed = &head[4..];
    for (group, values) in values.chunks_exact_mut(32).enumerate() {
        let (s, m) = match group {
            0..4 => (packed[group] & 0x3f, packed[group + 4] & 0x3f),
            // The lower 4 bits are in the last third, the upper 2 in what the first four groups leave.
            _ => {
                let low = packed[group + 4];
                (low & 0xf | packed[group - 4] >> 6 << 4, low >> 4 | packed[group] >> 6 << 4)
            }
        };
        let (d, m) = (d * f32::from(s), dmin * f32::from(m));
        for (i, value) in values.iter_mut().enumerate() {
            *value = d * f32::from(quant(group * 32 + i)) - m;
        }
    }
}

/// Each 32 bytes hold 64 elements: the low nibbles, then the high ones.
fn nibble(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 64 * 32 + i % 32] >> (4 * (i / 32 % 2)) & 0xf
}

/// Each 32 bytes hold 128 elements: the lowest two bits, then the next.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4)) & 3
}

/// 32 bytes hold all 256 elements: the lowest bit, then the next.
fn one_bit(bytes: &[u8], i: usize) -> u8 {
    bytes[i % 32] >> (i / 32) & 1
}
