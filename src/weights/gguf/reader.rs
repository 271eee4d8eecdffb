//! Reading a header forward, a piece at a time.

use crate::error::{Error, Result};
use crate::weights::Storage;

/// Headers end before this: that of a model with 262,144 tokens takes about 15 MB. It bounds what a hostile file can
/// make us allocate.
const MAX_HEADER: u64 = 128 << 20;
/// Read ahead by this much.
const PIECE: u64 = 256 << 10;

/// A cursor over the first bytes of a file.
pub(super) struct Reader<'a> {
    storage: &'a Storage,
    /// No byte from here on is read.
    limit: u64,
    /// What was read last, where in the file it starts, and how much of it has been used up.
    buffer: Vec<u8>,
    start: u64,
    used: usize,
}

impl<'a> Reader<'a> {
    pub fn new(storage: &'a Storage) -> Self {
        let limit = storage.len().min(MAX_HEADER);
        Self { storage, limit, buffer: Vec::new(), start: 0, used: 0 }
    }

    /// An error in this file.
    pub fn wrong(&self, what: impl Into<String>) -> Error {
        Error::model(self.storage.place(), what)
    }

    /// Where the next byte is in the file.
    pub fn offset(&self) -> u64 {
        self.start + self.used as u64
    }

    /// Errors if fewer than `count` pieces of `size` bytes or more are left; `what` names them.
    pub fn check_left(&self, count: u64, size: u64, what: &str) -> Result<()> {
        if count.checked_mul(size).is_some_and(|bytes| bytes <= self.limit - self.offset()) {
            return Ok(());
        }
        let (offset, file) = (self.offset(), self.storage.len());
        Err(self.wrong(if file > self.limit {
            format!("{what}: {count} × {size} bytes at byte {offset}, but no header is longer than {MAX_HEADER} bytes")
        } else {
            format!("truncated or damaged: {what}: {count} × {size} bytes at byte {offset}, the file has {file}")
        }))
    }

    /// The next `length` bytes.
    pub async fn bytes(&mut self, length: u64, what: &str) -> Result<&[u8]> {
        self.check_left(length, 1, what)?;
        if length > (self.buffer.len() - self.used) as u64 {
            let start = self.offset();
            let end = self.limit.min(start + length.max(PIECE));
            self.buffer = self.storage.read(start..end).await?;
            (self.start, self.used) = (start, 0);
        }
        let bytes = &self.buffer[self.used..][..length as usize];
        self.used += bytes.len();
        Ok(bytes)
    }

    /// Passes over the next `length` bytes.
    pub fn skip(&mut self, length: u64, what: &str) -> Result<()> {
        self.check_left(length, 1, what)?;
        self.start = self.offset() + length;
        self.used = 0;
        self.buffer.clear();
        Ok(())
    }

    pub async fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N as u64, what).await?);
        Ok(array)
    }

    pub async fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).await.map(u32::from_le_bytes)
    }

    pub async fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).await.map(u64::from_le_bytes)
    }

    /// A length, then as many bytes, which must be UTF-8.
    pub async fn string(&mut self, what: &str) -> Result<String> {
        let length = self.u64(what).await?;
        let offset = self.offset();
        let bytes = self.bytes(length, what).await?;
        match str::from_utf8(bytes) {
            Ok(string) => Ok(string.to_owned()),
            Err(e) => Err(self.wrong(format!("{what} at byte {offset} is not UTF-8: {e}"))),
        }
    }
}
