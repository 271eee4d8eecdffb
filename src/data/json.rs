//! Rows of `.json` files: a list of objects, or objects one after the other.

use serde_json::{Deserializer, Value};

use super::records::{Content, LineCounter, Record};
use crate::error::{Error, Result};

/// The objects of `text`; `place` names its file in errors.
pub fn records(text: &str, place: &str) -> Result<Vec<Record<'static>>> {
    let mut reader = Reader { text, at: 0, lines: LineCounter::new(text), place };
    let mut records = Vec::new();
    reader.skip_blanks();
    if !reader.take('[') {
        while !reader.is_at_end() {
            records.push(reader.record()?);
        }
        return Ok(records);
    }
    if !reader.take(']') {
        loop {
            records.push(reader.record()?);
            if reader.take(']') {
                break;
            }
            if !reader.take(',') {
                return Err(reader.error(0, 1, "expected `,` or `]`"));
            }
        }
    }
    if reader.is_at_end() { Ok(records) } else { Err(reader.error(0, 1, "the list ends before the file does")) }
}

struct Reader<'a> {
    text: &'a str,
    /// The byte to be read next; never a blank.
    at: usize,
    lines: LineCounter<'a>,
    place: &'a str,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// Reads `token` and the blanks after it, if it is there.
    fn take(&mut self, token: char) -> bool {
        let is_there = self.rest().starts_with(token);
        if is_there {
            self.at += token.len_utf8();
            self.skip_blanks();
        }
        is_there
    }

    /// Reads one value and the blanks after it.
    fn record(&mut self) -> Result<Record<'static>> {
        let line = self.lines.line_of(self.at);
        let mut values = Deserializer::from_str(self.rest()).into_iter::<Value>();
        let value = match values.next() {
            Some(Ok(value)) => value,
            Some(Err(e)) => {
                let text = e.to_string();
                let why = text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why);
                return Err(self.error(e.line() - 1, e.column(), why));
            }
            None => return Err(self.error(0, 1, "the file ends within the list")),
        };
        self.at += values.byte_offset();
        self.skip_blanks();
        Ok(Record { line, content: Content::Fields(value) })
    }

    /// What is wrong `lines` lines further on, at byte `column` of the text from here or of that line, from 1.
    fn error(&mut self, lines: usize, column: usize, why: &str) -> Error {
        let before = self.text[..self.at].rfind('\n').map_or(0, |end| end + 1);
        let column = if lines == 0 { self.at - before + column } else { column };
        let line = self.lines.line_of(self.at) + lines;
        let what = format!("not JSON: {why}; a .json file holds a list of objects: [{{...}}, {{...}}]");
        Error::data(format!("{}:{line}:{column}", self.place), what)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Vec<(usize, Value)> {
        let row = |record: Record<'_>| match record.content {
            Content::Fields(fields) => (record.line, fields),
            other => panic!("{other:?}"),
        };
        records(text, "d.json").unwrap().into_iter().map(row).collect()
    }

    fn error(text: &str) -> String {
        let message = records(text, "d.json").unwrap_err().to_string();
        message.strip_suffix("; a .json file holds a list of objects: [{...}, {...}]").expect(&message).to_owned()
    }

    #[test]
    fn lists_in_any_layout() {
        let pretty = "\n[\n  {\n    \"text\": \"a\"\n  },\n  {\"text\": \"b\"}, 3\n]\n";
        assert_eq!(read(pretty), [(3, json!({"text": "a"})), (6, json!({"text": "b"})), (6, json!(3))]);
        assert_eq!(read(r#"[{"text":"]"},{"text":"[,"}]"#), [(1, json!({"text": "]"})), (1, json!({"text": "[,"}))]);
        for empty in ["", " \n", "[]", " [ \n ] "] {
            assert_eq!(read(empty), []);
        }
    }

    #[test]
    fn objects_one_after_the_other() {
        assert_eq!(
            read("{\"a\": 1}\r\n{\"b\":\n2}\n\n{}"),
            [(1, json!({"a": 1})), (2, json!({"b": 2})), (5, json!({}))]
        );
        assert_eq!(read("{\n\"data\": []\n}\n"), [(1, json!({"data": []}))]);
    }

    #[test]
    fn says_where_it_is_broken() {
        for (text, expected) in [
            ("[\n  {\"a\": 1}\n  {\"b\": 2}\n]", "d.json:3:3: not JSON: expected `,` or `]`"),
            ("[{\"a\": 1},\n  ]", "d.json:2:3: not JSON: expected value"),
            ("[{\"a\": 1}, {\"b\" 2}]", "d.json:1:17: not JSON: expected `:`"),
            ("[\n  {\"a\":\n1,,\n}]", "d.json:3:3: not JSON: key must be a string"),
            ("[{}] x", "d.json:1:6: not JSON: the list ends before the file does"),
            ("[", "d.json:1:2: not JSON: the file ends within the list"),
            ("[{},\n", "d.json:2:1: not JSON: the file ends within the list"),
            ("[{}", "d.json:1:4: not JSON: expected `,` or `]`"),
            ("text", "d.json:1:2: not JSON: expected ident"),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
        assert!(error(&"[".repeat(100_000)).contains("not JSON: recursion limit exceeded"));
        assert!(error("{\"a\": ").starts_with("d.json:1:6: not JSON: EOF while parsing"));
    }
}
