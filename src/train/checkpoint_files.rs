//! What makes a folder a checkpoint, wherever it is kept: its name, and the file that says it is complete.

use crate::hash::sha256;
use std::path::Path;

/// Marks a checkpoint as complete and lists the hashes of its files.
pub const COMPLETE_FILE: &str = "COMPLETE";
/// How the name of a checkpoint's folder begins; its step follows.
pub const PREFIX: &str = "checkpoint-";
/// How many of the newest are kept, besides the best.
const KEPT: usize = 2;

/// The name of a checkpoint's folder.
pub fn folder_name(step: usize) -> String {
    format!("{PREFIX}{step:06}")
}

/// The step of the checkpoint that a folder of this name holds.
pub fn step_of(name: &str) -> Option<usize> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// The contents of [`COMPLETE_FILE`] for a checkpoint of these files.
pub fn complete_list(files: &[(&str, Vec<u8>)]) -> String {
    files.iter().map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes))).collect()
}

/// The hash and the name of each file that [`COMPLETE_FILE`] lists, or what is wrong with it.
pub fn read_complete_list(list: &[u8]) -> Result<Vec<(&str, &str)>, String> {
    let damaged = || format!("{COMPLETE_FILE} is damaged");
    let list = str::from_utf8(list).map_err(|_| damaged())?;
    let mut files = Vec::new();
    for line in list.lines() {
        let (hash, name) = line.split_once("  ").ok_or_else(damaged)?;
        // Nothing outside the folder, whatever the list says.
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(format!("{COMPLETE_FILE} names {name:?}, which is no plain file name"));
        }
        files.push((hash, name));
    }
    if files.is_empty() { Err(format!("{COMPLETE_FILE} lists no file")) } else { Ok(files) }
}

/// What is wrong with a file whose listed hash is `hash`, if anything is.
pub fn check_file(name: &str, bytes: &[u8], hash: &str) -> Result<(), String> {
    if sha256(bytes) == hash { Ok(()) } else { Err(format!("{name} is damaged: its hash is another")) }
}

/// Those of `all`, oldest first, that are no longer wanted: the last two stay, and that of the best evaluation.
pub fn unwanted<T>(all: &[(usize, T)], best: Option<usize>) -> impl Iterator<Item = &T> {
    let old = &all[..all.len().saturating_sub(KEPT)];
    old.iter().filter(move |(step, _)| Some(*step) != best).map(|(_, checkpoint)| checkpoint)
}
