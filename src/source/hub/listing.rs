//! What a repository holds, and which of it we want.

use super::HubName;
use super::name::{is_gguf, is_safe_name};
use crate::error::{Error, Result};
use crate::source::folder::{
    CHAT_TEMPLATE, CONFIG, GENERATION_CONFIG, MAX_TEXT, SPECIAL_TOKENS, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS,
    WEIGHTS_INDEX,
};
use crate::weights::quoted;
use crate::weights::safetensors::parse_index;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Files that not every model has.
pub const OPTIONAL: [&str; 4] = [TOKENIZER_CONFIG, GENERATION_CONFIG, SPECIAL_TOKENS, CHAT_TEMPLATE];

/// The files of one commit, as the hub lists them.
#[derive(Debug, Deserialize)]
pub struct Listing {
    /// Safe as the name of a file.
    #[serde(rename = "sha")]
    pub commit: String,
    #[serde(default, rename = "siblings")]
    files: Vec<ListedFile>,
}

/// Mirrors may leave out everything but the name.
#[derive(Debug, Deserialize)]
struct ListedFile {
    #[serde(rename = "rfilename")]
    name: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Debug, Deserialize)]
struct LargeFile {
    sha256: Option<String>,
}

/// A file to fetch, and what the listing says of it.
#[derive(Debug, Clone)]
pub struct RemoteFile {
    pub name: String,
    pub size: Option<u64>,
    /// What its contents are called in the cache: their SHA-256, or git's hash of them.
    pub hash: Option<String>,
    /// The largest size that makes sense.
    pub limit: u64,
}

impl Listing {
    /// Reads the hub's answer.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let listing: Self = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if is_safe_name(&listing.commit) { Ok(listing) } else { Err(format!("commit {}", quoted(&listing.commit))) }
    }

    /// The text files of a model, and its weights if they are one file; else an index is among the texts.
    pub fn model(&self, name: &HubName) -> Result<(Vec<RemoteFile>, Vec<RemoteFile>)> {
        let text = |name: &str| self.file(name, MAX_TEXT);
        let Some(config) = text(CONFIG) else {
            return Err(self.unusable(name, CONFIG, "it is not a model that transformers can read"));
        };
        let (weights, index) = (self.file(WEIGHTS, u64::MAX), text(WEIGHTS_INDEX));
        if weights.is_none() && index.is_none() {
            return Err(self.unusable(name, WEIGHTS, "its weights are in no format that is read here"));
        }
        let Some(tokenizer) = text(TOKENIZER) else {
            let hint = "older repositories hold only a tokenizer.model or vocab.json";
            return Err(self.unusable(name, TOKENIZER, hint));
        };
        let mut texts = vec![config, tokenizer];
        texts.extend(OPTIONAL.iter().filter_map(|name| text(name)));
        texts.extend(index.filter(|_| weights.is_none()));
        Ok((texts, weights.into_iter().collect()))
    }

    /// The optional files of a model that are not there.
    #[cfg(not(target_family = "wasm"))]
    pub fn absent(&self) -> impl Iterator<Item = &'static str> {
        OPTIONAL.into_iter().filter(|name| self.listed(name).is_none())
    }

    /// One of several weight files, which the index names.
    pub fn shard(&self, name: &HubName, shard: &str) -> Result<RemoteFile> {
        self.file(shard, u64::MAX).ok_or_else(|| {
            let what = format!("{WEIGHTS_INDEX} names {}, which the repository does not have", quoted(shard));
            Error::model(name.to_string(), what)
        })
    }

    /// A GGUF file.
    pub fn gguf(&self, name: &HubName, file: &str) -> Result<RemoteFile> {
        self.file(file, u64::MAX).ok_or_else(|| {
            let there = match self.gguf_files().as_slice() {
                [] => "nor any other GGUF file".to_owned(),
                files => format!("its GGUF files are {}", shown(files)),
            };
            Error::model(&name.repo, format!("has no file {} at revision {:?}; {there}", quoted(file), name.revision))
        })
    }

    fn listed(&self, name: &str) -> Option<&ListedFile> {
        self.files.iter().find(|file| file.name == name)
    }

    fn file(&self, name: &str, limit: u64) -> Option<RemoteFile> {
        let file = self.listed(name)?;
        let sha256 = file.lfs.as_ref().and_then(|lfs| lfs.sha256.as_ref());
        let hash = sha256.or(file.blob.as_ref()).filter(|hash| is_safe_name(hash)).cloned();
        Some(RemoteFile { name: name.to_owned(), size: file.size, hash, limit })
    }

    fn gguf_files(&self) -> Vec<&str> {
        self.files.iter().map(|file| &*file.name).filter(|name| is_gguf(name)).collect()
    }

    /// The error for a repository without the file `missing`: what can be done, or else why not.
    fn unusable(&self, name: &HubName, missing: &str, otherwise: &str) -> Error {
        let pickles = [".bin", ".pt", ".pth", ".ckpt"];
        let pickles: Vec<&str> = self
            .files
            .iter()
            .map(|file| &*file.name)
            .filter(|name| pickles.iter().any(|ending| name.ends_with(ending)))
            .collect();
        let gguf = self.gguf_files();
        let why = if !gguf.is_empty() {
            format!("but GGUF files; give one of them as {name}/FILE: {}", shown(&gguf))
        } else if missing == WEIGHTS && !pickles.is_empty() {
            format!(
                "but {}, which may hold weights as a Python pickle; that can run any code and is never read, so look \
                 for a repository with safetensors",
                shown(&pickles)
            )
        } else if self.files.is_empty() {
            "it is empty".to_owned()
        } else {
            let names: Vec<&str> = self.files.iter().map(|file| &*file.name).collect();
            format!("{otherwise}; it has {}", shown(&names))
        };
        let conjunction = if why.starts_with("but") { "" } else { ";" };
        Error::model(name.to_string(), format!("the repository has no {missing}{conjunction} {why}"))
    }
}

/// The weight files that an index names.
pub fn shard_names(index: &[u8], place: &str) -> Result<BTreeSet<String>> {
    let shards: BTreeSet<String> = parse_index(index, place)?.into_values().collect();
    match shards.iter().find(|shard| !is_safe_name(shard) || !shard.ends_with(".safetensors")) {
        Some(bad) => Err(Error::model(place, format!("names the weight file {}, which cannot be one", quoted(bad)))),
        None if shards.is_empty() => Err(Error::model(place, "names no weight files")),
        None => Ok(shards),
    }
}

/// Whether `file` is the index of a model's weight files.
#[cfg(target_family = "wasm")]
pub fn is_index(file: &str) -> bool {
    file == WEIGHTS_INDEX
}

/// Whether what contents are called is their SHA-256, not git's hash of them.
pub fn is_sha256(hash: &str) -> bool {
    hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// The first names of a list.
fn shown(names: &[&str]) -> String {
    const MOST: usize = 8;
    let mut shown: Vec<String> = names.iter().take(MOST).map(|name| quoted(name)).collect();
    if names.len() > MOST {
        shown.push(format!("{} more", names.len() - MOST));
    }
    shown.join(", ")
}
