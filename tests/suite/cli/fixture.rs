//! A folder with a small model and some data, and the binary run in it.

use crate::support::golden;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// Questions and answers of the training rows.
pub const CHATS: [(&str, &str); 6] = [
    ("hello", "good day"),
    ("who are you?", "a small model"),
    ("one and one", "two"),
    ("what do cats say?", "miaow, and no more"),
    ("colour of snow", "white"),
    ("farewell", "see you soon"),
];

const TEMPLATE: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A fresh folder for one test: `model/`, `data/train.jsonl`, `data/valid.jsonl`.
pub struct Workspace(TempDir);

impl Workspace {
    pub fn new() -> Self {
        let workspace = Self(tempfile::tempdir().expect("a temporary folder"));
        for name in ["config.json", "model.safetensors"] {
            let bytes = std::fs::read(golden("tiny").join(name)).expect(name);
            workspace.write(&format!("model/{name}"), bytes);
        }
        workspace.write("model/tokenizer.json", tokenizer().to_string());
        let settings = json!({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": TEMPLATE});
        workspace.write("model/tokenizer_config.json", settings.to_string());
        let row = |(question, answer): &(&str, &str)| {
            json!({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
                .to_string()
        };
        let rows: Vec<String> = CHATS.iter().map(row).collect();
        workspace.write("data/train.jsonl", rows.join("\n"));
        workspace.write("data/valid.jsonl", rows[..3].join("\n"));
        workspace
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file; its folders come with it.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect(name)
    }

    /// Names in a folder, sorted, hidden ones too; none if there is no such folder.
    pub fn files_in(&self, name: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(name)) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    /// Every file below the folder with its size.
    fn everything(&self) -> BTreeMap<PathBuf, u64> {
        fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, u64>) {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    found.insert(path.clone(), 0);
                    walk(&path, found);
                } else {
                    let size = path.metadata().expect("metadata").len();
                    found.insert(path, size);
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(self.0.path(), &mut found);
        found
    }

    /// `diablo` in the folder, its arguments separated by blanks.
    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_diablo"));
        command.args(args.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        // Where it is not set, Vulkan drivers complain on standard error.
        command.env("XDG_RUNTIME_DIR", self.0.path()).env_remove("NO_COLOR");
        command
    }

    /// Runs `diablo` in the folder, its arguments separated by blanks.
    pub fn diablo(&self, args: &str) -> Output {
        self.command(args).output().expect("the binary runs")
    }

    /// Starts `diablo` with its outputs piped.
    #[cfg(unix)]
    pub fn spawn(&self, args: &str) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
    }

    /// Standard output of a run that must succeed and has nothing to say on standard error.
    pub fn succeeds(&self, args: &str) -> String {
        self.checked(args, self.diablo(args))
    }

    /// The same with something to read on standard input.
    pub fn with_input(&self, args: &str, input: &str) -> String {
        self.checked(args, self.diablo_reading(args, input))
    }

    /// Runs `diablo` with something to read on standard input, which it need not read to the end.
    pub fn diablo_reading(&self, args: &str, input: impl AsRef<[u8]>) -> Output {
        let mut command = self.command(args);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the binary runs");
        // It may have ended before.
        let _ = child.stdin.take().expect("piped").write_all(input.as_ref());
        child.wait_with_output().expect("the binary ends")
    }

    fn checked(&self, args: &str, output: Output) -> String {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.is_empty(), "{args}: {}: {stderr}", output.status);
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The lines of JSON of a run that must succeed.
    pub fn json(&self, args: &str) -> Vec<Value> {
        let output = self.diablo(args);
        assert!(output.status.success(), "{args}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        lines(&output.stdout)
    }

    /// The message of a run that must fail with `code`: one line, and nothing left behind.
    pub fn fails(&self, args: &str, code: i32) -> String {
        let before = self.everything();
        let message = self.fails_leaving_files(args, code);
        assert_eq!(self.everything(), before, "{args}: left something behind");
        message
    }

    /// As [`fails`](Self::fails), for a run that may leave files behind.
    pub fn fails_leaving_files(&self, args: &str, code: i32) -> String {
        self.failed(args, code, self.diablo(args))
    }

    /// As [`fails`](Self::fails), for a run with something to read on standard input.
    pub fn fails_reading(&self, args: &str, input: &str, code: i32) -> String {
        self.failed(args, code, self.diablo_reading(args, input))
    }

    fn failed(&self, args: &str, code: i32, output: Output) -> String {
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{args}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.ends_with('\n'), "{args}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args}: {stderr}");
        assert!(!stderr.contains("panicked"), "{args}: {stderr}");
        if args.contains("--json") {
            let told = lines(&output.stdout).pop().expect("an event");
            assert_eq!(told["event"], "error", "{args}: {told}");
            assert_eq!(stderr, format!("error: {}\n", told["message"].as_str().expect("a message")));
        }
        stderr
    }
}

/// Lines of JSON, one object each.
pub fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// The events of one kind.
pub fn of_kind<'a>(events: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["event"] == kind)
}

/// A byte-level tokenizer: four special tokens, then the 256 bytes.
fn tokenizer() -> Value {
    let specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"];
    let mut vocab: BTreeMap<String, usize> =
        specials.iter().enumerate().map(|(id, text)| ((*text).to_owned(), id)).collect();
    // As GPT-2 does, bytes that do not print are spelled with characters from 256 on.
    let prints = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = (256..).map(|code| char::from_u32(code).expect("a character"));
    for byte in 0..=u8::MAX {
        let spelled = if prints(byte) { char::from(byte) } else { others.next().expect("endless") };
        vocab.insert(spelled.to_string(), specials.len() + usize::from(byte));
    }
    let added: Vec<Value> = specials
        .iter()
        .enumerate()
        .map(|(id, text)| {
            json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": added,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
}
