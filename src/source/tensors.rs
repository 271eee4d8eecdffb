//! The tensors of a model: checked against its configuration when it is opened, read one by one later.

use crate::error::{Error, Result};
use crate::model::config::ModelConfig;
use crate::model::names::expected_tensors;
use crate::weights::{Storage, TensorInfo, TensorType, quoted, zeroed};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that are read at once, so that hardly more than the f32 values is held. Small in tests, to have seams there.
const PIECE: usize = if cfg!(test) { 5000 } else { 4 << 20 };

/// A tensor in one of the model's files.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub storage: Arc<Storage>,
    pub info: TensorInfo,
}

/// How a model's files differ from a Hugging Face folder.
pub(super) struct Layout<'a> {
    /// Names the model in errors.
    pub place: &'a str,
    /// What the shapes come from, for errors: "config.json".
    pub config_place: &'a str,
    /// The name that a tensor has in the file.
    pub stored_name: fn(&str) -> String,
    /// Whether rows of q and k are permuted within each head for an interleaved rotary embedding.
    pub permuted: bool,
}

/// The tensors of a model by their Hugging Face names.
#[derive(Debug)]
pub(super) struct Tensors(BTreeMap<String, Tensor>);

impl Tensors {
    /// Picks the tensors that `config` asks for out of those `found`, by the names they have in the file.
    ///
    /// Others are passed over (older files hold rotary frequencies, a tied head may be stored all the same), but a
    /// bias that the configuration does not know would change the model's answers, so it is refused.
    pub fn select(mut found: BTreeMap<String, Found>, config: &ModelConfig, layout: &Layout<'_>) -> Result<Self> {
        let config_place = layout.config_place;
        let mut tensors = BTreeMap::new();
        for (name, expected) in expected_tensors(config) {
            let stored = (layout.stored_name)(&name);
            let Some(Found { storage, info }) = found.remove(&stored) else {
                return Err(Error::model(
                    layout.place,
                    format!("tensor {} is missing, which {config_place} asks for", quoted(&stored)),
                ));
            };
            let wrong = |what: String| Error::model(storage.place(), format!("tensor {} {what}", quoted(&stored)));
            if info.shape != expected {
                return Err(wrong(format!("has shape {:?}, expected {expected:?} from {config_place}", info.shape)));
            }
            let ty = info.ty.map_err(|ty| {
                let supported = TensorType::ALL.map(TensorType::name).join(", ");
                wrong(format!("is stored as {ty}, which is not supported; save the model in one of these: {supported}"))
            })?;
            let start = info.range.start;
            let is_permuted = layout.permuted && (name.contains(".q_proj.") || name.contains(".k_proj."));
            let head_dim = is_permuted.then_some(config.head_dim);
            if is_permuted && expected.len() == 1 && ty.block().0 > 1 {
                return Err(wrong(format!("is a bias in {}; quantised biases are not supported", ty.name())));
            }
            // Inside the file, so it can fail only where a file may be larger than memory.
            let len = expected.iter().try_fold(1usize, |len, d| len.checked_mul(*d));
            let len = len.ok_or_else(|| wrong("is too large for this machine".to_owned()))?;
            tensors.insert(name, Tensor { storage, ty, shape: info.shape, len, start, head_dim });
        }
        for name in tensors.keys().filter_map(|name| name.strip_suffix(".weight")) {
            let bias = (layout.stored_name)(&format!("{name}.bias"));
            if let Some(Found { storage, .. }) = found.get(&bias) {
                return Err(Error::model(storage.place(), format!("the bias {} is not supported", quoted(&bias))));
            }
        }
        Ok(Self(tensors))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    pub fn parameter_count(&self) -> usize {
        self.0.values().map(|tensor| tensor.len).sum()
    }

    /// The number format that takes most bytes.
    pub fn main_type(&self) -> TensorType {
        let mut bytes = BTreeMap::new();
        for tensor in self.0.values() {
            let (elements, size) = tensor.ty.block();
            *bytes.entry(tensor.ty).or_insert(0u64) += (tensor.len / elements) as u64 * size as u64;
        }
        bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map_or(TensorType::F32, |(ty, _)| ty)
    }
}

/// A tensor that the configuration asks for, where it lies and how to read it.
#[derive(Debug)]
pub(super) struct Tensor {
    storage: Arc<Storage>,
    ty: TensorType,
    shape: Vec<usize>,
    /// Number of elements.
    len: usize,
    /// Its first byte in the file.
    start: u64,
    /// Width of a head if rows are permuted within each.
    head_dim: Option<usize>,
}

impl Tensor {
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn ty(&self) -> TensorType {
        self.ty
    }

