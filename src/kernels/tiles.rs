//! Small dense products of the CPU twins, in register tiles.

use pulp::Simd;

/// A strided operand: `data[k·step + lane·lane_step]`, where k runs along the sum. One of the two steps is 1; of a right
/// operand the second.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub data: &'a [f32],
    pub step: usize,
    pub lane_step: usize,
}

/// `out[r·stride + c] += Σ_k a[k, r] · b[k, c]`, summed from first to last, for `rows` of `width` values and `depth`
/// terms. The values of one k of `b` lie side by side.
#[inline(always)]
pub(crate) fn add_product<S: Simd>(
    simd: S,
    out: &mut [f32],
    stride: usize,
    sizes: [usize; 3],
    a: Operand<'_>,
    b: Operand<'_>,
) {
    tiles::<S, true>(simd, out, stride, sizes, a, b);
}

/// The same with `=` for `+=`: what `out` held is not read.
#[inline(always)]
pub(crate) fn product<S: Simd>(
    simd: S,
    out: &mut [f32],
    stride: usize,
    sizes: [usize; 3],
    a: Operand<'_>,
    b: Operand<'_>,
) {
    tiles::<S, false>(simd, out, stride, sizes, a, b);
}

#[inline(always)]
fn tiles<S: Simd, const ADD: bool>(
    simd: S,
    out: &mut [f32],
    stride: usize,
    [rows, width, depth]: [usize; 3],
    a: Operand<'_>,
    b: Operand<'_>,
) {
    debug_assert!(b.lane_step == 1 && (a.step == 1 || a.lane_step == 1));
    let mut first = 0;
    while first < rows {
        let left = rows - first;
        let out = &mut out[first * stride..];
        let a = Operand { data: &a.data[first * a.lane_step..], ..a };
        // A tile of three vectors wide fills three quarters of the registers.
        first += match left {
            8.. if S::REGISTER_COUNT >= 32 => strip::<S, ADD, 8>(simd, out, stride, [width, depth], a, b),
            4.. => strip::<S, ADD, 4>(simd, out, stride, [width, depth], a, b),
            _ => strip::<S, ADD, 1>(simd, out, stride, [width, depth], a, b),
        };
    }
}

/// Writes a strip of `R` rows; returns `R`.
#[inline(always)]
fn strip<S: Simd, const ADD: bool, const R: usize>(
    simd: S,
    out: &mut [f32],
    stride: usize,
    [width, depth]: [usize; 2],
    a: Operand<'_>,
    b: Operand<'_>,
) -> usize {
    let lanes = lanes::<S>();
    let mut column = 0;
    while column < width {
        let left = width - column;
        let (out, b) = (&mut out[column..], Operand { data: &b.data[column..], ..b });
        // Four vectors are two and two rather than three and one.
        column += if left >= 3 * lanes && left != 4 * lanes {
            tile::<S, ADD, R, 3>(simd, out, stride, depth, a, b)
        } else if left >= 2 * lanes {
            tile::<S, ADD, R, 2>(simd, out, stride, depth, a, b)
        } else if left >= lanes {
            tile::<S, ADD, R, 1>(simd, out, stride, depth, a, b)
        } else {
            narrow::<S, ADD, R>(simd, out, stride, [left, depth], a, b)
        };
    }
    R
}

/// Values of a vector.
const fn lanes<S: Simd>() -> usize {
    size_of::<S::f32s>() / size_of::<f32>()
}

/// Writes a tile of `R` rows and `V` vectors, kept in registers; returns its columns.
#[inline(always)]
fn tile<S: Simd, const ADD: bool, const R: usize, const V: usize>(
    simd: S,
    out: &mut [f32],
    stride: usize,
    depth: usize,
    a: Operand<'_>,
    b: Operand<'_>,
) -> usize {
    let columns = V * lanes::<S>();
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    if a.step == 1 {
        // What is indexed below has a known length: nothing is checked for every product.
        let mut rows = [&a.data[..0]; R];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = &a.data[r * a.lane_step..][..depth];
        }
        for k in 0..depth {
            let values = vectors::<S, V>(simd, &b.data[k * b.step..][..columns]);
            for (sums, row) in sums.iter_mut().zip(&rows) {
                multiply_add(simd, sums, row[k], &values);
            }
        }
    } else {
        for k in 0..depth {
            let values = vectors::<S, V>(simd, &b.data[k * b.step..][..columns]);
            let column: &[f32; R] = a.data[k * a.step..][..R].try_into().expect("R long");
            for (sums, scale) in sums.iter_mut().zip(column) {
                multiply_add(simd, sums, *scale, &values);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let (vectors, _) = S::as_mut_simd_f32s(&mut out[r * stride..][..columns]);
        for (out, sum) in vectors.iter_mut().zip(sums) {
            *out = if ADD { simd.add_f32s(*out, *sum) } else { *sum };
        }
    }
    columns
}

#[inline(always)]
fn multiply_add<S: Simd, const V: usize>(simd: S, sums: &mut [S::f32s; V], scale: f32, values: &[S::f32s; V]) {
    let scale = simd.splat_f32s(scale);
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = simd.mul_add_e_f32s(scale, *value, *sum);
    }
}

