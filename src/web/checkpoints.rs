//! The run that goes on after a reload, in this browser's storage:
//!
//! ```text
//! run/
//!   run.json             what the worker needs to go on: model, data, settings
//!   log.jsonl            the events so far
//!   checkpoint-000012/   as on disk; its last file, COMPLETE, lists the SHA-256 of the others
//! ```
//!
//! Whenever the tab is killed, the newest complete checkpoint is one that was whole.

use crate::error::{Error, Result};
use crate::train::checkpoint_files::{
    COMPLETE_FILE, check_file, complete_list, folder_name, read_complete_list, step_of, unwanted,
};
use crate::web::files::{Folder, Lock};
use js_sys::Uint8Array;
use serde_json::Value;
use std::collections::BTreeMap;

const FOLDER: &str = "run";
const RUN: &str = "run.json";
const LOG: &str = "log.jsonl";
/// No file of a run is larger: they all pass through this program's memory.
const MAX_BYTES: u64 = 2 << 30;

/// A complete checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// Steps done.
    pub step: usize,
    /// Its folder, for errors.
    pub place: String,
    /// Its files by name: what [`Snapshot::from_files`](crate::train::Snapshot::from_files) asks for.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The events so far, as they were given; some may be of later steps.
    pub log: String,
}

/// Takes the right to train, which one tab at a time has; `None` if another has it.
///
/// # Errors
/// If the browser has no locks for this page.
pub async fn lock() -> Result<Option<Lock>> {
    crate::web::files::lock("diablo-run").await
}

/// Begins a run: what an earlier one left is removed, and `run` is kept.
///
/// # Errors
/// If the storage is full, or the browser refuses.
pub async fn begin(run: &Value) -> Result<()> {
    clear().await?;
    folder().await?.write(RUN, run.to_string().as_bytes()).await
}

/// The run that was begun last, as it was given.
///
/// # Errors
/// If the browser refuses.
pub async fn run() -> Result<Option<Value>> {
    match Folder::root().await?.find(FOLDER).await? {
        Some(folder) => run_in(&folder).await,
        None => Ok(None),
    }
}

/// Forgets the run.
///
/// # Errors
/// If the browser refuses.
pub async fn clear() -> Result<()> {
    let root = Folder::root().await?;
    if let Some(folder) = root.find(FOLDER).await? {
        // First, so that a half-removed run is none.
        folder.remove(RUN).await?;
    }
    root.remove(FOLDER).await
}

/// Saves the state after `step`, and removes checkpoints that are no longer wanted: the last two stay, and that of
/// the best evaluation, at `best`. `log` is all events so far, one JSON object a line.
///
/// # Errors
/// If the storage is full, or the browser refuses; older checkpoints are then untouched.
pub async fn save(files: &[(&str, Vec<u8>)], step: usize, best: Option<usize>, log: &str) -> Result<()> {
    let run = folder().await?;
    let place = place_for(&run, step).await?;
    let saved = write(&run, &place, files, log).await;
    if let Err(error) = saved {
        // Half a checkpoint is of no use to anyone, and takes room; that it cannot be removed is no second error.
        let _ = run.remove(&place).await;
        return Err(error);
    }
    prune(&run, &place, step, best).await
}

/// The newest checkpoint that is complete. `skipped` hears of newer ones that are not, and why.
///
/// # Errors
/// If the browser refuses.
pub async fn newest(mut skipped: impl FnMut(&Error)) -> Result<Option<Checkpoint>> {
    let Some(run) = Folder::root().await?.find(FOLDER).await? else { return Ok(None) };
    if run_in(&run).await?.is_none() {
        return Ok(None);
    }
    for (step, name) in list(&run).await?.into_iter().rev() {
        match read(&run, &name).await {
            Ok(files) => {
                let log = run.read(LOG, MAX_BYTES).await?.unwrap_or_default();
                let log = String::from_utf8_lossy(&log).into_owned();
                return Ok(Some(Checkpoint { step, place: run.path(&name), files, log }));
            }
            Err(error) => skipped(&error),
        }
    }
    Ok(None)
}

