//! `dequantize`: rows of a weight that a device keeps as the file has it, as f32, an adapter's blocks added on the way.

use super::cpu::{in_chunks, indices, tensor, values};
use super::launch::{Form, Shader, contiguous, empty_like};
use crate::weights::TensorType;
use burn::backend::{
    Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, ExtensionType,
    TensorMetadata, backend_extension,
    flex::Flex,
    tensor::{FloatTensor, IntTensor},
    wgpu::{CubeBackend, CubeTensor, into_contiguous},
};
use burn::tensor::{DType, Device, Int, Shape, Tensor, TensorData};
use std::ops::Range;

/// A weight as its file has it, on primitives: whole rows, in one part or in several.
#[derive(Debug, Clone)]
pub struct Stored<B: Backend> {
    /// Its number format, one of [`TensorType::KEPT`].
    pub format: TensorType,
    /// `[out, in]`.
    pub shape: [usize; 2],
    /// All rows in order.
    pub parts: Vec<StoredPart<B>>,
}

/// Rows of a [`Stored`] weight.
#[derive(Debug, Clone)]
pub struct StoredPart<B: Backend> {
    /// Which rows.
    pub rows: Range<usize>,
    /// Their bytes one after the other in 32-bit words, little-endian; what is left of the last word is zero.
    pub words: IntTensor<B>,
}

/// A weight as its file has it, on a device.
pub type StoredWeight = Stored<Dispatch>;

/// Values of a weight that exist at a time, at most: 32 MiB. Small in tests, to have seams there.
pub(crate) const MOST_VALUES: usize = if cfg!(test) { 5000 } else { 1 << 23 };

impl<B: Backend> Stored<B> {
    /// Bytes of a row.
    fn row_bytes(&self) -> usize {
        self.format.bytes(self.shape[1])
    }

    /// The part that holds these rows, and which they are in it.
    fn part(&self, rows: &Range<usize>) -> (&StoredPart<B>, Range<usize>) {
        let holds = |part: &&StoredPart<B>| part.rows.start <= rows.start && rows.end <= part.rows.end;
        let part = self.parts.iter().find(holds).expect("rows of one part");
        (part, rows.start - part.rows.start..rows.end - part.rows.start)
    }

    /// All rows in stretches, each of one part and of so few that their values may exist.
    pub(super) fn stretches(&self) -> Vec<Range<usize>> {
        let most = (MOST_VALUES / self.shape[1]).max(1);
        let cut = |part: &StoredPart<B>| {
            let end = part.rows.end;
            part.rows.clone().step_by(most).map(move |first| first..(first + most).min(end))
        };
        self.parts.iter().flat_map(cut).collect()
    }

    /// The same weight with every part's words changed in type.
    pub(super) fn map<C: Backend>(self, convert: impl Fn(IntTensor<B>) -> IntTensor<C>) -> Stored<C> {
        let part = |part: StoredPart<B>| StoredPart { rows: part.rows, words: convert(part.words) };
        Stored { format: self.format, shape: self.shape, parts: self.parts.into_iter().map(part).collect() }
    }
}

impl StoredWeight {
    /// A weight from the words of its parts, on `device`.
    ///
    /// # Panics
    /// If the parts are not all rows in order, or a part's words are not its rows.
    pub fn new(format: TensorType, shape: [usize; 2], parts: Vec<(Range<usize>, Vec<i32>)>, device: &Device) -> Self {
        let mut weight = Self { format, shape, parts: Vec::new() };
        for (rows, words) in parts {
            weight.push(rows, words, device);
        }
        assert_eq!(weight.rows_held(), shape[0], "all rows of a weight");
        weight
    }

    /// Moves the next rows to `device`.
    ///
    /// # Panics
    /// If they are not the next, or the words are not theirs.
    pub fn push(&mut self, rows: Range<usize>, words: Vec<i32>, device: &Device) {
        let bytes = rows.len() * self.row_bytes();
        assert!(
            rows.start == self.rows_held() && words.len() == bytes.div_ceil(size_of::<i32>()),
            "rows {rows:?} of a weight in {} words after {} rows",
            words.len(),
            self.rows_held()
        );
        let data = TensorData::new(words, [bytes.div_ceil(size_of::<i32>())]);
        let words = Tensor::<1, Int>::from_data(data, (device, DType::I32)).into_dispatch();
        self.parts.push(StoredPart { rows, words });
    }

    fn rows_held(&self) -> usize {
        self.parts.last().map_or(0, |part| part.rows.end)
    }

    /// The device that holds it.
    pub fn device(&self) -> Device {
        Tensor::<1, Int>::from_dispatch(self.parts[0].words.clone()).device()
    }

    /// The values of `rows`, which are of one part, `[rows, in]`.
    pub fn values(&self, rows: Range<usize>) -> Tensor<2> {
        Tensor::from_dispatch(Dispatch::stored_values(self.clone(), rows))
    }

    /// All values, `[out, in]`.
    pub fn to_dense(&self) -> Tensor<2> {
        let stretches = self.stretches().into_iter();
        Tensor::cat(stretches.map(|rows| self.values(rows)).collect(), 0)
    }

