//! Fetching from a server on this machine that fails in every way we could think of.

mod cache;
mod refusals;
mod resume;
mod server;

use super::{Hub, HubName, Progress};
use crate::error::Result;
use server::{COMMIT, Fault, REPO, Server, hash};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Large enough for several reads.
fn bytes(length: usize, seed: u8) -> Vec<u8> {
    let mut random = crate::random::Random::new(u64::from(seed));
    (0..length).map(|_| random.below(256) as u8).collect()
}

const TEXTS: [&str; 5] =
    ["config.json", "generation_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"];

fn texts() -> Vec<(String, Vec<u8>)> {
    let text = |name: &str| (name.to_owned(), format!("{{\"name\": {name:?}}}").into_bytes());
    TEXTS.into_iter().map(text).chain([text("README.md"), text("pytorch_model.bin")]).collect()
}

/// A repository with one weight file.
fn model() -> Vec<(String, Vec<u8>)> {
    let mut files = texts();
    files.push(("model.safetensors".to_owned(), bytes(300_001, 1)));
    files
}

/// A server, and a cache to fetch into.
struct Setup {
    server: Server,
    folder: TempDir,
    hub: Hub,
    told: Told,
}

/// What the progress was told.
#[derive(Default)]
struct Told {
    bytes: Vec<(String, u64, u64)>,
    waits: Vec<String>,
}

impl Progress for Told {
    fn downloaded(&mut self, file: &str, done: u64, total: u64) {
        self.bytes.push((file.to_owned(), done, total));
    }

    fn waiting(&mut self, why: &str, _pause: Duration) {
        self.waits.push(why.to_owned());
    }
}

impl Setup {
    fn new(files: Vec<(String, Vec<u8>)>) -> Self {
        let server = Server::start(files);
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub {
            endpoint: Some(server.url.clone()),
            first_pause: Duration::from_millis(1),
            silence: Duration::from_secs(5),
            ..Hub::new(folder.path().join("hub"))
        };
        Self { server, folder, hub, told: Told::default() }
    }

    fn fetch(&mut self, name: &str) -> Result<PathBuf> {
        self.fetch_revision(name, None)
    }

    fn fetch_revision(&mut self, name: &str, revision: Option<&str>) -> Result<PathBuf> {
        let name = HubName::parse(name, revision).unwrap().unwrap();
        self.hub.fetch(&name, &mut self.told)
    }

    fn error(&mut self, name: &str) -> String {
        one_line(self.fetch(name).unwrap_err().to_string())
    }

    /// A path in the repository's part of the cache.
    fn cached(&self, path: &str) -> PathBuf {
        self.folder.path().join("hub/models--org--tiny").join(path)
    }

    /// Where the contents of a file are kept, and where what is there of it.
    fn blob(&self, file: &str) -> (PathBuf, PathBuf) {
        let hash = hash(file, &self.server.state().files[file]);
        (self.cached(&format!("blobs/{hash}")), self.cached(&format!("blobs/{hash}.incomplete")))
    }

