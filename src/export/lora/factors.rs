//! A block-diagonal matrix as a product of two factors.

use nalgebra::{DMatrix, DMatrixView};

/// The diagonal blocks of a matrix D that acts as `x·D`: `n` of them, each `[d_in, d_out]`.
#[derive(Debug, Clone, Copy)]
pub struct Blocks<'a> {
    /// `[n, d_in, d_out]`.
    pub values: &'a [f32],
    pub n: usize,
    pub d_in: usize,
    pub d_out: usize,
}

/// `A: [rank, n·d_in]` and `B: [n·d_out, rank]` with `Dᵀ ≈ B·A`, as PEFT has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    pub a: Vec<f32>,
    pub b: Vec<f32>,
    /// ‖D − (B·A)ᵀ‖², Frobenius, of the very values above.
    pub error: f64,
    /// ‖D‖².
    pub norm: f64,
}

/// A part of rank one of one block: `input·outputᵀ`.
struct Component {
    block: usize,
    /// Its squared singular value.
    weight: f64,
    /// `[d_in]`.
    input: Vec<f32>,
    /// `[d_out]`.
    output: Vec<f32>,
}

impl<'a> Blocks<'a> {
    fn block(&self, i: usize) -> &'a [f32] {
        let size = self.d_in * self.d_out;
        &self.values[i * size..][..size]
    }

    /// Rows and columns of a block that are not zero throughout.
    fn used(&self, i: usize) -> (Vec<usize>, Vec<usize>) {
        let block = self.block(i);
        let value = |row: usize, column: usize| block[row * self.d_out + column] != 0.0;
        let rows = (0..self.d_in).filter(|row| (0..self.d_out).any(|column| value(*row, column))).collect();
        let columns = (0..self.d_out).filter(|column| (0..self.d_in).any(|row| value(row, *column))).collect();
        (rows, columns)
    }

    /// A rank at which [`factors`](Self::factors) are exact: every block gives as many as it has rows or columns that
    /// are not zero, whichever are fewer.
    pub fn exact_rank(&self) -> usize {
        (0..self.n)
            .map(|i| {
                let (rows, columns) = self.used(i);
                rows.len().min(columns.len())
            })
            .sum()
    }

    /// Factors of this rank: exact where it suffices, else the best there are in the Frobenius norm, which keep the
    /// largest singular values of all blocks (Eckart and Young 1936). What is not needed is zero.
    pub fn factors(&self, rank: usize) -> Factors {
        let components = if self.exact_rank() <= rank { self.exact() } else { self.largest(rank) };
        let (width, height) = (self.n * self.d_in, self.n * self.d_out);
        let (mut a, mut b) = (vec![0.0; rank * width], vec![0.0; height * rank]);
        for (k, Component { block, input, output, .. }) in components.iter().enumerate() {
            a[k * width + block * self.d_in..][..self.d_in].copy_from_slice(input);
            for (row, value) in (block * self.d_out..).zip(output) {
                b[row * rank + k] = *value;
            }
        }
        let norm = self.values.iter().map(|value| f64::from(*value).powi(2)).sum();
        Factors { a, b, error: self.error(&components), norm }
    }

    /// Unit vectors on one side, the block's own rows or columns on the other: no value is rounded.
    fn exact(&self) -> Vec<Component> {
        let mut components = Vec::new();
        for i in 0..self.n {
            let block = self.block(i);
            let unit = |at: usize, len: usize| (0..len).map(|k| if k == at { 1.0 } else { 0.0 }).collect::<Vec<f32>>();
            let (rows, columns) = self.used(i);
            let component = |input, output| Component { block: i, weight: 0.0, input, output };
            if rows.len() <= columns.len() {
                let row = |row: usize| block[row * self.d_out..][..self.d_out].to_vec();
                components.extend(rows.into_iter().map(|at| component(unit(at, self.d_in), row(at))));
            } else {
                let column = |column: usize| block.iter().skip(column).step_by(self.d_out).copied().collect();
                components.extend(columns.into_iter().map(|at| component(column(at), unit(at, self.d_out))));
            }
        }
        components
    }

    /// Of the singular value decompositions of all blocks, the `rank` largest parts.
    fn largest(&self, rank: usize) -> Vec<Component> {
        let mut components: Vec<Component> = (0..self.n).flat_map(|i| self.decompose(i)).collect();
        components.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        components.truncate(rank);
        components
    }

    /// The singular value decomposition of one block, by the eigenvectors of its Gram matrix on the shorter side, in
    /// f64. Parts below 1e-8 of the largest come out in no order, which is far below what f32 holds.
    fn decompose(&self, i: usize) -> Vec<Component> {
        let block: Vec<f64> = self.block(i).iter().map(|value| f64::from(*value)).collect();
        // Row-major [d_in, d_out] is column-major [d_out, d_in].
        let transposed = DMatrixView::from_slice(&block, self.d_out, self.d_in);
        let is_wide = self.d_in <= self.d_out;
        let gram = if is_wide { transposed.transpose() * transposed } else { transposed * transposed.transpose() };
        let eigen = gram.symmetric_eigen();
        let projected: DMatrix<f64> =
            if is_wide { transposed * &eigen.eigenvectors } else { transposed.transpose() * &eigen.eigenvectors };
        (0..eigen.eigenvalues.len())
            .filter_map(|k| {
                let (vector, projection) = (eigen.eigenvectors.column(k), projected.column(k));
                let singular = projection.norm();
                if singular == 0.0 {
                    return None;
                }
                // Half of the singular value on each side.
                let root = singular.sqrt();
                let vector = vector.iter().map(|v| (v * root) as f32).collect();
                let projection = projection.iter().map(|v| (v / root) as f32).collect();
                let (input, output) = if is_wide { (vector, projection) } else { (projection, vector) };
                Some(Component { block: i, weight: singular * singular, input, output })
            })
            .collect()
    }

    /// ‖D − Σ input·outputᵀ‖², in f64.
    fn error(&self, components: &[Component]) -> f64 {
        let mut rest: Vec<f64> = self.values.iter().map(|value| f64::from(*value)).collect();
        let size = self.d_in * self.d_out;
        for Component { block, input, output, .. } in components {
            for (row, input) in rest[block * size..][..size].chunks_exact_mut(self.d_out).zip(input) {
                for (rest, output) in row.iter_mut().zip(output) {
                    *rest -= f64::from(*input) * f64::from(*output);
                }
            }
        }
        rest.iter().map(|value| value * value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn random(n: usize, d_in: usize, d_out: usize) -> Vec<f32> {
        let mut random = Random::new((n * 100 + d_in * 10 + d_out) as u64);
        (0..n * d_in * d_out).map(|_| 2.0 * random.next_f32() - 1.0).collect()
    }

    /// D and (B·A)ᵀ as dense matrices `[n·d_in, n·d_out]`; the squared norm of their difference.
    fn distance(blocks: Blocks<'_>, factors: &Factors, rank: usize) -> f64 {
        let (width, height) = (blocks.n * blocks.d_in, blocks.n * blocks.d_out);
        let mut sum = 0.0;
        for row in 0..width {
            for column in 0..height {
                let product: f64 = (0..rank)
                    .map(|k| f64::from(factors.a[k * width + row]) * f64::from(factors.b[column * rank + k]))
                    .sum();
                let (i, within) = (row / blocks.d_in, row % blocks.d_in);
                let is_inside = column / blocks.d_out == i;
                let value = match is_inside {
                    true => blocks.block(i)[within * blocks.d_out + column % blocks.d_out],
                    false => 0.0,
                };
                sum += (product - f64::from(value)).powi(2);
            }
        }
        sum
    }

    #[test]
    fn enough_rank_is_exact_to_the_bit() {
        for (n, d_in, d_out) in [(1, 1, 1), (3, 2, 5), (4, 5, 3), (1, 7, 7), (6, 1, 4)] {
            let values = random(n, d_in, d_out);
            let blocks = Blocks { values: &values, n, d_in, d_out };
            let rank = n * d_in.min(d_out);
            assert_eq!(blocks.exact_rank(), rank);
            for rank in [rank, rank + 3] {
                let factors = blocks.factors(rank);
                assert_eq!((factors.error, distance(blocks, &factors, rank)), (0.0, 0.0), "{n} {d_in} {d_out}");
                assert_eq!((factors.a.len(), factors.b.len()), (rank * n * d_in, n * d_out * rank));
            }
        }
    }

    #[test]
    fn less_rank_keeps_the_largest_singular_values() {
        for (n, d_in, d_out) in [(3, 2, 5), (4, 5, 3), (1, 7, 7), (2, 8, 9)] {
            let values = random(n, d_in, d_out);
            let blocks = Blocks { values: &values, n, d_in, d_out };
            let mut singular: Vec<f64> = (0..n)
                .flat_map(|i| {
                    let block: Vec<f64> = blocks.block(i).iter().map(|value| f64::from(*value)).collect();
                    DMatrix::from_row_slice(d_in, d_out, &block).singular_values().iter().copied().collect::<Vec<_>>()
                })
                .collect();
            singular.sort_by(|a, b| b.total_cmp(a));
            for rank in 1..blocks.exact_rank() {
                let factors = blocks.factors(rank);
                let expected: f64 = singular[rank..].iter().map(|s| s * s).sum();
                assert!((factors.error - expected).abs() < 1e-6 * factors.norm, "{rank}: {} {expected}", factors.error);
                assert!((distance(blocks, &factors, rank) - factors.error).abs() < 1e-12 * factors.norm);
            }
        }
    }

    #[test]
    fn zeros_need_no_rank() {
        let mut values = vec![0.0; 2 * 3 * 4];
        let empty = Blocks { values: &values.clone(), n: 2, d_in: 3, d_out: 4 }.factors(1);
        assert_eq!((empty.error, empty.norm, empty.a.iter().chain(&empty.b).all(|v| *v == 0.0)), (0.0, 0.0, true));
        values[12..].copy_from_slice(&[0.0, 0.0, 7.0, 0.0, 0.0, 0.0, -2.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let blocks = Blocks { values: &values, n: 2, d_in: 3, d_out: 4 };
        assert_eq!(blocks.exact_rank(), 1); // one column
        let factors = blocks.factors(1);
        assert_eq!((factors.error, factors.norm), (0.0, 54.0));
        assert_eq!(distance(blocks, &factors, 1), 0.0);
    }
}
