//! What every subcommand prints with: standard output, standard error, colours, numbers for people.

use crate::error::{Error, Result};
use serde::Serialize;
use std::io::{IsTerminal, Write};

const STDOUT: &str = "standard output";

/// Writes `text` to standard output at once. Unlike `print!`, a reader that has gone away is an error, not a panic.
pub fn text(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|e| Error::io(STDOUT, "writing", e))
}

/// Writes what a model said to standard output at once: on a terminal without what would steer it, for a model may say
/// anything; elsewhere as it is.
pub fn answer(piece: &str) -> Result<()> {
    if std::io::stdout().is_terminal() { text(&harmless(piece)) } else { text(piece) }
}

/// `text` without what would steer a terminal.
pub fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// Writes `text` and a line break to standard output.
pub fn line(line: &str) -> Result<()> {
    text(&format!("{line}\n"))
}

/// Writes `value` as one line of JSON to standard output.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string(value).expect("JSON of plain values"))
}

/// Writes a line to standard error, for people; nobody may be reading it.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes a dimmed line to standard error where that is a terminal: what a person at it may want to know.
pub fn status(text: &str) {
    if std::io::stderr().is_terminal() {
        note(&Style::stderr().dim(text));
    }
}

/// Tells of the error that ends the program: one line on standard error, and with `as_json` an event as well.
pub fn failure(error: &Error, as_json: bool) {
    // Messages of the libraries below may have several lines.
    let message = error.to_string().split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
    if as_json {
        // If that cannot be written either, standard error still has it.
        let _ = json(&serde_json::json!({ "event": "error", "message": message }));
    }
    note(&format!("{} {message}", Style::stderr().error("error:")));
}

/// Whether `error` says that the reader of standard output has gone away, as `head` does when it has enough.
pub fn reader_is_gone(error: &Error) -> bool {
    matches!(error, Error::Io { path, source, .. }
        if path.as_os_str() == STDOUT && source.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Colours, where they are wanted: on a terminal, unless `NO_COLOR` is set.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    enabled: bool,
}

impl Style {
    /// For text on standard output.
    pub fn stdout() -> Self {
        Self { enabled: std::io::stdout().is_terminal() && colours_wanted() }
    }

    /// For text on standard error.
    pub fn stderr() -> Self {
        Self { enabled: std::io::stderr().is_terminal() && colours_wanted() }
    }

    /// Whether anything is coloured.
    pub fn is_enabled(self) -> bool {
        self.enabled
    }

    /// A label or heading.
    pub fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What matters less.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What matters: a trained token, the device that was chosen.
    pub fn strong(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn error(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.enabled { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Any value of `NO_COLOR` but an empty one turns colours off (no-color.org).
fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: usize) -> String {
    crate::write::count(number as u64)
}

/// A size for people: `12 B`, `1.5 MB`, in powers of 1000.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut size = bytes as f64 / 1000.0;
    let mut unit = 0;
    while size >= 999.95 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    if bytes < 1000 { format!("{bytes} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

/// A time for people: `45s`, `2m13s`, `1h02m`.
pub fn duration(seconds: f64) -> String {
    // A float as large as it may be becomes the largest integer.
    let seconds = seconds.round().max(0.0) as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

/// `path` as a shell takes it: quoted where it holds anything but plain characters.
pub fn shell_word(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/\\._-+:".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([999, 1500, 999_960, 2_345_678_901].map(bytes), ["999 B", "1.5 kB", "1.0 MB", "2.3 GB"]);
        assert_eq!([0.4, 45.0, 133.2, 3725.0, f64::NAN].map(duration), ["0s", "45s", "2m13s", "1h02m", "0s"]);
    }

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(harmless("a\x1b[31mb\r\u{9b}2J\u{7}\tc\né"), "a[31mb2J\tc\né");
    }

    #[test]
    fn shell_words() {
        assert_eq!(shell_word("a/b-1.gguf".as_ref()), "a/b-1.gguf");
        assert_eq!(shell_word("it's mine".as_ref()), r"'it'\''s mine'");
    }

    #[test]
    fn no_escape_code_without_colours() {
        assert_eq!(Style { enabled: false }.strong("x"), "x");
        assert_eq!(Style { enabled: true }.strong("x"), "\x1b[32mx\x1b[0m");
    }
}
