//! The header: magic, version, metadata, tensors.

use super::metadata::{Metadata, Value};
use super::reader::Reader;
use super::types::GgmlType;
use super::{Gguf, MAGIC};
use crate::error::Result;
use crate::weights::{Storage, TensorInfo, TensorType, quoted};
use std::collections::BTreeMap;

/// Many times what any model has. Together with the longest header they bound memory.
const MAX_KEYS: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 16;
/// Longest name of a key or tensor, as the format has it for keys.
const MAX_NAME: usize = (1 << 16) - 1;
const MAX_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// The fewest bytes that a key with its value can take: empty name, type, one byte.
const MIN_KEY: u64 = 8 + 4 + 1;
/// The fewest bytes that the description of a tensor can take: empty name, one dimension, type, offset.
const MIN_TENSOR: u64 = 8 + 4 + 8 + 4 + 8;

pub(super) async fn read(storage: &Storage) -> Result<Gguf> {
    let mut reader = Reader::new(storage);
    if reader.array("the magic number").await? != MAGIC {
        return Err(reader.wrong("not a GGUF file"));
    }
    match reader.u32("the version").await? {
        2 | 3 => {}
        version if (1..=3).contains(&version.swap_bytes()) => {
            return Err(reader.wrong("a big-endian GGUF file, which is not supported"));
        }
        version => return Err(reader.wrong(format!("GGUF version {version} is not supported; supported: 2 and 3"))),
    }
    let tensor_count = reader.u64("the number of tensors").await?;
    let key_count = reader.u64("the number of metadata keys").await?;
    reader.check_left(key_count, MIN_KEY, "metadata")?;
    reader.check_left(tensor_count, MIN_TENSOR, "descriptions of tensors")?;
    if tensor_count > MAX_TENSORS || key_count > MAX_KEYS {
        return Err(reader.wrong(format!(
            "{tensor_count} tensors and {key_count} metadata keys; at most {MAX_TENSORS} and {MAX_KEYS} are allowed"
        )));
    }

    let metadata = read_metadata(&mut reader, key_count, storage.place()).await?;
    let descriptions = read_descriptions(&mut reader, tensor_count).await?;
    let alignment = metadata.size("general.alignment")?.map_or(DEFAULT_ALIGNMENT, |n| n as u64);
    if !alignment.is_power_of_two() {
        return Err(reader.wrong(format!("\"general.alignment\" is {alignment}, which is not a power of two")));
    }
    let tensors = place_tensors(&reader, storage.len(), descriptions, alignment)?;
    Ok(Gguf { metadata, tensors })
}

async fn read_metadata(reader: &mut Reader<'_>, count: u64, place: &str) -> Result<Metadata> {
    let mut metadata = Metadata::new(place);
    for _ in 0..count {
        let start = reader.offset();
        let key = read_name(reader, "the name of a metadata key").await?;
        let what = format!("key {}", quoted(&key));
        let kind = reader.u32(&what).await?;
        let value = read_value(reader, kind, &what).await?;
        if !metadata.insert(key, value, start..reader.offset()) {
            return Err(reader.wrong(format!("{what} is given twice")));
        }
    }
    Ok(metadata)
}

async fn read_name(reader: &mut Reader<'_>, what: &str) -> Result<String> {
    let name = reader.string(what).await?;
    if name.len() > MAX_NAME {
        return Err(reader.wrong(format!("{what} has {} bytes; at most {MAX_NAME} are allowed", name.len())));
    }
    Ok(name)
}

/// The number behind the type of an array.
const ARRAY: u32 = 9;

async fn read_value(reader: &mut Reader<'_>, kind: u32, what: &str) -> Result<Value> {
    Ok(match kind {
        0 => Value::Integer(u8::from_le_bytes(reader.array(what).await?).into()),
        1 => Value::Integer(i8::from_le_bytes(reader.array(what).await?).into()),
        2 => Value::Integer(u16::from_le_bytes(reader.array(what).await?).into()),
        3 => Value::Integer(i16::from_le_bytes(reader.array(what).await?).into()),
        4 => Value::Integer(u32::from_le_bytes(reader.array(what).await?).into()),
        5 => Value::Integer(i32::from_le_bytes(reader.array(what).await?).into()),
        6 => Value::Float(shortest(f32::from_le_bytes(reader.array(what).await?))),
        7 => match reader.array(what).await? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [other] => return Err(reader.wrong(format!("{what} is {other}, expected 0 (false) or 1 (true)"))),
        },
        8 => Value::String(reader.string(what).await?),
        ARRAY => read_array(reader, what).await?,
        10 => Value::Integer(u64::from_le_bytes(reader.array(what).await?).into()),
        11 => Value::Integer(i64::from_le_bytes(reader.array(what).await?).into()),
        12 => Value::Float(f64::from_le_bytes(reader.array(what).await?)),
        other => return Err(reader.wrong(format!("{what} has a value of unknown type {other}"))),
    })
}

