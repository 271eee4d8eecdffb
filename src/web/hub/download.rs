//! One file on its way into the store: goes on where it stood, and is checked before it counts.

use super::client::{Answer, Client, Failure, TRIES};
use super::store::Model;
use crate::error::{Error, Result};
use crate::hash::hex;
use crate::source::hub::{Progress, RemoteFile, is_sha256};
use crate::web::files::OpenFile;
use sha2::{Digest, Sha256};

/// A try that brings so many bytes that were never there starts the count of failures anew.
const WORTH_IT: u64 = 1 << 20;
/// How much of what an earlier visit left is hashed at a time.
const PIECE: u64 = 8 << 20;
/// Milliseconds between two words of progress.
const QUIET: f64 = 100.0;

/// All files of a model together.
pub struct Tally<'a> {
    pub progress: &'a mut dyn Progress,
    /// Bytes of the files that are there.
    done: u64,
    /// Bytes of all files known of so far.
    total: u64,
    /// When something was last told.
    told: f64,
}

/// One file of a commit.
pub struct Download<'a> {
    client: &'a Client<'a>,
    file: &'a RemoteFile,
    url: String,
    /// For errors: the model and the file.
    place: String,
    partial: OpenFile,
    /// Bytes that are there, and their hash.
    got: u64,
    hasher: Sha256,
    /// What the server calls the contents that are being fetched.
    etag: Option<String>,
    /// Whether bytes of an earlier visit are among them.
    is_resumed: bool,
}

impl<'a> Download<'a> {
    /// Looks at what an earlier visit left of the file, and opens it.
    pub async fn new(
        client: &'a Client<'a>,
        commit: &str,
        file: &'a RemoteFile,
        model: &Model,
        tally: &mut Tally<'_>,
    ) -> Result<Self> {
        let (got, hasher) = match sha256_of(file) {
            Some(_) => hash_partial(client, file, model, tally).await?,
            // Nothing would tell whether it is what was written.
            None => (0, Sha256::new()),
        };
        let partial = model.open(&file.name).await?;
        partial.truncate(got)?;
        Ok(Self {
            client,
            file,
            url: client.url(commit, &file.name),
            place: format!("{}/{}", client.repo(), file.name),
            partial,
            got,
            hasher,
            etag: None,
            is_resumed: got > 0,
        })
    }

