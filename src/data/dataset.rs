//! All examples of one file.

use rayon::prelude::*;
use serde::Serialize;

use crate::data::{Batch, Example, Row, RowEncoder, RowOptions};
use crate::error::{Error, Result};
use crate::text::{ChatTemplate, Tokenizer};

/// Rows that are read and encoded at a time, in parallel. The first bad row of them ends the reading.
const AT_A_TIME: usize = 1024;

/// All examples of one file, in its order.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// At least one.
    pub examples: Vec<Example>,
    /// What there is to say about them.
    pub summary: Summary,
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
    /// Reads the rows of a `.jsonl` file, `text`; `place` names it in errors.
    pub fn from_jsonl(
        text: &str,
        place: &str,
        tokenizer: &Tokenizer,
        template: Option<&ChatTemplate>,
        options: &RowOptions,
    ) -> Result<Self> {
        let encoder = RowEncoder::new(tokenizer, template, *options)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines: Vec<(usize, &str)> = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).collect();
        let mut examples = Vec::with_capacity(lines.len());
        let mut summary = Summary::default();
        for lines in lines.chunks(AT_A_TIME) {
            let encode = |&(number, line): &(usize, &str)| {
                let place = format!("{place}:{number}");
                encoder.encode(&Row::parse(line, &place)?, &place)
            };
            for encoded in lines.par_iter().map(encode).collect::<Vec<_>>() {
                let (example, truncated) = encoded?;
                summary.add(&example, truncated);
                examples.push(example);
            }
        }
        if examples.is_empty() {
            return Err(Error::data(place, "no rows"));
        }
        Ok(Self { examples, summary })
    }

    /// The batch of the examples at `rows`.
    pub fn batch(&self, rows: &[usize]) -> Batch {
        Batch::new(rows.iter().map(|&row| &self.examples[row]))
    }

    /// All examples once, in order, by `batch_size` (at least one); the last batch may be smaller. For evaluation.
    pub fn batches(&self, batch_size: usize) -> impl Iterator<Item = Batch> {
        self.examples.chunks(batch_size.max(1)).map(Batch::new)
    }
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
    use crate::text::fixture::{self, END};

    const OPTIONS: RowOptions = RowOptions { mask_prompt: false, max_seq_length: 8, eos_id: Some(END) };

    fn read(text: &str) -> Result<Dataset> {
        Dataset::from_jsonl(text, "dir/train.jsonl", &fixture::tokenizer(), None, &OPTIONS)
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
        let error = Dataset::from_jsonl("{}", "d", &fixture::tokenizer(), None, &options).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("--max-seq-length must be at least 2", 2));
    }

    #[test]
    fn evaluation_takes_every_example_once_in_order() {
        let rows: String = (2..7).map(|n| format!("{{\"input_ids\": [{n}, {n}]}}\n")).collect();
        let data = read(&rows).unwrap();
        let batches: Vec<Vec<i32>> = data.batches(2).map(|batch| batch.input_ids).collect();
        assert_eq!(batches, [vec![2, 2, 3, 3], vec![4, 4, 5, 5], vec![6, 6]]);
        assert_eq!(data.batch(&[4, 0]).input_ids, [6, 6, 2, 2]);
    }
}
