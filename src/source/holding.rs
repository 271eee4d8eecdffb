//! How a device holds a model's matrices: as f32, or small.

use super::Source;
use super::tensors::Tensor;
use crate::device::{DeviceInfo, Kind};
use crate::error::{Error, Result};
use crate::kernels::dequantize::MOST_VALUES;
use crate::weights::{FloatType, TensorType, quoted};
use crate::write;
use std::ops::Range;

/// What `--base-dtype` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseDtype {
    /// What fits.
    Auto,
    /// This one.
    Of(HeldDtype),
}

/// The form of a model's matrices on a device. Norms and biases are f32 in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldDtype {
    /// f32: nothing is to be converted when they are used.
    F32,
    /// f16, converted where the file has another format.
    F16,
    /// As the file has them.
    File,
}

impl HeldDtype {
    /// Name as `--base-dtype` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::File => "file",
        }
    }

    /// What a matrix in `ty` is held as.
    fn of(self, ty: TensorType) -> TensorType {
        match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::File => ty,
        }
    }
}

/// How a model is held on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// In which form.
    pub dtype: HeldDtype,
    /// What the device binds at most: a larger matrix is held in parts, which fit as they are and as f32.
    pub max_tensor_bytes: u64,
    /// Why in this form, for people.
    pub reason: String,
}

impl Holding {
    /// Everything in f32, in one piece where the device binds `max_tensor_bytes`.
    pub fn f32(max_tensor_bytes: u64) -> Self {
        Self { dtype: HeldDtype::F32, max_tensor_bytes, reason: "the default".into() }
    }
}

/// No part is larger, whatever the device binds: bytes are counted in 32 bits there.
const MOST_BYTES: u64 = 1 << 30;

impl Source {
    /// How to hold the model on `device`, where `available` bytes of the machine's memory are free, as far as that is
    /// known. What is asked for; else f32 on a GPU, and on a processor where that fits half of the memory; else as in the
    /// file, where every matrix can be held so; else f16.
    ///
    /// # Errors
    /// If a matrix cannot be held as is asked for.
    pub fn holding(&self, asked: BaseDtype, device: &DeviceInfo, available: Option<u64>) -> Result<Holding> {
        let (dtype, reason) = match asked {
            BaseDtype::Of(HeldDtype::File) => {
                self.check_kept()?;
                (HeldDtype::File, "asked for".to_owned())
            }
            BaseDtype::Of(dtype) => (dtype, "asked for".to_owned()),
            BaseDtype::Auto => self.fitting(device, available),
        };
        Ok(Holding { dtype, max_tensor_bytes: device.max_tensor_bytes, reason })
    }

    fn fitting(&self, device: &DeviceInfo, available: Option<u64>) -> (HeldDtype, String) {
        if device.kind != Kind::Cpu {
            return (HeldDtype::F32, "the default on a GPU".into());
        }
        let Some(available) = available else {
            return (HeldDtype::F32, "how much memory is free is not known here".into());
        };
        let (needed, free) = (self.held_bytes(HeldDtype::F32), write::bytes(available));
        if needed <= available / 2 {
            return (HeldDtype::F32, format!("fits half of the {free} that are free"));
        }
        let why = format!("f32 would take {} of the {free} that are free", write::bytes(needed));
        match self.check_kept() {
            Ok(()) => (HeldDtype::File, why),
            Err(_) => (HeldDtype::F16, format!("{why}, and not every matrix can be held as in the file")),
        }
    }

    /// Bytes that all tensors take on a device.
    pub fn held_bytes(&self, dtype: HeldDtype) -> u64 {
        let bytes = |tensor: &Tensor| match tensor.shape() {
            [rows, width] => *rows as u64 * dtype.of(tensor.ty()).bytes(*width) as u64,
            vector => vector.iter().map(|length| TensorType::F32.bytes(*length) as u64).product(),
        };
        self.tensors.all().map(|(_, tensor)| bytes(tensor)).sum()
    }

