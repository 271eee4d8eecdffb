//! Number formats of stored tensors, and how they become f32.

use super::k_quants;
use half::{f16, slice::HalfFloatSliceExt};

/// A number format that this crate reads. The quantised ones are GGUF's, in blocks of 32 or (`_K`) 256 elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TensorType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32.
    BF16,
    /// IEEE 754 double precision; rounded to f32.
    F64,
    /// Scale in f16, then 32 signed bytes: `d·q`.
    Q8_0,
    /// Scale in f16, then 32 nibbles: `d·(q − 8)`.
    Q4_0,
    /// Scale and minimum in f16, then 32 nibbles: `d·q + m`.
    Q4_1,
    /// Scale in f16, 32 fifth bits, then 32 nibbles: `d·(q − 16)`.
    Q5_0,
    /// Scale and minimum in f16, 32 fifth bits, then 32 nibbles: `d·q + m`.
    Q5_1,
    /// 2 bits, with 4 bits of scale and minimum for every 16: `d·s·q − e·m`.
    Q2K,
    /// 3 bits, with 6 bits of scale for every 16: `d·s·q`.
    Q3K,
    /// 4 bits, with 6 bits of scale and minimum for every 32: `d·s·q − e·m`.
    Q4K,
    /// 5 bits, with 6 bits of scale and minimum for every 32: `d·s·q − e·m`.
    Q5K,
    /// 6 bits, with 8 bits of scale for every 16: `d·s·q`.
    Q6K,
}

/// Elements in a quantised block.
const BLOCK: usize = 32;

impl TensorType {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::F64,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Those in which a matrix can stay on a device, to be dequantised where it is used.
    pub const KEPT: [Self; 8] =
        [Self::F32, Self::F16, Self::BF16, Self::Q8_0, Self::Q4_0, Self::Q4_1, Self::Q4K, Self::Q6K];

    /// Whether it is one of [`TensorType::KEPT`].
    pub fn is_kept(self) -> bool {
        Self::KEPT.contains(&self)
    }

    /// Bytes of `count` values, which are whole blocks.
    pub fn bytes(self, count: usize) -> usize {
        let (elements, size) = self.block();
        count / elements * size
    }

    /// Name as in safetensors and GGUF files: "F32", "Q4_1".
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F64 => "F64",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// The format called `name`, or the name again if there is none.
    pub(crate) fn from_name(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|ty| ty.name() == name).ok_or_else(|| name.to_owned())
    }

    /// Elements and bytes of the smallest piece that can be read by itself.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::F64 => (1, 8),
            Self::Q8_0 => (BLOCK, 34),
            Self::Q4_0 => (BLOCK, 18),
            Self::Q4_1 => (BLOCK, 20),
            Self::Q5_0 => (BLOCK, 22),
            Self::Q5_1 => (BLOCK, 24),
            Self::Q2K => (k_quants::BLOCK, 84),
            Self::Q3K => (k_quants::BLOCK, 110),
            Self::Q4K => (k_quants::BLOCK, 144),
            Self::Q5K => (k_quants::BLOCK, 176),
            Self::Q6K => (k_quants::BLOCK, 210),
        }
    }

    /// The values of `bytes`, which are whole blocks; bit for bit what llama.cpp's reference code gives.
    ///
    /// # Panics
    /// If `bytes` is not exactly what `values` takes in this format.
    pub fn dequantize(self, bytes: &[u8], values: &mut [f32]) {
        let (elements, size) = self.block();
        assert!(
            values.len().is_multiple_of(elements) && bytes.len() == values.len() / elements * size,
            "{} bytes for {} values in {}",
            bytes.len(),
            values.len(),
            self.name()
        );
        match self {
            Self::F32 => each(bytes, values, f32::from_le_bytes),
            Self::BF16 => each(bytes, values, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
            Self::F64 => each(bytes, values, |b| f64::from_le_bytes(b) as f32),
            Self::F16 => dequantize_f16(bytes, values),
            Self::Q8_0 => each_block(bytes, values, |[d0, d1, quants @ ..]: &[u8; 34], values: &mut [f32; BLOCK]| {
                let d = scale([*d0, *d1]);
                for (value, q) in values.iter_mut().zip(quants) {
                    *value = d * f32::from(q.cast_signed());
                }
            }),
            Self::Q4_0 => each_block(bytes, values, |[d0, d1, nibbles @ ..]: &[u8; 18], values| {
                let d = scale([*d0, *d1]);
                each_nibble(nibbles, values, |q| d * (q - 8.0));
            }),
            Self::Q4_1 => each_block(bytes, values, |[d0, d1, m0, m1, nibbles @ ..]: &[u8; 20], values| {
                let (d, m) = (scale([*d0, *d1]), scale([*m0, *m1]));
                each_nibble(nibbles, values, |q| d * q + m);
            }),
            Self::Q5_0 => each_block(bytes, values, |[d0, d1, h0, h1, h2, h3, nibbles @ ..]: &[u8; 22], values| {
                let d = scale([*d0, *d1]);
                each_five_bits([*h0, *h1, *h2, *h3], nibbles, values, |q| d * (q - 16.0));
            }),
            Self::Q5_1 => {
                each_block(bytes, values, |[d0, d1, m0, m1, h0, h1, h2, h3, nibbles @ ..]: &[u8; 24], values| {
                    let (d, m) = (scale([*d0, *d1]), scale([*m0, *m1]));
                    each_five_bits([*h0, *h1, *h2, *h3], nibbles, values, |q| d * q + m);
                });
            }
            Self::Q2K => each_block(bytes, values, k_quants::q2_k),
            Self::Q3K => each_block(bytes, values, k_quants::q3_k),
            Self::Q4K => each_block(bytes, values, k_quants::q4_k),
            Self::Q5K => each_block(bytes, values, k_quants::q5_k),
            Self::Q6K => each_block(bytes, values, k_quants::q6_k),
        }
    }
}

