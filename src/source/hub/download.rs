//! One file on its way into the cache: goes on where it stood, and is checked before it counts.

use super::Progress;
use super::cache::RepoCache;
use super::client::{Answer, Client, TRIES};
use super::listing::{RemoteFile, is_sha256};
use super::name::is_safe_name;
use crate::error::{Error, Result};
use crate::files::create_folder;
use crate::hash::hex;
use crate::weights::quoted;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A try that brings this much starts the count of failures anew.
const WORTH_IT: u64 = 1 << 20;
const BUFFER: usize = 128 << 10;

/// All files of a model together.
pub struct Tally<'a> {
    pub progress: &'a mut dyn Progress,
    /// Bytes of the files that are there.
    pub done: u64,
    /// Bytes of all files known of so far.
    pub total: u64,
}

/// One file of a commit.
pub struct Download<'a> {
    client: &'a Client,
    cache: &'a RepoCache,
    commit: &'a str,
    file: &'a RemoteFile,
    /// For errors: the model and the file.
    place: String,
    /// What the contents are called in the cache.
    hash: Option<String>,
    size: Option<u64>,
    /// Bytes that are there, and the hash of the first so many.
    got: u64,
    hasher: Sha256,
    hashed: u64,
    /// Whether contents with a wrong hash were thrown away.
    has_restarted: bool,
}

/// Why a try failed.
enum Failure {
    /// The next one may fare better.
    Passing(String),
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl<'a> Download<'a> {
    pub fn new(client: &'a Client, cache: &'a RepoCache, commit: &'a str, file: &'a RemoteFile) -> Self {
        Self {
            client,
            cache,
            commit,
            file,
            place: format!("{}/{}", client.repo(), file.name),
            hash: file.hash.clone(),
            size: file.size,
            got: 0,
            hasher: Sha256::new(),
            hashed: 0,
            has_restarted: false,
        }
    }

    /// Fetches the file and returns its length.
    pub fn run(mut self, tally: &mut Tally<'_>) -> Result<u64> {
        let mut failures = 0;
        loop {
            let before = self.got;
            let why = match self.attempt(tally) {
                Ok(length) => return Ok(length),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(why)) => why,
            };
            let was_worth_it = self.got.saturating_sub(before) >= WORTH_IT;
            failures = if was_worth_it { 1 } else { failures + 1 };
            if failures == TRIES {
                let (got, size) = (self.got, self.size.map_or("?".to_owned(), |size| size.to_string()));
                return Err(self.wrong(format!(
                    "the download failed {TRIES} times in a row ({why}); {got} of {size} bytes are there and kept: \
                     run the command again to go on"
                )));
            }
            self.client.pause(failures, &why, tally.progress);
        }
    }

    fn attempt(&mut self, tally: &mut Tally<'_>) -> Result<u64, Failure> {
        let hash = match &self.hash {
            Some(hash) => hash.clone(),
            None => self.ask_for_hash()?,
        };
        let blob = self.cache.blob(&hash);
        create_folder(blob.parent().unwrap_or(&blob))?;
        let _lock = self.cache.lock(&hash)?;
        let length = match fs::metadata(&blob) {
            Ok(there) if there.is_file() && self.size.is_none_or(|size| size == there.len()) => there.len(),
            _ => self.complete(&hash, &blob, tally)?,
        };
        self.cache.link(&hash, self.commit, &self.file.name)?;
        Ok(length)
    }

    /// For a listing without hashes: what the hub calls the contents.
    fn ask_for_hash(&mut self) -> Result<String, Failure> {
        let answer = self.request(0)?;
        self.learn_size(&answer)?;
        let etag = answer.hub("x-linked-etag").or(answer.hub("etag")).unwrap_or_default();
        let hash = etag.trim_start_matches("W/").trim_matches('"');
        if !is_safe_name(hash) {
            return Err(self.wrong(format!("the server gives no usable ETag: {}", quoted(etag))).into());
        }
        Ok(self.hash.insert(hash.to_owned()).clone())
    }

