//! A file that is written in place.

use super::refused;
use crate::error::{Error, Result};
use js_sys::Uint8Array;
use web_sys::{FileSystemReadWriteOptions, FileSystemSyncAccessHandle};

/// A file that is open for writing in place. What was written is there even if the tab is killed; after
/// [`flush`](Self::flush), even if the computer is.
#[derive(Debug)]
pub struct OpenFile {
    handle: FileSystemSyncAccessHandle,
    path: String,
}

impl OpenFile {
    pub(super) fn new(handle: FileSystemSyncAccessHandle, path: String) -> Self {
        Self { handle, path }
    }

    /// Its path, for errors.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Writes all of `bytes` from the offset `at` on.
    ///
    /// # Errors
    /// If the storage is full, or the browser refuses; what was written before is then still there.
    pub async fn write(&self, at: u64, bytes: &Uint8Array) -> Result<()> {
        let options = FileSystemReadWriteOptions::new();
        options.set_at_f64(at as f64);
        match self.handle.write_with_js_u8_array_and_options(bytes, &options) {
            Ok(written) if written == f64::from(bytes.length()) => Ok(()),
            Ok(_) => Err(refused(&self.path, "writing", &full()).await),
            Err(thrown) => Err(refused(&self.path, "writing", &thrown).await),
        }
    }

    /// Cuts it to its first `len` bytes.
    ///
    /// # Errors
    /// Where the browser refuses.
    pub fn truncate(&self, len: u64) -> Result<()> {
        self.handle.truncate_with_f64(len as f64).map_err(|e| Error::browser(&self.path, "truncating", &e))
    }

    /// Brings all that was written to the disk.
    ///
    /// # Errors
    /// Where the browser refuses.
    pub async fn flush(&self) -> Result<()> {
        match self.handle.flush() {
            Ok(()) => Ok(()),
            Err(thrown) => Err(refused(&self.path, "writing", &thrown).await),
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// What some browsers throw, and others tell by writing less than they were asked to.
fn full() -> wasm_bindgen::JsValue {
    let error = js_sys::Error::new("fewer bytes were written than there were");
    error.set_name("QuotaExceededError");
    error.into()
}