    /// Whether it has rows and columns; else it is the weight of a norm or a bias.
    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }

    /// Rows that cannot be read apart, since their order among each other is another one in the file.
    pub fn rows_together(&self) -> usize {
        self.head_dim.unwrap_or(1)
    }

    /// What `convert` makes of the bytes of each of `rows` of a matrix, `row_bytes` bytes, one after the other in words
    /// of 32 bits.
    /// Reads a few MiB at a time.
    pub async fn read_words(
        &self,
        rows: Range<usize>,
        row_bytes: usize,
        mut convert: impl FnMut(&[u8], &mut [u8]) -> Result<()>,
    ) -> Result<Vec<i32>> {
        let mut words: Vec<i32> = zeroed((rows.len() * row_bytes).div_ceil(4) as u64, self.storage.place())?;
        let held: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        let stored_bytes = self.ty.bytes(self.shape[1]);
        let rows_at_once = (PIECE / stored_bytes).max(1);
        for first in rows.clone().step_by(rows_at_once) {
            let last = rows.end.min(first + rows_at_once);
            let at = |row: usize| self.start + row as u64 * stored_bytes as u64;
            let bytes = self.storage.read(at(first)..at(last)).await?;
            for (row, bytes) in (first..last).zip(bytes.chunks_exact(stored_bytes)) {
                let row = self.head_dim.map_or(row, |head_dim| unpermuted(row, head_dim)) - rows.start;
                convert(bytes, &mut held[row * row_bytes..][..row_bytes])?;
            }
        }
        Ok(words)
    }

    /// Reads whole rows, a few MiB at a time, and puts each where Hugging Face has it.
    pub async fn read_f32(&self) -> Result<Vec<f32>> {
        let mut values: Vec<f32> = zeroed(self.len as u64, self.storage.place())?;
        let rows = self.shape[0];
        let width = self.len / rows;
        let (elements, size) = self.ty.block();
        // Blocks do not cross rows. A vector has rows of one element, or is one row where blocks are larger.
        let (rows, width) = if width.is_multiple_of(elements) { (rows, width) } else { (1, self.len) };
        let row_bytes = width / elements * size;
        let rows_at_once = (PIECE / row_bytes).max(1);
        for first in (0..rows).step_by(rows_at_once) {
            let last = rows.min(first + rows_at_once);
            let at = |row: usize| self.start + row as u64 * row_bytes as u64;
            let bytes = self.storage.read(at(first)..at(last)).await?;
            match self.head_dim {
                None => self.ty.dequantize(&bytes, &mut values[first * width..last * width]),
                Some(head_dim) => {
                    for (row, bytes) in (first..last).zip(bytes.chunks_exact(row_bytes)) {
                        let row = unpermuted(row, head_dim);
                        self.ty.dequantize(bytes, &mut values[row * width..][..width]);
                    }
                }
            }
        }
        Ok(values)
    }
}

/// Where a row of q or k of a GGUF file belongs. For an interleaved rotary embedding the pairs `(i, i + head_dim/2)`
/// of each head are stored side by side; rotating halves needs them apart again.
pub(crate) fn unpermuted(row: usize, head_dim: usize) -> usize {
    let (head, within) = (row / head_dim, row % head_dim);
    let (pair, side) = (within / 2, within % 2);
    head * head_dim + side * (head_dim / 2) + pair
}

#[cfg(test)]
mod tests {
    use super::unpermuted;

    #[test]
    fn pairs_of_each_head_come_apart() {
        let rows: Vec<_> = (0..12).map(|row| unpermuted(row, 6)).collect();
        assert_eq!(rows, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }
}
