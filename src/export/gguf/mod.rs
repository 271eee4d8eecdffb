//! A GGUF file.

mod metadata;
mod tokenizer;

#[cfg(test)]
mod tests;

use super::merged::Merged;
use super::target::prepare_file;
use crate::adapter::StoredAdapter;
use crate::error::{Error, Result};
use crate::files::NewFile;
use crate::source::{ROPE_DIVISORS, Source, is_permuted, stored_name, unpermuted};
use crate::weights::gguf::{Gguf, HeaderWriter, padding};
use crate::weights::{FloatType, Q8_0_BLOCK, Storage, TensorInfo, TensorType, quantize_q8_0};
use std::ops::Range;
use std::path::Path;

/// A number format of the matrices in a GGUF file. Vectors (norms, biases) are F32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgufType {
    /// One number after the other.
    Float(FloatType),
    /// Blocks of 32 signed bytes with a scale in f16: 8.5 bits a value. Matrices whose rows are no whole blocks are
    /// F16.
    Q8_0,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GgufReport {
    /// Number of tensors.
    pub tensors: usize,
    /// How many matrices are F16 because their rows are no whole blocks.
    pub unquantized: usize,
    /// Size of the file.
    pub bytes: u64,
}

impl GgufType {
    /// Name as in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float(ty) => ty.name(),
            Self::Q8_0 => TensorType::Q8_0.name(),
        }
    }

    /// What a tensor of this shape is stored as.
    fn for_shape(self, shape: &[usize]) -> Self {
        match (self, shape) {
            (_, [_]) => Self::Float(FloatType::F32),
            (Self::Q8_0, [.., width]) if !width.is_multiple_of(Q8_0_BLOCK) => Self::Float(FloatType::F16),
            _ => self,
        }
    }

    fn encode(self, values: &[f32]) -> Result<Vec<u8>, f32> {
        match self {
            Self::Float(ty) => ty.encode(values),
            Self::Q8_0 => quantize_q8_0(values),
        }
    }

    /// What llama.cpp calls a file of which most matrices are of this type.
    fn file_type(self) -> u32 {
        match self {
            Self::Float(FloatType::F32) => 0,
            Self::Float(FloatType::F16) => 1,
            Self::Q8_0 => 7,
            Self::Float(FloatType::BF16) => 32,
        }
    }
}

/// Writes `source` with `adapter` added to the file `target`, its matrices as `ty`. Sums are taken in f32.
///
/// Metadata come from the base as they are where it is a GGUF file, else they are made from configuration and
/// tokenizer. `progress` hears of each tensor that is written: how many, of how many.
///
/// # Errors
/// If `target` exists, the tokenizer cannot be told in GGUF's words, a tensor cannot be read or written, a value is
/// too large for `ty`, or `progress` fails.
pub async fn export_gguf(
    source: &Source,
    adapter: &StoredAdapter,
    target: &Path,
    ty: GgufType,
    mut progress: impl FnMut(usize, usize) -> Result<()>,
) -> Result<GgufReport> {
    let merged = Merged::new(source, adapter)?;
    let base = match source.gguf() {
        Some(storage) => Some((storage, Gguf::read(storage).await?)),
        None => None,
    };
    let mut header = HeaderWriter::default();
    match &base {
        Some((storage, gguf)) => metadata::copy(storage, &gguf.metadata, ty, &mut header).await?,
        None => metadata::write(source, ty, &mut header)?,
    }
    let tensors: Vec<Planned> =
        merged.tensors().into_iter().map(|(name, shape)| Planned::new(name, shape, ty)).collect();
    let others = base.as_ref().map(|(storage, gguf)| others(storage, gguf, &tensors)).unwrap_or_default();
    for Planned { stored, shape, ty, .. } in &tensors {
        describe(&mut header, stored, shape, ty.name())?;
    }
    // A GGUF file has them among the others.
    let divisors = if base.is_none() { metadata::rope_divisors(&source.config) } else { None };
    if let Some(divisors) = &divisors {
        describe(&mut header, ROPE_DIVISORS, &[divisors.len()], FloatType::F32.name())?;
    }
    for Other { name, info, ty, .. } in &others {
        describe(&mut header, name, &info.shape, ty)?;
    }

    prepare_file(target)?;
    let mut file = Output { file: NewFile::create(target)?, length: 0 };
    file.write(&header.finish())?;
    let count = tensors.len() + usize::from(divisors.is_some()) + others.len();
    for (index, tensor) in tensors.iter().enumerate() {
        let head_dim = tensor.is_permuted(source).then_some(source.config.head_dim);
        tensor.write(&merged.read(&tensor.name).await?, head_dim, &mut file).map_err(|e| match e {
            Failure::TooLarge(value) => merged.too_large(&tensor.name, value, tensor.ty.name()),
            Failure::Other(error) => error,
        })?;
        file.pad()?;
        progress(index + 1, count)?;
    }
    if let Some(divisors) = divisors {
        file.write(bytemuck::cast_slice(&divisors))?;
        file.pad()?;
    }
    for other in others {
        other.copy(&mut file).await?;
        file.pad()?;
    }
    progress(count, count)?;
    file.file.finish()?;
    let unquantized = tensors.iter().filter(|tensor| tensor.shape.len() > 1 && tensor.ty != ty).count();
    Ok(GgufReport { tensors: count, unquantized, bytes: file.length })
}

