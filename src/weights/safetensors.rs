//! The header of a safetensors file, and the index of a model in several of them.
//!
//! The `safetensors` crate wants a whole file in memory, so only its description of a tensor is used here. The checks
//! are the format's own: tensors follow one another without holes or overlaps from the first byte after the header to
//! the end of the file.

use crate::error::{Error, Result};
use crate::weights::{FloatType, Storage, TensorInfo, TensorType, plain, quoted};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The longest header, as the format has it.
const MAX_HEADER: u64 = 100_000_000;
/// Bytes of the header's length, which stand in front of it.
const LENGTH: u64 = 8;

/// The tensors of the file by name.
///
/// # Errors
/// If the file breaks the format: a header that is too long or no JSON, a name twice, offsets that do not fit.
pub async fn read_header(storage: &Storage) -> Result<BTreeMap<String, TensorInfo>> {
    let place = storage.place();
    let wrong = |what: String| Error::model(place, what);
    let length = storage.read(0..LENGTH.min(storage.len())).await?;
    let length = length.try_into().map(u64::from_le_bytes).map_err(|_| {
        wrong(format!("truncated: a safetensors file has {LENGTH} bytes or more, the file has {}", storage.len()))
    })?;
    if length > MAX_HEADER {
        return Err(wrong(format!(
            "not a safetensors file: a header of {length} bytes; at most {MAX_HEADER} are allowed"
        )));
    }
    let data = LENGTH + length;
    if data > storage.len() {
        return Err(wrong(format!("truncated: the header ends at byte {data}, the file has {}", storage.len())));
    }
    let header = storage.read(LENGTH..data).await?;
    let Header(mut tensors) =
        serde_json::from_slice(&header).map_err(|e| wrong(format!("broken header: {}", plain(&e.to_string()))))?;

    tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let mut end = data; // of the tensor before
    let mut checked = BTreeMap::new();
    for (name, tensor) in tensors {
        let wrong = |what: String| wrong(format!("tensor {} {what}", quoted(&name)));
        let (from, to) = tensor.data_offsets;
        let offset = |offset: usize| data.checked_add(offset as u64);
        let (Some(from), Some(to)) = (offset(from), offset(to)) else {
            return Err(wrong(format!("ends at offset {to}, which no file reaches")));
        };
        if from != end {
            return Err(wrong(format!("starts at byte {from}, but the one before it ends at {end}")));
        }
        if to > storage.len() {
            return Err(wrong(format!("ends at byte {to}, the file has {}: it is truncated", storage.len())));
        }
        let bits = tensor.shape.iter().try_fold(tensor.dtype.bitsize() as u64, |n, d| n.checked_mul(*d as u64));
        if bits.is_none_or(|bits| to.checked_sub(from).and_then(|bytes| bytes.checked_mul(8)) != Some(bits)) {
            let (dtype, shape) = (tensor.dtype, tensor.shape);
            return Err(wrong(format!("has offsets {from} to {to}, which do not fit shape {shape:?} in {dtype}")));
        }
        let ty = TensorType::from_name(&tensor.dtype.to_string());
        checked.insert(name, TensorInfo { ty, shape: tensor.shape, range: from..to });
        end = to;
    }
    if end != storage.len() {
        return Err(wrong(format!("the tensors end at byte {end}, but the file has {}", storage.len())));
    }
    Ok(checked)
}

/// The header as it stands there: tensors in any order. The metadata beside them mean nothing to us.
struct Header(Vec<(String, safetensors::tensor::TensorInfo)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tensors;
        impl<'de> Visitor<'de> for Tensors {
            type Value = Header;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with an entry for each tensor")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
                let mut tensors = Vec::new();
                let mut names = BTreeSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let tensor =
                        map.next_value().map_err(|e| M::Error::custom(format!("tensor {}: {e}", quoted(&name))))?;
                    if !names.insert(name.clone()) {
                        return Err(M::Error::custom(format!("tensor {} is listed twice", quoted(&name))));
                    }
                    tensors.push((name, tensor));
                }
                Ok(Header(tensors))
            }
        }
        deserializer.deserialize_map(Tensors)
    }
}

/// What stands before the data of a file that holds `tensors` (name and shape) one after the other, all as `dtype`.
/// `metadata` come first and in their order: the same arguments are the same bytes.
///
/// # Errors
/// If the tensors are too large for any file; `place` names the one meant.
pub fn header(
    tensors: impl IntoIterator<Item = (String, Vec<usize>)>,
    dtype: FloatType,
    metadata: &[(&str, String)],
    place: &str,
) -> Result<Vec<u8>> {
    use safetensors::tensor::{Dtype, Metadata, TensorInfo};
    let size = dtype.size();
    let dtype = match dtype {
        FloatType::F32 => Dtype::F32,
        FloatType::F16 => Dtype::F16,
        FloatType::BF16 => Dtype::BF16,
    };
    let mut end = 0;
    let tensors = tensors
        .into_iter()
        .map(|(name, shape)| {
            let start = end;
            end += shape.iter().product::<usize>() * size;
            (name, TensorInfo { dtype, shape, data_offsets: (start, end) })
        })
        .collect();
    // Without the metadata, which the crate writes in another order every time.
    let checked = Metadata::new(None, tensors).map_err(|e| Error::model(place, e.to_string()))?;
    let mut fields = Map::new();
    if !metadata.is_empty() {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str()))).collect();
        fields.insert("__metadata__".to_owned(), Value::Object(metadata));
    }
    if let Ok(Value::Object(tensors)) = serde_json::to_value(&checked) {
        fields.extend(tensors);
    }
    let mut header = serde_json::to_vec(&fields).expect("JSON of plain values");
    // Blanks at the end align the data behind it.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes(), header.as_slice()].concat())
}

