//! Answers that are no model, and servers that mean no good.

use super::*;
use serde_json::json;

fn answer(status: &str, headers: &str) -> Fault {
    Fault::Answer(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{headers}\r\n"))
}

#[test]
fn no_such_repository() {
    let mut setup = Setup::new(model());
    let error = setup.error("org/none");
    let url = setup.server.url.clone();
    let expected = format!("org/none: no such file or folder here, and no such repository at {url}, or it is private");
    assert!(error.starts_with(&expected), "{error}");
    // A hub, or something else, that just knows no such page.
    setup.server.fault("/api/models/", answer("404 Not Found", ""));
    assert!(setup.error("org/none").starts_with(&expected));
    assert!(names_in(&setup.folder.path().join("hub")).is_empty(), "something was left behind");
}

#[test]
fn gated_repositories() {
    let mut setup = Setup::new(model());
    setup.server.state().is_gated = true;
    let error = setup.error(REPO);
    assert!(error.contains("is gated: accept its terms on its page, then set HF_TOKEN"), "{error}");
    setup.hub.token = Some("hf_mine".to_owned());
    let error = setup.error(REPO);
    assert!(error.contains("is gated, and the account of your token has no access"), "{error}");
}

#[test]
fn no_network() {
    let mut setup = Setup::new(model());
    // Nothing listens there any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    setup.hub.endpoint = Some(format!("http://127.0.0.1:{port}"));
    let error = setup.error(REPO);
    assert!(
        error.contains("no such file or folder here, and the hub at http://127.0.0.1") && error.contains("refused"),
        "{error}"
    );
    assert!(setup.told.waits.is_empty(), "no use in trying again");
    setup.hub.endpoint = Some("http://no-such-host.invalid".to_owned());
    let error = setup.error(REPO);
    assert!(error.contains("the hub at http://no-such-host.invalid cannot be asked"), "{error}");
}

#[test]
fn a_hub_that_stays_busy() {
    let mut setup = Setup::new(model());
    for _ in 0..5 {
        setup.server.fault("/api/models/", answer("503 Busy", "X-Error-Message: come \"back\" later\r\n"));
    }
    let error = setup.error(REPO);
    assert!(error.ends_with(r#"cannot be asked: HTTP 503 ("come \"back\" later") (5 tries)"#), "{error}");
    assert_eq!(setup.told.waits.len(), 4);
    setup.server.fault("/api/models/", answer("418 Teapot", ""));
    assert!(setup.error(REPO).ends_with("answered HTTP 418"));
}

#[test]
fn repositories_without_a_model() {
    let error = |names: &[&str]| {
        let files = names.iter().map(|name| (name.to_string(), b"{}".to_vec()));
        Setup::new(files.collect()).error(REPO)
    };
    let all = ["config.json", "tokenizer.json", "model.safetensors"];
    for (names, expected) in [
        (&[][..], "has no config.json; it is empty"),
        (&["README.md"], "has no config.json; it is not a model that transformers can read; it has \"README.md\""),
        (
            &["b.gguf", "a.gguf"],
            "has no config.json but GGUF files; give one of them as org/tiny/FILE: \"a.gguf\", \"b.gguf\"",
        ),
        (&["config.json", "tokenizer.json", "b.gguf"], "has no model.safetensors but GGUF files; give one of them"),
        (
            &["config.json", "tokenizer.json", "pytorch_model.bin"],
            "but \"pytorch_model.bin\", which may hold weights as a Python pickle",
        ),
        (
            &["config.json", "tokenizer.json", "flax_model.msgpack"],
            "has no model.safetensors; its weights are in no format",
        ),
        (&[all[0], all[2]], "has no tokenizer.json; older repositories hold only a tokenizer.model"),
        (&[all[1], all[2]], "has no config.json; it is not a model"),
    ] {
        let error = error(names);
        assert!(error.starts_with("org/tiny: the repository ") && error.contains(expected), "{names:?}: {error}");
    }
}

#[test]
fn listings_that_make_no_sense() {
    let listed = |name: &str| json!({"sha": COMMIT, "siblings": [{"rfilename": name}]});
    for listing in [
        json!(null),
        json!([]),
        json!({"siblings": []}),
        json!({"sha": 5}),
        json!({"sha": ""}),
        json!({"sha": ".."}),
        json!({"sha": "../../../etc"}),
        json!({"sha": "/tmp/x"}),
        json!({"sha": "a/b"}),
        json!({"sha": "C:x"}),
        json!({"sha": "a".repeat(300)}),
        json!({"sha": "\u{1b}"}),
        json!({"sha": COMMIT, "siblings": [{"size": 3}]}),
        json!({"sha": COMMIT, "siblings": [{"rfilename": "config.json", "size": -1}]}),
    ] {
        let mut setup = Setup::new(model());
        setup.server.state().listing = Some(listing.clone());
        let error = setup.error(REPO);
        assert!(error.contains("sent a listing that makes no sense"), "{listing}: {error}");
        assert!(names_in(setup.folder.path()).is_empty(), "{listing}");
    }
    let mut setup = Setup::new(model());
    setup.server.state().listing = Some(listed("\u{1b}[2J../../etc/passwd"));
    assert!(setup.error(REPO).contains("has no config.json"));
    setup.server.fault("/api/models/", Fault::Answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<ht".to_owned()));
    assert!(setup.error(REPO).contains("makes no sense"));
    setup.server.fault("/api/models/", Fault::Answer("nonsense\r\n\r\n".to_owned()));
    assert!(setup.error(REPO).contains("cannot be asked"));
}

/// Names from an index become paths; names from elsewhere do too.
#[test]
fn names_that_lead_elsewhere() {
    for shard in [
        "../../../../x.safetensors",
        "/tmp/x.safetensors",
        "a/b.safetensors",
        "pickle.bin",
        ".safetensors",
        "a\\b.safetensors",
        "",
    ] {
        let mut files = texts();
        let index = json!({"weight_map": {"a": shard}}).to_string();
        files.push(("model.safetensors.index.json".to_owned(), index.into_bytes()));
        files.push((shard.to_owned(), b"x".to_vec()));
        let mut setup = Setup::new(files);
        let error = setup.error(REPO);
        assert!(error.contains("names the weight file") && error.contains("which cannot be one"), "{shard}: {error}");
    }
    let index =
        |map| Setup::new(texts().into_iter().chain([("model.safetensors.index.json".to_owned(), map)]).collect());
    assert!(index(br#"{"weight_map": {}}"#.to_vec()).error(REPO).contains("names no weight files"));
    assert!(index(b"[]".to_vec()).error(REPO).contains("not an index of safetensors files"));
    let error = index(br#"{"weight_map": {"a": "b.safetensors"}}"#.to_vec()).error(REPO);
    assert!(error.ends_with("names \"b.safetensors\", which the repository does not have"), "{error}");

    for hash in ["../../../../../x", "/tmp/x", "", ".."] {
        let mut setup = Setup::new(model());
        // From the listing: not believed, and the ETag is asked for.
        let file = |name: &str| json!({"rfilename": name, "blobId": hash, "lfs": {"sha256": hash}});
        let files: Vec<_> = ["config.json", "tokenizer.json", "model.safetensors"].map(file).to_vec();
        setup.server.state().listing = Some(json!({"sha": COMMIT, "siblings": files}));
        let path = setup.fetch(REPO).unwrap();
        setup.check(&path, &["config.json", "model.safetensors"]);
    }
    let mut setup = Setup::new(model());
    setup.server.state().has_details = false;
    setup.server.state().redirects = false;
    let headers = "ETag: \"../../../../x\"\r\n";
    setup
        .server
        .fault("/resolve/", Fault::Answer(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{headers}\r\n{{}}")));
    let error = setup.error(REPO);
    assert!(error.contains("the server gives no usable ETag"), "{error}");
}

#[test]
fn sizes_that_make_no_sense() {
    let mut setup = Setup::new(model());
    let file = |name: &str, size: u64| json!({"rfilename": name, "size": size, "blobId": "b".repeat(40)});
    let files = [file("config.json", u64::MAX), file("tokenizer.json", u64::MAX), file("model.safetensors", u64::MAX)];
    setup.server.state().listing = Some(json!({"sha": COMMIT, "siblings": files}));
    let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX);
    setup.server.fault("config.json", Fault::Answer(length));
    let error = setup.error(REPO);
    assert!(error.contains("no such file has more than 268435456"), "{error}");
    // Without a size we could not know that a file is whole.
    setup.server.state().listing = None;
    setup.server.state().has_details = false;
    let headers = "ETag: \"abc\"\r\nTransfer-Encoding: chunked\r\n";
    setup.server.fault("config.json", Fault::Answer(format!("HTTP/1.1 200 OK\r\n{headers}\r\n0\r\n\r\n")));
    let error = setup.error(REPO);
    assert!(error.ends_with("the server does not tell its size"), "{error}");
}

#[test]
fn redirects_that_lead_nowhere() {
    for location in ["", "ftp://127.0.0.1/x", "file:///etc/passwd", "x", "/api/models/org/tiny/revision/main?again"] {
        let mut setup = Setup::new(model());
        for _ in 0..10 {
            setup.server.fault("/api/models/", answer("302 Found", &format!("Location: {location}\r\n")));
        }
        let error = setup.fetch(REPO).expect_err(location).to_string();
        assert!(error.contains("redirected"), "{location}: {error}");
    }
}

#[test]
fn a_file_that_is_listed_but_not_there() {
    let mut setup = Setup::new(model());
    let listing = json!({"sha": COMMIT, "siblings": [
        {"rfilename": "config.json"}, {"rfilename": "tokenizer.json"}, {"rfilename": "model.safetensors"},
        {"rfilename": "chat_template.jinja"}
    ]});
    setup.server.state().listing = Some(listing);
    let error = setup.error(REPO);
    assert_eq!(error, format!("{REPO}: no file \"chat_template.jinja\" at revision \"main\""));
}

#[test]
fn a_cache_that_cannot_be_written() {
    let mut setup = Setup::new(model());
    std::fs::write(setup.folder.path().join("hub"), "a file").unwrap();
    let error = setup.error(REPO);
    assert!(error.contains("creating the folder failed"), "{error}");
}
