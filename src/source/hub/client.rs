//! Requests to the hub. The HTTP client and the URLs are those of `hf-hub`; redirects are followed here, as their
//! headers say what a file is and the token must not go to other servers.

use super::listing::Listing;
use super::{Hub, HubName, Progress};
use crate::error::{Error, Result};
use crate::weights::quoted;
use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::time::Duration;

/// Failures in a row after which we give up.
pub const TRIES: u32 = 5;
/// The longest pause between tries.
const MAX_PAUSE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(20);
const MAX_REDIRECTS: usize = 6;
/// A listing of ten thousand files has about 2 MB.
const MAX_LISTING: u64 = 32 << 20;

/// Names in lower case.
type Headers = BTreeMap<String, String>;

/// Speaks with the hub about one repository.
pub struct Client {
    api: Api,
    repo: String,
    revision: String,
    /// Scheme, host and port of the hub.
    origin: String,
    has_token: bool,
    silence: Duration,
    first_pause: Duration,
}

/// A server's answer, after redirects.
pub struct Answer {
    pub status: u16,
    /// Not from the hub itself but from where it keeps large files.
    pub is_foreign: bool,
    /// Of the hub's last answer: what the file is.
    hub: Headers,
    /// Of the last answer.
    last: Headers,
    pub body: Box<dyn Read>,
}

impl Client {
    pub fn new(hub: &Hub, name: &HubName) -> Result<Self> {
        let mut builder = ApiBuilder::from_cache(Cache::new(hub.cache.clone()))
            .with_token(hub.token.clone())
            .with_user_agent(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        if let Some(endpoint) = &hub.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        let api = builder.build().map_err(|e| Error::model(name.to_string(), format!("no HTTP client: {e}")))?;
        let mut client = Self {
            api,
            repo: name.repo.clone(),
            revision: name.revision.clone(),
            origin: String::new(),
            has_token: hub.token.is_some(),
            silence: hub.silence,
            first_pause: hub.first_pause,
        };
        client.origin = origin(&client.url("", "")).to_owned();
        Ok(client)
    }

    /// `org/name`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    fn model(&self, revision: &str) -> ApiRepo {
        self.api.repo(Repo::with_revision(self.repo.clone(), RepoType::Model, revision.to_owned()))
    }

    /// The URL of a file of a commit.
    pub fn url(&self, commit: &str, file: &str) -> String {
        self.model(commit).url(&percent_encoded(file))
    }

    /// What the repository holds at the wanted revision.
    pub fn listing(&self, progress: &mut dyn Progress) -> Result<Listing> {
        // Long enough for servers that restart, not for a network that is not there: that fails at once.
        let mut failures = 0;
        let (answer, body) = loop {
            let why = match self.listing_once() {
                Ok((answer, _)) if answer.is_overloaded() => answer.described(),
                Ok(answered) => break answered,
                Err(e) if is_passing(&e) => e.to_string(),
                Err(e) => return Err(self.unreachable(&e.to_string())),
            };
            failures += 1;
            if failures == TRIES {
                return Err(self.unreachable(&format!("{why} ({TRIES} tries)")));
            }
            self.pause(failures, &why, progress);
        };
        if answer.status != 200 {
            return Err(self.refusal(&answer, None));
        }
        Listing::parse(&body).map_err(|what| {
            Error::model(&self.repo, format!("{} sent a listing that makes no sense: {what}", self.origin))
        })
    }

    fn listing_once(&self) -> io::Result<(Answer, Vec<u8>)> {
        let request = self.model(&self.revision).info_request();
        let url = request.uri_ref().map(|uri| format!("{uri}?blobs=true")); // with sizes and hashes
        let mut answer = self.get(&url.unwrap_or_default(), 0)?;
        let mut body = Vec::new();
        answer.body.by_ref().take(MAX_LISTING).read_to_end(&mut body)?;
        Ok((answer, body))
    }

    /// Asks for `url` from byte `from` on.
    pub fn get(&self, url: &str, from: u64) -> io::Result<Answer> {
        let mut url = url.to_owned();
        let mut hub = Headers::new();
        for _ in 0..MAX_REDIRECTS {
            let is_foreign = origin(&url) != self.origin;
            let (status, last, body) = self.get_once(&url, from, !is_foreign)?;
            if !is_foreign {
                hub.extend(last.clone());
            }
            if !(300..400).contains(&status) {
                return Ok(Answer { status, is_foreign, hub, last, body });
            }
            let location = last.get("location").map_or("", String::as_str);
            let to = target(&url, location);
            url = to.ok_or_else(|| io::Error::other(format!("redirected to {}", quoted(location))))?;
        }
        Err(io::Error::other("redirected in circles"))
    }

