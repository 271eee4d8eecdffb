//! `matmul_tiled`: the dense products of [`matmul`](super::matmul) through workgroup memory, for real GPUs.
//!
//! Its gradients are products, too, and its CPU twin is that of [`matmul`](super::matmul). Which of the two, or Burn's
//! matmul, computes is said by [`Strategy`](super::matmul::Strategy).

use super::launch::{Form, Shader, contiguous, spread};
use super::matmul::{Params, Product, Side, Sizes, matrix_size};
use burn::backend::wgpu::CubeTensor;

#[cfg(test)]
mod tests;

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
    let side = |tensor, turned| Side::new(matrix_size(tensor), sizes.batch, turned, vector);
    let params = Params::new(&sizes, side(&a, product.turns_left()), side(&b, product.turns_right()));
    shader.launch(&y.client, spread(tiles(&sizes, tile)), &[&a, &b, &y], params);
    y
}
