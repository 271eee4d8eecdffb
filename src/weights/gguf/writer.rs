//! The header of a GGUF file that is being written, version 3.

use super::MAGIC;
use super::types::GgmlType;

/// What tensors' offsets are multiples of; the format's default, so no key has to say it.
const ALIGNMENT: u64 = 32;

/// Collects metadata and descriptions of tensors. Their data follow the header in the same order, each one padded to
/// the alignment.
#[derive(Debug, Default)]
pub struct HeaderWriter {
    keys: Vec<u8>,
    key_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    /// Of the next tensor, from the start of the data.
    offset: u64,
}

impl HeaderWriter {
    /// Adds a whole number.
    pub fn u32(&mut self, key: &str, value: u32) {
        self.key(key, 4, &value.to_le_bytes());
    }

    /// Adds a number.
    pub fn f32(&mut self, key: &str, value: f32) {
        self.key(key, 6, &value.to_le_bytes());
    }

    /// Adds true or false.
    pub fn flag(&mut self, key: &str, value: bool) {
        self.key(key, 7, &[u8::from(value)]);
    }

    /// Adds a string.
    pub fn string(&mut self, key: &str, value: &str) {
        self.key(key, 8, &string(value));
    }

    /// Adds a list of strings.
    pub fn strings(&mut self, key: &str, values: &[String]) {
        self.list(key, 8, values.len(), values.iter().flat_map(|value| string(value)));
    }

    /// Adds a list of whole numbers.
    pub fn integers(&mut self, key: &str, values: &[i32]) {
        self.list(key, 5, values.len(), values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Adds a key with its value as they lie in another GGUF file.
    pub fn entry(&mut self, entry: &[u8]) {
        self.keys.extend(entry);
        self.key_count += 1;
    }

    fn key(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.entry(&[&string(key), kind.to_le_bytes().as_slice(), value].concat());
    }

    fn list(&mut self, key: &str, kind: u32, count: usize, elements: impl Iterator<Item = u8>) {
        let start = kind.to_le_bytes().into_iter().chain((count as u64).to_le_bytes());
        self.key(key, 9, &start.chain(elements).collect::<Vec<_>>());
    }

    /// Adds a tensor: `shape` outermost first, `ty` the name of its number format. Gives the bytes of its data, or
    /// nothing if there is no such format, or it cannot hold rows of this length.
    pub fn tensor(&mut self, name: &str, shape: &[usize], ty: &str) -> Option<u64> {
        let (id, ty) = GgmlType::from_name(ty)?;
        let row = *shape.last()? as u64;
        if !row.is_multiple_of(ty.elements) {
            return None;
        }
        let elements: u64 = shape.iter().map(|d| *d as u64).product();
        let bytes = elements / ty.elements * ty.bytes;
        self.tensors.extend(string(name));
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        self.tensors.extend(shape.iter().rev().flat_map(|d| (*d as u64).to_le_bytes()));
        self.tensors.extend(id.to_le_bytes());
        self.tensors.extend(self.offset.to_le_bytes());
        self.tensor_count += 1;
        self.offset += bytes.next_multiple_of(ALIGNMENT);
        Some(bytes)
    }

    /// The header, padded so that the data may follow.
    pub fn finish(self) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend(3u32.to_le_bytes());
        header.extend(self.tensor_count.to_le_bytes());
        header.extend(self.key_count.to_le_bytes());
        header.extend(self.keys);
        header.extend(self.tensors);
        header.extend(padding(header.len() as u64));
        header
    }
}

/// What comes after `length` bytes, up to the next aligned one.
pub fn padding(length: u64) -> &'static [u8] {
    const ZEROS: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];
    &ZEROS[..(length.next_multiple_of(ALIGNMENT) - length) as usize]
}

fn string(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes(), value.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::gguf::{Gguf, Metadata};
    use crate::weights::{Storage, TensorType};
    use pollster::block_on;

    fn read(header: HeaderWriter, data: usize) -> (Vec<u8>, Gguf) {
        let mut file = header.finish();
        file.resize(file.len() + data, 7);
        let gguf = block_on(Gguf::read(&Storage::from_bytes("x.gguf", file.clone()))).unwrap();
        (file, gguf)
    }

    #[test]
    fn the_reader_finds_what_was_written() {
        let mut header = HeaderWriter::default();
        header.u32("u32", 7);
        header.f32("f32", 1e-5);
        header.flag("flag", true);
        header.string("string", "ä");
        header.strings("strings", &["a".into(), String::new(), "Ġthe".into()]);
        header.integers("integers", &[1, -1]);
        header.strings("none", &[]);
        assert_eq!(header.tensor("a", &[3, 32], "Q8_0"), Some(102));
        assert_eq!(header.tensor("b", &[5], "F32"), Some(20));
        assert_eq!(header.tensor("c", &[1], "F16"), Some(2));
        let (file, Gguf { metadata, tensors }) = read(header, 128 + 32 + 2);
        assert_eq!(metadata.size("u32").unwrap(), Some(7));
        assert_eq!(metadata.number("f32").unwrap(), Some(1e-5));
        assert_eq!(metadata.flag("flag").unwrap(), Some(true));
        assert_eq!(metadata.string("string").unwrap(), Some("ä"));
        assert_eq!(metadata.strings("strings").unwrap().unwrap(), ["a", "", "Ġthe"]);
        assert_eq!(metadata.integers("integers").unwrap().unwrap(), [1, -1]);
        assert_eq!(metadata.strings("none").unwrap().unwrap(), [""; 0]);
        assert_eq!((&tensors["a"].ty, &tensors["a"].shape[..]), (&Ok(TensorType::Q8_0), &[3, 32][..]));
        assert_eq!(tensors["b"].range.start, tensors["a"].range.start + 128);
        assert_eq!(tensors["c"].range.end, file.len() as u64);
        assert!(tensors.values().all(|tensor| tensor.range.start.is_multiple_of(ALIGNMENT)));
    }

    /// Also keys of types that the reader passes over.
    #[test]
    fn entries_of_another_file_are_taken_as_they_are() {
        let mut header = HeaderWriter::default();
        header.string("text", "ä");
        header.key("floats", 9, &[6u32.to_le_bytes().as_slice(), &1u64.to_le_bytes(), &1f32.to_le_bytes()].concat());
        header.u32("last", 9);
        let (file, Gguf { metadata, .. }) = read(header, 0);
        let mut copy = HeaderWriter::default();
        for (_, range) in metadata.entries() {
            copy.entry(&file[range.start as usize..range.end as usize]);
        }
        let keys: Vec<_> = metadata.entries().iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["text", "floats", "last"]);
        let (again, Gguf { metadata, .. }) = read(copy, 0);
        assert_eq!(again, file);
        assert_eq!(metadata.required("last", Metadata::size).unwrap(), 9);
    }

    #[test]
    fn what_no_file_can_hold_is_refused() {
        let mut header = HeaderWriter::default();
        for (shape, ty) in [(&[2, 33][..], "Q8_0"), (&[2], "Q9_9"), (&[], "F32")] {
            assert_eq!(header.tensor("x", shape, ty), None, "{shape:?} {ty}");
        }
        assert_eq!(read(header, 0).1.tensors.len(), 0);
    }

    #[test]
    fn padding_reaches_the_next_multiple() {
        assert_eq!([0, 1, 31, 32, 33].map(|length| padding(length).len()), [0, 31, 1, 0, 31]);
    }
}
