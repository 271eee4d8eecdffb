//! Writing files so that a crash leaves the old one or the new one, never half of it.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Creates `folder` and its parents.
///
/// # Errors
/// Where the system refuses, or a file stands in the way.
pub fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "creating the folder", e))
}

/// Makes the entries of `folder` durable, where the system can.
///
/// # Errors
/// Where the system refuses.
pub fn sync_folder(folder: &Path) -> std::io::Result<()> {
    // Windows opens no folders.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Writes what `write` produces to a file beside `path`, syncs it, and renames it into place.
///
/// # Errors
/// What `write` returns, or where the system refuses; `path` is then as it was before.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let result = (|| {
        let mut file = std::io::BufWriter::new(File::create(&beside)?);
        write(&mut file)?;
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&beside, path)
    })();
    result.map_err(|e| {
        // The half-written file is of no use to anyone; that it may be gone already is no second error.
        let _ = fs::remove_file(&beside);
        Error::io(path, "writing", e)
    })
}