    /// Bytes of the largest tensor as it is held, and of what is made f32 of a matrix at a time before its product, at most
    /// (0: all are held as they are used).
    pub fn largest_held(&self, holding: &Holding) -> [u64; 2] {
        let sizes = self.tensors.all().map(|(name, tensor)| {
            let shape = tensor.shape();
            let (width, values) = (*shape.last().unwrap_or(&1), shape.iter().product::<usize>());
            let Some((ty, parts)) = self.parts(name, holding) else { return [TensorType::F32.bytes(values) as u64, 0] };
            let rows = parts.iter().map(Range::len).max().unwrap_or(0);
            let at_once = values.min(MOST_VALUES.max(width));
            [rows as u64 * ty.bytes(width) as u64, TensorType::F32.bytes(at_once) as u64]
        });
        sizes.fold([0, 0], |[held, made], [h, m]| [held.max(h), made.max(m)])
    }

    /// An error for the first matrix whose format no device works with.
    fn check_kept(&self) -> Result<()> {
        match self.tensors.all().find(|(_, tensor)| tensor.is_matrix() && !tensor.ty().is_kept()) {
            None => Ok(()),
            Some((name, tensor)) => Err(Error::model(
                &self.name,
                format!(
                    "tensor {} is stored as {}, which cannot be held as it is (these can: {}); \
                     take --base-dtype f16 or f32 instead",
                    quoted(name),
                    tensor.ty().name(),
                    TensorType::KEPT.map(TensorType::name).join(", ")
                ),
            )),
        }
    }

    /// The number format in which the matrix `name` is to be held, and the rows of each of its parts; `None` where it is
    /// f32 in one piece, or no matrix.
    pub(crate) fn parts(&self, name: &str, holding: &Holding) -> Option<(TensorType, Vec<Range<usize>>)> {
        let tensor = self.tensors.get(name).filter(|tensor| tensor.is_matrix())?;
        let (rows, width) = (tensor.shape()[0], tensor.shape()[1]);
        let ty = holding.dtype.of(tensor.ty());
        let most = holding.max_tensor_bytes.min(MOST_BYTES) & !3;
        let row_bytes = (TensorType::F32.bytes(width) as u64).max(ty.bytes(width) as u64);
        if ty == TensorType::F32 && rows as u64 * row_bytes <= holding.max_tensor_bytes {
            return None;
        }
        let together = tensor.rows_together();
        let at_once = (most / row_bytes) as usize / together * together;
        let at_once = at_once.max(together);
        Some((ty, (0..rows).step_by(at_once).map(|first| first..rows.min(first + at_once)).collect()))
    }

    /// The bytes of `rows` of the matrix `name` in the number format `ty`, its own, f16 or f32, in words of 32 bits, filled up
    /// with zeros.
    ///
    /// # Errors
    /// If reading fails, memory does not suffice, or a value is beyond what f16 holds.
    pub(crate) async fn read_words(&self, name: &str, ty: TensorType, rows: Range<usize>) -> Result<Vec<i32>> {
        let missing = || Error::model(&self.name, format!("has no tensor {}", quoted(name)));
        let tensor = self.tensors.get(name).ok_or_else(missing)?;
        let width = tensor.shape()[1];
        if ty == tensor.ty() {
            let copy = |bytes: &[u8], held: &mut [u8]| {
                held.copy_from_slice(bytes);
                Ok(())
            };
            return tensor.read_words(rows, ty.bytes(width), copy).await;
        }
        let to = if ty == TensorType::F32 { FloatType::F32 } else { FloatType::F16 };
        let mut values = vec![0.0; width];
        let large = |value: f32| {
            let what = format!("{} holds {value}, which is beyond f16; take --base-dtype f32 instead", quoted(name));
            Error::model(&self.name, what)
        };
        let convert = |bytes: &[u8], held: &mut [u8]| {
            tensor.ty().dequantize(bytes, &mut values);
            held.copy_from_slice(&to.encode(&values).map_err(large)?);
            Ok(())
        };
        tensor.read_words(rows, ty.bytes(width), convert).await
    }
}
