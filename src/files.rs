//! Writing files so that a crash leaves the old one or the new one, never half of it.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

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
        let mut file = BufWriter::new(File::create(&beside)?);
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

/// A large file that is written piece by piece: it grows beside its place and appears there when it is complete.
/// Dropped before, it leaves nothing.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    beside: PathBuf,
    file: BufWriter<File>,
}

impl NewFile {
    /// Begins the file that will be `path`.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let file = File::create(&beside).map_err(|e| Error::io(path, "creating the file", e))?;
        Ok(Self { path: path.to_owned(), beside, file: BufWriter::new(file) })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, "writing", e))
    }

    /// Syncs the file and puts it in its place.
    ///
    /// # Errors
    /// Where the system refuses; `path` is then as it was before.
    pub fn finish(mut self) -> Result<()> {
        let done = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        done.and_then(|()| fs::rename(&self.beside, &self.path)).map_err(|e| Error::io(&self.path, "writing", e))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Once it has been renamed there is none of this name; a half-written one is of no use to anyone.
        let _ = fs::remove_file(&self.beside);
    }
}
