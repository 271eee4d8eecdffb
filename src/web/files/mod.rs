//! The browser's file system for this page alone (the origin-private file system), as a worker sees it.
//!
//! A [`Folder`] writes a small file so that it is there whole or not at all: the browser writes beside it and swaps.
//! A large one is written in place through an [`OpenFile`], which only workers have: a swap would copy all that is
//! there before it goes on, and lose all that came since where the tab is killed.

mod lock;
mod open;

pub use lock::{Lock, lock};
pub use open::OpenFile;

use crate::error::{Error, Result};
use crate::weights::Storage;
use js_sys::{AsyncIterator, IteratorNext, Promise, Uint8Array};
use std::io::ErrorKind;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions, FileSystemGetFileOptions,
    FileSystemHandle, FileSystemHandleKind, FileSystemRemoveOptions, FileSystemWritableFileStream, StorageEstimate,
    StorageManager, WorkerGlobalScope,
};

/// How the whole of it is called in errors.
const PLACE: &str = "this browser's storage";

/// A folder.
#[derive(Debug, Clone)]
pub struct Folder {
    handle: FileSystemDirectoryHandle,
    path: String,
}

/// What is in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Bytes of a file, `None` for a folder.
    pub size: Option<u64>,
}

/// How much is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all files.
    pub used: u64,
    /// Bytes that the browser allows; 0 if it does not tell. Some name more than there is, lest pages learn how large
    /// the disk is.
    pub quota: u64,
}

impl Folder {
    /// The folder that holds everything.
    ///
    /// # Errors
    /// If the browser gives this page no storage.
    pub async fn root() -> Result<Self> {
        let handle: FileSystemDirectoryHandle = done(storage()?.get_directory(), PLACE, "opening").await?;
        Ok(Self { handle, path: String::new() })
    }

    /// The folder `name` in this one, which is made if it is not there.
    ///
    /// # Errors
    /// Where the browser refuses.
    pub async fn create(&self, name: &str) -> Result<Self> {
        let options = FileSystemGetDirectoryOptions::new();
        options.set_create(true);
        let path = self.path(name);
        let handle = self.handle.get_directory_handle_with_options(name, &options);
        Ok(Self { handle: done(handle, &path, "creating the folder").await?, path })
    }

    /// The folder `name` in this one, if there is one.
    ///
    /// # Errors
    /// Where the browser refuses.
    pub async fn find(&self, name: &str) -> Result<Option<Self>> {
        let path = self.path(name);
        let handle = done(self.handle.get_directory_handle(name), &path, "opening").await;
        Ok(if_there(handle)?.map(|handle| Self { handle, path }))
    }

    /// What is in it, by name.
    ///
    /// # Errors
    /// Where the browser refuses.
    pub async fn list(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let handles: AsyncIterator = self.handle.values();
        loop {
            let next = handles.next().map_err(|e| Error::browser(&self.path, "listing the folder", &e))?;
            let next: IteratorNext = done(next.unchecked_into(), &self.path, "listing the folder").await?;
            if next.done() {
                break;
            }
            let handle: FileSystemHandle = next.value().unchecked_into();
            let name = handle.name();
            match handle.kind() {
                FileSystemHandleKind::File => {
                    // One that was removed in between is not there.
                    let Some(file) = self.file(&name).await? else { continue };
                    entries.push(Entry { name, size: Some(file.size() as u64) });
                }
                _ => entries.push(Entry { name, size: None }),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Removes a file, or a folder with all that is in it; that there is none is no error.
    ///
    /// # Errors
    /// Where the browser refuses, as where another tab has a file open.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let options = FileSystemRemoveOptions::new();
        options.set_recursive(true);
        let removed = self.handle.remove_entry_with_options(name, &options);
        if_there(done::<JsValue>(removed, &self.path(name), "removing").await).map(drop)
    }

    /// A file as it is now, if there is one, for reading by range. Once the file changes it can no longer be read.
    ///
    /// # Errors
    /// Where the browser refuses.
    pub async fn file(&self, name: &str) -> Result<Option<File>> {
        let path = self.path(name);
        let handle = done::<FileSystemFileHandle>(self.handle.get_file_handle(name), &path, "opening").await;
        match if_there(handle)? {
            Some(handle) => if_there(done(handle.get_file(), &path, "opening").await),
            None => Ok(None),
        }
    }

    /// As [`file`](Self::file), ready to be read.
    ///
    /// # Errors
    /// Where the browser refuses.
    pub async fn storage(&self, name: &str) -> Result<Option<Storage>> {
        let file = self.file(name).await?;
        Ok(file.map(|file| Storage::from_blob(self.path(name), file.into())))
    }

    /// All bytes of a file that is not larger than `max`, if there is one.
    ///
    /// # Errors
    /// If it is larger, or the browser refuses.
    pub async fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
        match self.storage(name).await? {
            Some(file) => file.read_all(max).await.map(Some),
            None => Ok(None),
        }
    }

    /// Writes a file, or puts it in the place of another: whenever the tab is killed, the old one is there or the new
    /// one, whole. Where there was none, an empty one may be left.
    ///
    /// # Errors
    /// Where the browser refuses; the file is then as it was.
    pub async fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name);
        let handle = self.file_handle(name).await?;
        let stream: FileSystemWritableFileStream = done(handle.create_writable(), &path, "writing").await?;
        // A copy, since the memory of this program may move before the browser is done.
        let written = match stream.write_with_js_u8_array(&Uint8Array::from(bytes)) {
            Ok(written) => JsFuture::from(written).await,
            Err(thrown) => Err(thrown),
        };
        let closed = match written {
            Ok(_) => JsFuture::from(stream.close()).await.map(drop),
            Err(thrown) => {
                // Leaves the file as it was; that it fails too is no second error.
                let _ = JsFuture::from(stream.abort()).await;
                Err(thrown)
            }
        };
        match closed {
            Ok(()) => Ok(()),
            Err(thrown) => Err(refused(&path, "writing", &thrown).await),
        }
    }

    /// Opens a file for writing in place, made if it is not there. Nobody else can have it open at the same time.
    ///
    /// # Errors
    /// If it is open already, or the browser refuses.
    pub async fn open(&self, name: &str) -> Result<OpenFile> {
        let path = self.path(name);
        let handle = self.file_handle(name).await?;
        let handle = done(handle.create_sync_access_handle(), &path, "opening").await?;
        Ok(OpenFile::new(handle, path))
    }

    async fn file_handle(&self, name: &str) -> Result<FileSystemFileHandle> {
        let options = FileSystemGetFileOptions::new();
        options.set_create(true);
        done(self.handle.get_file_handle_with_options(name, &options), &self.path(name), "creating").await
    }

    /// The path of `name` in this folder, for errors.
    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