async fn folder() -> Result<Folder> {
    Folder::root().await?.create(FOLDER).await
}

async fn run_in(folder: &Folder) -> Result<Option<Value>> {
    if !is_written(folder, RUN).await? {
        return Ok(None);
    }
    let json = folder.read(RUN, MAX_BYTES).await?.unwrap_or_default();
    let wrong = |e| Error::model(folder.path(RUN), format!("is no valid JSON: {e}; start the run anew"));
    serde_json::from_slice(&json).map(Some).map_err(wrong)
}

/// Whether a file is there, and not as a tab left it that was killed before its first byte.
async fn is_written(folder: &Folder, name: &str) -> Result<bool> {
    Ok(folder.file(name).await?.is_some_and(|file| file.size() > 0.0))
}

/// Steps and names of the checkpoints, oldest first, complete or not.
async fn list(run: &Folder) -> Result<Vec<(usize, String)>> {
    let entries = run.list().await?;
    let mut all: Vec<_> = entries.into_iter().filter_map(|entry| Some((step_of(&entry.name)?, entry.name))).collect();
    all.sort();
    Ok(all)
}

/// The name for the folder of a checkpoint. Where that of this step is complete already, as after a resume from it, it
/// stays until the new one is complete too: that one gets another zero in front.
async fn place_for(run: &Folder, step: usize) -> Result<String> {
    let first = folder_name(step);
    match run.find(&first).await? {
        Some(there) if is_written(&there, COMPLETE_FILE).await? => Ok(first.replacen('-', "-0", 1)),
        _ => Ok(first),
    }
}

async fn write(run: &Folder, name: &str, files: &[(&str, Vec<u8>)], log: &str) -> Result<()> {
    run.remove(name).await?; // what a killed tab left half-written
    let folder = run.create(name).await?;
    for (name, bytes) in files {
        let file = folder.open(name).await?;
        file.write(0, &Uint8Array::from(&**bytes)).await?;
        file.flush().await?;
    }
    run.write(LOG, log.as_bytes()).await?;
    folder.write(COMPLETE_FILE, complete_list(files).as_bytes()).await
}

/// Removes all that is not wanted any more, now that the checkpoint `name` is complete: old ones, and what it replaces
/// or leaves behind, since a run that went back to an earlier step comes to those after it anew.
async fn prune(run: &Folder, name: &str, step: usize, best: Option<usize>) -> Result<()> {
    let mut complete = Vec::new();
    for (at, other) in list(run).await? {
        let is_complete = match run.find(&other).await? {
            Some(folder) => is_written(&folder, COMPLETE_FILE).await?,
            None => false,
        };
        if other != name && (at >= step || !is_complete) {
            run.remove(&other).await?;
        } else {
            complete.push((at, other));
        }
    }
    for old in unwanted(&complete, best) {
        run.remove(old).await?;
    }
    Ok(())
}

/// The files of a complete checkpoint by name: all that are listed, with the hashes they were written with.
async fn read(run: &Folder, name: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let place = run.path(name);
    let wrong = |what: String| Error::adapter(&place, what);
    let gone = || wrong("was removed meanwhile".to_owned());
    let folder = run.find(name).await?.ok_or_else(gone)?;
    let list = folder.read(COMPLETE_FILE, MAX_BYTES).await?;
    let list = list.ok_or_else(|| wrong(format!("is not complete: no {COMPLETE_FILE}")))?;
    let mut files = BTreeMap::new();
    for (hash, name) in read_complete_list(&list).map_err(wrong)? {
        let bytes = folder.read(name, MAX_BYTES).await?.ok_or_else(|| wrong(format!("{name} is missing")))?;
        check_file(name, &bytes, hash).map_err(wrong)?;
        files.insert(name.to_owned(), bytes);
    }
    Ok(files)
}