#[inline(always)]
fn vectors<S: Simd, const V: usize>(simd: S, values: &[f32]) -> [S::f32s; V] {
    let (vectors, _) = S::as_simd_f32s(values);
    let mut out = [simd.splat_f32s(0.0); V];
    for (out, vector) in out.iter_mut().zip(vectors) {
        *out = *vector;
    }
    out
}

/// Writes a tile of `R` rows and fewer columns than a vector holds; returns `columns`.
#[inline(always)]
fn narrow<S: Simd, const ADD: bool, const R: usize>(
    simd: S,
    out: &mut [f32],
    stride: usize,
    [columns, depth]: [usize; 2],
    a: Operand<'_>,
    b: Operand<'_>,
) -> usize {
    let mut sums = [simd.splat_f32s(0.0); R];
    for k in 0..depth {
        let values = simd.partial_load_f32s(&b.data[k * b.step..][..columns]);
        for (r, sum) in sums.iter_mut().enumerate() {
            let scale = simd.splat_f32s(a.data[k * a.step + r * a.lane_step]);
            *sum = simd.mul_add_e_f32s(scale, values, *sum);
        }
    }
    for (r, sum) in sums.iter().enumerate() {
        let out = &mut out[r * stride..][..columns];
        let before = if ADD { simd.partial_load_f32s(out) } else { simd.splat_f32s(0.0) };
        simd.partial_store_f32s(out, simd.add_f32s(before, *sum));
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::vectorised;
    use crate::testing::random;

    vectorised! {
        fn added(simd; out: &mut [f32], stride: usize, sizes: [usize; 3], a: Operand<'_>, b: Operand<'_>) {
            add_product(simd, out, stride, sizes, a, b);
        }
    }

    vectorised! {
        fn written(simd; out: &mut [f32], stride: usize, sizes: [usize; 3], a: Operand<'_>, b: Operand<'_>) {
            product(simd, out, stride, sizes, a, b);
        }
    }

    #[test]
    fn products_of_any_size_and_stride() {
        for (rows, width, depth) in
            [(1, 1, 1), (3, 5, 7), (4, 16, 9), (13, 37, 3), (17, 70, 33), (8, 64, 1), (5, 31, 0)]
        {
            for turned in [false, true] {
                let (step, lane_step) = if turned { (rows + 3, 1) } else { (1, depth + 2) };
                let (a, b) = (random(1, (rows + 3) * (depth + 2)), random(2, depth.max(1) * (width + 4)));
                let (stride, before) = (width + 2, random(3, rows * (width + 2)));
                let (mut sum_of_both, mut alone) = (before.clone(), before.clone());
                let left = Operand { data: &a, step, lane_step };
                let right = Operand { data: &b, step: width + 4, lane_step: 1 };
                added(&mut sum_of_both, stride, [rows, width, depth], left, right);
                written(&mut alone, stride, [rows, width, depth], left, right);
                for r in 0..rows {
                    for c in 0..stride {
                        let terms =
                            (0..depth).map(|k| a[k * step + r * lane_step] * b[k * (width + 4) + c.min(width + 3)]);
                        let (sum, kept) = if c < width { (terms.sum::<f32>(), 0.0) } else { (0.0, 1.0) };
                        let at = r * stride + c;
                        for (out, expected) in [(&sum_of_both, before[at] + sum), (&alone, kept * before[at] + sum)] {
                            let off = (out[at] - expected).abs();
                            assert!(off <= 1e-5, "{rows} x {width}, {depth} deep, at {r}, {c}: off by {off:.1e}");
                        }
                    }
                }
            }
        }
    }
}
