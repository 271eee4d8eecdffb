//! The models in this browser's storage:
//!
//! ```text
//! models/org%2Fname/
//!   ~manifest.json       what it is, and which files are whole and checked
//!   model.safetensors    a file; on its way as long as the manifest does not name it
//! ```

use super::Cancel;
use crate::error::{Error, Result};
use crate::source::hub::Progress;
use crate::web::files::{Folder, OpenFile, Usage};
use crate::web::protocol::StoredModel;
use crate::weights::{Storage, quoted};
use js_sys::Uint8Array;
use serde::{Deserialize, Serialize};
use web_sys::File;

const MODELS: &str = "models";
/// No file of a model is stored under this name: a `~` would be encoded.
const MANIFEST: &str = "~manifest.json";
/// A model of a thousand files has about 200 kB.
const MAX_MANIFEST: u64 = 16 << 20;
/// How much of a user's file is copied at a time.
const PIECE: u64 = 8 << 20;
/// The longest name; encoded it must still be one of a folder.
const MAX_NAME: usize = 200;

/// What a model's folder holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest {
    name: String,
    /// The hub's commit that the files are of.
    commit: Option<String>,
    /// Whether they are the user's own.
    is_kept: bool,
    /// Whether no file is missing.
    is_complete: bool,
    /// The files that are whole.
    files: Vec<StoredFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredFile {
    name: String,
    size: u64,
    /// As the hub has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    /// When the user's own file was changed last, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<f64>,
}

/// One model's folder.
#[derive(Debug)]
pub(super) struct Model {
    folder: Folder,
    manifest: Manifest,
}

/// The models that are there, whole or in part, by name.
///
/// # Errors
/// If the browser gives this page no storage.
pub async fn list() -> Result<Vec<StoredModel>> {
    let models = models().await?;
    let mut found = Vec::new();
    for entry in models.list().await? {
        let Some(folder) = models.find(&entry.name).await? else { continue };
        let Some(model) = Model::read_from(folder).await? else { continue };
        let bytes = model.folder.list().await?.iter().filter_map(|entry| entry.size).sum();
        found.push(StoredModel { name: model.manifest.name, bytes, is_complete: model.manifest.is_complete });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The model `name`, whole or in part.
pub(super) async fn find(name: &str) -> Result<Model> {
    let missing = || {
        let what = "is not there any more; fetch it or choose its files again";
        Error::model(format!("stored model {}", quoted(name)), what)
    };
    let folder = models().await?.find(&folder_name(name)).await?.ok_or_else(missing)?;
    Model::read_from(folder).await?.ok_or_else(missing)
}

/// Removes the model `name`; that there is none is no error.
///
/// # Errors
/// If another tab is writing it, or the browser refuses.
pub async fn remove(name: &str) -> Result<()> {
    models().await?.remove(&folder_name(name)).await
}

/// Copies files that the user chose into the store, in the place of others that were kept under this `name`; those that
/// are there already stay.
///
/// # Errors
/// If a model of the hub has this name, the storage is full, or `cancel` ends it; nothing is kept then.
pub async fn keep(name: &str, files: &[(String, File)], progress: &mut dyn Progress, cancel: &Cancel) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Error::Usage(format!("a stored model's name has 1 to {MAX_NAME} letters, not {}", name.len())));
    }
    let mut model = Model::create(name).await?;
    if model.commit().is_some() {
        let what = "a model from the hub is stored under this name; give another, or delete that one first";
        return Err(Error::model(format!("stored model {}", quoted(name)), what));
    }
    if model.is_complete() && model.holds(files) {
        return Ok(());
    }
    remove(name).await?;
    model = Model::create(name).await?;
    let kept = model.copy(files, progress, cancel).await;
    if kept.is_err() {
        drop(model);
        // Half a copy is of no use to anyone; that it cannot be removed is no second error.
        let _ = remove(name).await;
    }
    kept
}

/// How much this site stores, and may.
///
/// # Errors
/// If the browser gives this page no storage.
pub async fn usage() -> Result<Usage> {
    crate::web::files::usage().await
}

impl Model {
    /// The model `name`, which is begun if it is not there.
    pub async fn create(name: &str) -> Result<Self> {
        let folder = models().await?.create(&folder_name(name)).await?;
        let begun = Manifest { name: name.to_owned(), ..Manifest::default() };
        Ok(match Self::read_from(folder.clone()).await? {
            Some(model) => model,
            None => Self { folder, manifest: begun },
        })
    }

    /// What is in a folder; `None` where there is no manifest that can be read. Files that are not as it says, as if
    /// the browser lost them, do not count.
    async fn read_from(folder: Folder) -> Result<Option<Self>> {
        let Some(json) = folder.read(MANIFEST, MAX_MANIFEST).await? else { return Ok(None) };
        let Ok(mut manifest) = serde_json::from_slice::<Manifest>(&json) else { return Ok(None) };
        let there = folder.list().await?;
        let count = manifest.files.len();
        manifest.files.retain(|file| {
            let name = folder_name(&file.name);
            there.iter().any(|entry| entry.name == name && entry.size == Some(file.size))
        });
        manifest.is_complete &= manifest.files.len() == count;
        Ok(Some(Self { folder, manifest }))
    }