/// A whole file of f32 tensors: name, shape and values of each. They stand in the order of their names.
///
/// # Errors
/// If a tensor has not as many values as its shape says; `place` names the file meant.
pub fn to_bytes<'a>(
    tensors: impl IntoIterator<Item = (String, &'a [usize], &'a [f32])>,
    metadata: &[(&str, String)],
    place: &str,
) -> Result<Vec<u8>> {
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, shape, values) in &tensors {
        if shape.iter().product::<usize>() != values.len() {
            return Err(Error::model(place, format!("{name} has {} values for shape {shape:?}", values.len())));
        }
    }
    let shapes = tensors.iter().map(|(name, shape, _)| (name.clone(), shape.to_vec()));
    let mut file = header(shapes, FloatType::F32, metadata, place)?;
    tensors.iter().for_each(|(_, _, values)| file.extend_from_slice(bytemuck::cast_slice(values)));
    Ok(file)
}

/// Reads a `model.safetensors.index.json`: in which file each tensor is.
///
/// # Errors
/// If it is not such an index; `place` names it.
pub fn parse_index(json: &[u8], place: &str) -> Result<BTreeMap<String, String>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    serde_json::from_slice(json)
        .map(|Index { weight_map }| weight_map)
        .map_err(|e| Error::model(place, format!("not an index of safetensors files: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.resize(file.len() + data, 0);
        file
    }

    fn read(file: &[u8]) -> Result<BTreeMap<String, TensorInfo>> {
        block_on(read_header(&Storage::from_bytes("m.safetensors", file)))
    }

    fn error(header: &str, data: usize) -> String {
        read(&file(header, data)).unwrap_err().to_string()
    }

    const TWO: &str = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},
        "a":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}"#;

    #[test]
    fn says_where_each_tensor_is() {
        let data = 8 + TWO.len() as u64;
        let tensors = read(&file(TWO, 20)).unwrap();
        assert_eq!(
            tensors["b"],
            TensorInfo { ty: Ok(TensorType::BF16), shape: vec![2, 3], range: data + 8..data + 20 }
        );
        assert_eq!(tensors["a"], TensorInfo { ty: Err("I64".into()), shape: vec![], range: data..data + 8 });
    }

    #[test]
    fn every_cut_is_an_error() {
        let whole = file(TWO, 20);
        for length in 0..whole.len() {
            let error = read(&whole[..length]).unwrap_err().to_string();
            assert!(error.contains("truncated"), "{length}: {error}");
        }
    }

    #[test]
    fn absurd_lengths_are_errors() {
        for length in [100_000_001, u64::MAX, u64::MAX - 7] {
            let error = read(&length.to_le_bytes()).unwrap_err().to_string();
            assert!(error.contains("not a safetensors file"), "{error}");
        }
        let error = read(&100_000_000u64.to_le_bytes()).unwrap_err().to_string();
        assert_eq!(error, "m.safetensors: truncated: the header ends at byte 100000008, the file has 8");
    }

    #[test]
    fn offsets_must_fit() {
        let tensor =
            |shape: &str, offsets: &str| format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}"#);
        let one = |shape: &str, offsets: &str| format!(r#"{{"x":{}}}"#, tensor(shape, offsets));
        assert!(error(&one("[2]", "[0,7]"), 7).contains("do not fit shape [2] in F32"));
        assert!(error(&one("[2]", "[0,8]"), 7).contains("it is truncated"));
        assert!(error(&one("[2]", "[0,8]"), 9).contains("the tensors end at byte"));
        assert!(error(&one("[1]", "[4,8]"), 8).contains("tensor \"x\" starts at byte"));
        assert!(error(&one("[2]", "[0,18446744073709551615]"), 8).contains("which no file reaches"));
        assert!(error(&one("[4294967296,4294967296,4]", "[0,0]"), 0).contains("do not fit"));
        assert!(error(&one("[0]", "[0,0]"), 1).contains("the tensors end at byte"));
        assert!(error(&one("[-1]", "[0,4]"), 4).contains("tensor \"x\""));
        let two = format!(r#"{{"x":{},"y":{}}}"#, tensor("[2]", "[0,8]"), tensor("[2]", "[4,12]"));
        assert!(error(&two, 12).contains("tensor \"y\" starts at byte"), "{}", error(&two, 12));
        let backwards = one("[1]", "[4,0]");
        assert!(error(&backwards, 4).contains("starts at byte"));
    }

    #[test]
    fn broken_headers() {
        assert!(error("", 0).contains("broken header"));
        assert!(error("[]", 0).contains("an object with an entry for each tensor"));
        assert!(
            error(r#"{"x":{"dtype":"F31","shape":[],"data_offsets":[0,0]}}"#, 0)
                .contains("tensor \"x\": unknown variant")
        );
        let twice = r#"{"x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#;
        assert!(error(twice, 0).contains("tensor \"x\" is listed twice"));
        assert!(error(&"[".repeat(100_000), 0).contains("broken header"));
    }

    #[test]
    fn index() {
        let json = br#"{"metadata":{"total_size":1},"weight_map":{"a":"one.safetensors"}}"#;
        assert_eq!(parse_index(json, "i").unwrap()["a"], "one.safetensors");
        let error = parse_index(br#"{"weight_map":[]}"#, "i.json").unwrap_err().to_string();
        assert!(error.starts_with("i.json: not an index of safetensors files"), "{error}");
    }
}
