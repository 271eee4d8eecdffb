//! A model on its way into the cache, file by file.

use super::cache::RepoCache;
use super::client::Client;
use super::download::{Download, Tally};
use super::listing::{Listing, RemoteFile};
use super::{Hub, HubName, Progress};
use crate::error::{Error, Result};
use std::path::PathBuf;

impl Hub {
    /// The folder (or the GGUF file) of `name` in the cache, fetched if need be: what
    /// [`Source::open`](crate::source::Source::open) takes. A download that broke off goes on where it stood.
    ///
    /// # Errors
    /// If there is no such repository, revision or file, it may not be read, it holds no model that this program
    /// reads, the network or the server fails, a file's hash is wrong, or the cache cannot be written.
    pub fn fetch(&self, name: &HubName, progress: &mut dyn Progress) -> Result<PathBuf> {
        let cache = RepoCache::new(&self.cache, name);
        let found = cache.find(name);
        match found {
            Some(found) if found.complete || self.offline => return Ok(found.path),
            None if self.offline => {
                let what = format!(
                    "not in the cache ({}) at revision {:?}, and HF_HUB_OFFLINE forbids to fetch it",
                    self.cache.display(),
                    name.revision
                );
                return Err(Error::model(name.to_string(), what));
            }
            _ => {}
        }
        let client = Client::new(self, name)?;
        match (client.listing(progress), found) {
            (Ok(listing), _) => {
                let tally = Tally { progress, done: 0, total: 0 };
                Fetch { name, client, cache, listing, tally }.run()
            }
            // Without the network we cannot know whether an optional file is missing here; most likely none is.
            (Err(_), Some(found)) => Ok(found.path),
            (Err(error), None) => Err(error),
        }
    }
}

/// One revision of a repository on its way into the cache.
struct Fetch<'a> {
    name: &'a HubName,
    client: Client,
    cache: RepoCache,
    listing: Listing,
    tally: Tally<'a>,
}

impl Fetch<'_> {
    fn run(mut self) -> Result<PathBuf> {
        let path = match &self.name.file {
            Some(file) => {
                let files = [self.listing.gguf(self.name, file)?];
                let path = self.cache.pointer(&self.listing.commit, file);
                self.plan(&files);
                self.fetch(&files)?;
                path
            }
            None => self.model()?,
        };
        self.cache.keep_revision(&self.listing.commit)?;
        Ok(path)
    }

    /// The weights come last, so that a folder with weights is a folder with everything.
    fn model(&mut self) -> Result<PathBuf> {
        let (texts, weights) = self.listing.model(self.name)?;
        self.plan(&texts);
        self.plan(&weights);
        for file in self.listing.absent() {
            self.cache.keep_absence(&self.listing.commit, file)?;
        }
        self.fetch(&texts)?;
        self.fetch(&weights)?;
        if weights.is_empty() {
            let shards = self.cache.shards(&self.listing.commit)?;
            let shards: Vec<_> =
                shards.iter().map(|shard| self.listing.shard(self.name, shard)).collect::<Result<_>>()?;
            self.plan(&shards);
            self.fetch(&shards)?;
        }
        Ok(self.cache.snapshot(&self.listing.commit))
    }

    fn plan(&mut self, files: &[RemoteFile]) {
        let total = &mut self.tally.total;
        *total = files.iter().filter_map(|file| file.size).fold(*total, u64::saturating_add);
    }

    fn fetch(&mut self, files: &[RemoteFile]) -> Result<()> {
        for file in files {
            let commit = &self.listing.commit;
            let length = match self.cache.length(commit, &file.name) {
                Some(length) => length,
                None => Download::new(&self.client, &self.cache, commit, file).run(&mut self.tally)?,
            };
            self.tally.done = self.tally.done.saturating_add(length);
        }
        Ok(())
    }
}
