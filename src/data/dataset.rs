//! All examples of one file.

use rayon::prelude::*;
use serde::Serialize;

use super::records::{Content, Record};
use crate::data::{Batch, DataFile, Example, Row, RowEncoder, RowOptions};
use crate::error::{Error, Result};
use crate::text::{ChatTemplate, Tokenizer};

/// Rows that are read and encoded at a time, in parallel. The first bad row of them ends the reading.
const AT_A_TIME: usize = 1024;

/// All examples of one file, in its order.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// At least one, where a file was read.
    pub examples: Vec<Example>,
    /// What there is to say about them.
    pub summary: Summary,
    /// For each example whether it was cut to the maximum length.
    pub(super) truncated: Vec<bool>,
}

/// The size of a data set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Rows.
    pub rows: usize,
    /// Rows that were cut to the maximum length.
    pub truncated: usize,
    /// Tokens of the longest row, after cutting.
    pub longest: usize,
    /// Tokens of all rows, after cutting.
    pub tokens: usize,
    /// Tokens that count in the loss.
    pub target_tokens: usize,
}

impl Dataset {
    /// Reads the rows of `file`: all of them, or the first `rows`.
    pub fn from_file(
        file: &DataFile,
        rows: Option<usize>,
        tokenizer: &Tokenizer,
        template: Option<&ChatTemplate>,
        options: &RowOptions,
    ) -> Result<Self> {
        let encoder = RowEncoder::new(tokenizer, template, *options)?;
        let rows = rows.unwrap_or(usize::MAX);
        let mut records = Record::all(file)?;
        records.truncate(rows);
        let mut data = Self::default();
        for records in records.chunks(AT_A_TIME) {
            let encode = |record| encoded(&encoder, record, &file.place);
            for examples in records.par_iter().map(encode).collect::<Vec<_>>() {
                let left = rows - data.examples.len();
                examples?.into_iter().take(left).for_each(|(example, truncated)| data.push(example, truncated));
            }
        }
        if data.examples.is_empty() {
            return Err(Error::data(&file.place, "no rows"));
        }
        Ok(data)
    }

    /// Adds an example, and whether it was cut to the maximum length.
    pub(super) fn push(&mut self, example: Example, truncated: bool) {
        self.summary.add(&example, truncated);
        self.examples.push(example);
        self.truncated.push(truncated);
    }

    /// Up to `count` examples spread over all of them, since neighbours are often alike.
    pub fn spread(&self, count: usize) -> impl Iterator<Item = &Example> {
        let stride = (self.examples.len() / count.max(1)).max(1);
        self.examples.iter().step_by(stride).take(count)
    }

    /// All examples once, in order, by `batch_size` (at least one); the last batch may be smaller. For evaluation.
    pub fn batches(&self, batch_size: usize) -> impl Iterator<Item = Batch> {
        self.examples.chunks(batch_size.max(1)).map(Batch::new)
    }
}

/// The examples of one row of the file `place`, each with whether it was cut.
fn encoded(encoder: &RowEncoder<'_>, record: &Record<'_>, place: &str) -> Result<Vec<(Example, bool)>> {
    let at = format!("{place}:{}", record.line);
    let row = match &record.content {
        Content::Line(line) => Row::parse(line, &at)?,
        Content::Fields(fields) => Row::from_value(fields, &at)?,
        Content::Prose(text) => {
            return Ok(encoder.windows(text, place)?.into_iter().map(|example| (example, false)).collect());
        }
    };
    Ok(vec![encoder.encode(&row, &at)?])
}

impl Summary {
    fn add(&mut self, example: &Example, truncated: bool) {
        let tokens = example.input_ids.len();
        self.rows += 1;
        self.truncated += usize::from(truncated);
        self.longest = self.longest.max(tokens);
        self.tokens += tokens;
        self.target_tokens += example.target_tokens();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TrainRows;
    use crate::text::fixture::{self, END};

    const OPTIONS: RowOptions = RowOptions { mask_prompt: false, max_seq_length: 8, eos_id: Some(END) };

    fn file(name: &str, text: &str) -> DataFile {
        DataFile::from_bytes(name, text.into()).unwrap()
    }

    fn read(text: &str) -> Result<Dataset> {
        read_file("dir/train.jsonl", text, None)
    }

    fn read_file(name: &str, text: &str, rows: Option<usize>) -> Result<Dataset> {
        Dataset::from_file(&file(name, text), rows, &fixture::tokenizer(), None, &OPTIONS)
    }

    #[test]
    fn blank_lines_carriage_returns_and_a_byte_order_mark_do_not_matter() {
        let plain = read("{\"text\": \"hello\"}\n{\"text\": \"world\"}").unwrap();
        let dressed = read("\u{feff}\r\n{\"text\": \"hello\"}\r\n  \r\n{\"text\": \"world\"}\r\n\n").unwrap();
        assert_eq!(plain.examples, dressed.examples);
        assert_eq!(plain.examples[0].input_ids, [261, END]);
    }

    #[test]
    fn counts_rows_and_tokens() {
        let row = r#"{"input_ids": [5, 6, 7], "labels": [5, -100, 7]}"#;
        let data = read(&format!("{{\"text\": \"hello\"}}\n{{\"text\": \"0123456789\"}}\n{row}")).unwrap();
        let expected = Summary { rows: 3, truncated: 1, longest: 8, tokens: 2 + 8 + 3, target_tokens: 1 + 7 + 1 };
        assert_eq!(data.summary, expected);
    }

    #[test]
    fn the_first_bad_row_is_named_by_its_line() {
        let good = "{\"text\": \"hello\"}\n";
        for before in [0, 3, AT_A_TIME - 1, AT_A_TIME, 3 * AT_A_TIME + 7] {
            let text = format!("\n{}{{\"text\": 1}}\n{}{{}}\n", good.repeat(before), good.repeat(5));
            let error = read(&text).unwrap_err().to_string();
            assert_eq!(error, format!("dir/train.jsonl:{}: \"text\" is a number, expected a string", before + 2));
        }
    }

    #[test]
    fn examples_keep_the_order_of_the_file() {
        let rows: String = (0..2500).map(|n| format!("{{\"input_ids\": [{}, 7]}}\n", n % 250)).collect();
        let data = read(&rows).unwrap();
        assert!((0..2500).all(|n| data.examples[n].input_ids[0] as usize == n % 250));
    }

    #[test]
    fn no_rows() {
        for empty in ["", "\n\r\n  \n", "\u{feff}"] {
            assert_eq!(read(empty).unwrap_err().to_string(), "dir/train.jsonl: no rows");
        }
    }

    #[test]
    fn a_length_of_one_cannot_train() {
        let options = RowOptions { max_seq_length: 1, ..OPTIONS };
        let error = Dataset::from_file(&file("d.jsonl", "{}"), None, &fixture::tokenizer(), None, &options);
        let error = error.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("--max-seq-length must be at least 2", 2));
    }

