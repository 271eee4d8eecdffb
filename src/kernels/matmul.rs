//! `matmul`: dense products of matrices, one or a batch of them, and their gradients.
//!
//! Where a processor poses as a GPU, tiles that meet at barriers cost more than the sums between them, so there a shader
//! without them computes. On real GPUs it is Burn's matmul, or [`matmul_tiled`](super::matmul_tiled): [`Strategy`] says
//! which. On the CPU a layer's product with its weight is our own, too, as is that to its input; the others are Burn's.

use super::cpu::{tensor, values};
use super::launch::{Form, Shader, contiguous, empty_like};
use super::matmul_tiled;
use burn::backend::{
    Autodiff, Backend, Dispatch, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    flex::Flex,
    ops::FloatTensorOps,
    tensor::FloatTensor,
    wgpu::{CubeBackend, CubeTensor},
};
use burn::tensor::{Shape, Tensor, ops::PadMode};

mod strategy;
#[cfg(test)]
mod tests;
mod twin;

pub use strategy::Strategy;

/// `x·Wᵀ`, `[tokens, out]` from `x: [tokens, in]` and `weight: [out, in]` as Hugging Face stores it, all f32.
///
/// # Panics
/// If the shapes do not fit together.
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    multiply(x, weight, Product::Rows)
}

/// `a·b` for every matrix of a batch: `[.., m, k]` and `[.., k, n]` to `[.., m, n]`, all f32.
///
/// # Panics
/// If the shapes do not fit together.
pub fn matmul<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    multiply(a, b, Product::Plain)
}

/// `a·bᵀ` for every matrix of a batch: `[.., m, k]` and `[.., n, k]` to `[.., m, n]`, all f32.
///
/// # Panics
/// If the shapes do not fit together.
pub fn matmul_transposed<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    multiply(a, b, Product::Rows)
}

fn multiply<const D: usize>(a: Tensor<D>, b: Tensor<D>, product: Product) -> Tensor<D> {
    let (left, right) = (a.dims(), b.dims());
    let [_, k] = product.left(left[D - 2], left[D - 1]);
    let [inner, _] = product.right(right[D - 2], right[D - 1]);
    assert!(left[..D - 2] == right[..D - 2] && k == inner, "matmul: {left:?} and {right:?}, {product:?}");
    Tensor::from_dispatch(Dispatch::multiply_as(a.into_dispatch(), b.into_dispatch(), product))
}

/// Which of the two matrices is transposed in a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// `a·b`.
    Plain,
    /// `a·bᵀ`: rows times rows.
    Rows,
    /// `aᵀ·b`: columns times columns.
    Columns,
}

impl Product {
    /// Rows of the result and terms of a sum, from the size of the left matrix.
    fn left(self, rows: usize, columns: usize) -> [usize; 2] {
        if self.turns_left() { [columns, rows] } else { [rows, columns] }
    }

    /// Terms of a sum and columns of the result, from the size of the right matrix.
    fn right(self, rows: usize, columns: usize) -> [usize; 2] {
        if self.turns_right() { [rows, columns] } else { [columns, rows] }
    }

    /// Whether rows of the left matrix follow the terms of a sum.
    pub(super) fn turns_left(self) -> bool {
        self == Self::Columns
    }

    /// Whether rows of the right matrix do.
    pub(super) fn turns_right(self) -> bool {
        self != Self::Rows
    }
}

/// Dense products, on primitives.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait Multiply: Backend {
    /// The product of the last two dimensions; the others are the same in both.
    fn multiply_as(a: FloatTensor<Self>, b: FloatTensor<Self>, product: Product) -> FloatTensor<Self>;
}

impl<B: Multiply, C: CheckpointStrategy> Multiply for Autodiff<B, C> {
    fn multiply_as(a: FloatTensor<Self>, b: FloatTensor<Self>, product: Product) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct MultiplyBackward;