async fn read_array(reader: &mut Reader<'_>, what: &str) -> Result<Value> {
    let kind = reader.u32(what).await?;
    let count = reader.u64(what).await?;
    // The fewest bytes of an element; for all but strings, the bytes of an element.
    let size = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        ARRAY => return Err(reader.wrong(format!("{what} is an array of arrays, which is not supported"))),
        other => return Err(reader.wrong(format!("{what} has elements of unknown type {other}"))),
    };
    reader.check_left(count, size, what)?;
    let bytes = count * size; // checked just now
    Ok(match kind {
        4 => Value::Integers(read_words(reader, bytes, what, |b| u32::from_le_bytes(b).into()).await?),
        5 => Value::Integers(read_words(reader, bytes, what, |b| i32::from_le_bytes(b).into()).await?),
        8 => {
            let mut strings = Vec::new(); // grows with what is really there, not with what `count` promises
            for _ in 0..count {
                strings.push(reader.string(what).await?);
            }
            Value::Strings(strings)
        }
        _ => {
            reader.skip(bytes, what)?;
            Value::OtherArray
        }
    })
}

async fn read_words(reader: &mut Reader<'_>, bytes: u64, what: &str, word: fn([u8; 4]) -> i64) -> Result<Vec<i64>> {
    Ok(reader.bytes(bytes, what).await?.as_chunks().0.iter().map(|bytes| word(*bytes)).collect())
}

/// The number whose shortest decimal rounds to `value`: what stood in the model's `config.json` before it became f32.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

/// A tensor as the header describes it, before it is known where the data start.
struct Description {
    name: String,
    ty: GgmlType,
    /// Outermost first.
    shape: Vec<usize>,
    bytes: u64,
    /// From the start of the data.
    offset: u64,
}

async fn read_descriptions(reader: &mut Reader<'_>, count: u64) -> Result<Vec<Description>> {
    let mut descriptions = Vec::new();
    for _ in 0..count {
        descriptions.push(read_description(reader).await?);
    }
    Ok(descriptions)
}

async fn read_description(reader: &mut Reader<'_>) -> Result<Description> {
    let name = read_name(reader, "the name of a tensor").await?;
    let what = format!("tensor {}", quoted(&name));
    let rank = reader.u32(&what).await?;
    if !(1..=MAX_DIMENSIONS).contains(&rank) {
        return Err(reader.wrong(format!("{what} has {rank} dimensions, expected 1 to {MAX_DIMENSIONS}")));
    }
    let mut dimensions = Vec::new(); // innermost first
    for _ in 0..rank {
        dimensions.push(reader.u64(&what).await?);
    }
    let id = reader.u32(&what).await?;
    let ty = GgmlType::from_id(id).ok_or_else(|| reader.wrong(format!("{what} has the unknown number format {id}")))?;
    let offset = reader.u64(&what).await?;

    // Blocks run along rows, so a row is a whole number of them.
    if dimensions.contains(&0) || !dimensions[0].is_multiple_of(ty.elements) {
        return Err(reader.wrong(format!("{what} has dimensions {dimensions:?}, which {} cannot have", ty.name)));
    }
    let elements = dimensions.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
    let bytes = elements.and_then(|n| (n / ty.elements).checked_mul(ty.bytes));
    let shape = dimensions.iter().rev().map(|d| usize::try_from(*d)).collect();
    let (Some(bytes), Ok(shape)) = (bytes, shape) else {
        return Err(reader.wrong(format!("{what} has dimensions {dimensions:?}, more than any file can hold")));
    };
    Ok(Description { name, ty, shape, bytes, offset })
}

fn place_tensors(
    reader: &Reader<'_>,
    file: u64,
    mut descriptions: Vec<Description>,
    alignment: u64,
) -> Result<BTreeMap<String, TensorInfo>> {
    let data = reader.offset().checked_next_multiple_of(alignment);
    descriptions.sort_by_key(|description| description.offset);
    let mut last: Option<(u64, String)> = None; // end and name of the tensor before
    let mut tensors = BTreeMap::new();
    for Description { name, ty, shape, bytes, offset } in descriptions {
        let wrong = |what: String| reader.wrong(format!("tensor {} {what}", quoted(&name)));
        if !offset.is_multiple_of(alignment) {
            return Err(wrong(format!("is at offset {offset}, which is no multiple of the alignment {alignment}")));
        }
        let start = data.and_then(|data| data.checked_add(offset));
        let end = start.and_then(|start| start.checked_add(bytes));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(wrong(format!("is at offset {offset}, which no file reaches")));
        };
        if end > file {
            return Err(
                reader.wrong(format!("truncated: tensor {} ends at byte {end}, the file has {file}", quoted(&name)))
            );
        }
        if let Some((last_end, last)) = last.filter(|(last_end, _)| *last_end > start) {
            return Err(wrong(format!(
                "starts at byte {start}, inside tensor {}, which ends at {last_end}",
                quoted(&last)
            )));
        }
        let info = TensorInfo { ty: TensorType::from_name(ty.name), shape, range: start..end };
        if tensors.insert(name.clone(), info).is_some() {
            return Err(wrong("is given twice".to_owned()));
        }
        last = Some((end, name));
    }
    Ok(tensors)
}