    pub fn is_complete(&self) -> bool {
        self.manifest.is_complete
    }

    pub fn is_kept(&self) -> bool {
        self.manifest.is_kept
    }

    pub fn commit(&self) -> Option<&str> {
        self.manifest.commit.as_deref()
    }

    /// Size of a file that is whole.
    pub fn size(&self, file: &str) -> Option<u64> {
        self.manifest.files.iter().find(|stored| stored.name == file).map(|stored| stored.size)
    }

    /// Notes which commit the files will be of; those of another do not count.
    pub async fn begin(&mut self, commit: &str) -> Result<()> {
        if self.commit() != Some(commit) {
            self.manifest.files.clear();
        }
        self.manifest.commit = Some(commit.to_owned());
        self.save().await
    }

    /// Notes that a file is whole.
    pub async fn add(&mut self, file: &str, size: u64, hash: Option<&str>) -> Result<()> {
        let (name, hash) = (file.to_owned(), hash.map(str::to_owned));
        self.manifest.files.push(StoredFile { name, size, hash, modified: None });
        self.save().await
    }

    /// Notes that no file is missing.
    pub async fn finish(&mut self) -> Result<()> {
        self.manifest.is_complete = true;
        self.save().await
    }

    /// A file for writing.
    pub async fn open(&self, file: &str) -> Result<OpenFile> {
        self.folder.open(&folder_name(file)).await
    }

    /// A file, or as much of it as there is.
    pub async fn storage(&self, file: &str) -> Result<Option<Storage>> {
        self.folder.storage(&folder_name(file)).await
    }

    /// All bytes of a file that is there.
    pub async fn read(&self, file: &str, max: u64) -> Result<Vec<u8>> {
        let name = folder_name(file);
        let missing = || Error::model(self.folder.path(&name), "was removed meanwhile; open the model again");
        self.folder.read(&name, max).await?.ok_or_else(missing)
    }

    /// All files by name.
    pub async fn files(&self) -> Result<Vec<(String, Storage)>> {
        let mut files = Vec::new();
        for StoredFile { name, .. } in &self.manifest.files {
            let place = format!("{}/{name}", self.manifest.name);
            let missing = || Error::model(&place, "was removed meanwhile; open the model again");
            let blob = self.folder.file(&folder_name(name)).await?.ok_or_else(missing)?;
            files.push((name.clone(), Storage::from_blob(place, blob.into())));
        }
        Ok(files)
    }

    /// Whether these very files are there.
    fn holds(&self, files: &[(String, File)]) -> bool {
        let stored = &self.manifest.files;
        let is_there = |(name, file): &(String, File)| {
            let same = |stored: &&StoredFile| stored.name == *name && stored.size == file.size() as u64;
            stored.iter().find(same).is_some_and(|stored| stored.modified == Some(file.last_modified()))
        };
        stored.len() == files.len() && files.iter().all(is_there)
    }

    async fn copy(&mut self, files: &[(String, File)], progress: &mut dyn Progress, cancel: &Cancel) -> Result<()> {
        self.manifest.is_kept = true;
        self.save().await?;
        let total = files.iter().map(|(_, file)| file.size() as u64).sum();
        let mut done = 0;
        for (name, file) in files {
            let from = Storage::from_blob(name, file.clone().into());
            let to = self.open(name).await?;
            for start in (0..from.len()).step_by(PIECE as usize) {
                cancel.check()?;
                let piece = from.read(start..from.len().min(start + PIECE)).await?;
                to.write(start, &Uint8Array::from(&*piece)).await?;
                progress.downloaded(name, done + start + piece.len() as u64, total);
            }
            to.flush().await?;
            drop(to);
            done += from.len();
            let modified = Some(file.last_modified());
            self.manifest.files.push(StoredFile { name: name.clone(), size: from.len(), hash: None, modified });
        }
        self.finish().await
    }

    async fn save(&self) -> Result<()> {
        let json = serde_json::to_vec_pretty(&self.manifest).expect("JSON of plain values");
        self.folder.write(MANIFEST, &json).await
    }
}

async fn models() -> Result<Folder> {
    Folder::root().await?.create(MODELS).await
}

/// `name` as the name of a folder or file, on any file system and never the same for two.
fn folder_name(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let last = name.len().saturating_sub(1);
    let encoded = |(at, byte): (usize, u8)| match byte {
        b'.' if at == 0 || at == last => "%2E".to_owned(),
        byte if is_plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    name.bytes().enumerate().map(encoded).collect()
}
