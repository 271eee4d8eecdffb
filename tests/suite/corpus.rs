//! The hostile files of `tests/corpus` (one folder for each fuzz target): each is refused in one line that says where, or
//! read; and that within bounds of time and memory.

#[path = "../fuzz/foreign.rs"]
mod foreign;

use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

type Target = fn(&[u8], &Path) -> diablo::Result<()>;

/// Name, function, and what its errors begin with.
const TARGETS: [(&str, Target, &[&str]); 7] = [
    ("gguf", foreign::gguf, &["model.gguf", "chat template", "FOLDER/model.gguf"]),
    ("safetensors", foreign::safetensors, &["model", "config.json", "a.safetensors"]),
    ("rows", foreign::rows, &["train."]),
    ("tokenizer", foreign::tokenizer, &["tokenizer", "rows:1"]),
    ("template", foreign::template, &["chat template"]),
    ("adapter", foreign::adapter, &["adapters/", "FOLDER"]),
    (
        "checkpoint",
        foreign::checkpoint,
        &["checkpoint-000002", "FOLDER", "trainer_state.json", "adapter_", "optimizer"],
    ),
];
/// Many times what any of them takes on a machine with nothing else to do.
const LONGEST: Duration = Duration::from_secs(20);
/// What the whole process may have held at once, in KiB.
const MOST_MEMORY: u64 = 768 << 10;
/// Says that this process is the one that reads the files.
const CHILD: &str = "DIABLO_CORPUS_CHILD";

#[test]
fn hostile_files_are_refused_in_one_line() {
    if std::env::var_os(CHILD).is_some() {
        return read_all_files();
    }
    // In a process of its own, whose memory is not that of the tests beside it, and which may as well be killed.
    let this = std::env::current_exe().expect("the path of the tests");
    let test = "corpus::hostile_files_are_refused_in_one_line";
    let child = Command::new(this).args(["--exact", test, "--nocapture"]).env(CHILD, "1").output();
    let child = child.expect("the tests run once more");
    let said = String::from_utf8_lossy(&child.stderr);
    let end: Vec<_> = said.lines().rev().take(40).collect();
    let end: Vec<_> = end.into_iter().rev().collect();
    assert!(child.status.success(), "{}: ...\n{}", child.status, end.join("\n"));
}

fn read_all_files() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut failures = String::new();
    for (name, target, places) in TARGETS {
        let files = std::fs::read_dir(corpus.join(name)).expect(name);
        let mut files: Vec<_> = files.map(|file| file.expect(name).path()).collect();
        files.sort();
        assert!(files.len() > 10, "{name}: only {} files", files.len());
        for file in files {
            // What stands last was being read when the process died.
            writeln!(std::io::stderr(), "{}", file.display()).expect("standard error");
            if let Err(what) = read_file(&file, target, places) {
                writeln!(failures, "{}: {what}", file.display()).expect("a string takes it");
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    if let Some(peak) = peak_memory() {
        assert!(peak <= MOST_MEMORY, "{} MiB of memory", peak >> 10);
    }
}

fn read_file(file: &Path, target: Target, places: &[&str]) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bytes = std::fs::read(file).expect("a file of the corpus");
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| target(&bytes, folder.path()))).map_err(|_| "it panics")?;
    if start.elapsed() > LONGEST {
        return Err(format!("it takes {:?}", start.elapsed()));
    }
    let Err(error) = result else { return Ok(()) };
    let here = folder.path().display().to_string();
    let text = error.to_string().replace(&here, "FOLDER");
    if !places.iter().any(|place| text.starts_with(place)) {
        return Err(format!("the error does not say where: {text:?}"));
    }
    match catch_unwind(AssertUnwindSafe(|| foreign::check(Err(error)))) {
        Ok(()) => Ok(()),
        Err(_) => Err(format!("not one readable line: {text:?}")),
    }
}

/// The most memory that this process ever held, in KiB, where the system says.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
