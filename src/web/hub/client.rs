//! Requests to the hub.
//!
//! The browser follows redirects, and shows only those headers that the last server exposes: all are looked at where
//! they are there, and none is needed.

use super::{Cancel, Hub};
use crate::error::{Error, Result};
use crate::source::hub::{HubName, Listing, Progress};
use crate::web::files::scope;
use crate::weights::{plain, quoted};
use gloo::timers::callback::Timeout;
use js_sys::{Reflect, Uint8Array};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Headers, ReadableStreamDefaultReader, RequestCache, RequestCredentials, RequestInit, Response, Url,
};

/// Failures in a row after which a file is given up.
pub const TRIES: u32 = 5;
/// The same for the listing: without a network the user should not wait long.
const LISTING_TRIES: u32 = 3;
/// The longest pause between tries.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A listing of ten thousand files has about 2 MB.
const MAX_LISTING: usize = 32 << 20;

/// Why a try failed.
pub enum Failure {
    /// The next one may fare better.
    Passing(String),
    /// It will not.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// Speaks with the hub about one repository.
pub struct Client<'a> {
    hub: &'a Hub,
    name: &'a HubName,
    cancel: &'a Cancel,
}

/// A server's answer, after redirects. Dropped before its end, it ends the connection.
pub struct Answer {
    response: Response,
    body: Option<ReadableStreamDefaultReader>,
    request: Request,
    /// Not from the hub itself but from where it keeps large files.
    is_foreign: bool,
}

/// A request that can be ended.
struct Request {
    controller: AbortController,
    cancel: Cancel,
    silence: Duration,
    is_silent: Rc<Cell<bool>>,
}

impl<'a> Client<'a> {
    pub fn new(hub: &'a Hub, name: &'a HubName, cancel: &'a Cancel) -> Self {
        Self { hub, name, cancel }
    }

    /// `org/name`.
    pub fn repo(&self) -> &str {
        &self.name.repo
    }

    /// What ends the download.
    pub fn cancel(&self) -> &Cancel {
        self.cancel
    }

    fn endpoint(&self) -> &str {
        self.hub.endpoint.trim_end_matches('/')
    }

    /// The URL of a file of a commit.
    pub fn url(&self, commit: &str, file: &str) -> String {
        let file: Vec<String> = file.split('/').map(encoded).collect();
        format!("{}/{}/resolve/{commit}/{}", self.endpoint(), self.name.repo, file.join("/"))
    }

