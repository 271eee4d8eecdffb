//! Models by their hub name, fetched once and kept in this browser; and those that the user wants kept.
//!
//! Names, the choice of files and their checks are those of [`crate::source::hub`]. A download goes straight to its
//! place in the storage, piece by piece, and goes on where it stood: after a broken connection, and after a reload.

mod cancel;
mod client;
mod download;
pub mod store;

pub use crate::source::hub::Progress;
pub use cancel::Cancel;

use crate::error::{Error, Result};
use crate::source::hub::{HubName, Listing, RemoteFile, is_index, shard_names};
use crate::weights::{Storage, quoted};
use client::Client;
use download::{Download, Tally};
use std::time::Duration;
use store::Model;

/// The hub, and how to reach it.
#[derive(Debug, Clone)]
pub struct Hub {
    /// URL of the hub.
    pub endpoint: String,
    /// Pause after the first failure; each further one doubles it.
    pub first_pause: Duration,
    /// How long a server may be silent.
    pub silence: Duration,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            endpoint: "https://huggingface.co".to_owned(),
            first_pause: Duration::from_secs(1),
            silence: Duration::from_secs(30),
        }
    }
}

/// The name by which the store knows `name` (`org/name`, or `org/name/file.gguf`) at `revision` (`main` if empty).
///
/// # Errors
/// If it is no such name, or no revision.
pub fn stored_name(name: &str, revision: &str) -> Result<String> {
    parse(name, revision).map(|name| key(&name))
}

impl Hub {
    /// The files of a model, from this browser's storage if they are there, else fetched: what
    /// [`Source::from_files`](crate::source::Source::from_files) takes. `name` and `revision` are as in
    /// [`stored_name`]. A download that broke off goes on where it stood.
    ///
    /// # Errors
    /// If there is no such repository, revision or file, it may not be read, it holds no model that this program
    /// reads, the network or the server fails, a file's hash is wrong, or the storage is full. What is there is kept,
    /// also if `cancel` ends it with [`Error::Interrupted`].
    pub async fn open(
        &self,
        name: &str,
        revision: &str,
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<Vec<(String, Storage)>> {
        let name = parse(name, revision)?;
        let mut model = Model::create(&key(&name)).await?;
        if model.is_kept() {
            let what = "files of yours are kept under this name; delete them first, or open them as they are";
            return Err(Error::model(name.to_string(), what));
        }
        if !model.is_complete() {
            let client = Client::new(self, &name, cancel);
            // What is there is of one commit, and so must the rest be.
            let revision = model.commit().unwrap_or(&name.revision).to_owned();
            let listing = client.listing(&revision, progress).await?;
            model.begin(&listing.commit).await?;
            let tally = Tally::new(progress);
            Fetch { name: &name, client, listing, model: &mut model, tally }.run().await?;
            model.finish().await?;
        }
        model.files().await
    }

    /// The files of a stored model, as [`store::list`] names it. One from the hub that is not whole is fetched
    /// to its end.
    ///
    /// # Errors
    /// As [`open`](Self::open); or if it is not there, or the user's files were not all copied.
    pub async fn open_stored(
        &self,
        name: &str,
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<Vec<(String, Storage)>> {
        let model = store::find(name).await?;
        if model.is_complete() {
            return model.files().await;
        }
        if model.is_kept() {
            let what = "only a part of it is there, as keeping it was cut off; choose its files again";
            return Err(Error::model(format!("stored model {}", quoted(name)), what));
        }
        let (name, revision) = name.split_once('@').unwrap_or((name, ""));
        self.open(name, revision, progress, cancel).await
    }
}

fn parse(name: &str, revision: &str) -> Result<HubName> {
    let revision = Some(revision.trim()).filter(|revision| !revision.is_empty());
    let bad_revision = |_| {
        let revision = revision.unwrap_or_default();
        Error::Usage(format!("{revision:?} is not a branch, a tag or a commit of a model on the hub"))
    };
    HubName::parse(name.trim(), revision).map_err(bad_revision)?.ok_or_else(|| {
        let what = "is no name of a model on the hub; it is org/name, or org/name/file.gguf for a GGUF file";
        Error::Usage(format!("{:?} {what}", name.trim()))
    })
}

/// No hub name has an `@`.
fn key(name: &HubName) -> String {
    if name.revision == "main" { name.to_string() } else { format!("{name}@{}", name.revision) }
}

/// One revision of a repository on its way into the store.
struct Fetch<'a> {
    name: &'a HubName,
    client: Client<'a>,
    listing: Listing,
    model: &'a mut Model,
    tally: Tally<'a>,
}

impl Fetch<'_> {
    async fn run(&mut self) -> Result<()> {
        if let Some(file) = &self.name.file {
            let file = self.listing.gguf(self.name, file)?;
            self.tally.plan(std::slice::from_ref(&file));
            return self.fetch(&[file]).await;
        }
        let (texts, weights) = self.listing.model(self.name)?;
        self.tally.plan(&texts);
        self.tally.plan(&weights);
        self.fetch(&texts).await?;
        self.fetch(&weights).await?;
        match texts.iter().find(|file| is_index(&file.name)) {
            Some(index) => self.shards(index).await,
            None => Ok(()),
        }
    }

    /// The weights where an index says which files they are.
    async fn shards(&mut self, index: &RemoteFile) -> Result<()> {
        let place = format!("{}/{}", self.name, index.name);
        let json = self.model.read(&index.name, index.limit).await?;
        let shards = shard_names(&json, &place)?;
        let shards: Vec<_> = shards.iter().map(|shard| self.listing.shard(self.name, shard)).collect::<Result<_>>()?;
        self.tally.plan(&shards);
        self.fetch(&shards).await
    }

    async fn fetch(&mut self, files: &[RemoteFile]) -> Result<()> {
        for file in files {
            let size = match self.model.size(&file.name) {
                Some(size) => size,
                None => {
                    let (commit, tally) = (&self.listing.commit, &mut self.tally);
                    let download = Download::new(&self.client, commit, file, self.model, tally).await?;
                    let size = download.run(&mut self.tally).await?;
                    self.model.add(&file.name, size, file.hash.as_deref()).await?;
                    size
                }
            };
            self.tally.finished(size);
        }
        Ok(())
    }
}
