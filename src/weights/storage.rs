//! Where the bytes of a file come from.

use crate::error::{Error, Result};
use std::ops::Range;

#[cfg(not(target_family = "wasm"))]
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    sync::{Mutex, PoisonError},
};

/// How much of a browser's file is read at a time; it is in memory twice for a moment.
#[cfg(target_family = "wasm")]
const PIECE: u64 = 16 << 20;

/// A file that can be read by byte range: on disk, in a browser's storage, or in memory. Reading is async because a
/// browser's files are.
pub struct Storage {
    place: String,
    len: u64,
    bytes: Bytes,
}

enum Bytes {
    Memory(Vec<u8>),
    #[cfg(not(target_family = "wasm"))]
    File(Mutex<File>),
    #[cfg(target_family = "wasm")]
    Blob(web_sys::Blob),
}

impl Storage {
    /// A file that is in memory already; `place` names it in errors.
    pub fn from_bytes(place: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { place: place.into(), len: bytes.len() as u64, bytes: Bytes::Memory(bytes) }
    }

    /// Opens a file on disk. It should not change while it is open.
    ///
    /// # Errors
    /// Where the system refuses, or `path` is no plain file.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let opening = |e| Error::io(path, "opening", e);
        // Asked before opening, since opening a pipe waits until somebody writes to it.
        if !std::fs::metadata(path).map_err(opening)?.is_file() {
            return Err(Error::model(path.display().to_string(), "is not a file"));
        }
        let file = File::open(path).map_err(opening)?;
        let len = file.metadata().map_err(opening)?.len();
        Ok(Self { place: path.display().to_string(), len, bytes: Bytes::File(Mutex::new(file)) })
    }

    /// A file of a browser: one that the user chose, or one in the page's own storage. `place` names it in errors.
    #[cfg(target_family = "wasm")]
    pub fn from_blob(place: impl Into<String>, blob: web_sys::Blob) -> Self {
        // Sizes are floats in JavaScript, exact up to 2^53.
        Self { place: place.into(), len: blob.size() as u64, bytes: Bytes::Blob(blob) }
    }

    /// The file's name in errors.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Size of the file in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file has no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes in `range`.
    ///
    /// # Errors
    /// If the range is not inside the file, or does not fit into memory, or reading fails.
    pub async fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let Range { start, end } = range;
        if start > end || end > self.len {
            return Err(Error::model(
                &self.place,
                format!("bytes {start} to {end} asked for, the file has {}", self.len),
            ));
        }
        match &self.bytes {
            // As `bytes` is in memory, `start` and `end` fit a usize.
            Bytes::Memory(bytes) => Ok(bytes[start as usize..end as usize].to_vec()),
            #[cfg(not(target_family = "wasm"))]
            Bytes::File(file) => {
                let mut bytes = zeroed(end - start, &self.place)?;
                // A reader that panicked while it held the lock leaves no trace: every read seeks first.
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(start))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|e| Error::io(&self.place, "reading", e))?;
                Ok(bytes)
            }
            #[cfg(target_family = "wasm")]
            Bytes::Blob(blob) => {
                let mut bytes = zeroed(end - start, &self.place)?;
                for (piece, at) in bytes.chunks_mut(PIECE as usize).zip((start..end).step_by(PIECE as usize)) {
                    read_blob(blob, at, piece).await.map_err(|e| Error::browser(&self.place, "reading", &e))?;
                }
                Ok(bytes)
            }
        }
    }

    /// The whole file, if it is not larger than `max`.
    ///
    /// # Errors
    /// If it is larger, or reading fails.
    pub async fn read_all(&self, max: u64) -> Result<Vec<u8>> {
        if self.len > max {
            return Err(Error::model(&self.place, format!("is {} bytes; at most {max} are expected here", self.len)));
        }
        self.read(0..self.len).await
    }
}

/// Fills `bytes` from `start` on. A blob's offsets are floats, so that they go beyond 4 GiB.
#[cfg(target_family = "wasm")]
async fn read_blob(blob: &web_sys::Blob, start: u64, bytes: &mut [u8]) -> Result<(), wasm_bindgen::JsValue> {
    let end = start + bytes.len() as u64;
    let piece = blob.slice_with_f64_and_f64(start as f64, end as f64)?;
    let buffer = wasm_bindgen_futures::JsFuture::from(piece.array_buffer()).await?;
    let read = js_sys::Uint8Array::new(&buffer);
    if read.length() as usize != bytes.len() {
        return Err(js_sys::Error::new("the file is shorter than it was").into());
    }
    read.copy_to(bytes);
    Ok(())
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("place", &self.place).field("len", &self.len).finish_non_exhaustive()
    }
}

/// `count` default values, or an error where memory does not suffice (`vec![0; count]` would end the process).
pub(crate) fn zeroed<T: Default + Clone>(count: u64, place: &str) -> Result<Vec<T>> {
    let mut values = Vec::new();
    match usize::try_from(count) {
        Ok(count) if values.try_reserve_exact(count).is_ok() => {
            values.resize(count, T::default());
            Ok(values)
        }
        _ => {
            let mib = count.saturating_mul(size_of::<T>() as u64).div_ceil(1 << 20);
            Err(Error::model(place, format!("not enough memory: {mib} MiB are needed in one piece")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;
    use std::io::Write;

    fn storages() -> (tempfile::NamedTempFile, [Storage; 2]) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"0123456789").unwrap();
        let on_disk = Storage::open(file.path()).unwrap();
        (file, [on_disk, Storage::from_bytes("memory", *b"0123456789")])
    }

    #[test]
    fn reads_ranges_in_any_order() {
        let (_file, storages) = storages();
        for storage in storages {
            assert_eq!(storage.len(), 10);
            assert_eq!(block_on(storage.read(7..10)).unwrap(), b"789");
            assert_eq!(block_on(storage.read(0..2)).unwrap(), b"01");
            assert_eq!(block_on(storage.read(10..10)).unwrap(), b"");
            assert_eq!(block_on(storage.read_all(10)).unwrap(), b"0123456789");
        }
    }

    #[test]
    #[allow(clippy::reversed_empty_ranges)]
    fn ranges_outside_the_file_are_errors() {
        let (_file, storages) = storages();
        for storage in storages {
            for range in [9..11, 11..12, 5..4, 0..u64::MAX, u64::MAX - 1..u64::MAX] {
                let error = block_on(storage.read(range)).unwrap_err().to_string();
                assert!(error.ends_with("the file has 10"), "{error}");
            }
            let error = block_on(storage.read_all(9)).unwrap_err().to_string();
            assert!(error.ends_with("is 10 bytes; at most 9 are expected here"), "{error}");
        }
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let (file, [storage, _]) = storages();
        file.as_file().set_len(4).unwrap();
        let error = block_on(storage.read(2..6)).unwrap_err().to_string();
        assert!(error.contains("reading failed"), "{error}");
    }

    #[test]
    fn a_folder_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Storage::open(folder.path()).unwrap_err().to_string().ends_with("is not a file"));
        assert!(Storage::open(folder.path().join("none")).unwrap_err().to_string().contains("opening failed"));
    }

    #[test]
    fn more_than_memory_can_hold_is_an_error() {
        assert!(zeroed::<f32>(u64::MAX, "x").unwrap_err().to_string().contains("not enough memory"));
        assert!(zeroed::<f32>(1 << 61, "x").unwrap_err().to_string().contains("8796093022208 MiB"));
        assert_eq!(zeroed::<f32>(2, "x").unwrap(), [0.0, 0.0]);
    }
}