pub(super) fn scale(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

fn each<const N: usize>(bytes: &[u8], values: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
        *value = convert(*bytes);
    }
}

fn each_block<const N: usize, const M: usize>(
    bytes: &[u8],
    values: &mut [f32],
    convert: impl Fn(&[u8; N], &mut [f32; M]),
) {
    for (values, bytes) in values.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0) {
        convert(bytes, values);
    }
}

/// The low nibbles are the first half of the block, the high ones the second.
fn each_nibble(nibbles: &[u8; BLOCK / 2], values: &mut [f32; BLOCK], convert: impl Fn(f32) -> f32) {
    let (low, high) = values.split_at_mut(BLOCK / 2);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(nibbles) {
        *low = convert(f32::from(byte & 0xf));
        *high = convert(f32::from(byte >> 4));
    }
}

/// As [`each_nibble`], with the fifth bit of every element from `high`.
fn each_five_bits(high: [u8; 4], nibbles: &[u8; BLOCK / 2], values: &mut [f32; BLOCK], convert: impl Fn(f32) -> f32) {
    each_nibble(nibbles, values, |q| q);
    let high = u32::from_le_bytes(high);
    for (i, value) in values.iter_mut().enumerate() {
        *value = convert(*value + if high >> i & 1 == 1 { 16.0 } else { 0.0 });
    }
}

/// In pieces: `half` has a fast path for slices of f16, and the bytes need not be aligned for one.
fn dequantize_f16(bytes: &[u8], values: &mut [f32]) {
    const PIECE: usize = 512;
    let mut halves = [f16::ZERO; PIECE];
    for (values, bytes) in values.chunks_mut(PIECE).zip(bytes.chunks(PIECE * 2)) {
        let halves = &mut halves[..values.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(values);
    }
}

/// A number format in which a model can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32.
    BF16,
}

impl FloatType {
    /// Name as in safetensors files.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }

    /// Name as in the `torch_dtype` of a `config.json`.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
        }
    }
}

