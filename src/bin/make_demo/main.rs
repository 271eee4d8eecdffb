//! Makes the bundled tiny model and its data sets, as far as that is not training: see `web/demo/README.md`.

mod corpus;
mod facts;
mod grammar;
mod init;
mod newcomers;
mod sets;
mod stories;
mod style;
mod talk;
mod tokenizer;
mod world;

use serde_json::Value;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: make_demo corpus FOLDER [SEED]   train.jsonl and valid.jsonl, to pretrain on
       make_demo init CORPUS FOLDER [SEED]   an untrained model with a tokenizer trained on CORPUS
       make_demo sets FOLDER [SEED]   the data sets for fine-tuning, style/ and facts/";

/// Rows of the corpus.
const TRAIN_ROWS: usize = 60_000;
const VALID_ROWS: usize = 1_000;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["corpus", folder, seed @ ..] => corpus(Path::new(folder), number(seed)?),
        ["init", corpus, folder, seed @ ..] => init(Path::new(corpus), Path::new(folder), number(seed)?),
        ["sets", folder, seed @ ..] => sets(Path::new(folder), number(seed)?),
        _ => Err(USAGE.into()),
    }
}

fn number(seed: &[&str]) -> Result<u64> {
    match seed {
        [] => Ok(0),
        [seed] => seed.parse().map_err(|_| format!("the seed is {seed:?}; expected a whole number").into()),
        _ => Err(USAGE.into()),
    }
}

fn corpus(folder: &Path, seed: u64) -> Result<()> {
    let rows = corpus::corpus(seed, TRAIN_ROWS, VALID_ROWS);
    write_rows(&folder.join("train.jsonl"), &rows.train)?;
    write_rows(&folder.join("valid.jsonl"), &rows.valid)
}

fn init(corpus: &Path, folder: &Path, seed: u64) -> Result<()> {
    let rows = std::fs::read_to_string(corpus.join("train.jsonl"))?;
    let texts = rows.lines().map(|row| Ok(text(&serde_json::from_str(row)?))).collect::<Result<Vec<String>>>()?;
    write(&folder.join("tokenizer.json"), tokenizer::train(&texts)?)?;
    for (name, json) in [
        ("tokenizer_config.json", tokenizer::config()),
        ("config.json", init::config()),
        ("generation_config.json", init::generation_config()),
    ] {
        write(&folder.join(name), format!("{}\n", serde_json::to_string_pretty(&json)?))?;
    }
    write(&folder.join("model.safetensors"), init::weights(seed)?)
}

/// What is to be read in a row.
fn text(row: &Value) -> String {
    let messages = row["messages"].as_array().into_iter().flatten().filter_map(|message| message["content"].as_str());
    row["text"].as_str().into_iter().chain(messages).collect::<Vec<_>>().join("\n")
}

fn sets(folder: &Path, seed: u64) -> Result<()> {
    for (set, files) in [("style", sets::style(seed)), ("facts", sets::news(seed))] {
        for (name, rows) in files {
            write_rows(&folder.join(set).join(format!("{name}.jsonl")), &rows)?;
        }
    }
    Ok(())
}

fn write_rows(path: &Path, rows: &[Value]) -> Result<()> {
    write(path, rows.iter().map(|row| format!("{row}\n")).collect::<String>())
}

/// Writes a file; its folder comes with it.
fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let shown = |e: std::io::Error| format!("{}: writing failed: {e}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(shown)?;
    }
    Ok(std::fs::write(path, bytes).map_err(shown)?)
}
