//! `block_matmul`: the block-diagonal product of a DiaBlo adapter, and its gradients.
//!
//! `y[t, i·do + c] += Σ_b x[t, i·di + b] · d[i, b, c]` (arXiv 2506.03230, section 3; no scaling factor).

use super::launch::{Form, Shader, contiguous, empty_like, owned};
use burn::backend::{
    Autodiff, Backend, Dispatch, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    flex::Flex,
    tensor::FloatTensor,
    wgpu::{CubeBackend, CubeTensor},
};
use burn::tensor::{Shape, Tensor};

mod twin;

#[cfg(test)]
mod tests;

/// `y + x·diag(d)`, written over `y` where nothing else holds it.
///
/// `y: [tokens, n·do]`, `x: [tokens, n·di]`, `d: [n, di, do]`, all f32. Differentiable in all three.
///
/// # Panics
/// If the shapes do not fit together.
pub fn block_matmul(y: Tensor<2>, x: Tensor<2>, d: Tensor<3>) -> Tensor<2> {
    let ([rows_y, d_out], [rows_x, d_in], [n, di, dd]) = (y.dims(), x.dims(), d.dims());
    assert_eq!(
        (rows_y, d_out, d_in),
        (rows_x, n * dd, n * di),
        "block_matmul: y {:?}, x {:?}, d {:?}",
        y.dims(),
        x.dims(),
        d.dims()
    );
    Tensor::from_dispatch(Dispatch::block_matmul(y.into_dispatch(), x.into_dispatch(), d.into_dispatch()))
}

/// The three products of a block-diagonal matrix, on primitives.
#[backend_extension(Autodiff, Cube, Flex)]
pub trait BlockMatmul: Backend {
    /// `y + x·diag(d)`; see [`block_matmul`].
    fn block_matmul(y: FloatTensor<Self>, x: FloatTensor<Self>, d: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradient to the input: `g·diag(d)ᵀ`, `[tokens, n·di]` from `g: [tokens, n·do]`.
    fn block_matmul_dx(g: FloatTensor<Self>, d: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradient to the blocks: `x_iᵀ·g_i`, `[n, di, do]`, summed over tokens in a fixed order.
    fn block_matmul_dd(x: FloatTensor<Self>, g: FloatTensor<Self>, n: usize) -> FloatTensor<Self>;
    /// The same, on a GPU written where `place: [n, di, do]` lies, whoever else holds that memory; on the CPU `place` only
    /// tells its shape.
    fn block_matmul_dd_into(x: FloatTensor<Self>, g: FloatTensor<Self>, place: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl<B: BlockMatmul, C: CheckpointStrategy> BlockMatmul for Autodiff<B, C> {
    fn block_matmul(y: FloatTensor<Self>, x: FloatTensor<Self>, d: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct BlockMatmulBackward;

        impl<B: BlockMatmul> Backward<B, 3> for BlockMatmulBackward {
            /// Input and blocks, each kept only where the other one's gradient asks for it.
            type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>, usize);

            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node_y, node_x, node_d] = ops.parents;
                let (x, d, n) = ops.state;
                let g = grads.consume::<B>(&ops.node);
                if let (Some(node), Some(d)) = (node_x, d) {
                    grads.register::<B>(node.id, B::block_matmul_dx(g.clone(), d));
                }
                if let (Some(node), Some(x)) = (node_d, x) {
                    grads.register::<B>(node.id, B::block_matmul_dd(x, g.clone(), n));
                }
                if let Some(node) = node_y {
                    grads.register::<B>(node.id, g);
                }
            }
        }

        let (x_tracked, d_tracked) = (x.is_tracked(), d.is_tracked());
        let n = d.primitive().shape()[0];
        match BlockMatmulBackward.prepare::<C>([y.node(), x.node(), d.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (y, x, d) = (y.into_primitive(), x.into_primitive(), d.into_primitive());
                let state = (d_tracked.then(|| x.clone()), x_tracked.then(|| d.clone()), n);
                prep.finish(state, B::block_matmul(y, x, d))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::block_matmul(y.into_primitive(), x.into_primitive(), d.into_primitive()))
            }
        }
    }

    fn block_matmul_dx(_: FloatTensor<Self>, _: FloatTensor<Self>) -> FloatTensor<Self> {
        super::no_second_derivative("block_matmul")
    }

    fn block_matmul_dd(_: FloatTensor<Self>, _: FloatTensor<Self>, _: usize) -> FloatTensor<Self> {
        super::no_second_derivative("block_matmul")
    }

    fn block_matmul_dd_into(_: FloatTensor<Self>, _: FloatTensor<Self>, _: FloatTensor<Self>) -> FloatTensor<Self> {
        super::no_second_derivative("block_matmul")
    }
}

impl BlockMatmul for Flex {
    fn block_matmul(y: FloatTensor<Self>, x: FloatTensor<Self>, d: FloatTensor<Self>) -> FloatTensor<Self> {
        twin::block_matmul(y, x, d)
    }