    fn get_once(&self, url: &str, from: u64, with_token: bool) -> io::Result<(u16, Headers, Box<dyn Read>)> {
        let mut request = self.model(&self.revision).info_request().uri(url);
        if !with_token && let Some(headers) = request.headers_mut() {
            headers.remove("authorization");
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        let response = request
            .config()
            .http_status_as_error(false)
            .max_redirects(0)
            // Compressed answers have no ranges, and other hashes.
            .accept_encoding("identity")
            .https_only(self.origin.starts_with("https://"))
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(self.silence))
            .build()
            .call()
            .map_err(|e| e.into_io())?;
        let status = response.status().as_u16();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect();
        Ok((status, headers, Box::new(response.into_body().into_reader())))
    }

    /// Waits before the next try, longer after each failure.
    pub fn pause(&self, failures: u32, why: &str, progress: &mut dyn Progress) {
        let pause = self.first_pause.saturating_mul(1 << (failures - 1)).min(MAX_PAUSE);
        progress.waiting(why, pause);
        std::thread::sleep(pause);
    }

    /// The error for a hub that does not answer.
    fn unreachable(&self, why: &str) -> Error {
        let what = format!("no such file or folder here, and the hub at {} cannot be asked: {why}", self.origin);
        Error::model(&self.repo, what)
    }

    /// The error for an answer that is no file; for the listing there is none.
    pub fn refusal(&self, answer: &Answer, file: Option<&str>) -> Error {
        let code = answer.hub("x-error-code").unwrap_or_default();
        let message = answer.hub("x-error-message").unwrap_or_default();
        let revision = &self.revision;
        let what = match (answer.status, code) {
            (_, "GatedRepo") | (403, _) if self.has_token => {
                "the repository is gated, and the account of your token has no access: ask for it on the repository's \
                 page; a fine-grained token also needs the right to read gated repositories"
                    .to_owned()
            }
            (_, "GatedRepo") | (403, _) => {
                "the repository is gated: accept its terms on its page, then set HF_TOKEN to a token of your account"
                    .to_owned()
            }
            (401, _) if message.starts_with("Invalid credentials") => {
                format!("{} does not accept your token; check HF_TOKEN", self.origin)
            }
            (_, "RevisionNotFound") => format!("the repository has no revision {revision:?}"),
            (404, "EntryNotFound") if file.is_some() => {
                format!("no file {} at revision {revision:?}", quoted(file.unwrap_or_default()))
            }
            (_, "RepoNotFound") | (401 | 404, _) if file.is_none() => {
                let hint = if self.has_token {
                    "or none that your token may read"
                } else {
                    "or it is private: then set HF_TOKEN to a token of yours"
                };
                format!("no such file or folder here, and no such repository at {}, {hint}", self.origin)
            }
            _ => {
                let about = file.map(|file| format!(" for {}", quoted(file))).unwrap_or_default();
                format!("{} answered {}{about}", self.origin, answer.described())
            }
        };
        Error::model(&self.repo, what)
    }
}

impl Answer {
    /// A header of the hub's own answer.
    pub fn hub(&self, name: &str) -> Option<&str> {
        self.hub.get(name).map(String::as_str)
    }

    /// A header of the answer that has the body.
    pub fn last(&self, name: &str) -> Option<&str> {
        self.last.get(name).map(String::as_str)
    }

    /// Whether a later try may fare better.
    pub fn is_overloaded(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..=599)
    }

    /// `404 (what the server says)`.
    pub fn described(&self) -> String {
        match self.hub("x-error-message") {
            Some(message) if !message.is_empty() => format!("HTTP {} ({})", self.status, quoted(message)),
            _ => format!("HTTP {}", self.status),
        }
    }
}

/// Whether the network was there but broke.
fn is_passing(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, TimedOut, UnexpectedEof};
    let kinds = [BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, TimedOut, UnexpectedEof];
    kinds.contains(&error.kind())
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |colon| colon + "://".len());
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |end| host + end);
    &url[..end]
}

/// Where a redirect from `url` leads.
fn target(url: &str, location: &str) -> Option<String> {
    if location.starts_with("https://") || location.starts_with("http://") {
        Some(location.to_owned())
    } else if location.starts_with("//") {
        url.split_once("//").map(|(scheme, _)| format!("{scheme}{location}"))
    } else if location.starts_with('/') {
        Some(format!("{}{location}", origin(url)))
    } else {
        None
    }
}

/// The path of a file as it stands in a URL.
fn percent_encoded(path: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    path.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        assert_eq!(origin("https://a.org:1/b/c"), "https://a.org:1");
        assert_eq!(origin("http://a?b"), "http://a");
        assert_eq!(target("https://a/b", "/c?d").as_deref(), Some("https://a/c?d"));
        assert_eq!(target("https://a/b", "//c/d").as_deref(), Some("https://c/d"));
        assert_eq!(target("https://a/b", "http://c/d").as_deref(), Some("http://c/d"));
        assert_eq!(["", "c", "ftp://c", "\\\\c"].map(|location| target("https://a/b", location)), [const { None }; 4]);
        assert_eq!(percent_encoded("a/b c+ä?#%.gguf"), "a/b%20c%2B%C3%A4%3F%23%25.gguf");
    }
}