        impl<B: Multiply> Backward<B, 2> for MultiplyBackward {
            /// Both sides, each kept only where the other one's gradient asks for it.
            type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>, Product);

            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node_a, node_b] = ops.parents;
                let (a, b, product) = ops.state;
                let g = grads.consume::<B>(&ops.node);
                if let (Some(node), Some(b)) = (node_a, b) {
                    let da = match product {
                        Product::Plain => B::multiply_as(g.clone(), b, Product::Rows),
                        Product::Rows => B::multiply_as(g.clone(), b, Product::Plain),
                        Product::Columns => B::multiply_as(b, g.clone(), Product::Rows),
                    };
                    grads.register::<B>(node.id, da);
                }
                if let (Some(node), Some(a)) = (node_b, a) {
                    let db = match product {
                        Product::Plain => B::multiply_as(a, g, Product::Columns),
                        Product::Rows => B::multiply_as(g, a, Product::Columns),
                        Product::Columns => B::multiply_as(a, g, Product::Plain),
                    };
                    grads.register::<B>(node.id, db);
                }
            }
        }

        let (a_tracked, b_tracked) = (a.is_tracked(), b.is_tracked());
        match MultiplyBackward.prepare::<C>([a.node(), b.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (a, b) = (a.into_primitive(), b.into_primitive());
                let state = (b_tracked.then(|| a.clone()), a_tracked.then(|| b.clone()), product);
                prep.finish(state, B::multiply_as(a, b, product))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::multiply_as(a.into_primitive(), b.into_primitive(), product)),
        }
    }
}

/// The product through Burn.
fn composed<B: Backend>(a: FloatTensor<B>, b: FloatTensor<B>, product: Product) -> FloatTensor<B> {
    let turned = |tensor: FloatTensor<B>| {
        let rank = tensor.shape().num_dims();
        B::float_swap_dims(tensor, rank - 2, rank - 1)
    };
    match product {
        Product::Plain => B::float_matmul(a, b),
        Product::Rows => B::float_matmul(a, turned(b)),
        Product::Columns => B::float_matmul(turned(a), b),
    }
}

impl Multiply for Flex {
    fn multiply_as(a: FloatTensor<Self>, b: FloatTensor<Self>, product: Product) -> FloatTensor<Self> {
        let (left, right) = (a.shape(), b.shape());
        let multiply = match product {
            Product::Rows if left.num_dims() == 2 && twin::suits(left[0], right[0]) => twin::rows_times_rows,
            Product::Plain if left.num_dims() == 2 && twin::suits_columns(left[0], left[1], right[1]) => {
                twin::rows_times_columns
            }
            _ => return composed::<Self>(a, b, product),
        };
        let (a, b) = (a.to_contiguous(), b.to_contiguous());
        let width = right[if product == Product::Rows { 0 } else { 1 }];
        tensor(multiply(values(&a), values(&b), [left[0], left[1], width]), [left[0], width])
    }
}

impl Multiply for CubeBackend {
    fn multiply_as(a: FloatTensor<Self>, b: FloatTensor<Self>, product: Product) -> FloatTensor<Self> {
        match Strategy::of(&a.client) {
            Strategy::Burn => composed::<Self>(a, b, product),
            Strategy::Register => {
                let single = product != Product::Columns && Sizes::of(&a, &b, product).tokens == 1;
                launch(shader(single), a, b, product)
            }
            Strategy::Tiled => matmul_tiled::multiply(a, b, product),
        }
    }
}

/// Uniform block of `matmul.wgsl` and `matmul_tiled.wgsl`.
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
    /// Of the left side: see [`Side`].
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

impl Params {
    pub(super) fn new(sizes: &Sizes, x: Side, w: Side) -> Self {
        let [tokens, width, terms, batch] =
            [sizes.tokens, sizes.width, sizes.terms, sizes.batch].map(|count| count as u32);
        Self {
            tokens,
            width,
            terms,
            batch,
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
            x_turned: x.turned,
            w_turned: w.turned,
        }
    }
}

/// Side of an invocation's tile, and columns it takes of a single row.
const TILE: u32 = 16;
const SINGLE: u32 = 4;

/// `matmul.wgsl`; `single` where the result has one row, and the left side is not turned over.
pub(crate) fn shader(single: bool) -> Shader {
    let text = include_str!("../../shaders/matmul.wgsl");
    let constants = vec![("SINGLE", u32::from(single)), ("SIDE", TILE / 4)];
    Shader { name: "matmul", text, form: Form::Register, constants, workgroup: [16, 1, 1] }
}

