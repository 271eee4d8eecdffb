//! Values as they lie in files: what [`TensorType::dequantize`](super::TensorType::dequantize) undoes.

use super::FloatType;
use half::{bf16, f16};

/// Elements of a block of Q8_0.
pub const Q8_0_BLOCK: usize = 32;

impl FloatType {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// `values` in this format, little-endian, each rounded to the nearest (ties to even). What is not finite stays
    /// what it is.
    ///
    /// # Errors
    /// The first value that is finite, but too large for this format.
    pub fn encode(self, values: &[f32]) -> Result<Vec<u8>, f32> {
        let check = |value: f32, rounded: f32| match value.is_finite() && rounded.is_infinite() {
            false => Ok(()),
            true => Err(value),
        };
        let mut bytes = Vec::with_capacity(values.len() * self.size());
        for value in values {
            match self {
                Self::F32 => bytes.extend(value.to_le_bytes()),
                Self::F16 => {
                    let half = f16::from_f32(*value);
                    check(*value, half.to_f32())?;
                    bytes.extend(half.to_le_bytes());
                }
                Self::BF16 => {
                    let half = bf16::from_f32(*value);
                    check(*value, half.to_f32())?;
                    bytes.extend(half.to_le_bytes());
                }
            }
        }
        Ok(bytes)
    }
}

/// `values` as blocks of Q8_0, bit for bit what ggml's reference code gives: the scale is d = max |x| / 127, rounded
/// to f16 in the file; the quants are x / d with the unrounded d, rounded half away from zero.
///
/// # Errors
/// The first value that has no place in this format: not finite, or so large that the scale is no f16.
///
/// # Panics
/// If `values` are not whole blocks.
pub fn quantize_q8_0(values: &[f32]) -> Result<Vec<u8>, f32> {
    let (blocks, rest) = values.as_chunks::<Q8_0_BLOCK>();
    assert!(rest.is_empty(), "{} values are no whole blocks", values.len());
    let mut bytes = Vec::with_capacity(blocks.len() * (2 + Q8_0_BLOCK));
    for block in blocks {
        let largest = block.iter().copied().fold(0.0f32, |a, b| if b.is_nan() || b.abs() > a.abs() { b } else { a });
        let d = largest.abs() / 127.0;
        let scale = f16::from_f32(d);
        if !scale.is_finite() {
            return Err(largest);
        }
        bytes.extend(scale.to_le_bytes());
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        bytes.extend(block.iter().map(|value| ((value * inverse).round() as i8).cast_unsigned()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::weights::TensorType;

    #[test]
    fn values_are_rounded_to_nearest_and_never_to_infinity() {
        let bits = |value: f32, dtype: FloatType| {
            dtype.encode(&[value]).map(|bytes| u16::from_le_bytes(bytes.try_into().expect("two bytes")))
        };
        assert_eq!(bits(1.0, FloatType::BF16), Ok(0x3f80));
        // Halfway between two: to the even one.
        assert_eq!(bits(f32::from_bits(0x3f81_8000), FloatType::BF16), Ok(0x3f82));
        assert_eq!(bits(65504.0, FloatType::F16), Ok(0x7bff));
        assert_eq!(bits(1e5, FloatType::F16), Err(1e5));
        // What is not finite in the base stays what it is.
        assert_eq!(bits(f32::INFINITY, FloatType::F16), Ok(0x7c00));
        assert_eq!(FloatType::F32.encode(&[1e5]), Ok(1e5f32.to_le_bytes().to_vec()));
    }

    #[test]
    fn q8_0_as_ggml_has_it() {
        // d = 2: halves go away from zero, as C's roundf has it, not to even.
        let mut block = [0.0f32; 32];
        block[..7].copy_from_slice(&[254.0, -254.0, 1.0, -1.0, 3.0, 5.0, 0.9]);
        let bytes = quantize_q8_0(&block).unwrap();
        assert_eq!(&bytes[..2], f16::from_f32(2.0).to_le_bytes());
        let quants: Vec<i8> = bytes[2..9].iter().map(|byte| byte.cast_signed()).collect();
        assert_eq!(quants, [127, -127, 1, -1, 2, 3, 0]);
        assert_eq!(quantize_q8_0(&[0.0; 64]).unwrap(), [0; 68]);
        assert!(quantize_q8_0(&[]).unwrap().is_empty());
        // So small that the scale is no f16 above zero: the quants are still of the unrounded scale.
        let tiny = quantize_q8_0(&[1e-7; 32]).unwrap();
        assert_eq!((&tiny[..2], tiny[2]), (&[0, 0][..], 127));
    }

    /// Within half a step of the scale, and what the rounding of the scale itself adds.
    #[test]
    fn q8_0_is_within_its_step() {
        let mut random = Random::new(7);
        let values: Vec<f32> =
            (0..32 * 100).map(|i| (2.0 * random.next_f32() - 1.0) * [1e-3, 1.0, 300.0][i % 3]).collect();
        let bytes = quantize_q8_0(&values).unwrap();
        let mut back = vec![0.0; values.len()];
        TensorType::Q8_0.dequantize(&bytes, &mut back);
        for (block, back) in values.chunks(32).zip(back.chunks(32)) {
            let largest = block.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            for (value, back) in block.iter().zip(back) {
                assert!((value - back).abs() <= largest / 254.0 + value.abs() * 5e-4, "{value} {back}");
            }
        }
    }

    #[test]
    fn q8_0_refuses_what_it_cannot_hold() {
        for bad in [f32::INFINITY, f32::NEG_INFINITY, 1e7, -9e6] {
            let mut block = [1.0f32; 64];
            block[40] = bad;
            assert_eq!(quantize_q8_0(&block), Err(bad));
        }
        let mut block = [1.0f32; 32];
        block[3] = f32::NAN;
        assert!(quantize_q8_0(&block).unwrap_err().is_nan());
    }
}