impl From<TensorType> for FloatType {
    /// The same format, or F32 for one that cannot be written or would lose by it.
    fn from(ty: TensorType) -> Self {
        match ty {
            TensorType::F16 => Self::F16,
            TensorType::BF16 => Self::BF16,
            _ => Self::F32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dequantized(ty: TensorType, bytes: &[u8]) -> Vec<f32> {
        let (elements, size) = ty.block();
        let mut values = vec![f32::NAN; bytes.len() / size * elements];
        ty.dequantize(bytes, &mut values);
        values
    }

    /// f16 of 0.5, 2.0, −1.25, as little-endian bytes.
    const HALF: [u8; 2] = [0x00, 0x38];
    const TWO: [u8; 2] = [0x00, 0x40];
    const MINUS_1_25: [u8; 2] = [0x00, 0xbd];

    #[test]
    fn floats() {
        assert_eq!(dequantized(TensorType::F32, &[0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc1]), [1.0, -10.0]);
        assert_eq!(dequantized(TensorType::BF16, &[0x80, 0x3f, 0x20, 0xc1]), [1.0, -10.0]);
        assert_eq!(dequantized(TensorType::F16, &[HALF, MINUS_1_25].concat()), [0.5, -1.25]);
        assert_eq!(dequantized(TensorType::F64, &0.1f64.to_le_bytes()), [0.1f32]);
        // The smallest subnormal, and infinity.
        assert_eq!(dequantized(TensorType::F16, &[1, 0, 0, 0x7c]), [2f32.powi(-24), f32::INFINITY]);
    }

    /// Every f16 there is, more than one piece, an odd number, from an odd address.
    #[test]
    fn f16_slices_agree_with_single_values() {
        let bytes: Vec<u8> = std::iter::once(0).chain((0..=u16::MAX).flat_map(u16::to_le_bytes)).collect();
        let values = dequantized(TensorType::F16, &bytes[1..bytes.len() - 2]);
        assert_eq!(values.len(), 65535);
        for (bits, value) in values.iter().enumerate() {
            let expected = f16::from_bits(bits as u16).to_f32();
            assert!(value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(), "{bits:04x}");
        }
    }

    #[test]
    fn q8_0() {
        let mut block = TWO.to_vec();
        block.extend((0..32).map(|i| (i * 8 - 128i32) as i8 as u8));
        block.extend(HALF);
        block.extend([0xff; 32]);
        let values = dequantized(TensorType::Q8_0, &block);
        for i in 0..32 {
            assert_eq!(values[i], 2.0 * (i as f32 * 8.0 - 128.0));
            assert_eq!(values[32 + i], -0.5);
        }
    }

    #[test]
    fn q4_0() {
        let mut block = TWO.to_vec();
        block.extend((0..16).map(|i: u8| i | (15 - i) << 4));
        let values = dequantized(TensorType::Q4_0, &block);
        for i in 0..16 {
            assert_eq!(values[i], 2.0 * (i as f32 - 8.0));
            assert_eq!(values[16 + i], 2.0 * (7.0 - i as f32));
        }
    }

    #[test]
    fn q4_1() {
        let mut block = [HALF, MINUS_1_25].concat();
        block.extend((0..16).map(|i: u8| i | (15 - i) << 4));
        block.extend([TWO, HALF].concat());
        block.extend([0x0f; 16]);
        let values = dequantized(TensorType::Q4_1, &block);
        for i in 0..16 {
            assert_eq!(values[i], 0.5 * i as f32 - 1.25);
            assert_eq!(values[16 + i], 0.5 * (15 - i) as f32 - 1.25);
            assert_eq!(values[32 + i], 30.5);
            assert_eq!(values[48 + i], 0.5);
        }
    }

    /// Random blocks, scales of either sign, zero and subnormal: the very bits that `gguf` for Python gives.
    #[test]
    fn quantised_formats_agree_with_gguf_py() {
        let golden = include_bytes!("../../tests/golden/quants/blocks.safetensors");
        let golden = safetensors::SafeTensors::deserialize(golden).unwrap();
        for ty in TensorType::ALL.into_iter().filter(|ty| ty.block().0 > 1) {
            let data = |part: &str| golden.tensor(&format!("{}.{part}", ty.name())).unwrap().data();
            let expected: Vec<u32> = data("values").as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
            let values: Vec<u32> = dequantized(ty, data("blocks")).into_iter().map(f32::to_bits).collect();
            assert!(values.len() > ty.block().0);
            assert_eq!(values, expected, "{}", ty.name());
        }
    }

    #[test]
    #[should_panic(expected = "19 bytes for 32 values in Q4_0")]
    fn lengths_must_fit() {
        TensorType::Q4_0.dequantize(&[0; 19], &mut [0.0; 32]);
    }

    #[test]
    fn names_lead_back() {
        for ty in TensorType::ALL {
            assert_eq!(TensorType::from_name(ty.name()), Ok(ty));
        }
        assert_eq!(TensorType::from_name("IQ4_NL"), Err("IQ4_NL".into()));
        assert_eq!(FloatType::from(TensorType::BF16), FloatType::BF16);
        assert_eq!(FloatType::from(TensorType::Q4_1), FloatType::F32);
    }
}
