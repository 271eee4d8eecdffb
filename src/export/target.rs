//! Places that are written to: free before, whole after.

use crate::error::{Error, Result};
use crate::files::create_folder;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes a folder: `write` fills one beside `target`, which is renamed when it is complete.
///
/// # Errors
/// If `target` holds something already, what `write` returns, or where the system refuses; nothing is left then.
pub async fn new_folder<T>(target: &Path, write: impl AsyncFnOnce(&Path) -> Result<T>) -> Result<T> {
    check_unused(target)?;
    let beside = beside(target)?;
    create_folder(&beside)?;
    let written = match write(&beside).await {
        Ok(value) => replace(&beside, target).map(|()| value),
        error => error,
    };
    if written.is_err() {
        // The half-written folder is of no use to anyone; that it cannot be removed is no second error.
        let _ = fs::remove_dir_all(&beside);
    }
    written
}

/// An error unless a file can be made at `target`, whose folder is created if need be.
pub fn prepare_file(target: &Path) -> Result<()> {
    if target.file_name().is_none() {
        return Err(Error::Usage(format!("\"{}\" does not name a file to write", target.display())));
    }
    // A link to nothing is something too.
    if target.symlink_metadata().is_ok() {
        return Err(Error::Usage(format!("{} exists already; name a file that does not", target.display())));
    }
    match target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => create_folder(parent),
        None => Ok(()),
    }
}

/// An error unless `target` is free: nothing there, or an empty folder.
fn check_unused(target: &Path) -> Result<()> {
    let taken = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => target.exists(),
    };
    if taken {
        return Err(Error::Usage(format!(
            "{} exists already; name a folder that does not, or an empty one",
            target.display()
        )));
    }
    Ok(())
}

/// Where the folder grows until it is complete: on the same file system, so that it can be renamed.
fn beside(target: &Path) -> Result<PathBuf> {
    let name = target
        .file_name()
        .ok_or_else(|| Error::Usage(format!("\"{}\" does not name a folder to write", target.display())))?;
    Ok(target.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id())))
}

/// Puts the finished folder in its place, which is free or an empty folder.
fn replace(finished: &Path, target: &Path) -> Result<()> {
    // Not every system renames onto an empty folder.
    if target.is_dir() {
        fs::remove_dir(target).map_err(|e| Error::io(target, "replacing the empty folder", e))?;
    }
    fs::rename(finished, target).map_err(|e| Error::io(target, "renaming the finished folder", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;

    #[test]
    fn only_a_free_place_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(check_unused(path).is_ok());
        assert!(check_unused(&path.join("new")).is_ok());
        assert!(prepare_file(&path.join("a/b/new.gguf")).is_ok());
        fs::write(path.join("file"), "x").unwrap();
        assert!(check_unused(path).unwrap_err().to_string().contains("exists already"));
        assert!(check_unused(&path.join("file")).is_err());
        assert!(beside(Path::new("/")).is_err());
        for taken in [path.join("file"), path.to_owned()] {
            assert!(prepare_file(&taken).unwrap_err().to_string().contains("exists already"));
        }
        assert!(prepare_file(&path.join("file/below")).is_err());
        assert!(prepare_file(Path::new("/")).unwrap_err().to_string().contains("does not name a file"));
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        let fill = async |error: Option<Error>, folder: &Path| {
            fs::write(folder.join("file"), "x").unwrap();
            error.map_or(Ok(5), Err)
        };
        let error = block_on(new_folder(&target, async |folder| fill(Some(Error::Interrupted), folder).await));
        assert!(matches!(error, Err(Error::Interrupted)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(block_on(new_folder(&target, async |folder| fill(None, folder).await)).unwrap(), 5);
        assert_eq!(fs::read(target.join("file")).unwrap(), b"x");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