/// How a shader walks a side of the product, `[batch, rows, columns]` of it contiguous, in what it is bound as: vectors or
/// values.
pub(super) struct Side {
    /// From stored row to stored row.
    row: u32,
    /// From four rows (of the right side, columns) of the result to the next four.
    block: u32,
    /// From four terms of a sum to the next four.
    step: u32,
    /// From matrix to matrix.
    matrix: u32,
    /// The last vector or value.
    last: u32,
    /// Whether rows follow the terms of a sum.
    turned: u32,
}

impl Side {
    /// `vector`: values that are bound as one, 4 or 1; rows are multiples of it.
    pub fn new([rows, columns]: [usize; 2], batch: usize, turned: bool, vector: usize) -> Self {
        let row = columns / vector;
        // From a value to the one after the next three, along a row and from row to row.
        let (along, below) = (4 / vector, 4 * row);
        let (block, step) = if turned { (along, below) } else { (below, along) };
        let matrix = rows * row;
        let [row, block, step, matrix, last] =
            [row, block, step, matrix, (batch * matrix).saturating_sub(1)].map(|count| count as u32);
        Self { row, block, step, matrix, last, turned: u32::from(turned) }
    }
}

/// `tensor` as `[batch, rows, columns]`, contiguous, of whole vectors of four. `turned`: rows follow the terms of a sum. Where
/// `zeros`, missing terms of it are zeros; else they may be anything.
fn in_vectors(tensor: CubeTensor, batch: usize, turned: bool, zeros: bool) -> CubeTensor {
    let [rows, columns] = matrix_size(&tensor);
    let tensor = CubeBackend::float_reshape(tensor, Shape::from([batch, rows, columns]));
    let missing = |size: usize| size.next_multiple_of(4) - size;
    let (below, beside) = (if turned && zeros { missing(rows) } else { 0 }, missing(columns));
    if below + beside == 0 {
        contiguous(tensor)
    } else {
        contiguous(CubeBackend::float_pad(tensor, &[(0, 0), (0, below), (0, beside)], PadMode::Constant(0.0)))
    }
}

/// The sizes of a product.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    /// Matrices.
    pub batch: usize,
    /// Rows of the result.
    pub tokens: usize,
    /// Terms of a sum.
    pub terms: usize,
    /// Columns of the result.
    pub width: usize,
    /// All dimensions of the result.
    shape: Vec<usize>,
}

impl Sizes {
    pub fn of(a: &CubeTensor, b: &CubeTensor, product: Product) -> Self {
        let ([rows_a, columns_a], [rows_b, columns_b]) = (matrix_size(a), matrix_size(b));
        let ([tokens, terms], [_, width]) = (product.left(rows_a, columns_a), product.right(rows_b, columns_b));
        let mut shape: Vec<usize> = a.shape().iter().copied().collect();
        let rank = shape.len();
        let batch = shape[..rank - 2].iter().product();
        shape[rank - 2..].copy_from_slice(&[tokens, width]);
        Self { batch, tokens, terms, width, shape }
    }

    /// Room for the result, beside `a`.
    pub fn result(&self, a: &CubeTensor) -> CubeTensor {
        empty_like(a, Shape::from(self.shape.clone()))
    }
}

/// Rows and columns, the last two dimensions.
pub(super) fn matrix_size(tensor: &CubeTensor) -> [usize; 2] {
    let shape = tensor.shape();
    let rank = shape.num_dims();
    [shape[rank - 2], shape[rank - 1]]
}

/// Runs `shader`, the variant for the result's rows.
fn launch(shader: Shader, a: CubeTensor, b: CubeTensor, product: Product) -> CubeTensor {
    let sizes = Sizes::of(&a, &b, product);
    let (batch, y) = (sizes.batch, sizes.result(&a));
    let (x_turned, w_turned) = (product.turns_left(), product.turns_right());
    let (x, w) = (in_vectors(a, batch, x_turned, true), in_vectors(b, batch, w_turned, false));
    let side = |tensor, turned| Side::new(matrix_size(tensor), batch, turned, 4);
    let params = Params::new(&sizes, side(&x, x_turned), side(&w, w_turned));
    let [wx, wy, _] = shader.workgroup;
    let single = shader.constants.contains(&("SINGLE", 1));
    let across = params.width.div_ceil(if single { SINGLE } else { TILE }).div_ceil(wx);
    let count = [across, params.tokens.div_ceil(TILE).div_ceil(wy), batch as u32];
    shader.launch(&y.client, count, &[&x, &w, &y], params);
    y
}