    fn block_matmul_dx(g: FloatTensor<Self>, d: FloatTensor<Self>) -> FloatTensor<Self> {
        twin::block_matmul_dx(g, d)
    }

    fn block_matmul_dd(x: FloatTensor<Self>, g: FloatTensor<Self>, n: usize) -> FloatTensor<Self> {
        twin::block_matmul_dd(x, g, n)
    }

    fn block_matmul_dd_into(x: FloatTensor<Self>, g: FloatTensor<Self>, place: FloatTensor<Self>) -> FloatTensor<Self> {
        twin::block_matmul_dd(x, g, place.shape()[0])
    }
}

/// Uniform block of `block_matmul.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct ProductParams {
    pub tokens: u32,
    pub blocks: u32,
    /// Width of a block along the sum.
    pub inner: u32,
    /// Width of a block along the output.
    pub outer: u32,
}

/// Uniform block of `block_matmul_dd.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct GradientParams {
    pub tokens: u32,
    pub blocks: u32,
    pub d_in: u32,
    pub d_out: u32,
    /// Tokens that one split sums.
    pub tokens_per_split: u32,
    pub splits: u32,
    pub pad0: u32,
    pub pad1: u32,
}

/// Side of the square tile an invocation keeps in registers in the workgroup form, and of those that make up the tile of
/// the register form.
const TILE: u32 = 4;

/// Whether the register forms load and store rows of both widths as vectors.
///
/// Where they do not, tiles are smaller: models have no such widths, and where a processor poses as a GPU in a browser, such
/// a kernel is compiled for the check at the start alone, which takes as long as its tile is large.
fn in_vectors(widths: [u32; 2]) -> bool {
    widths.iter().all(|width| width.is_multiple_of(TILE))
}

/// How many fours of `size` make a register tile, `most` at most: the most that leave less than a fifth of it empty.
fn tile_of(size: u32, most: u32) -> u32 {
    let fours = size.div_ceil(TILE);
    (1..=most).rev().find(|tile| 4 * fours.next_multiple_of(*tile) <= 5 * fours).unwrap_or(1)
}

/// Tokens and columns of the tile that an invocation of the register form has of a product, in fours.
fn product_tile(inner: u32, outer: u32) -> [u32; 2] {
    if in_vectors([inner, outer]) { [4, tile_of(outer, 4)] } else { [2, tile_of(outer, 3)] }
}

/// Rows and columns of the tile that an invocation of the register form has of a block's gradient, in fours.
fn gradient_tile(d_in: u32, d_out: u32) -> [u32; 2] {
    [tile_of(d_in, 3), tile_of(d_out, if in_vectors([d_in, d_out]) { 3 } else { 2 })]
}

/// `block_matmul.wgsl` for blocks of `inner` terms of `outer` sums, or those of their transpose.
pub(crate) fn product_shader(form: Form, inner: u32, outer: u32, transposed: bool) -> Shader {
    let text = include_str!("../../shaders/block_matmul.wgsl");
    let shader = |workgroup, constants| Shader { name: "block_matmul", text, form, constants, workgroup };
    match form {
        Form::Register => {
            let [tall, wide] = product_tile(inner, outer);
            let constants = vec![
                ("VECTORS", u32::from(in_vectors([inner, outer]))),
                ("TRANSPOSED", u32::from(transposed)),
                ("TALL", tall),
                ("WIDE", wide),
            ];
            shader([16, 1, 1], constants)
        }
        Form::Workgroup => {
            let x = outer.div_ceil(TILE).min(16);
            let threads = if x >= 8 { 256 } else { 128 };
            let y = (threads / x).min(64);
            // Two staged tiles, in 16 KiB.
            let depth = if (x + y) * TILE * 16 <= 4096 { 16 } else { 8 };
            shader([x, y, 1], vec![("DEPTH", depth), ("TRANSPOSED", u32::from(transposed))])
        }
    }
}

/// `block_matmul_dd.wgsl` for blocks of `d_in × d_out`.
pub(crate) fn gradient_shader(form: Form, d_in: u32, d_out: u32) -> Shader {
    const STAGED_TOKENS: u32 = 16;
    let workgroup = match form {
        // As many as a processor's vector has: there are few tiles, and each workgroup is one thread's.
        Form::Register => [8, 1, 1],
        Form::Workgroup => {
            let (x, y) = (d_out.div_ceil(TILE).min(16), d_in.div_ceil(TILE).min(16));
            // Small blocks leave a workgroup nearly empty: let it sum several stretches of tokens side by side.
            let fit = 4096 / (STAGED_TOKENS * (x + y) * TILE);
            let z = (64 / (x * y)).clamp(1, fit.max(1)).min(64);
            [x, y, z]
        }
    };
    let text = include_str!("../../shaders/block_matmul_dd.wgsl");
    let constants = match form {
        Form::Workgroup => vec![("STAGED", STAGED_TOKENS)],
        Form::Register => {
            let [tall, wide] = gradient_tile(d_in, d_out);
            vec![("TALL", tall), ("WIDE", wide), ("VECTORS", u32::from(in_vectors([d_in, d_out])))]
        }
    };
    Shader { name: "block_matmul_dd", text, form, constants, workgroup }
}