/// How much this site stores, and may. The files are counted here: Chromium's own count is off by up to 4 GiB once it
/// was killed while a file was open.
///
/// # Errors
/// If the browser gives this page no storage.
pub async fn usage() -> Result<Usage> {
    let mut used = 0;
    let mut folders = vec![Folder::root().await?];
    while let Some(folder) = folders.pop() {
        for entry in folder.list().await? {
            match entry.size {
                Some(size) => used += size,
                None => folders.extend(folder.find(&entry.name).await?),
            }
        }
    }
    let asked = storage()?.estimate().map_err(|e| Error::browser(PLACE, "asking for its size", &e))?;
    let estimate: StorageEstimate = done(asked, PLACE, "asking for its size").await?;
    let quota = match (estimate.get_quota(), estimate.get_usage()) {
        (Some(quota), Some(counted)) => used + (quota - counted).max(0.0) as u64,
        _ => 0,
    };
    Ok(Usage { used, quota })
}

/// The scope of this worker.
pub(super) fn scope() -> WorkerGlobalScope {
    js_sys::global().unchecked_into()
}

fn storage() -> Result<StorageManager> {
    let storage = scope().navigator().storage();
    if storage.is_undefined() {
        let why = "it is for pages from https:// or from this computer only; open the page there";
        return Err(Error::io(PLACE, "opening", std::io::Error::new(ErrorKind::Unsupported, why)));
    }
    Ok(storage)
}

/// What a promise of the browser comes to.
async fn done<T: JsCast>(promise: Promise, path: &str, doing: &'static str) -> Result<T> {
    match JsFuture::from(promise).await {
        Ok(value) => Ok(value.unchecked_into()),
        Err(thrown) => Err(refused(path, doing, &thrown).await),
    }
}

/// The error for what the browser refused; where the storage is full it says how full.
async fn refused(path: &str, doing: &'static str, thrown: &JsValue) -> Error {
    let error = Error::browser(path, doing, thrown);
    if kind(&error) != Some(ErrorKind::QuotaExceeded) {
        return error;
    }
    let full = match Box::pin(usage()).await {
        Ok(Usage { used, .. }) => {
            format!("{} MB are used, and the browser allows no more", used.div_ceil(1_000_000))
        }
        Err(_) => "the browser allows no more".to_owned(),
    };
    let what = format!("{PLACE} is full: {full}; delete a stored model, or make room on this computer's disk");
    Error::io(path, doing, std::io::Error::new(ErrorKind::QuotaExceeded, what))
}

fn kind(error: &Error) -> Option<ErrorKind> {
    if let Error::Io { source, .. } = error { Some(source.kind()) } else { None }
}

/// `None` where there is nothing of that name.
fn if_there<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(error) if kind(&error) == Some(ErrorKind::NotFound) => Ok(None),
        found => found.map(Some),
    }
}