    /// Every file that was fetched is there as the server has it.
    fn check(&self, path: &Path, names: &[&str]) {
        for name in names {
            let found = std::fs::read(path.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(found == self.server.state().files[*name], "{name}: other contents");
        }
    }

    /// Ranges that were asked for, of the requests whose target contains `target`.
    fn ranges(&self, target: &str) -> Vec<Option<String>> {
        let asked = self.server.requests().into_iter().filter(|request| request.target.contains(target));
        asked.map(|request| request.headers.get("range").cloned()).collect()
    }
}

fn one_line(message: String) -> String {
    assert!(!message.contains(['\n', '\x1b']), "{message}");
    message
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_model_is_fetched_once() {
    let mut setup = Setup::new(model());
    let path = setup.fetch(REPO).unwrap();
    assert_eq!(path, setup.cached(&format!("snapshots/{COMMIT}")));
    let mut expected = TEXTS.to_vec();
    expected.push("model.safetensors");
    setup.check(&path, &expected);
    expected.sort();
    assert_eq!(names_in(&path), expected);
    assert_eq!(std::fs::read_to_string(setup.cached("refs/main")).unwrap(), COMMIT);
    assert_eq!(names_in(&setup.cached(&format!(".no_exist/{COMMIT}"))), ["chat_template.jinja"]);
    assert_eq!(names_in(&setup.cached("blobs")).len(), expected.len());
    #[cfg(unix)]
    {
        let (blob, _) = setup.blob("model.safetensors");
        let link = std::fs::read_link(path.join("model.safetensors")).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(blob.file_name().unwrap()));
    }
    let asked = setup.server.requests();
    assert!(!asked.iter().any(|r| r.target.contains("pytorch") || r.target.contains("README")), "{asked:?}");
    // A listing, then two requests a file: the hub's redirect, and where it leads.
    assert_eq!(asked.len(), 1 + 2 * expected.len());

    assert_eq!(setup.fetch(REPO).unwrap(), path);
    setup.hub.offline = true;
    assert_eq!(setup.fetch(REPO).unwrap(), path);
    assert!(setup.server.requests().is_empty());
}

#[test]
fn progress_grows_to_the_total() {
    let mut setup = Setup::new(model());
    setup.fetch(REPO).unwrap();
    let told = &setup.told.bytes;
    let total: usize = setup
        .server
        .state()
        .files
        .iter()
        .filter(|(name, _)| !["README.md", "pytorch_model.bin"].contains(&&***name))
        .map(|(_, bytes)| bytes.len())
        .sum();
    assert!(told.iter().all(|(_, _, of)| *of == total as u64), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{told:?}");
    assert_eq!(told.last(), Some(&("model.safetensors".to_owned(), total as u64, total as u64)));
    assert!(setup.told.waits.is_empty());
}

#[test]
fn weights_in_several_files() {
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let mut files = texts();
    let index =
        format!("{{\"weight_map\": {{\"a\": {:?}, \"b\": {:?}, \"c\": {:?}}}}}", shards[0], shards[1], shards[0]);
    files.push(("model.safetensors.index.json".to_owned(), index.into_bytes()));
    for (shard, seed) in shards.iter().zip(1..) {
        files.push((shard.to_string(), bytes(150_000, seed)));
    }
    files.push(("model-other.safetensors".to_owned(), bytes(10, 9)));
    let mut setup = Setup::new(files);
    // The first shard comes, the second one does not.
    for _ in 0..5 {
        setup.server.fault("store/model-00002", Fault::Drop);
    }
    let error = setup.error(REPO);
    assert!(error.starts_with(&format!("{REPO}/{}: the download failed 5 times", shards[1])), "{error}");
    assert!(!setup.cached("refs/main").exists());

    let path = setup.fetch(REPO).unwrap();
    setup.check(&path, &TEXTS);
    setup.check(&path, &shards);
    setup.check(&path, &["model.safetensors.index.json"]);
    assert!(!path.join("model-other.safetensors").exists());
    setup.server.requests();
    setup.fetch(REPO).unwrap();
    assert!(setup.server.requests().is_empty());
    // Without one of its files it is no model.
    std::fs::remove_file(path.join(shards[0])).unwrap();
    setup.hub.offline = true;
    assert!(setup.error(REPO).contains("not in the cache"));
}

#[test]
fn a_gguf_file() {
    let files = ["tiny-Q4.gguf", "sub/tiny-Q8.gguf"].map(|name| (name.to_owned(), bytes(70_000, name.len() as u8)));
    let mut setup = Setup::new(files.to_vec());
    for name in ["tiny-Q4.gguf", "sub/tiny-Q8.gguf"] {
        let path = setup.fetch(&format!("{REPO}/{name}")).unwrap();
        assert_eq!(path, setup.cached(&format!("snapshots/{COMMIT}/{name}")));
        setup.check(&setup.cached(&format!("snapshots/{COMMIT}")), &[name]);
    }
    setup.hub.offline = true;
    setup.fetch(&format!("{REPO}/sub/tiny-Q8.gguf")).unwrap();
    assert!(setup.error(&format!("{REPO}/tiny-Q2.gguf")).contains("not in the cache"));
    setup.hub.offline = false;
    let error = setup.error(&format!("{REPO}/tiny-Q2.gguf"));
    assert!(error.ends_with("its GGUF files are \"sub/tiny-Q8.gguf\", \"tiny-Q4.gguf\""), "{error}");
}

#[test]
fn revisions() {
    let mut setup = Setup::new(model());
    let path = setup.fetch_revision(REPO, Some("refs/pr/1")).unwrap();
    assert_eq!(std::fs::read_to_string(setup.cached("refs/refs/pr/1")).unwrap(), COMMIT);
    // A commit needs no note of where it is.
    assert_eq!(setup.fetch_revision(REPO, Some(COMMIT)).unwrap(), path);
    assert!(!setup.cached(&format!("refs/{COMMIT}")).exists());
    setup.hub.offline = true;
    setup.fetch_revision(REPO, Some(COMMIT)).unwrap();
    let error = one_line(setup.fetch_revision(REPO, Some("v2")).unwrap_err().to_string());
    assert!(error.contains("not in the cache") && error.contains("\"v2\""), "{error}");
    setup.hub.offline = false;
    let error = one_line(setup.fetch_revision(REPO, Some("v2")).unwrap_err().to_string());
    assert_eq!(error, format!("{REPO}: the repository has no revision \"v2\""));
}

#[test]
fn the_token_stays_at_the_hub() {
    let mut setup = Setup::new(model());
    setup.server.state().token = Some("hf_secret".to_owned());
    let error = setup.error(REPO);
    assert!(error.contains("no such repository") && error.contains("set HF_TOKEN"), "{error}");
    setup.hub.token = Some("hf_wrong".to_owned());
    let error = setup.error(REPO);
    assert!(error.ends_with("does not accept your token; check HF_TOKEN") && !error.contains("hf_wrong"), "{error}");
    setup.server.requests();
    setup.hub.token = Some("hf_secret".to_owned());
    setup.fetch(REPO).unwrap();
    for request in setup.server.requests() {
        assert_eq!(request.headers.contains_key("authorization"), !request.target.contains("/store/"), "{request:?}");
    }
}

/// Plain file servers and some mirrors tell names only and redirect nothing.
#[test]
fn a_mirror_that_tells_little() {
    let mut setup = Setup::new(model());
    setup.server.state().has_details = false;
    setup.server.state().redirects = false;
    setup.server.fault("model.safetensors", Fault::Drop);
    setup.server.fault("model.safetensors", Fault::IgnoreRange); // the question for the hash
    setup.server.fault("model.safetensors", Fault::Break(100_000));
    let path = setup.fetch(REPO).unwrap();
    setup.check(&path, &TEXTS);
    setup.check(&path, &["model.safetensors"]);
    assert_eq!(setup.told.waits.len(), 2, "{:?}", setup.told.waits);
    assert!(setup.blob("model.safetensors").0.is_file());
}

#[test]
fn two_at_once_fetch_once() {
    let setup = Setup::new(model());
    let name = HubName::parse(REPO, None).unwrap().unwrap();
    setup.server.fault("store/model.safetensors", Fault::Silence(1000, Duration::from_millis(300)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let path = setup.hub.fetch(&name, &mut Told::default()).unwrap();
                setup.check(&path, &["model.safetensors"]);
                setup.check(&path, &TEXTS);
            });
        }
    });
    let ranges = setup.ranges("store/model.safetensors");
    assert!(ranges.len() <= 2, "{ranges:?}"); // the first, which fell silent, and its continuation
    assert!(!names_in(&setup.cached("blobs")).iter().any(|name| name.ends_with("incomplete")));
}
