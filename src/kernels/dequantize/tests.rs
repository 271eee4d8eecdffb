//! `dequantize` against [`TensorType::dequantize`], bit for bit, on both devices.

use super::*;
use crate::random::Random;
use crate::testing::{gpu, random, with_form};
use half::f16;

/// Scales of either sign, zero, subnormal, the smallest and the largest.
const SCALES: [u16; 9] = [0x2e66, 0xae66, 0x0000, 0x8000, 0x0001, 0x83ff, 0x7bff, 0x1234, 0xbc00];

/// Random bytes of `count` values that are all finite.
fn bytes(format: TensorType, count: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes: Vec<u8> = (0..format.bytes(count)).map(|_| random.below(256) as u8).collect();
    let mut scale = || SCALES[random.below(SCALES.len() as u64) as usize].to_le_bytes();
    for block in bytes.chunks_exact_mut(format.block().1) {
        match format {
            TensorType::Q4_1 | TensorType::Q4K => {
                block[..2].copy_from_slice(&scale());
                block[2..4].copy_from_slice(&scale());
            }
            TensorType::Q6K => block[208..].copy_from_slice(&scale()),
            TensorType::Q8_0 | TensorType::Q4_0 => block[..2].copy_from_slice(&scale()),
            // Exponents of all ones are no numbers.
            TensorType::F16 => block[1] &= 0xbb,
            TensorType::BF16 | TensorType::F32 => *block.last_mut().expect("bytes") &= 0xbf,
            other => panic!("{other:?} is not kept"),
        }
    }
    bytes
}

/// A weight of `bytes` in parts that begin at these rows.
pub(crate) fn stored(
    format: TensorType,
    shape: [usize; 2],
    bytes: &[u8],
    starts: &[usize],
    device: &Device,
) -> StoredWeight {
    let ends = starts[1..].iter().copied().chain([shape[0]]);
    let size = format.bytes(shape[1]);
    let part = |(start, end): (&usize, usize)| {
        let mut words = vec![0i32; ((end - start) * size).div_ceil(4)];
        let held: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        held[..(end - start) * size].copy_from_slice(&bytes[start * size..end * size]);
        (*start..end, words)
    };
    StoredWeight::new(format, shape, starts.iter().zip(ends).map(part).collect(), device)
}

fn bits(tensor: Tensor<2>) -> Vec<u32> {
    tensor.into_data().try_into_vec::<f32>().expect("f32").into_iter().map(f32::to_bits).collect()
}

fn expected(format: TensorType, bytes: &[u8], count: usize) -> Vec<f32> {
    let mut values = vec![f32::NAN; count];
    format.dequantize(bytes, &mut values);
    assert!(values.iter().all(|value| value.is_finite()));
    values
}

/// Widths with all their rows at odd addresses, where the format allows.
fn widths(format: TensorType) -> &'static [usize] {
    match format.block().0 {
        1 => &[1, 3, 8, 33, 130],
        32 => &[32, 96, 160],
        _ => &[256, 768],
    }
}

fn every_format(device: &Device) {
    for format in TensorType::KEPT {
        for width in widths(format).iter().copied() {
            for (rows, starts) in [(1, &[0][..]), (7, &[0]), (7, &[0, 1, 4]), (20, &[0, 19])] {
                let what = format!("{format:?}, {rows} x {width}, parts from {starts:?}");
                let bytes = bytes(format, rows * width, 7 + width as u64);
                let expected = expected(format, &bytes, rows * width);
                let row = |rows: Range<usize>| -> Vec<u32> {
                    expected[rows.start * width..rows.end * width].iter().map(|value| value.to_bits()).collect()
                };
                let weight = stored(format, [rows, width], &bytes, starts, device);
                assert_eq!(bits(weight.to_dense()), row(0..rows), "{what}");
                let last = rows - 1..rows;
                assert_eq!(bits(weight.values(last.clone())), row(last), "{what}: the last row");

                // Gathered: twice, out of order, from both ends.
                let ids: Vec<i32> = [rows - 1, 0, rows / 2, rows - 1, 0].map(|id| id as i32).to_vec();
                let gathered = weight.select(Tensor::from_data(ids.as_slice(), device));
                let rows: Vec<u32> = ids.iter().flat_map(|id| row(*id as usize..*id as usize + 1)).collect();
                assert_eq!(bits(gathered), rows, "{what}: gathered");
            }
        }
    }
}

fn with_blocks(device: &Device) {
    for format in TensorType::KEPT {
        let width = if format.block().0 == 1 { 36 } else { 3 * format.block().0.max(32) };
        for (n, d_out) in [(1, 24), (3, 8), (12, 2), (4, 5)] {
            let (rows, d_in) = (n * d_out, width / n);
            let bytes = bytes(format, rows * width, 11);
            let update = random(5, n * d_in * d_out);
            let mut expected = expected(format, &bytes, rows * width);
            for i in 0..n {
                for b in 0..d_in {
                    for c in 0..d_out {
                        expected[(i * d_out + c) * width + i * d_in + b] += update[(i * d_in + b) * d_out + c];
                    }
                }
            }
            let expected: Vec<u32> = expected.into_iter().map(f32::to_bits).collect();
            // As the optimizer's flat buffers hold them: from the second 256 bytes on.
            let flat = [&[0.0; 64][..], &update, &[0.0; 3]].concat();
            let flat = Tensor::<1>::from_data(flat.as_slice(), device);
            let blocks = flat.narrow(0, 64, update.len()).reshape([n, d_in, d_out]);
            let weight = stored(format, [rows, width], &bytes, &[0, 7], device);
            for part in [0..7, 7..rows, 3..5] {
                let ours = bits(weight.merged_values(part.clone(), blocks.clone()));
                let what = format!("{format:?}, {n} blocks of {d_in} x {d_out}, rows {part:?}");
                assert_eq!(ours, expected[part.start * width..part.end * width], "{what}");
            }
        }
    }
}

#[test]
fn the_twin_is_the_reference() {
    every_format(&Device::flex());
    with_blocks(&Device::flex());
}

#[test]
fn the_shader_is_the_reference_in_both_forms() {
    let device = gpu();
    for form in Form::ALL {
        with_form(form, || {
            every_format(&device);
            with_blocks(&device);
        });
    }
}

/// Every f16 that is a number.
#[test]
fn every_half() {
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|half| half.is_finite()).collect();
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    let expected: Vec<u32> = halves.iter().map(|half| half.to_f32().to_bits()).collect();
    for device in [Device::flex(), gpu()] {
        let weight = stored(TensorType::F16, [halves.len() / 64, 64], &bytes, &[0, 500], &device);
        assert_eq!(bits(weight.to_dense()), expected);
    }
}

#[test]
fn stretches_are_whole_rows_of_one_part() {
    let bytes = bytes(TensorType::F16, 200 * 64, 1);
    let weight = stored(TensorType::F16, [200, 64], &bytes, &[0, 100], &Device::flex());
    assert_eq!(MOST_VALUES / 64, 78);
    assert_eq!(weight.stretches(), [0..78, 78..100, 100..178, 178..200]);
}

#[test]
#[should_panic(expected = "all rows of a weight")]
fn a_weight_has_all_its_rows() {
    StoredWeight::new(TensorType::F16, [3, 2], vec![(0..2, vec![0; 2])], &Device::flex());
}
