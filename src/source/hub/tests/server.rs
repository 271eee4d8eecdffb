//! A server that speaks the hub's URLs, on this machine, and fails as it is told to. It stands on the standard library
//! alone (and a hash); the tests of the whole binary use this file too.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// The one repository there is, and its commit.
pub const REPO: &str = "org/tiny";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong with one request.
#[derive(Clone)]
pub enum Fault {
    /// The connection closes without an answer.
    Drop,
    /// It closes after so many bytes of the body.
    Break(usize),
    /// Nothing follows these bytes of the body, but the connection stays.
    Silence(usize, Duration),
    /// The body is sent whole, whatever range was asked for.
    IgnoreRange,
    /// Other bytes, of the right length if these are.
    Content(Vec<u8>),
    /// An answer as it stands.
    Answer(String),
}

/// What a client asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub target: String,
    pub headers: BTreeMap<String, String>,
}

/// Everything a test may change.
pub struct State {
    pub files: BTreeMap<String, Vec<u8>>,
    /// What the listing says instead of the truth.
    pub listing: Option<Value>,
    /// Whether the listing has sizes and hashes.
    pub has_details: bool,
    /// Whether large files are elsewhere, as on the real hub, and small ones behind a redirect.
    pub redirects: bool,
    pub token: Option<String>,
    pub is_gated: bool,
    pub revisions: Vec<String>,
    /// For the first request whose target contains the text; used up by it.
    pub faults: Vec<(String, Fault)>,
    pub requests: Vec<Request>,
    store: String,
}

/// The server; it runs until the tests end.
pub struct Server {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").expect("a port");
        // Large files are on another server, which must not see the token.
        let store = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().expect("an address"));
        let state = State {
            files: files.into_iter().collect(),
            listing: None,
            has_details: true,
            redirects: true,
            token: None,
            is_gated: false,
            revisions: ["main", COMMIT, "refs%2Fpr%2F1"].map(str::to_owned).to_vec(),
            faults: Vec::new(),
            requests: Vec::new(),
            store: url(&store),
        };
        let server = Self { url: url(&hub), state: Arc::new(Mutex::new(state)) };
        for listener in [hub, store] {
            let state = server.state.clone();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = state.clone();
                    // A client that hangs up is no error here.
                    thread::spawn(move || serve(stream, &state));
                }
            });
        }
        server
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic elsewhere")
    }

    pub fn fault(&self, target: &str, fault: Fault) {
        self.state().faults.push((target.to_owned(), fault));
    }

    /// What was asked since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state().requests)
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors") || file.ends_with(".gguf") || file.ends_with(".bin")
}

/// As the hub has it: SHA-256 of a large file, 40 digits for a small one.
pub fn hash(file: &str, bytes: &[u8]) -> String {
    let hash = sha256(bytes);
    if is_large(file) { hash } else { hash[..40].to_owned() }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let target = lines.next().transpose()?.unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let request = Request { target, headers };
    let (answer, fault) = {
        let mut state = state.lock().expect("no panic elsewhere");
        state.requests.push(request.clone());
        let fault = state.faults.iter().position(|(target, _)| request.target.contains(target));
        let fault = fault.map(|index| state.faults.remove(index).1);
        (state.answer(&request, matches!(fault, Some(Fault::IgnoreRange))), fault)
    };
    send(stream, answer, fault)
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn send(mut stream: TcpStream, mut answer: Answer, fault: Option<Fault>) -> std::io::Result<()> {
    let mut sent = usize::MAX;
    let mut silence = Duration::ZERO;
    match fault {
        Some(Fault::Drop) => return Ok(()),
        Some(Fault::Answer(answer)) => {
            return stream.write_all(answer.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes());
        }
        Some(Fault::Break(bytes)) => sent = bytes,
        Some(Fault::Silence(bytes, time)) => (sent, silence) = (bytes, time),
        Some(Fault::Content(bytes)) => answer.body = bytes,
        Some(Fault::IgnoreRange) | None => {}
    }
    let mut head = format!("HTTP/1.1 {} Of Course\r\nConnection: close\r\n", answer.status);
    head += &format!("Content-Length: {}\r\n", answer.body.len());
    for (name, value) in answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&answer.body[..sent.min(answer.body.len())])?;
    stream.flush()?;
    thread::sleep(silence);
    Ok(())
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let headers = vec![("X-Error-Code", code.to_owned()), ("X-Error-Message", message.to_owned())];
    Answer { status, headers, body: message.into() }
}

