//! Models by their hub name, `org/name`, through the cache that all tools share.
//!
//! Only the files that [`Source`](super::Source) reads are fetched; weights as a Python pickle never are. What is in
//! the cache is used without asking the network, whichever tool put it there. Names, sizes and hashes that a server
//! tells are checked before they are believed.
//!
//! Of the `hf-hub` crate this uses the cache's layout, the URLs and the HTTP client, but not its downloads: those
//! check neither hashes nor whether the server heeded the requested range, ask a broken connection to go on at byte
//! 0 of a file it then appends to, and never give up on a server that falls silent.

mod cache;
mod client;
mod download;
mod listing;
mod name;
mod settings;

#[cfg(test)]
mod tests;

pub use name::HubName;
pub use settings::Hub;

use crate::error::{Error, Result};
use cache::RepoCache;
use client::Client;
use download::{Download, Tally};
use listing::{Listing, RemoteFile};
use std::path::PathBuf;
use std::time::Duration;

/// Told how a fetch goes. Nothing is told of files that are in the cache already.
pub trait Progress {
    /// `done` of the `total` bytes known of so far are there; `file` is being fetched. `done` falls where a server
    /// makes a file start over, `total` grows once the number of weight files is known.
    fn downloaded(&mut self, file: &str, done: u64, total: u64);
    /// The connection broke because of `why`; the next try comes after `pause`.
    fn waiting(&mut self, why: &str, pause: Duration);
}

impl Hub {
    /// The folder (or the GGUF file) of `name` in the cache, fetched if need be: what
    /// [`Source::open`](super::Source::open) takes. A download that broke off goes on where it stood.
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