    #[test]
    fn evaluation_takes_every_example_once_in_order() {
        let rows: String = (2..7).map(|n| format!("{{\"input_ids\": [{n}, {n}]}}\n")).collect();
        let data = read(&rows).unwrap();
        let batches: Vec<Vec<i32>> = data.batches(2).map(|batch| batch.input_ids).collect();
        assert_eq!(batches, [vec![2, 2, 3, 3], vec![4, 4, 5, 5], vec![6, 6]]);
        assert_eq!(TrainRows::new(&data, None).batch(&[4, 0]).input_ids, [6, 6, 2, 2]);
    }

    #[test]
    fn every_kind_of_file_gives_the_same_examples() {
        let expected = read("{\"text\": \"hello\"}\n{\"text\": \"a \\\"b\\\"\"}").unwrap().examples;
        for (name, text) in [
            ("d.json", "[{\"text\": \"hello\"},\n{\"text\": \"a \\\"b\\\"\"}]"),
            ("d.json", "{\"text\": \"hello\"}\n{\"text\": \"a \\\"b\\\"\"}"),
            ("d.csv", "text\nhello\n\"a \"\"b\"\"\"\n"),
            ("d.TSV", "text\tn\nhello\t1\n\"a \"\"b\"\"\"\t2\n"),
        ] {
            for text in [text.to_owned(), format!("\u{feff}{text}"), text.replace('\n', "\r\n")] {
                assert_eq!(read_file(name, &text, None).unwrap().examples, expected, "{name}: {text}");
            }
        }
    }

    #[test]
    fn bad_rows_of_every_kind_of_file_are_named_by_their_line() {
        for (name, text, expected) in [
            ("d.csv", "text\n\"a\nb\"\n", None),
            ("d.csv", "text,id\n\"a\nb\",1\n,2\n", Some("d.csv:4: \"text\" is empty")),
            ("d.tsv", "prompt\tcompletion\na\t\n", Some("d.tsv:2: \"completion\" is empty")),
            ("d.tsv", "prompt\tcompletion\n\tb\n", Some("d.tsv:2: \"prompt\" is empty")),
            (
                "d.json",
                "[{\"text\": \"a\"},\n3]",
                Some("d.json:2: the row is a number, expected an object such as {\"text\": \"...\"}"),
            ),
            ("d.json", "[]", Some("d.json: no rows")),
            ("d.csv", "text\n\n", Some("d.csv: no rows")),
            ("d.txt", "\u{feff} \n", Some("d.txt: no rows")),
        ] {
            let error = read_file(name, text, None).err().map(|e| e.to_string());
            assert_eq!(error.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn prose_is_cut_into_windows_in_which_every_token_is_predicted_once() {
        for length in 1..40 {
            let text: String = (0..length).map(|n| char::from(b'0' + n % 10)).collect();
            let data = read_file("book.txt", &format!("\u{feff}{text}\r\n"), None).unwrap();
            let mut ids = fixture::tokenizer().encode(&text).unwrap();
            ids.push(END);
            assert_eq!(data.summary.target_tokens, length as usize);
            assert_eq!(data.summary.truncated, 0);
            let predicted = data.examples.iter().flat_map(|example| &example.input_ids[1..]).copied();
            assert_eq!(predicted.collect::<Vec<_>>(), ids[1..]);
            let (last, full) = data.examples.split_last().unwrap();
            assert!(full.iter().all(|example| example.input_ids.len() == OPTIONS.max_seq_length));
            assert!((2..=OPTIONS.max_seq_length).contains(&last.input_ids.len()));
            assert!(full.iter().zip(&data.examples[1..]).all(|(a, b)| a.input_ids.last() == b.input_ids.first()));
        }
        let broken = read_file("book.txt", "a\r\nb", None).unwrap();
        assert_eq!(broken.examples, read_file("book.txt", "a\nb", None).unwrap().examples);
    }

    #[test]
    fn the_first_rows() {
        let all: String = (0..5).map(|n| format!("\n{{\"input_ids\": [{n}, 7]}}\n")).collect();
        for (rows, expected) in [(1, 1), (4, 4), (5, 5), (6, 5)] {
            assert_eq!(read_file("d.jsonl", &all, Some(rows)).unwrap().examples.len(), expected);
        }
        // What is wrong further on does not matter.
        assert_eq!(read_file("d.jsonl", &format!("{all}["), Some(5)).unwrap().summary.rows, 5);
        assert_eq!(read_file("d.txt", "0123456789 0123456789", Some(2)).unwrap().summary.rows, 2);
    }
}