impl State {
    fn answer(&self, request: &Request, ignores_range: bool) -> Answer {
        let target = request.target.split('?').next().unwrap_or_default();
        let authorization = request.headers.get("authorization");
        if let Some(file) = target.strip_prefix("/store/") {
            // A signed link; with a token beside it the real one is refused.
            return match authorization {
                None => self.content(file, request, ignores_range),
                Some(_) => Answer { status: 400, headers: Vec::new(), body: Vec::new() },
            };
        }
        let expected = self.token.as_ref().map(|token| format!("Bearer {token}"));
        if expected.is_some() && authorization != expected.as_ref() {
            let message = "Invalid credentials in Authorization header";
            return match authorization {
                None => refusal(401, "RepoNotFound", "Repository not found"),
                Some(_) => refusal(401, "", message),
            };
        }
        if let Some(target) = target.strip_prefix("/api/models/") {
            return match target.split_once("/revision/") {
                Some((REPO, revision)) if self.revisions.iter().any(|known| known == revision) => {
                    Answer { status: 200, headers: Vec::new(), body: self.listing().to_string().into() }
                }
                Some((REPO, _)) => refusal(404, "RevisionNotFound", "Invalid rev id"),
                // So the real hub answers those it does not know.
                _ => refusal(401, "RepoNotFound", "Invalid username or password."),
            };
        }
        if let Some(file) = target.strip_prefix(&format!("/api/resolve-cache/models/{REPO}/{COMMIT}/")) {
            return self.content(file, request, ignores_range);
        }
        match target.strip_prefix(&format!("/{REPO}/resolve/{COMMIT}/")) {
            Some(_) if self.is_gated => refusal(403, "GatedRepo", "Access to model org/tiny is restricted"),
            Some(file) if self.redirects => self.redirect(file),
            Some(file) => self.content(file, request, ignores_range),
            None => refusal(404, "", "no such page"),
        }
    }

    fn redirect(&self, file: &str) -> Answer {
        let Some(bytes) = self.files.get(file) else { return refusal(404, "EntryNotFound", "Entry not found") };
        let mut headers = vec![("X-Repo-Commit", COMMIT.to_owned())];
        let status = if is_large(file) {
            headers.push(("Location", format!("{}/store/{file}?Signature=abc", self.store)));
            headers.push(("X-Linked-Etag", format!("\"{}\"", hash(file, bytes))));
            headers.push(("X-Linked-Size", bytes.len().to_string()));
            302
        } else {
            headers.push(("Location", format!("/api/resolve-cache/models/{REPO}/{COMMIT}/{file}?etag=x")));
            307
        };
        Answer { status, headers, body: b"moved".to_vec() }
    }

    fn content(&self, file: &str, request: &Request, ignores_range: bool) -> Answer {
        let Some(bytes) = self.files.get(file) else { return refusal(404, "EntryNotFound", "Entry not found") };
        let etag = if self.redirects && is_large(file) { "store".to_owned() } else { hash(file, bytes) };
        let mut headers = vec![("ETag", format!("W/\"{etag}\"")), ("X-Repo-Commit", COMMIT.to_owned())];
        let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        match range.and_then(|from| from.parse::<usize>().ok()) {
            Some(from) if !ignores_range && from >= bytes.len() => Answer { status: 416, headers, body: Vec::new() },
            Some(from) if !ignores_range => {
                headers.push(("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())));
                Answer { status: 206, headers, body: bytes[from..].to_vec() }
            }
            _ => Answer { status: 200, headers, body: bytes.clone() },
        }
    }

    fn listing(&self) -> Value {
        if let Some(listing) = &self.listing {
            return listing.clone();
        }
        let file = |(name, bytes): (&String, &Vec<u8>)| match self.has_details {
            false => json!({"rfilename": name}),
            true if is_large(name) => json!({
                "rfilename": name, "size": bytes.len(), "blobId": "f".repeat(40),
                "lfs": {"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 130}
            }),
            true => json!({"rfilename": name, "size": bytes.len(), "blobId": hash(name, bytes)}),
        };
        let siblings: Vec<Value> = self.files.iter().map(file).collect();
        json!({"id": REPO, "sha": COMMIT, "private": false, "siblings": siblings})
    }
}
