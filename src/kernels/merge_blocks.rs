//! `merge_blocks`: the blocks of an adapter, written into the weight they lie on.

use super::cpu::{owned, values};
use super::launch::{self, Form, Shader, contiguous};
use burn::backend::{
    Backend, Dispatch, TensorMetadata, backend_extension, flex::Flex, tensor::FloatTensor, wgpu::CubeBackend,
};
use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

/// The diagonal blocks of `weight: [n·do, n·di]` as an adapter has them, transposed: `[n, di, do]`.
///
/// # Panics
/// If `n` does not divide both sides.
pub fn diagonal_blocks(weight: Tensor<2>, n: usize) -> Tensor<3> {
    let [d_out, d_in] = weight.dims();
    assert!(n > 0 && d_out.is_multiple_of(n) && d_in.is_multiple_of(n), "{n} blocks of {d_out} x {d_in}");
    let (dd, di) = (d_out / n, d_in / n);
    // Of the weight's rows, cut into n stretches each, the stretch on the diagonal.
    let wanted: Vec<i32> = (0..d_out).map(|row| (row * n + row / dd) as i32).collect();
    let wanted: Tensor<1, Int> = Tensor::from_data(TensorData::new(wanted, [d_out]), &weight.device());
    let blocks = weight.reshape([d_out * n, di]).select(0, wanted); // [n * do, di]
    // In one stretch of memory, or every merge would have to copy them there.
    blocks.reshape([n, dd, di]).swap_dims(1, 2).reshape([n * di * dd]).reshape([n, di, dd])
}

/// `weight` with `original + update` in its diagonal blocks, or `original` alone without `with_update`; written in place
/// where nothing else holds it.
///
/// `weight: [n·do, n·di]`, `original` and `update`: `[n, di, do]`, all f32. The two must not be the same tensor, even where
/// the update is not read: WebGPU binds nothing twice.
///
/// # Panics
/// If the shapes do not fit together.
pub fn merge_blocks(weight: Tensor<2>, original: Tensor<3>, update: Tensor<3>, with_update: bool) -> Tensor<2> {
    let (shape, [n, di, dd]) = (weight.dims(), original.dims());
    assert!(
        shape == [n * dd, n * di] && update.dims() == [n, di, dd],
        "merge_blocks: weight {shape:?}, blocks {:?} and {:?}",
        original.dims(),
        update.dims()
    );
    let (weight, original, update) = (weight.into_dispatch(), original.into_dispatch(), update.into_dispatch());
    Tensor::from_dispatch(Dispatch::merge_blocks(weight, original, update, with_update))
}

/// The merge, on primitives.
#[backend_extension(Cube, Flex)]
pub trait MergeBlocks: Backend {
    /// See [`merge_blocks`].
    fn merge_blocks(
        weight: FloatTensor<Self>,
        original: FloatTensor<Self>,
        update: FloatTensor<Self>,
        with_update: bool,
    ) -> FloatTensor<Self>;
}

impl MergeBlocks for Flex {
    fn merge_blocks(
        weight: FloatTensor<Self>,
        original: FloatTensor<Self>,
        update: FloatTensor<Self>,
        with_update: bool,
    ) -> FloatTensor<Self> {
        let (original, update) = (original.to_contiguous(), update.to_contiguous());
        let [n, di, dd] = original.shape().dims::<3>();
        let (original, update) = (values(&original), values(&update));
        let mut weight = owned(weight);
        let row_blocks = weight.storage_mut::<f32>().par_chunks_exact_mut(dd * n * di);
        row_blocks.enumerate().for_each(|(i, rows)| {
            let block = i * di * dd..(i + 1) * di * dd;
            let (original, update) = (&original[block.clone()], &update[block]);
            for (c, row) in rows.chunks_exact_mut(n * di).enumerate() {
                for (b, value) in row[i * di..][..di].iter_mut().enumerate() {
                    let at = b * dd + c;
                    *value = if with_update { original[at] + update[at] } else { original[at] };
                }
            }
        });
        weight
    }
}

/// Uniform block of `merge_blocks.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub blocks: u32,
    pub d_in: u32,
    pub d_out: u32,
    /// 1: original + update; 0: the original alone.
    pub with_update: u32,
}

/// `merge_blocks.wgsl`; it needs no workgroup memory, so both forms are one.
pub(crate) fn shader(form: Form) -> Shader {
    let text = include_str!("../../shaders/merge_blocks.wgsl");
    Shader { name: "merge_blocks", text, form, constants: vec![], workgroup: [64, 1, 1] }
}

impl MergeBlocks for CubeBackend {
    fn merge_blocks(
        weight: FloatTensor<Self>,
        original: FloatTensor<Self>,
        update: FloatTensor<Self>,
        with_update: bool,
    ) -> FloatTensor<Self> {
        let (weight, original, update) = (launch::owned(weight), contiguous(original), contiguous(update));
        let [n, di, dd] = original.shape().dims::<3>();
        let shader = shader(Form::of(&weight.client));
        let count = shader.for_elements((n * di * dd) as u32);
        let params =
            Params { blocks: n as u32, d_in: di as u32, d_out: dd as u32, with_update: u32::from(with_update) };
        shader.launch(&weight.client, count, &[&original, &update, &weight], params);
        weight
    }
}

#[cfg(test)]
mod tests;
