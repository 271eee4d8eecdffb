//! Tables of tensors, from headers only.

use crate::error::Result;
use crate::weights::gguf::Gguf;
use crate::weights::{Storage, TensorInfo, TensorType, safetensors};
use serde::Serialize;
use std::collections::BTreeMap;

/// A tensor as its file describes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorRow {
    /// Its name in the file.
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Number format, also one that this program does not read.
    pub dtype: String,
    /// Bytes in the file.
    pub bytes: u64,
}

/// Tensors that differ only in the numbers in their names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorGroup {
    /// The name with `*` for every number.
    pub pattern: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Number format.
    pub dtype: String,
    /// How many there are.
    pub count: usize,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl TensorRow {
    fn new(name: String, info: &TensorInfo) -> Self {
        let dtype = info.ty.as_ref().map_or_else(Clone::clone, |ty: &TensorType| ty.name().to_owned());
        Self { name, shape: info.shape.clone(), dtype, bytes: info.range.end - info.range.start }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The tensors of a safetensors or a GGUF file, in the file's order.
pub async fn read(storage: &Storage, is_gguf: bool) -> Result<Vec<TensorRow>> {
    let found = if is_gguf { Gguf::read(storage).await?.tensors } else { safetensors::read_header(storage).await? };
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, info)| info.range.start);
    Ok(found.into_iter().map(|(name, info)| TensorRow::new(name, &info)).collect())
}

/// `tensors` by pattern, shape and number format, in the order in which they first come.
pub fn group(tensors: &[TensorRow]) -> Vec<TensorGroup> {
    let mut groups: Vec<TensorGroup> = Vec::new();
    let mut known = BTreeMap::new();
    for tensor in tensors {
        let pattern = pattern(&tensor.name);
        let at = *known.entry((pattern.clone(), &tensor.shape, &tensor.dtype)).or_insert(groups.len());
        if at == groups.len() {
            let (shape, dtype) = (tensor.shape.clone(), tensor.dtype.clone());
            groups.push(TensorGroup { pattern, shape, dtype, count: 0, bytes: 0 });
        }
        groups[at].count += 1;
        groups[at].bytes += tensor.bytes;
    }
    groups
}

/// `model.layers.12.mlp` as `model.layers.*.mlp`.
fn pattern(name: &str) -> String {
    let part = |part: &str| match !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
        true => "*".to_owned(),
        false => part.to_owned(),
    };
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_one_group_unless_they_differ() {
        let row = |name: &str, shape: &[usize], dtype: &str| TensorRow {
            name: name.into(),
            shape: shape.into(),
            dtype: dtype.into(),
            bytes: 10,
        };
        let rows = [
            row("embed.weight", &[5, 2], "F16"),
            row("layers.0.q.weight", &[2, 2], "F16"),
            row("layers.0.norm.weight", &[2], "F32"),
            row("layers.11.q.weight", &[2, 2], "F16"),
            row("layers.2.q.weight", &[2, 2], "Q8_0"),
        ];
        let found = group(&rows);
        let found: Vec<_> = found.iter().map(|g| (g.pattern.as_str(), g.dtype.as_str(), g.count, g.bytes)).collect();
        assert_eq!(
            found,
            [
                ("embed.weight", "F16", 1, 10),
                ("layers.*.q.weight", "F16", 2, 20),
                ("layers.*.norm.weight", "F32", 1, 10),
                ("layers.*.q.weight", "Q8_0", 1, 10)
            ]
        );
        assert_eq!(pattern(""), "");
        assert_eq!(pattern("a..12b.3"), "a..12b.*");
    }
}
