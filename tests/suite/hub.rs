//! Models by hub name, fetched by the binary from a server on this machine.

#[allow(dead_code)] // of what can fail, most is tested beside the code
#[path = "../../src/source/hub/tests/server.rs"]
mod server;

use crate::cli::fixture::{Workspace, lines};
use serde_json::Value;
use server::{Fault, REPO, Server};
use std::process::Output;

/// A server with the model of a workspace.
fn hub(workspace: &Workspace) -> Server {
    let names = workspace.files_in("model");
    Server::start(names.into_iter().map(|name| (name.clone(), workspace.read(&format!("model/{name}")))))
}

fn run(workspace: &Workspace, server: &Server, args: &str, offline: bool) -> Output {
    let mut command = workspace.command(args);
    for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    command.env("HF_HOME", workspace.path("home")).env("HF_ENDPOINT", &server.url);
    command.env("HF_HUB_OFFLINE", if offline { "1" } else { "0" });
    command.output().expect("the binary runs")
}

fn succeeds(output: Output) -> (String, String) {
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("UTF-8"));
    assert!(output.status.success(), "{}: {stderr}", output.status);
    (stdout, stderr)
}

fn fails(output: Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
    stderr
}

#[test]
fn a_model_on_the_hub_is_as_good_as_a_folder() {
    let workspace = Workspace::new();
    let server = hub(&workspace);
    let expected = workspace.succeeds("preview --model model --data data");
    let args = format!("preview --model {REPO} --data data");
    let (stdout, stderr) = succeeds(run(&workspace, &server, &args, false));
    assert_eq!((stdout.as_str(), stderr.as_str()), (expected.as_str(), "downloading org/tiny\n"));
    assert!(!server.requests().is_empty());
    for offline in [false, true] {
        let (stdout, stderr) = succeeds(run(&workspace, &server, &args, offline));
        assert_eq!((stdout.as_str(), stderr.as_str()), (expected.as_str(), ""));
    }
    assert!(server.requests().is_empty());

    let train = format!("finetune --model {REPO} --data data --device cpu --iters 2 --json");
    let (stdout, _) = succeeds(run(&workspace, &server, &train, true));
    assert_eq!(lines(stdout.as_bytes())[0]["model"], REPO);
    let config: Value = serde_json::from_slice(&workspace.read("adapters/adapter_config.json")).expect("JSON");
    assert_eq!(config["base_model_name_or_path"], REPO);
}

#[test]
fn a_broken_connection_is_told_and_mended() {
    let workspace = Workspace::new();
    let server = hub(&workspace);
    server.fault("store/model.safetensors", Fault::Break(1000));
    let args = format!("preview --model {REPO} --revision main --data data --json");
    let (stdout, stderr) = succeeds(run(&workspace, &server, &args, false));
    assert_eq!(lines(stdout.as_bytes()).len(), 3);
    assert!(stderr.contains("; trying again in 1 s\n") && stderr.lines().count() == 2, "{stderr}");
    let ranges = server.requests().into_iter().filter_map(|request| request.headers.get("range").cloned());
    assert!(ranges.into_iter().all(|range| range == "bytes=1000-"));
}

#[test]
fn names_that_lead_nowhere() {
    let workspace = Workspace::new();
    let server = hub(&workspace);
    let error = |args: &str, offline, code| {
        fails(run(&workspace, &server, &format!("preview --data data --model {args}"), offline), code)
    };
    assert!(error("org/none", false, 1).contains("no such repository"));
    assert!(error("org/tiny/none.gguf", false, 1).contains("has no file"));
    assert!(error("org/tiny --revision v2", false, 1).contains("no revision"));
    assert!(error("org/tiny", true, 1).contains("HF_HUB_OFFLINE"));
    assert!(error("model --revision v2", false, 2).contains("--revision is for models by hub name"));
    assert!(workspace.files_in("home/hub").is_empty());
}