    /// Fetches what is missing, and returns the file's size.
    pub async fn run(mut self, tally: &mut Tally<'_>) -> Result<u64> {
        let (mut failures, mut most) = (0, self.got);
        loop {
            let why = match self.attempt(tally).await {
                Ok(()) => break,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(why)) => why,
            };
            let was_worth_it = self.got.saturating_sub(most) >= WORTH_IT;
            failures = if was_worth_it { 1 } else { failures + 1 };
            most = most.max(self.got);
            if failures == TRIES {
                let (got, size) = (self.got, self.file.size.map_or("?".to_owned(), |size| size.to_string()));
                return Err(self.wrong(format!(
                    "the download failed {TRIES} times in a row ({why}); {got} of {size} bytes are there and kept: \
                     open the model again to go on"
                )));
            }
            self.client.pause(failures, &why, tally.progress).await?;
        }
        self.partial.flush().await?;
        Ok(self.got)
    }

    async fn attempt(&mut self, tally: &mut Tally<'_>) -> Result<(), Failure> {
        if self.file.size != Some(self.got) || self.got == 0 {
            self.receive(tally).await?;
        }
        self.check()
    }

    async fn receive(&mut self, tally: &mut Tally<'_>) -> Result<(), Failure> {
        let mut answer = self.client.get(&self.url, self.got).await?;
        match answer.status() {
            200 => self.start_over()?, // it sends everything, whatever was asked for
            206 if self.goes_on(&answer) => {}
            206 | 416 => {
                self.start_over()?;
                return Err(Failure::Passing("the server sends other bytes than were asked for".to_owned()));
            }
            _ => return Err(self.client.refusal(&answer, Some(&self.file.name))),
        }
        self.etag = answer.header("etag");
        let most = self.file.size.unwrap_or(self.file.limit);
        let mut piece = Vec::new();
        tally.told(&self.file.name, self.got, true);
        while let Some(received) = answer.next().await? {
            let length = u64::from(received.length());
            if length > most - self.got {
                self.start_over()?;
                return Err(self
                    .wrong(format!("the server sends more than {most} bytes; they were thrown away"))
                    .into());
            }
            self.partial.write(self.got, &received).await?;
            piece.resize(received.length() as usize, 0);
            received.copy_to(&mut piece);
            self.hasher.update(&piece);
            self.got += length;
            tally.told(&self.file.name, self.got, false);
        }
        tally.told(&self.file.name, self.got, true);
        match self.file.size {
            Some(size) if size != self.got => Err(Failure::Passing("the server closed the connection".to_owned())),
            _ => Ok(()),
        }
    }

    /// Whether an answer continues what is there, as far as the server lets us see.
    fn goes_on(&self, answer: &Answer) -> bool {
        let range = answer.header("content-range");
        let start = range.as_deref().and_then(range_start);
        let is_same = match (&self.etag, answer.header("etag")) {
            // Of large files the hash decides: their servers may call the same contents by several names.
            (Some(before), Some(now)) if sha256_of(self.file).is_none() => *before == now,
            _ => true,
        };
        is_same && start.is_none_or(|start| start == self.got)
    }

    fn start_over(&mut self) -> Result<()> {
        (self.got, self.hasher, self.etag, self.is_resumed) = (0, Sha256::new(), None, false);
        self.partial.truncate(0)
    }

    /// Large files have a SHA-256 to agree with. Of small ones the hub knows only git's hash; they are text, and their
    /// length was checked.
    fn check(&mut self) -> Result<(), Failure> {
        let Some(hash) = sha256_of(self.file) else { return Ok(()) };
        let found = hex(self.hasher.clone().finalize());
        if hash.eq_ignore_ascii_case(&found) {
            return Ok(());
        }
        let was_resumed = self.is_resumed;
        self.start_over()?;
        if was_resumed {
            return Err(Failure::Passing("its start was broken".to_owned()));
        }
        let what = format!("has the wrong hash (sha256 {found} instead of {hash}); it was thrown away");
        Err(self.wrong(what).into())
    }

    fn wrong(&self, what: String) -> Error {
        Error::model(&self.place, what)
    }
}

fn sha256_of(file: &RemoteFile) -> Option<&str> {
    file.hash.as_deref().filter(|hash| is_sha256(hash))
}

/// How much an earlier visit left of a file, and the hash of that.
async fn hash_partial(
    client: &Client<'_>,
    file: &RemoteFile,
    model: &Model,
    tally: &mut Tally<'_>,
) -> Result<(u64, Sha256)> {
    let mut hasher = Sha256::new();
    let Some(partial) = model.storage(&file.name).await? else { return Ok((0, hasher)) };
    let length = partial.len();
    if file.size.is_some_and(|size| length > size) {
        return Ok((0, hasher));
    }
    for start in (0..length).step_by(PIECE as usize) {
        client.cancel().check()?;
        hasher.update(partial.read(start..length.min(start + PIECE)).await?);
        tally.told(&file.name, start, false);
    }
    Ok((length, hasher))
}

impl<'a> Tally<'a> {
    pub fn new(progress: &'a mut dyn Progress) -> Self {
        Self { progress, done: 0, total: 0, told: 0.0 }
    }

    /// These files will be fetched, or are there.
    pub fn plan(&mut self, files: &[RemoteFile]) {
        self.total = files.iter().filter_map(|file| file.size).fold(self.total, u64::saturating_add);
    }

    /// A file is there.
    pub fn finished(&mut self, size: u64) {
        self.done = self.done.saturating_add(size);
    }

    /// So much of a file is there; not every word of it is passed on, unless it `matters`.
    fn told(&mut self, file: &str, bytes: u64, matters: bool) {
        let now = js_sys::Date::now();
        if matters || now - self.told >= QUIET {
            self.told = now;
            self.progress.downloaded(file, self.done.saturating_add(bytes), self.total);
        }
    }
}

/// `5` of `bytes 5-9/10`.
fn range_start(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
