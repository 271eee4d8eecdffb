//! Writing GGUF files, for tests.

use super::types::id;
use crate::weights::TensorType;
use half::{bf16, f16};

/// Collects keys and tensors, then puts them together.
#[derive(Clone, Default)]
pub(crate) struct GgufWriter {
    /// Name, type and value.
    pub keys: Vec<(String, u32, Vec<u8>)>,
    pub tensors: Vec<TensorRecord>,
}

/// A tensor's description and its data.
#[derive(Clone)]
pub(crate) struct TensorRecord {
    pub name: String,
    /// Innermost first, as in the file.
    pub dimensions: Vec<u64>,
    pub ty: u32,
    pub data: Vec<u8>,
    /// Offset to write instead of the true one.
    pub offset: Option<u64>,
}

impl GgufWriter {
    pub fn key(&mut self, name: &str, kind: u32, value: impl Into<Vec<u8>>) -> &mut Self {
        self.keys.push((name.to_owned(), kind, value.into()));
        self
    }

    pub fn u32(&mut self, name: &str, value: u32) -> &mut Self {
        self.key(name, 4, value.to_le_bytes())
    }

    pub fn f32(&mut self, name: &str, value: f32) -> &mut Self {
        self.key(name, 6, value.to_le_bytes())
    }

    pub fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        self.key(name, 7, [u8::from(value)])
    }

    pub fn string(&mut self, name: &str, value: &str) -> &mut Self {
        self.key(name, 8, string(value))
    }

    pub fn strings(&mut self, name: &str, values: &[&str]) -> &mut Self {
        let strings: Vec<_> = values.iter().flat_map(|value| string(value)).collect();
        self.key(name, 9, array(8, values.len() as u64, &strings))
    }

    pub fn integers(&mut self, name: &str, values: &[i32]) -> &mut Self {
        let bytes: Vec<_> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.key(name, 9, array(5, values.len() as u64, &bytes))
    }

    /// `shape` outermost first.
    pub fn tensor(&mut self, name: &str, shape: &[usize], ty: TensorType, data: Vec<u8>) -> &mut Self {
        self.tensors.push(TensorRecord {
            name: name.to_owned(),
            dimensions: shape.iter().rev().map(|d| *d as u64).collect(),
            ty: id(ty.name()),
            data,
            offset: None,
        });
        self
    }

    pub fn remove_key(&mut self, name: &str) -> &mut Self {
        self.keys.retain(|(key, ..)| key != name);
        self
    }

    pub fn tensor_mut(&mut self, name: &str) -> &mut TensorRecord {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    /// The file, in version 3.
    pub fn finish(&self) -> Vec<u8> {
        self.finish_aligned(32)
    }

    pub fn finish_aligned(&self, alignment: usize) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.keys.len() as u64).to_le_bytes());
        for (name, kind, value) in &self.keys {
            file.extend(string(name));
            file.extend(kind.to_le_bytes());
            file.extend(value);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            file.extend(string(&tensor.name));
            file.extend((tensor.dimensions.len() as u32).to_le_bytes());
            file.extend(tensor.dimensions.iter().flat_map(|d| d.to_le_bytes()));
            file.extend(tensor.ty.to_le_bytes());
            file.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
            data.resize(data.len().next_multiple_of(alignment), 0);
        }
        file.resize(file.len().next_multiple_of(alignment), 0);
        file.extend(data);
        file
    }
}

pub(crate) fn string(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes(), value.as_bytes()].concat()
}

pub(crate) fn array(kind: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes(), &count.to_le_bytes()[..], elements].concat()
}

/// A different scale for neighbouring blocks, so that mixing them up shows.
fn scale(block: usize) -> f32 {
    [1.0 / 16.0, 1.0 / 32.0, 1.0 / 64.0][block % 3]
}

/// `count` pseudo-random values that every number format but K-quants holds exactly: −8..8 times the scale of their block of 32.
pub(crate) fn exact_values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) % 16
    };
    (0..count).map(|i| (next() as f32 - 8.0) * scale(i / 32)).collect()
}

/// The bytes of [`exact_values`] in any format but K-quants.
pub(crate) fn encode(ty: TensorType, values: &[f32]) -> Vec<u8> {
    let half = |value: f32| f16::from_f32(value).to_le_bytes();
    // Each block as its scale and its values in units of that, those from `zero` on as positive numbers.
    let blocks = |zero: f32| {
        let quants = move |(i, block): (usize, &[f32])| {
            (scale(i), block.iter().map(|value| (value / scale(i) + zero) as i8 as u8).collect::<Vec<_>>())
        };
        values.chunks_exact(32).enumerate().map(quants)
    };
    let nibbles = |q: &[u8]| -> Vec<u8> { (0..16).map(|i| q[i] & 0xf | q[i + 16] << 4).collect() };
    let fifth_bits = |q: &[u8]| q.iter().rev().fold(0, |bits, q| bits << 1 | u32::from(q >> 4)).to_le_bytes();
    match ty {
        TensorType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        TensorType::F64 => values.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect(),
        TensorType::F16 => values.iter().flat_map(|value| half(*value)).collect(),
        TensorType::BF16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        TensorType::Q8_0 => blocks(0.0).flat_map(|(d, q)| [&half(d)[..], &q].concat()).collect(),
        TensorType::Q4_0 => blocks(8.0).flat_map(|(d, q)| [&half(d)[..], &nibbles(&q)].concat()).collect(),
        TensorType::Q4_1 => {
            blocks(8.0).flat_map(|(d, q)| [&half(d)[..], &half(-8.0 * d), &nibbles(&q)].concat()).collect()
        }
        TensorType::Q5_0 => {
            blocks(16.0).flat_map(|(d, q)| [&half(d)[..], &fifth_bits(&q), &nibbles(&q)].concat()).collect()
        }
        TensorType::Q5_1 => blocks(12.0)
            .flat_map(|(d, q)| [&half(d)[..], &half(-12.0 * d), &fifth_bits(&q), &nibbles(&q)].concat())
            .collect(),
        TensorType::Q2K | TensorType::Q3K | TensorType::Q4K | TensorType::Q5K | TensorType::Q6K => {
            panic!("{} is not written here", ty.name())
        }
    }
}
