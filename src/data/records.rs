//! The rows of a file, one after the other, each with the line it begins in.

use serde_json::Value;

use super::{json, table};
use crate::data::{DataFile, FileKind};
use crate::error::Result;

/// One row of a file, not yet understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    /// The line in which it begins, from 1.
    pub line: usize,
    /// What stands there.
    pub content: Content<'a>,
}

/// A row as its file has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Content<'a> {
    /// A line of JSON.
    Line(&'a str),
    /// Keys and values.
    Fields(Value),
    /// A whole text.
    Prose(&'a str),
}

impl<'a> Record<'a> {
    /// The rows of `file`, blank ones left out.
    pub fn all(file: &'a DataFile) -> Result<Vec<Self>> {
        let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
        match file.kind {
            FileKind::Jsonl => Ok(lines(text)),
            FileKind::Json => json::records(text, &file.place),
            FileKind::Csv => table::records(text, b',', &file.place),
            FileKind::Tsv => table::records(text, b'\t', &file.place),
            FileKind::Text if text.trim().is_empty() => Ok(Vec::new()),
            FileKind::Text => Ok(vec![Self { line: 1, content: Content::Prose(text) }]),
        }
    }
}

fn lines(text: &str) -> Vec<Record<'_>> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(line, text)| Record { line, content: Content::Line(text) }).collect()
}

/// Counts lines while reading a text from its beginning to its end.
#[derive(Debug)]
pub struct LineCounter<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> LineCounter<'a> {
    /// At the beginning of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line, from 1, that byte `at` lies in. Lines end as editors see it: with LF, CR LF, or CR alone.
    pub fn line_of(&mut self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let ends = |&at: &usize| bytes[at] == b'\n' || (bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
        self.line += (self.at..at).filter(ends).count();
        self.at = at.max(self.at);
        self.line
    }
}
