//! Models by their hub name, `org/name`, through the cache that all tools share.
//!
//! Only the files that [`Source`](super::Source) reads are fetched; weights as a Python pickle never are. What is in
//! the cache is used without asking the network, whichever tool put it there. Names, sizes and hashes that a server
//! tells are checked before they are believed.
//!
//! Of the `hf-hub` crate this uses the cache's layout, the URLs and the HTTP client, but not its downloads: those
//! check neither hashes nor whether the server heeded the requested range, ask a broken connection to go on at byte
//! 0 of a file it then appends to, and never give up on a server that falls silent.
//!
//! A browser has no such cache: there `web::hub` shares the names, the choice of files and the checks.

#[cfg(not(target_family = "wasm"))]
mod cache;
#[cfg(not(target_family = "wasm"))]
mod client;
#[cfg(not(target_family = "wasm"))]
mod download;
#[cfg(not(target_family = "wasm"))]
mod fetch;
mod listing;
mod name;
#[cfg(not(target_family = "wasm"))]
mod settings;

#[cfg(test)]
mod tests;

#[cfg(target_family = "wasm")]
pub(crate) use listing::{Listing, RemoteFile, is_index, is_sha256, shard_names};
pub use name::HubName;
#[cfg(not(target_family = "wasm"))]
pub use settings::Hub;

use std::time::Duration;

/// Told how a fetch goes. Nothing is told of files that are in the cache already.
pub trait Progress {
    /// `done` of the `total` bytes known of so far are there; `file` is being fetched. `done` falls where a server
    /// makes a file start over, `total` grows once the number of weight files is known.
    fn downloaded(&mut self, file: &str, done: u64, total: u64);
    /// The connection broke because of `why`; the next try comes after `pause`.
    fn waiting(&mut self, why: &str, pause: Duration);
}
