//! `matmul_tiled`: the dense products of [`matmul`](super::matmul) through workgroup memory, for real GPUs.
//!
//! Its gradients are products, too, and its CPU twin is that of [`matmul`](super::matmul). Which of the two, or Burn's
//! matmul, computes is said by [`Strategy`](super::matmul::Strategy).

use super::launch::{Form, Shader, contiguous, spread};
use super::matmul::{Product, Sizes, matrix_size};
use burn::backend::wgpu::CubeTensor;

#[cfg(test)]
mod tests;

/// Uniform block of `matmul_tiled.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    /// Rows of the result.
    pub tokens: u32,
    /// Columns of the result.
    pub width: u32,
    /// Terms of a sum.
    pub terms: u32,
    /// Matrices.
    pub batch: u32,
    /// Of the left side, in what it is bound as, vectors or values: from stored row to stored row, from four rows of the
    /// result to the next four, from four terms to the next four, from matrix to matrix; and the last one.
    pub x_row: u32,
    pub x_block: u32,
    pub x_step: u32,
    pub x_matrix: u32,
    pub x_last: u32,
    /// The same of the right side, with the columns of the result.
    pub w_row: u32,
    pub w_block: u32,
    pub w_step: u32,
    pub w_matrix: u32,
    pub w_last: u32,
    /// Whether each side is turned over: 1 or 0.
    pub x_turned: u32,
    pub w_turned: u32,
}

/// Rows, and columns, of the result that a workgroup computes.
const LARGE: u32 = 64;
const SMALL: u32 = 32;
/// So many large tiles keep a GPU of some dozen cores busy; of fewer, four times as many small ones are made.
const ENOUGH: u32 = 128;

/// `matmul_tiled.wgsl` with tiles of a side of `tile`; `vectors` where all rows are multiples of four values.
pub(crate) fn shader(tile: u32, vectors: bool) -> Shader {
    let text = include_str!("../../shaders/matmul_tiled.wgsl");
    let constants = vec![("TILE", tile), ("LARGE", u32::from(tile == LARGE)), ("VECTORS", u32::from(vectors))];
    Shader { name: "matmul_tiled", text, form: Form::Workgroup, constants, workgroup: [8, 8, 1] }
}

/// Tiles of a side of `tile` in the result.
fn tiles(sizes: &Sizes, tile: u32) -> u32 {
    (sizes.batch * sizes.tokens.div_ceil(tile as usize) * sizes.width.div_ceil(tile as usize)) as u32
}

/// The side of the tile for a result: told by its shape alone, so that the order of operations is, too.
fn tile_of(sizes: &Sizes) -> u32 {
    if tiles(sizes, LARGE) < ENOUGH { SMALL } else { LARGE }
}

/// A side of the product, `[.., rows, columns]` of it contiguous, as the shader walks it.
struct Side {
    row: u32,
    block: u32,
    step: u32,
    matrix: u32,
    last: u32,
}

impl Side {
    /// `turned`: rows follow the terms of a sum. `vector`: values that are bound as one, 4 or 1.
    fn new([rows, columns]: [usize; 2], batch: usize, turned: bool, vector: usize) -> Self {
        let row = columns / vector;
        // From a value to the one after the next three, along a row and from row to row.
        let (along, below) = (4 / vector, 4 * row);
        let (block, step) = if turned { (along, below) } else { (below, along) };
        let matrix = rows * row;
        let [row, block, step, matrix, last] =
            [row, block, step, matrix, (batch * matrix).saturating_sub(1)].map(|count| count as u32);
        Self { row, block, step, matrix, last }
    }
}

/// Whether all rows are multiples of four values, of both sides and of the result.
fn are_vectors(a: &CubeTensor, b: &CubeTensor, sizes: &Sizes) -> bool {
    [matrix_size(a)[1], matrix_size(b)[1], sizes.width].iter().all(|columns| columns.is_multiple_of(4))
}

/// The product, by the variant that suits its shape.
pub(crate) fn multiply(a: CubeTensor, b: CubeTensor, product: Product) -> CubeTensor {
    let sizes = Sizes::of(&a, &b, product);
    let shader = shader(tile_of(&sizes), are_vectors(&a, &b, &sizes));
    launch(shader, a, b, product)
}

/// Runs `shader`, any variant whose vectors the sides have.
fn launch(shader: Shader, a: CubeTensor, b: CubeTensor, product: Product) -> CubeTensor {
    let (sizes, a, b) = (Sizes::of(&a, &b, product), contiguous(a), contiguous(b));
    let y = sizes.result(&a);
    let constant = |name| shader.constants.contains(&(name, 1));
    let (tile, vector) = (if constant("LARGE") { LARGE } else { SMALL }, if constant("VECTORS") { 4 } else { 1 });
    let (x_turned, w_turned) = (product == Product::Columns, product != Product::Rows);
    let x = Side::new(matrix_size(&a), sizes.batch, x_turned, vector);
    let w = Side::new(matrix_size(&b), sizes.batch, w_turned, vector);
    let params = Params {
        tokens: sizes.tokens as u32,
        width: sizes.width as u32,
        terms: sizes.terms as u32,
        batch: sizes.batch as u32,
        x_row: x.row,
        x_block: x.block,
        x_step: x.step,
        x_matrix: x.matrix,
        x_last: x.last,
        w_row: w.row,
        w_block: w.block,
        w_step: w.step,
        w_matrix: w.matrix,
        w_last: w.last,
        x_turned: u32::from(x_turned),
        w_turned: u32::from(w_turned),
    };
    shader.launch(&y.client, spread(tiles(&sizes, tile)), &[&a, &b, &y], params);
    y
}
