//! What the CPU twins share: access to tensors, run-time choice of the instruction set, and arithmetic.

use burn::backend::{
    TensorMetadata,
    flex::{FlexTensor, Layout},
};
use burn::tensor::{Bytes, DType, Shape};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// The values of a contiguous f32 tensor.
pub(crate) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("contiguous f32")
}

/// Classes or tokens as indices.
pub(crate) fn indices(ids: FlexTensor) -> Vec<usize> {
    let ids = ids.to_contiguous();
    match ids.dtype() {
        DType::I32 => ids.as_slice::<i32>().expect("contiguous i32").iter().map(|v| *v as usize).collect(),
        DType::I64 => ids.as_slice::<i64>().expect("contiguous i64").iter().map(|v| *v as usize).collect(),
        other => panic!("indices of type {other:?}"),
    }
}

/// A tensor that is the whole of its storage, in order: `tensor` itself where it is, else a copy.
/// What comes back may be written through `storage_mut`, which copies only where the storage is shared.
pub(crate) fn owned(tensor: FlexTensor) -> FlexTensor {
    let whole = tensor.is_contiguous() && tensor.bytes().len() == tensor.shape().num_elements() * size_of::<f32>();
    if whole { tensor } else { tensor.to_contiguous() }
}

/// A vector of `length` values that are zero when `write` gets them, `chunk` at a time with their place among the chunks,
/// on all threads.
///
/// A large vector of zeros costs a pass over memory on one thread; here each chunk is cleared where it is written next.
#[allow(unsafe_code)]
pub(crate) fn in_chunks(length: usize, chunk: usize, write: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(length);
    values.spare_capacity_mut()[..length].par_chunks_mut(chunk.max(1)).enumerate().for_each(|(at, values)| {
        values.fill(MaybeUninit::new(0.0));
        // SAFETY: all of them were written in the line above.
        write(at, unsafe { values.assume_init_mut() });
    });
    // SAFETY: the chunks cover the first `length` values, within the capacity, and each was written.
    unsafe { values.set_len(length) };
    values
}

/// `length` zeros, cleared on all threads.
pub(crate) fn zeros(length: usize) -> Vec<f32> {
    const CHUNK: usize = 1 << 16;
    in_chunks(length, CHUNK, |_, _| ())
}

/// Cuts rows of `values`, `width` wide, into columns `part` wide, the last of them narrower where they do not divide, and
/// each of `rows` equal stretches of lines where `ends` says: by row, stretch, and column a slice for every line.
pub(crate) fn columns_of<'a>(
    values: &'a mut [f32],
    width: usize,
    part: usize,
    rows: usize,
    ends: &[usize],
) -> Vec<Vec<&'a mut [f32]>> {
    let columns = width.div_ceil(part);
    let mut slices: Vec<Vec<&mut [f32]>> = Vec::new();
    slices.resize_with(rows * ends.len() * columns, Vec::new);
    let length = values.len() / width / rows;
    for (line, values) in values.chunks_exact_mut(width).enumerate() {
        let stretch = ends.partition_point(|end| *end <= line % length);
        let first = (line / length * ends.len() + stretch) * columns;
        values.chunks_mut(part).zip(&mut slices[first..]).for_each(|(part, slices)| slices.push(part));
    }
    slices
}

/// A tensor of `values` in order.
pub(crate) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape)), DType::F32)
}

/// `a·b + c`, fused where the instruction set has it; elsewhere a fused add would be a slow library call.
#[inline(always)]
pub(crate) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` to about two units in the last place, without a branch, so that loops over it are vectorised; 0 below −87
/// (and for −∞). `x` must not be above 88, which holds for everything with its maximum taken off.
///
/// Range reduction to ±ln 2 / 2 and the minimax polynomial of the Cephes library.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding it rounds to a whole number, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = mul_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -0.693_359_4, x);
    let r = mul_add::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = mul_add::<FMA>(p, r, c);
    }
    let p = mul_add::<FMA>(p * r, r, r + 1.0);
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let scale = f32::from_bits((exponent.wrapping_add(127) << 23) as u32);
    if x < -87.0 { 0.0 } else { p * scale }
}

/// `2^x` to about one unit in the last place, without a branch; 0 below −125 (and for −∞). `x` must not be above 127.
///
/// The whole part of `x` goes into the exponent, the rest, ±1/2, into a minimax polynomial: fewer operations than [`exp`]
/// with its reduction by ln 2, for what can be scaled by log₂ e on its way.
#[inline(always)]
pub(crate) fn exp2<const FMA: bool>(x: f32) -> f32 {
    // Adding it rounds to a whole number, which then stands in the low bits; those above it go in the shift.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x + ROUND;
    let r = x - (shifted - ROUND);
    let mut p = 1.534_581_2e-4;
    for c in [1.339_993_1e-3, 9.618_489e-3, 5.550_328_6e-2, 2.402_264_6e-1, 6.931_472e-1, 1.0] {
        p = mul_add::<FMA>(p, r, c);
    }
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if x < -125.0 { 0.0 } else { p * scale }
}

/// Running sums side by side: enough to be vectorised, and each rounds little.
pub(crate) const LANES: usize = 16;

/// `Σ f(a[i], b[i])`, in [`LANES`] running sums that are added at the end.
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| f(*a, *b)).sum::<f32>();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane]);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// The largest of `values`; −∞ for none.
#[inline(always)]
pub(crate) fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().fold(rest, |a, b| if *b > a { *b } else { a })
}

/// Defines a function that is compiled once for every instruction set this crate knows and chooses at run time.
///
/// In the body `FMA` is a constant: whether multiply and add are fused there; a name before a semicolon in the arguments is
/// the instruction set itself, of the type `S`. What the body calls must be `#[inline(always)]`: compiled on its own it
/// would be left with the least of all instruction sets.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $crate::kernels::cpu::vectorised! { $(#[$meta])* $vis fn $name(_simd; $($arg: $ty),*) $(-> $ret)? $body }
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident($simd:ident; $($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<S: pulp::Simd, const FMA: bool>($simd: S, $($arg: $ty),*) $(-> $ret)? $body
            struct Call<T>(T);
            impl pulp::WithSimd for Call<($($ty,)*)> {
                type Output = $crate::kernels::cpu::output!($($ret)?);
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, simd: S) -> Self::Output {
                    let ($($arg,)*) = self.0;
                    // Elsewhere a fused add would be a slow library call.
                    if S::IS_SCALAR || cfg!(target_family = "wasm") {
                        body::<S, false>(simd, $($arg),*)
                    } else {
                        body::<S, true>(simd, $($arg),*)
                    }
                }
            }
            pulp::Arch::new().dispatch(Call(($($arg,)*)))
        }
    };
}
pub(crate) use vectorised;

/// The given type, or `()`.
macro_rules! output {
    () => {
        ()
    };
    ($ty:ty) => {
        $ty
    };
}
pub(crate) use output;