    /// Fetches what is missing of the contents, checks them, and gives them their name `blob`.
    fn complete(&mut self, hash: &str, blob: &Path, tally: &mut Tally<'_>) -> Result<u64, Failure> {
        let partial = PathBuf::from(format!("{}.incomplete", blob.display()));
        let failed = |e| Error::io(&partial, "opening", e);
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&partial).map_err(failed)?;
        self.got = file.metadata().map_err(failed)?.len();
        if self.size.is_some_and(|size| self.got > size) {
            self.start_over(&mut file, &partial)?;
        }
        let resumed = self.got > 0;
        if self.size != Some(self.got) {
            self.receive(&mut file, &partial, tally)?;
        }
        self.catch_up(&mut file, &partial)?;
        self.check(hash, resumed, &mut file, &partial)?;
        file.sync_all().map_err(|e| self.not_written(&partial, e))?;
        drop(file); // Windows renames no open file
        fs::rename(&partial, blob).map_err(|e| Error::io(blob, "renaming the finished download", e))?;
        Ok(self.got)
    }

    fn receive(&mut self, file: &mut File, partial: &Path, tally: &mut Tally<'_>) -> Result<(), Failure> {
        let mut answer = self.request(self.got)?;
        if answer.status == 416 || (answer.status == 206 && range_start(&answer) != Some(self.got)) {
            self.start_over(file, partial)?;
            return Err(Failure::Passing("the server sends another range than was asked for".to_owned()));
        }
        let size = self.learn_size(&answer)?;
        if answer.status == 200 && self.got > 0 {
            self.start_over(file, partial)?; // it sends everything
        }
        self.catch_up(file, partial)?;
        file.seek(SeekFrom::Start(self.got)).map_err(|e| self.not_written(partial, e))?;
        let mut buffer = vec![0; BUFFER];
        while self.got < size {
            tally.told(&self.file.name, self.got);
            let room = buffer.len().min(usize::try_from(size - self.got).unwrap_or(usize::MAX));
            let read = match answer.body.read(&mut buffer[..room]) {
                Ok(0) => return Err(Failure::Passing("the server closed the connection".to_owned())),
                Ok(read) => read,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(Failure::Passing(e.to_string())),
            };
            file.write_all(&buffer[..read]).map_err(|e| self.not_written(partial, e))?;
            self.hasher.update(&buffer[..read]);
            self.got += read as u64;
            self.hashed = self.got;
        }
        tally.told(&self.file.name, self.got);
        Ok(())
    }

    /// An answer that has bytes of the file, from `from` on or from the start, or says that the range is wrong.
    fn request(&self, from: u64) -> Result<Answer, Failure> {
        let url = self.client.url(self.commit, &self.file.name);
        let answer = self.client.get(&url, from).map_err(|e| Failure::Passing(e.to_string()))?;
        match answer.status {
            200 => Ok(answer),
            206 | 416 if from > 0 => Ok(answer),
            // Links to large files expire; the next try gets a new one.
            _ if answer.is_overloaded() || answer.is_foreign => Err(Failure::Passing(answer.described())),
            _ => Err(self.client.refusal(&answer, Some(&self.file.name)).into()),
        }
    }

    /// The size of the file by this answer, which must agree with what is known of it.
    fn learn_size(&mut self, answer: &Answer) -> Result<u64, Failure> {
        let told = match answer.status {
            206 => answer.last("content-range").and_then(|range| range.rsplit('/').next()),
            _ => answer.last("content-length"),
        };
        let told = told.or(answer.hub("x-linked-size")).and_then(|size| size.parse().ok());
        let size = match (told, self.size) {
            (Some(told), Some(size)) if told != size => {
                return Err(Failure::Passing(format!("the server has {told} bytes where {size} are listed")));
            }
            (told, size) => size.or(told).ok_or_else(|| self.wrong("the server does not tell its size".to_owned()))?,
        };
        if size > self.file.limit {
            let limit = self.file.limit;
            return Err(self.wrong(format!("is {size} bytes; no such file has more than {limit}")).into());
        }
        self.size = Some(size);
        Ok(size)
    }

    fn start_over(&mut self, file: &mut File, partial: &Path) -> Result<()> {
        self.got = 0;
        file.set_len(0).map_err(|e| Error::io(partial, "emptying", e))
    }

    /// Hashes what an earlier run left, if that has not been done.
    fn catch_up(&mut self, file: &mut File, partial: &Path) -> Result<()> {
        if self.hashed == self.got {
            return Ok(());
        }
        self.hasher = Sha256::new();
        self.hashed = 0;
        let whole = file.seek(SeekFrom::Start(0)).and_then(|_| io::copy(&mut file.take(self.got), &mut self.hasher));
        self.hashed = whole.map_err(|e| Error::io(partial, "reading", e))?;
        Ok(())
    }

    /// Large files have a SHA-256 to agree with. Of small ones the hub knows only git's hash; they are text, and their
    /// length was checked.
    fn check(&mut self, hash: &str, resumed: bool, file: &mut File, partial: &Path) -> Result<(), Failure> {
        let found = hex(self.hasher.clone().finalize());
        if !is_sha256(hash) || hash.eq_ignore_ascii_case(&found) {
            return Ok(());
        }
        self.start_over(file, partial)?;
        if resumed && !self.has_restarted {
            self.has_restarted = true;
            return Err(Failure::Passing("its start was broken".to_owned()));
        }
        let what = format!("has the wrong hash (sha256 {found} instead of {hash}); it was thrown away");
        Err(self.wrong(what).into())
    }

    fn wrong(&self, what: String) -> Error {
        Error::model(&self.place, what)
    }

    fn not_written(&self, partial: &Path, error: io::Error) -> Error {
        if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            return Error::io(partial, "writing", error);
        }
        let size = self.size.unwrap_or_default();
        self.wrong(format!(
            "the disk of {} is full, with {} of {size} bytes there; they are kept: make room, or set HF_HOME to a \
             folder elsewhere, and run the command again",
            partial.display(),
            self.got
        ))
    }
}

impl Tally<'_> {
    fn told(&mut self, file: &str, bytes: u64) {
        self.progress.downloaded(file, self.done.saturating_add(bytes), self.total);
    }
}

/// `5` of `bytes 5-9/10`.
fn range_start(answer: &Answer) -> Option<u64> {
    answer.last("content-range")?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
