//! One repository's folder in the cache that all tools share:
//!
//! ```text
//! models--org--name/
//!   blobs/HASH                      contents
//!   refs/main                       the commit of a branch or tag
//!   snapshots/COMMIT/config.json    links to contents
//!   .no_exist/COMMIT/NAME           an optional file that the commit does not have
//! .locks/models--org--name/HASH.lock
//! ```

use super::HubName;
use super::listing::shard_names;
use super::name::is_safe_name;
use crate::error::{Error, Result};
use crate::files::create_folder;
use crate::source::folder::{CONFIG, MAX_TEXT, TOKENIZER, WEIGHTS, WEIGHTS_INDEX};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// A repository in the cache.
pub struct RepoCache {
    repo: CacheRepo,
    root: PathBuf,
    locks: PathBuf,
    revision: String,
}

/// A model in the cache.
pub struct Found {
    pub path: PathBuf,
    /// Whether every file is there that the repository has and we read.
    pub complete: bool,
}

impl RepoCache {
    pub fn new(cache: &Path, name: &HubName) -> Self {
        let repo = Repo::with_revision(name.repo.clone(), RepoType::Model, name.revision.clone());
        let folder = repo.folder_name();
        Self {
            root: cache.join(&folder),
            locks: cache.join(".locks").join(folder),
            repo: Cache::new(cache.to_owned()).repo(repo),
            revision: name.revision.clone(),
        }
    }

    /// The model, if all that it cannot do without is there.
    pub fn find(&self, name: &HubName) -> Option<Found> {
        let commit = self.commit()?;
        let has = |file: &str| self.length(&commit, file).is_some();
        if let Some(file) = &name.file {
            return has(file).then(|| Found { path: self.pointer(&commit, file), complete: true });
        }
        let has_weights = || has(WEIGHTS) || self.shards(&commit).is_ok_and(|shards| shards.iter().all(|s| has(s)));
        if !(has(CONFIG) && has(TOKENIZER) && has_weights()) {
            return None;
        }
        let is_known = |file: &&str| has(file) || self.absence(&commit, file).exists();
        Some(Found { path: self.snapshot(&commit), complete: super::listing::OPTIONAL.iter().all(is_known) })
    }

    /// The commit that the revision is, as far as the cache knows.
    fn commit(&self) -> Option<String> {
        let commit = match fs::read_to_string(self.root.join("refs").join(&self.revision)) {
            Ok(commit) => commit.trim().to_owned(),
            Err(_) => self.revision.clone(),
        };
        is_safe_name(&commit).then_some(commit)
    }

    /// The folder of a commit.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.pointer_path(commit)
    }

    /// Where a file of a commit is found.
    pub fn pointer(&self, commit: &str, file: &str) -> PathBuf {
        self.snapshot(commit).join(file)
    }

    /// Where contents are kept.
    pub fn blob(&self, hash: &str) -> PathBuf {
        self.repo.blob_path(hash)
    }

    fn absence(&self, commit: &str, file: &str) -> PathBuf {
        self.root.join(".no_exist").join(commit).join(file)
    }

    /// Bytes of a file, if it is there.
    pub fn length(&self, commit: &str, file: &str) -> Option<u64> {
        let metadata = fs::metadata(self.pointer(commit, file)).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// The weight files that the index of a commit names.
    pub fn shards(&self, commit: &str) -> Result<BTreeSet<String>> {
        let path = self.pointer(commit, WEIGHTS_INDEX);
        let place = path.display().to_string();
        let mut json = Vec::new();
        let file = File::open(&path).map_err(|e| Error::io(&path, "opening", e))?;
        file.take(MAX_TEXT).read_to_end(&mut json).map_err(|e| Error::io(&path, "reading", e))?;
        shard_names(&json, &place)
    }

    /// Waits until no other process fetches these contents; held until the file is dropped. `None` where the file
    /// system has no locks: two downloads into one file then end with a wrong hash, not with a wrong model.
    pub fn lock(&self, hash: &str) -> Result<Option<File>> {
        create_folder(&self.locks)?;
        let path = self.locks.join(format!("{hash}.lock"));
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|e| Error::io(&path, "creating", e))?;
        Ok(file.lock().is_ok().then_some(file))
    }

    /// Makes contents the file `file` of a commit.
    pub fn link(&self, hash: &str, commit: &str, file: &str) -> Result<()> {
        if self.length(commit, file).is_some() {
            return Ok(()); // another process was faster
        }
        let pointer = self.pointer(commit, file);
        create_folder(pointer.parent().unwrap_or(&self.root))?;
        // A link to contents that someone removed.
        match fs::remove_file(&pointer) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io(&pointer, "replacing", e)),
            _ => {}
        }
        let up = "../".repeat(file.split('/').count() + 1);
        let target = PathBuf::from(format!("{up}blobs/{hash}"));
        match symlink(&target, &pointer) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            // A file system without links, or Windows without the right to make them: the file itself, as others do.
            Err(_) => fs::rename(self.blob(hash), &pointer).map_err(|e| Error::io(&pointer, "creating", e)),
            Ok(()) => Ok(()),
        }
    }

    /// Notes that a commit has no file `file`.
    pub fn keep_absence(&self, commit: &str, file: &str) -> Result<()> {
        let path = self.absence(commit, file);
        create_folder(path.parent().unwrap_or(&self.root))?;
        File::create(&path).map(drop).map_err(|e| Error::io(&path, "creating", e))
    }

    /// Notes which commit the revision is.
    pub fn keep_revision(&self, commit: &str) -> Result<()> {
        if commit == self.revision {
            return Ok(());
        }
        let path = self.root.join("refs").join(&self.revision);
        self.repo.create_ref(commit).map_err(|e| Error::io(path, "writing", e))
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}