fn describe(header: &mut HeaderWriter, name: &str, shape: &[usize], ty: &str) -> Result<()> {
    let described = header.tensor(name, shape, ty).is_some();
    if described { Ok(()) } else { Err(Error::model(name, format!("cannot be written as {ty} with shape {shape:?}"))) }
}

/// The file, and how long it is.
struct Output {
    file: NewFile,
    length: u64,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.length += bytes.len() as u64;
        self.file.write(bytes)
    }

    fn pad(&mut self) -> Result<()> {
        self.write(padding(self.length))
    }
}

/// Why a tensor could not be written.
enum Failure {
    TooLarge(f32),
    Other(Error),
}

/// A tensor of the merged model, and what becomes of it.
struct Planned {
    /// As Hugging Face calls it.
    name: String,
    /// As the file calls it.
    stored: String,
    shape: Vec<usize>,
    ty: GgufType,
}

impl Planned {
    fn new(name: String, shape: Vec<usize>, ty: GgufType) -> Self {
        Self { stored: stored_name(&name), ty: ty.for_shape(&shape), name, shape }
    }

    fn is_permuted(&self, source: &Source) -> bool {
        is_permuted(source.config.architecture) && (self.name.contains(".q_proj.") || self.name.contains(".k_proj."))
    }

    /// Writes the values row by row, those of q and k in the order of an interleaved rotary embedding, which is where
    /// the reader undoes it.
    fn write(&self, values: &[f32], head_dim: Option<usize>, file: &mut Output) -> Result<(), Failure> {
        // A vector has rows of one element, as in the reader.
        let width = self.shape[1..].iter().product::<usize>();
        for stored in 0..self.shape[0] {
            let row = head_dim.map_or(stored, |head_dim| unpermuted(stored, head_dim));
            let bytes = self.ty.encode(&values[row * width..][..width]).map_err(Failure::TooLarge)?;
            file.write(&bytes).map_err(Failure::Other)?;
        }
        Ok(())
    }
}

/// A tensor of the base that is no weight of the model, such as rotary frequencies: copied as it is.
struct Other<'a> {
    storage: &'a Storage,
    name: &'a str,
    info: &'a TensorInfo,
    ty: &'a str,
}

/// The tensors of the base that are not among those of the model.
fn others<'a>(storage: &'a Storage, gguf: &'a Gguf, tensors: &[Planned]) -> Vec<Other<'a>> {
    let planned = |name: &str| tensors.iter().any(|tensor| tensor.stored == name);
    let others = gguf.tensors.iter().filter(|(name, _)| !planned(name));
    others
        .map(|(name, info)| {
            let ty = info.ty.as_ref().map_or_else(String::as_str, |ty| ty.name());
            Other { storage, name, info, ty }
        })
        .collect()
}

impl Other<'_> {
    async fn copy(&self, file: &mut Output) -> Result<()> {
        const PIECE: u64 = 4 << 20;
        let Range { mut start, end } = self.info.range.clone();
        while start < end {
            let next = end.min(start + PIECE);
            file.write(&self.storage.read(start..next).await?)?;
            start = next;
        }
        Ok(())
    }
}