/// `block_matmul_dd.wgsl` where it adds up the stretches of tokens; it needs no workgroup memory, so both forms are one.
pub(crate) fn sum_shader(form: Form) -> Shader {
    let text = include_str!("../../shaders/block_matmul_dd.wgsl");
    Shader { name: "block_matmul_dd", text, form, constants: vec![("SUM", 1)], workgroup: [64, 1, 1] }
}

/// Runs `shader`, a variant of `block_matmul.wgsl`: `y += x·diag(d)`, or with `transposed` `y = x·diag(d)ᵀ`.
fn launch_product(shader: Shader, y: &CubeTensor, x: &CubeTensor, d: &CubeTensor, transposed: bool) {
    let [n, di, dd] = d.shape().dims::<3>().map(|size| size as u32);
    let (inner, outer) = if transposed { (dd, di) } else { (di, dd) };
    let params = ProductParams { tokens: y.shape()[0] as u32, blocks: n, inner, outer };
    let [wx, wy, _] = shader.workgroup;
    let (across, rows) = match shader.form {
        Form::Register => {
            let [tall, wide] = product_tile(inner, outer);
            ((n * outer.div_ceil(wide * TILE)).div_ceil(wx), tall * TILE)
        }
        Form::Workgroup => (params.blocks * params.outer.div_ceil(TILE * wx), TILE),
    };
    shader.launch(&y.client, [across, params.tokens.div_ceil(rows * wy), 1], &[x, d, y], params);
}

impl BlockMatmul for CubeBackend {
    fn block_matmul(y: FloatTensor<Self>, x: FloatTensor<Self>, d: FloatTensor<Self>) -> FloatTensor<Self> {
        let (y, x, d) = (owned(y), contiguous(x), contiguous(d));
        let [_, di, dd] = d.shape().dims::<3>();
        let shader = product_shader(Form::of(&y.client), di as u32, dd as u32, false);
        launch_product(shader, &y, &x, &d, false);
        y
    }

    fn block_matmul_dx(g: FloatTensor<Self>, d: FloatTensor<Self>) -> FloatTensor<Self> {
        let (g, d) = (contiguous(g), contiguous(d));
        let [n, di, dd] = d.shape().dims::<3>();
        let dx = empty_like(&g, Shape::from([g.shape()[0], n * di]));
        let shader = product_shader(Form::of(&g.client), dd as u32, di as u32, true);
        launch_product(shader, &dx, &g, &d, true);
        dx
    }

    fn block_matmul_dd(x: FloatTensor<Self>, g: FloatTensor<Self>, n: usize) -> FloatTensor<Self> {
        let place = empty_like(&x, Shape::from([n, x.shape()[1] / n, g.shape()[1] / n]));
        Self::block_matmul_dd_into(x, g, place)
    }

    fn block_matmul_dd_into(x: FloatTensor<Self>, g: FloatTensor<Self>, place: FloatTensor<Self>) -> FloatTensor<Self> {
        assert!(place.is_contiguous(), "a place for gradients is one stretch of memory");
        let (x, g) = (contiguous(x), contiguous(g));
        let (tokens, [n, di, dd]) = (x.shape()[0] as u32, place.shape().dims::<3>().map(|size| size as u32));
        let shader = gradient_shader(Form::of(&x.client), di, dd);
        let [wx, wy, wz] = shader.workgroup;
        let tiles_of = |tile_x: u32, tile_y: u32| n * dd.div_ceil(tile_x) * di.div_ceil(tile_y);
        // Split the sum over tokens until there is work for the whole device; the splits are then added in order.
        let (enough, least, tiles) = match shader.form {
            Form::Register => {
                let [tall, wide] = gradient_tile(di, dd);
                // The second launch costs as much as the sum over some hundred tokens.
                (256, 256, tiles_of(wide * TILE, tall * TILE))
            }
            Form::Workgroup => (1024, 64, tiles_of(TILE * wx, TILE * wy)),
        };
        let splits = (enough / tiles.max(1)).clamp(1, tokens.div_ceil(least * wz)) * wz;
        let tokens_per_split = tokens.div_ceil(splits);
        let params =
            GradientParams { tokens, blocks: n, d_in: di, d_out: dd, tokens_per_split, splits, pad0: 0, pad1: 0 };
        let count = match shader.form {
            Form::Register => [tiles.div_ceil(wx), splits.div_ceil(wy), 1],
            Form::Workgroup => [tiles, splits / wz, 1],
        };
        if splits == 1 {
            shader.launch(&x.client, count, &[&x, &g, &place], params);
            return place;
        }
        let partials = empty_like(&x, Shape::from([splits as usize, (n * di * dd) as usize]));
        let sum = sum_shader(shader.form);
        shader.launch(&x.client, count, &[&x, &g, &partials], params);
        let count = sum.for_elements(n * di * dd);
        sum.launch(&x.client, count, &[&partials, &place], params);
        place
    }
}