    /// The values of `rows`, which are of one part, with `blocks: [n, in / n, out / n]` added.
    ///
    /// # Panics
    /// If the blocks do not fit the weight.
    pub fn merged_values(&self, rows: Range<usize>, blocks: Tensor<3>) -> Tensor<2> {
        self.check_blocks(blocks.dims());
        Tensor::from_dispatch(Dispatch::stored_values_merged(self.clone(), rows, blocks.into_dispatch()))
    }

    /// The rows of `ids: [n]`, `[n, in]`.
    pub fn select(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        Tensor::from_dispatch(Dispatch::stored_select(self.clone(), ids.into_dispatch()))
    }

    /// # Panics
    /// If blocks of this shape do not lie on the diagonal of the weight.
    pub(super) fn check_blocks(&self, [n, di, dd]: [usize; 3]) {
        assert!(self.shape == [n * dd, n * di], "weight {:?}, blocks {:?}", self.shape, [n, di, dd]);
    }
}

// By hand, since the derived one knows no lists.
impl<B: Backend> ExtensionType<B> for Stored<B> {
    type Target = StoredWeight;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> StoredWeight
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        self.map(|words| DispatchTensor { kind: map_kind(BackendTensor::Int(words)), autodiff })
    }

    fn map_from_dispatch<F>(target: StoredWeight, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        target.map(|words| unwrap_kind(words).int())
    }

    fn routing_tensor(target: &StoredWeight) -> Option<&DispatchTensor> {
        target.parts.first().map(|part| &part.words)
    }

    fn routing_float_tensor(_: &StoredWeight) -> Option<&DispatchTensor> {
        None
    }
}

/// Dequantisation, on primitives.
#[backend_extension(Cube, Flex)]
pub trait Dequantize: Backend {
    /// The values of `rows`, which are of one part, `[rows, in]`.
    fn stored_values(#[extension_type] weight: Stored<Self>, rows: Range<usize>) -> FloatTensor<Self>;
    /// The same with `blocks: [n, in / n, out / n]` added: row i·(out / n) + c, column i·(in / n) + b gets `[i, b, c]`.
    fn stored_values_merged(
        #[extension_type] weight: Stored<Self>,
        rows: Range<usize>,
        blocks: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// The rows of `ids: [n]`, `[n, in]`.
    fn stored_select(#[extension_type] weight: Stored<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;
}

/// Values that a thread makes at a time, about.
const PIECE: usize = 1 << 14;
/// Values for which it is not worth while to wake other threads.
const FEW: usize = 1 << 16;

/// The rows that `source` gives the bytes of, `[rows, width]`; `finish` may change each.
fn by_rows<'a>(
    (format, width): (TensorType, usize),
    rows: usize,
    source: impl Fn(usize) -> &'a [u8] + Sync,
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let at_once = PIECE.div_ceil(width);
    let piece = |piece: usize, values: &mut [f32]| {
        for (row, values) in values.chunks_exact_mut(width).enumerate() {
            let row = piece * at_once + row;
            format.dequantize(source(row), values);
            finish(row, values);
        }
    };
    if rows * width > FEW {
        return in_chunks(rows * width, at_once * width, piece);
    }
    let mut values = vec![0.0; rows * width];
    values.chunks_mut(at_once * width).enumerate().for_each(|(at, values)| piece(at, values));
    values
}

impl Stored<Flex> {
    /// The bytes of each of `rows`, by the row.
    fn bytes<'a>(&'a self, rows: &Range<usize>) -> impl Fn(usize) -> &'a [u8] + Sync {
        let (part, within) = self.part(rows);
        let size = self.row_bytes();
        let bytes = &part.words.bytes()[within.start * size..within.end * size];
        move |row| &bytes[row * size..][..size]
    }
}

impl Dequantize for Flex {
    fn stored_values(weight: Stored<Self>, rows: Range<usize>) -> FloatTensor<Self> {
        let width = weight.shape[1];
        let values = by_rows((weight.format, width), rows.len(), weight.bytes(&rows), |_, _| ());
        tensor(values, [rows.len(), width])
    }

    fn stored_values_merged(weight: Stored<Self>, rows: Range<usize>, blocks: FloatTensor<Self>) -> FloatTensor<Self> {
        let width = weight.shape[1];
        let blocks = blocks.to_contiguous();
        let [_, di, dd] = blocks_shape(&weight, &blocks.shape());
        let blocks = values(&blocks);
        let add = |row: usize, values: &mut [f32]| {
            let (block, within) = ((rows.start + row) / dd, (rows.start + row) % dd);
            let update = blocks[block * di * dd..][..di * dd].chunks_exact(dd);
            for (value, update) in values[block * di..][..di].iter_mut().zip(update) {
                *value += update[within];
            }
        };
        let values = by_rows((weight.format, width), rows.len(), weight.bytes(&rows), add);
        tensor(values, [rows.len(), width])
    }

