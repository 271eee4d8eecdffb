//! Models that other tools left in the cache.

use super::*;
use std::fs;

/// A cache as the Python library leaves it.
fn other_tool(setup: &Setup, names: &[&str]) -> PathBuf {
    let snapshot = setup.cached(&format!("snapshots/{COMMIT}"));
    for folder in [&snapshot, &setup.cached("blobs"), &setup.cached("refs")] {
        fs::create_dir_all(folder).unwrap();
    }
    for name in names {
        let (blob, _) = setup.blob(name);
        fs::write(&blob, &setup.server.state().files[*name]).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(Path::new("../../blobs").join(blob.file_name().unwrap()), snapshot.join(name))
            .unwrap();
        #[cfg(not(unix))]
        fs::copy(&blob, snapshot.join(name)).unwrap();
    }
    fs::write(setup.cached("refs/main"), COMMIT).unwrap();
    snapshot
}

fn everything() -> Vec<&'static str> {
    TEXTS.into_iter().chain(["model.safetensors"]).collect()
}

#[test]
fn offline_it_is_used_as_it_is() {
    let mut setup = Setup::new(model());
    setup.hub.offline = true;
    let error = setup.error(REPO);
    assert!(error.contains("not in the cache") && error.ends_with("HF_HUB_OFFLINE forbids to fetch it"), "{error}");
    let snapshot = other_tool(&setup, &["config.json", "tokenizer.json", "model.safetensors"]);
    assert_eq!(setup.fetch(REPO).unwrap(), snapshot);
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let away = setup.folder.path().join("away");
        fs::rename(snapshot.join(name), &away).unwrap();
        assert!(setup.error(REPO).contains("not in the cache"), "{name}");
        fs::rename(away, snapshot.join(name)).unwrap();
    }
    assert!(setup.server.requests().is_empty());
}

/// The other tool may have had no use for a file that we read, so the listing is asked for, once.
#[test]
fn what_it_left_out_is_fetched() {
    let mut setup = Setup::new(model());
    let names: Vec<_> = everything().into_iter().filter(|name| *name != "generation_config.json").collect();
    let snapshot = other_tool(&setup, &names);
    assert_eq!(setup.fetch(REPO).unwrap(), snapshot);
    setup.check(&snapshot, &everything());
    let asked = setup.server.requests();
    assert_eq!(asked.len(), 3, "{asked:?}");
    setup.fetch(REPO).unwrap();
    assert!(setup.server.requests().is_empty());
}

#[test]
fn without_the_network_it_does() {
    let mut setup = Setup::new(model());
    let snapshot = other_tool(&setup, &everything());
    setup.hub.endpoint = Some("http://no-such-host.invalid".to_owned());
    assert_eq!(setup.fetch(REPO).unwrap(), snapshot);
    // The library notes what does not exist; then there is nothing to ask.
    let absent = setup.cached(&format!(".no_exist/{COMMIT}"));
    fs::create_dir_all(&absent).unwrap();
    fs::write(absent.join("chat_template.jinja"), "").unwrap();
    setup.hub.endpoint = Some(setup.server.url.clone());
    assert_eq!(setup.fetch(REPO).unwrap(), snapshot);
    assert!(setup.server.requests().is_empty());
}

#[test]
fn contents_that_are_there_are_linked_only() {
    let mut setup = Setup::new(model());
    let (blob, _) = setup.blob("model.safetensors");
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, &setup.server.state().files["model.safetensors"]).unwrap();
    let path = setup.fetch(REPO).unwrap();
    setup.check(&path, &everything());
    assert!(setup.ranges("model.safetensors").is_empty());

    // A link to nothing, and contents of the wrong length, are repaired.
    for broken in [None, Some("short")] {
        fs::remove_file(&blob).unwrap();
        if let Some(broken) = broken {
            fs::write(&blob, broken).unwrap();
            fs::remove_file(path.join("model.safetensors")).unwrap();
        }
        setup.fetch(REPO).unwrap();
        setup.check(&path, &everything());
    }
}

#[test]
fn a_broken_note_of_the_commit() {
    for commit in ["", "../../..", "/", "a b", "\0"] {
        let mut setup = Setup::new(model());
        other_tool(&setup, &everything());
        fs::write(setup.cached("refs/main"), commit).unwrap();
        let path = setup.fetch(REPO).unwrap();
        setup.check(&path, &everything());
        assert_eq!(fs::read_to_string(setup.cached("refs/main")).unwrap(), COMMIT, "{commit:?}");
    }
}
