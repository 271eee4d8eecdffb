//! Checkpoints on disk: a folder for each, which is there whole or not at all.
//!
//! A checkpoint is written beside its place, synced and renamed; its last file, `COMPLETE`, lists the SHA-256 of the
//! others. Whatever moment the program is killed at, the newest complete checkpoint is one that was whole.

pub use super::checkpoint_files::COMPLETE_FILE;
use super::checkpoint_files::{PREFIX, check_file, complete_list, folder_name, read_complete_list, step_of, unwanted};
use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::files::{create_folder, sync_folder};
use crate::model::ModelConfig;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// No file of a checkpoint is larger; keeps a hostile folder from filling the memory.
const MAX_BYTES: u64 = 64 << 30;

/// The checkpoints in an adapter folder: step and path, oldest first, complete or not.
///
/// # Errors
/// If the folder cannot be read; one that does not exist has none.
pub fn list(folder: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io(folder, "reading the folder", e))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(folder, "reading the folder", e))?;
        let name = entry.file_name();
        let step = name.to_str().and_then(step_of);
        found.extend(step.map(|step| (step, entry.path())));
    }
    found.sort();
    Ok(found)
}

/// Writes `snapshot` as a checkpoint in `folder` and removes those that are no longer wanted: the last two stay, and
/// that of the best evaluation. Returns where it lies.
///
/// # Errors
/// Where the system refuses; older checkpoints are then untouched.
pub fn save(folder: &Path, snapshot: &Snapshot, model: &ModelConfig) -> Result<PathBuf> {
    let step = snapshot.progress.step;
    let name = folder_name(step);
    let path = folder.join(&name);
    create_folder(folder)?;
    let beside = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let saved = write_folder(&beside, &snapshot.to_files(model)?).and_then(|()| {
        if path.exists() {
            // The same step again, as after a resume from it.
            fs::remove_dir_all(&path)?;
        }
        fs::rename(&beside, &path)?;
        sync_folder(folder)
    });
    if let Err(e) = saved {
        // Half a checkpoint is of no use to anyone; that it cannot be removed is no second error.
        let _ = fs::remove_dir_all(&beside);
        return Err(Error::io(&path, "saving the checkpoint", e));
    }
    prune(folder, snapshot.progress.best.map(|best| best.step))?;
    Ok(path)
}

fn write_folder(folder: &Path, files: &[(&str, Vec<u8>)]) -> std::io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    for (name, bytes) in files {
        write(&folder.join(name), bytes)?;
    }
    write(&folder.join(COMPLETE_FILE), complete_list(files).as_bytes())?;
    sync_folder(folder)
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn prune(folder: &Path, best: Option<usize>) -> Result<()> {
    for path in unwanted(&list(folder)?, best) {
        fs::remove_dir_all(path).map_err(|e| Error::io(path, "removing the old checkpoint", e))?;
    }
    Ok(())
}

/// Removes all checkpoints of `folder`, and what killed processes left half-written.
///
/// # Errors
/// Where the system refuses.
pub fn clear(folder: &Path) -> Result<()> {
    for (_, path) in list(folder)? {
        fs::remove_dir_all(&path).map_err(|e| Error::io(&path, "removing the old checkpoint", e))?;
    }
    remove_unfinished(folder)
}

/// Removes what killed processes left half-written. Only one run at a time may use the folder.
///
/// # Errors
/// Where the system refuses.
pub fn remove_unfinished(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&format!(".{PREFIX}")) && name.ends_with(".tmp") {
            fs::remove_dir_all(entry.path()).map_err(|e| Error::io(entry.path(), "removing the remains", e))?;
        }
    }
    Ok(())
}

/// Reads the newest complete checkpoint of `folder`. `skipped` hears of newer ones that are not complete, and why.
///
/// # Errors
/// If there is none, or it was made with another model.
pub fn load_newest(folder: &Path, model: &ModelConfig, mut skipped: impl FnMut(&Error)) -> Result<Snapshot> {
    for (_, path) in list(folder)?.iter().rev() {
        match read_files(path) {
            Ok(files) => return snapshot(files, path, model),
            Err(error) => skipped(&error),
        }
    }
    Err(Error::adapter(folder.display().to_string(), "no complete checkpoint here to resume from"))
}

/// Reads the checkpoint of one folder.
///
/// # Errors
/// If it is not complete, or was made with another model.
pub fn load(path: &Path, model: &ModelConfig) -> Result<Snapshot> {
    snapshot(read_files(path)?, path, model)
}

fn snapshot(mut files: BTreeMap<String, Vec<u8>>, path: &Path, model: &ModelConfig) -> Result<Snapshot> {
    let place = path.display().to_string();
    let missing = |name: &str| Error::adapter(&place, format!("{COMPLETE_FILE} does not list {name}"));
    Snapshot::from_files(|name| files.remove(name).ok_or_else(|| missing(name)), model, &place)
}

/// The files of a complete checkpoint by name: all that are listed, with the hashes they were written with.
fn read_files(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let wrong = |what: String| Error::adapter(path.display().to_string(), what);
    let list = read(&path.join(COMPLETE_FILE)).map_err(|_| wrong(format!("is not complete: no {COMPLETE_FILE}")))?;
    let mut files = BTreeMap::new();
    for (hash, name) in read_complete_list(&list).map_err(wrong)? {
        let bytes = read(&path.join(name))?;
        check_file(name, &bytes, hash).map_err(wrong)?;
        files.insert(name.to_owned(), bytes);
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |e| Error::io(path, "reading the checkpoint", e);
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_BYTES {
        return Err(Error::adapter(path.display().to_string(), format!("{size} bytes are too many")));
    }
    fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests;