    fn stored_select(weight: Stored<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        let (width, ids) = (weight.shape[1], indices(ids));
        let row = |row: usize| weight.bytes(&(ids[row]..ids[row] + 1))(0);
        tensor(by_rows((weight.format, width), ids.len(), row, |_, _| ()), [ids.len(), width])
    }
}

/// `shape` as that of blocks on the diagonal of `weight`.
fn blocks_shape<B: Backend>(weight: &Stored<B>, shape: &Shape) -> [usize; 3] {
    let [n, di, dd] = shape.dims::<3>();
    debug_assert_eq!(weight.shape, [n * dd, n * di]);
    [n, di, dd]
}

/// Uniform block of `dequantize.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    /// Invocations.
    pub groups: u32,
    /// Values and bytes of a row.
    pub width: u32,
    pub row_bytes: u32,
    /// First row in the words; to gather, the weight's row where they begin, and how many they are.
    pub first: u32,
    pub held: u32,
    /// With blocks: the first row of the weight, and the size of a block.
    pub row: u32,
    pub d_in: u32,
    pub d_out: u32,
}

/// What is bound between result and uniform block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    Nothing,
    /// An adapter's blocks.
    Blocks,
    /// Rows to gather.
    Ids,
}

/// `dequantize.wgsl` for rows of `width` values in `format`; it needs no workgroup memory. In the register form an
/// invocation takes all values that share a scale, in the other one only four, so that neighbours read and write
/// neighbours.
pub(crate) fn shader(form: Form, format: TensorType, width: usize, with: With) -> Shader {
    let quads = match (form, format) {
        (Form::Workgroup, _) => 1,
        (Form::Register, TensorType::Q6K) => 4,
        (Form::Register, _) => 8,
    };
    let (elements, size) = format.block();
    let constants = vec![
        (format.name(), 1),
        ("BLOCK_VALUES", elements as u32),
        ("BLOCK_BYTES", size as u32),
        ("ONE_SCALE", u32::from(matches!(format, TensorType::Q8_0 | TensorType::Q4_0))),
        ("FLOATS", u32::from(elements == 1)),
        ("VECTORS", u32::from(width.is_multiple_of(4))),
        ("BLOCKS", u32::from(with == With::Blocks)),
        ("GATHER", u32::from(with == With::Ids)),
        ("PARAMS", if with == With::Nothing { 2 } else { 3 }),
        ("QUADS", quads),
    ];
    let text = include_str!("../../shaders/dequantize.wgsl");
    Shader { name: "dequantize", text, form, constants, workgroup: [64, 1, 1] }
}

impl Stored<CubeBackend> {
    /// Launches over `rows` rows of `y`; `extra` is bound as `with` says.
    fn launch(
        &self,
        part: &StoredPart<CubeBackend>,
        y: &CubeTensor,
        with: With,
        extra: &[&CubeTensor],
        params: Params,
    ) {
        let shader = shader(Form::of(&y.client), self.format, self.shape[1], with);
        let quads = shader.constants.iter().find(|(name, _)| *name == "QUADS").map_or(1, |(_, quads)| *quads);
        let rows = y.shape()[0] as u32;
        let width = self.shape[1] as u32;
        let groups = rows * width.div_ceil(4 * quads);
        let buffers: Vec<&CubeTensor> = [&part.words, y].into_iter().chain(extra.iter().copied()).collect();
        let params = Params { groups, width, row_bytes: self.row_bytes() as u32, ..params };
        let count = shader.for_elements(groups);
        shader.launch(&y.client, count, &buffers, params);
    }

    /// Room for `rows` rows.
    fn room(&self, rows: usize) -> CubeTensor {
        empty_like(&self.parts[0].words, Shape::from([rows, self.shape[1]]))
    }
}

impl Dequantize for CubeBackend {
    fn stored_values(weight: Stored<Self>, rows: Range<usize>) -> FloatTensor<Self> {
        let y = weight.room(rows.len());
        let (part, within) = weight.part(&rows);
        weight.launch(part, &y, With::Nothing, &[], Params { first: within.start as u32, ..Params::default() });
        y
    }

    fn stored_values_merged(weight: Stored<Self>, rows: Range<usize>, blocks: FloatTensor<Self>) -> FloatTensor<Self> {
        let blocks = contiguous(blocks);
        let [_, di, dd] = blocks_shape(&weight, &blocks.shape());
        let y = weight.room(rows.len());
        let (part, within) = weight.part(&rows);
        let (first, row) = (within.start as u32, rows.start as u32);
        let params = Params { first, row, d_in: di as u32, d_out: dd as u32, ..Params::default() };
        weight.launch(part, &y, With::Blocks, &[&blocks], params);
        y
    }

    fn stored_select(weight: Stored<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        assert_eq!(ids.dtype, DType::I32, "token ids are i32 on a GPU");
        let ids = into_contiguous(ids);
        let y = weight.room(ids.shape()[0]);
        // Each part writes the rows that it holds.
        for part in &weight.parts {
            let (first, held) = (part.rows.start as u32, part.rows.len() as u32);
            weight.launch(part, &y, With::Ids, &[&ids], Params { first, held, ..Params::default() });
        }
        y
    }
}

#[cfg(test)]
pub(super) mod tests;