    /// What the repository holds at `revision`.
    pub async fn listing(&self, revision: &str, progress: &mut dyn Progress) -> Result<Listing> {
        let revision = encoded(revision);
        let url = format!("{}/api/models/{}/revision/{revision}?blobs=true", self.endpoint(), self.name.repo);
        let mut failures = 0;
        let body = loop {
            let why = match self.listing_once(&url).await {
                Ok(body) => break body,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(why)) => why,
            };
            failures += 1;
            if failures == LISTING_TRIES {
                let what = format!(
                    "it is not in this browser's storage, and the hub at {} cannot be asked: {why}; check the \
                     connection, or download the model's files and choose them here",
                    self.endpoint()
                );
                return Err(Error::model(self.name.to_string(), what));
            }
            self.pause(failures, &why, progress).await?;
        };
        Listing::parse(&body).map_err(|what| {
            let what = format!("{} sent a listing that makes no sense: {}", self.endpoint(), plain(&what));
            Error::model(self.repo(), what)
        })
    }

    async fn listing_once(&self, url: &str) -> Result<Vec<u8>, Failure> {
        let mut answer = self.get(url, 0).await?;
        if answer.status() != 200 {
            return Err(self.refusal(&answer, None));
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.next().await? {
            body.extend(piece.to_vec());
            if body.len() > MAX_LISTING {
                return Err(Error::model(self.repo(), format!("its listing has more than {MAX_LISTING} bytes")).into());
            }
        }
        Ok(body)
    }

    /// Asks for `url` from byte `from` on.
    pub async fn get(&self, url: &str, from: u64) -> Result<Answer, Failure> {
        self.cancel.check()?;
        let failed = |e: JsValue| Failure::from(Error::browser(url, "asking for it", &e));
        let init = RequestInit::new();
        init.set_credentials(RequestCredentials::Omit);
        // It goes to a place of its own; another copy would only take room.
        init.set_cache(RequestCache::NoStore);
        if from > 0 {
            let headers = Headers::new().map_err(failed)?;
            headers.set("Range", &format!("bytes={from}-")).map_err(failed)?;
            init.set_headers_headers(&headers);
        }
        let controller = AbortController::new().map_err(failed)?;
        init.set_signal(Some(&controller.signal()));
        self.cancel.watch(&controller);
        let request = Request {
            controller,
            cancel: self.cancel.clone(),
            silence: self.hub.silence,
            is_silent: Rc::new(Cell::new(false)),
        };
        let fetched = JsFuture::from(scope().fetch_with_str_and_init(url, &init));
        let response: Response = request.watched(fetched).await?.unchecked_into();
        let body = match response.body() {
            Some(body) => Some(ReadableStreamDefaultReader::new(&body).map_err(failed)?),
            None => None,
        };
        let is_foreign = response.redirected() && origin(&response.url()) != origin(url);
        Ok(Answer { response, body, request, is_foreign })
    }

    /// Waits before the next try, longer after each failure.
    pub async fn pause(&self, failures: u32, why: &str, progress: &mut dyn Progress) -> Result<()> {
        let pause = self.hub.first_pause.saturating_mul(1 << (failures - 1)).min(MAX_PAUSE);
        progress.waiting(why, pause);
        self.cancel.pause(pause).await
    }

    /// What an answer that is no file means; for the listing there is none.
    pub fn refusal(&self, answer: &Answer, file: Option<&str>) -> Failure {
        let code = answer.header("x-error-code").unwrap_or_default();
        let revision = &self.name.revision;
        let status = answer.status();
        // Links to large files expire; the next try gets a new one.
        if answer.is_foreign || matches!(status, 408 | 425 | 429 | 500..=599) {
            return Failure::Passing(answer.described());
        }
        let what = match (status, &*code) {
            (_, "GatedRepo") | (403, _) => "the repository is gated: accept its terms on its page, download its files \
                 with your account, and choose them here"
                .to_owned(),
            (_, "RevisionNotFound") => format!("the repository has no revision {revision:?}"),
            (404, _) if file.is_some() => {
                format!("no file {} at revision {revision:?}", quoted(file.unwrap_or_default()))
            }
            (401 | 404, _) => {
                format!(
                    "no such repository at {}, or it is private: then download its files with your account, and \
                     choose them here",
                    self.endpoint()
                )
            }
            _ => {
                let about = file.map(|file| format!(" for {}", quoted(file))).unwrap_or_default();
                format!("{} answered {}{about}", self.endpoint(), answer.described())
            }
        };
        Error::model(self.repo(), what).into()
    }
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.response.status()
    }

    /// A header, if the server exposes it to pages of others.
    pub fn header(&self, name: &str) -> Option<String> {
        self.response.headers().get(name).ok().flatten()
    }

    /// The next piece of the body; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Uint8Array>, Failure> {
        let Some(body) = &self.body else { return Ok(None) };
        let read = self.request.watched(JsFuture::from(body.read())).await?;
        let get = |key: &str| Reflect::get(&read, &key.into()).unwrap_or_default();
        if get("done").is_truthy() { Ok(None) } else { Ok(Some(get("value").unchecked_into())) }
    }

    /// `404 (what the server says)`.
    fn described(&self) -> String {
        match self.header("x-error-message") {
            Some(message) if !message.is_empty() => format!("HTTP {} ({})", self.status(), quoted(&message)),
            _ => format!("HTTP {}", self.status()),
        }
    }
}

impl Request {
    /// What `step` of the request comes to, unless it takes too long.
    async fn watched(&self, step: JsFuture) -> Result<JsValue, Failure> {
        let millis = u32::try_from(self.silence.as_millis()).unwrap_or(u32::MAX);
        let (controller, is_silent) = (self.controller.clone(), self.is_silent.clone());
        let _watchdog = Timeout::new(millis, move || {
            is_silent.set(true);
            controller.abort();
        });
        let outcome = step.await;
        self.cancel.check()?;
        outcome.map_err(|thrown| {
            Failure::Passing(if self.is_silent.get() {
                format!("the server was silent for {} s", self.silence.as_secs())
            } else {
                let message = Reflect::get(&thrown, &"message".into()).ok().and_then(|message| message.as_string());
                plain(&message.unwrap_or_else(|| "the connection broke".to_owned()))
            })
        })
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.controller.abort(); // of no effect once it is over
    }
}

/// A part of a URL's path.
fn encoded(part: &str) -> String {
    js_sys::encode_uri_component(part).into()
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> Option<String> {
    Url::new(url).ok().map(|url| url.origin())
}
