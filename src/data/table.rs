//! Rows of `.csv` and `.tsv` files (RFC 4180): the first one names the columns.

use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::records::{Content, LineCounter, Record};
use crate::error::{Error, Result, did_you_mean};

/// Columns that together make a row.
const SHAPES: [&[&str]; 3] = [&["text"], &["prompt", "completion"], &["instruction", "output"]];

/// The rows of the table `text`, whose cells end with `delimiter`; `place` names its file in errors. Rows of blank cells
/// are left out, and an empty cell is null.
pub fn records(text: &str, delimiter: u8, place: &str) -> Result<Vec<Record<'static>>> {
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut lines = LineCounter::new(text);
    let (mut columns, mut records, mut start) = (None, Vec::new(), 0);
    for record in reader.records() {
        let record = record.map_err(|e| Error::data(place, e.to_string()))?;
        start = start_of(&record, text);
        let line = lines.line_of(start);
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let at = |what| Error::data(format!("{place}:{line}"), what);
        let Some(columns) = &columns else {
            columns = Some(self::columns(&record, delimiter).map_err(at)?);
            continue;
        };
        let content = Content::Fields(fields(&record, columns).map_err(at)?);
        records.push(Record { line, content });
    }
    if ends_in_quotes(&text[start..], delimiter) {
        let what =
            "a quote (\") that opens in this row is never closed; within quotes, a quote is written twice (\"\")";
        return Err(Error::data(format!("{place}:{}", lines.line_of(start)), what));
    }
    Ok(records)
}

/// Where in `text` the row begins; the reader's own position comes before line breaks that it skipped.
fn start_of(record: &StringRecord, text: &str) -> usize {
    let start = record.position().map_or(0, |position| position.byte() as usize).min(text.len());
    start + text[start..].bytes().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// The names of the columns.
fn columns(header: &StringRecord, delimiter: u8) -> Result<Vec<String>, String> {
    let columns: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
    let has = |name: &&str| columns.iter().any(|column| column == name);
    if !SHAPES.iter().any(|shape| shape.iter().all(has)) {
        let names = columns.iter().map(|name| format!("{:?}", name.chars().take(30).collect::<String>()));
        let names = names.take(6).collect::<Vec<_>>().join(", ");
        let known = SHAPES.concat();
        let hint = columns.iter().map(|name| did_you_mean(name, known.iter().copied())).find(|hint| !hint.is_empty());
        return Err(format!(
            "the first row names the columns {names}{}, expected \"text\", or \"prompt\" and \"completion\", or \
             \"instruction\", \"output\" and perhaps \"input\"{}; see README, Data",
            hint.unwrap_or_default(),
            separator_hint(&columns, delimiter)
        ));
    }
    for (index, name) in columns.iter().enumerate() {
        if !name.is_empty() && columns[..index].contains(name) {
            return Err(format!("two columns are named {name:?}; keep one"));
        }
    }
    Ok(columns)
}

/// What to say of a header that was not cut into cells.
fn separator_hint(columns: &[String], delimiter: u8) -> &'static str {
    let [only] = columns else { return "" };
    match delimiter {
        b',' if only.contains(['\t', ';']) => "; the cells of a .csv file are separated by commas",
        b'\t' if only.contains([',', ';']) => "; the cells of a .tsv file are separated by tabs",
        _ => "",
    }
}

/// The cells of one row under the names of their columns.
fn fields(record: &StringRecord, columns: &[String]) -> Result<Value, String> {
    let surplus = record.iter().skip(columns.len()).any(|cell| !cell.is_empty());
    if surplus || record.len() < columns.len() {
        return Err(format!(
            "the row has {} cells, but the first row names {} columns; put cells that hold separators or line breaks \
             in quotes",
            record.len(),
            columns.len()
        ));
    }
    let cell = |(name, cell): (&String, &str)| {
        let value = if cell.is_empty() { Value::Null } else { Value::from(cell) };
        (name.clone(), value)
    };
    Ok(Value::Object(columns.iter().zip(record).map(cell).collect::<Map<_, _>>()))
}

/// Whether `text` ends within quotes, which the reader takes for the end of a cell: then a line break added to it is a
/// part of the last cell.
fn ends_in_quotes(text: &str, delimiter: u8) -> bool {
    let last_cell = |text: &str| {
        let mut reader =
            ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(text.as_bytes());
        let record = reader.records().last()?.ok()?;
        record.iter().next_back().map(str::to_owned)
    };
    last_cell(text) != last_cell(&format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Vec<(usize, Value)> {
        rows(text, b',').unwrap()
    }

    fn rows(text: &str, delimiter: u8) -> Result<Vec<(usize, Value)>> {
        let row = |record: Record<'_>| match record.content {
            Content::Fields(fields) => (record.line, fields),
            other => panic!("{other:?}"),
        };
        Ok(records(text, delimiter, "d.csv")?.into_iter().map(row).collect())
    }

    fn error(text: &str) -> String {
        records(text, b',', "d.csv").unwrap_err().to_string()
    }

    #[test]
    fn cells_come_under_their_columns() {
        let expected = json!({"prompt": "a, b", "id": "7", "completion": "say \"x\""});
        assert_eq!(read("prompt,id,completion\n\"a, b\",7,\"say \"\"x\"\"\"\n"), [(2, expected)]);
        assert_eq!(
            rows("prompt\tcompletion\na, b\tc", b'\t').unwrap(),
            [(2, json!({"prompt": "a, b", "completion": "c"}))]
        );
        assert_eq!(read(" text ,\na,0\n"), [(2, json!({"text": "a", "": "0"}))]);
    }

    #[test]
    fn empty_cells_are_null_and_blank_rows_nothing() {
        let text = "instruction,input,output\n\na,,b\n,,\n , ,\nc,d,\n";
        assert_eq!(
            read(text),
            [
                (3, json!({"instruction": "a", "input": null, "output": "b"})),
                (6, json!({"instruction": "c", "input": "d", "output": null}))
            ]
        );
        assert_eq!(read("text\n"), []);
        assert_eq!(read(""), []);
    }

    #[test]
    fn lines_are_counted_through_quotes_and_every_kind_of_line_break() {
        for end in ["\n", "\r\n", "\r"] {
            let text = "\ntext,n\n\"a\nb\n\",1\n\n\nc,2\n\"d\n\",3".replace('\n', end);
            let lines: Vec<usize> = read(&text).iter().map(|(line, _)| *line).collect();
            assert_eq!(lines, [3, 8, 9], "{end:?}");
            assert_eq!(read(&text)[0].1["text"], format!("a{end}b{end}"));
        }
    }

    #[test]
    fn columns_that_make_no_row() {
        assert_eq!(
            error("question,answer\na,b\n"),
            "d.csv:1: the first row names the columns \"question\", \"answer\", expected \"text\", or \"prompt\" and \
             \"completion\", or \"instruction\", \"output\" and perhaps \"input\"; see README, Data"
        );
        assert!(error("promt,completion\n").contains("\"completion\" (did you mean \"prompt\"?), expected"));
        assert!(error("prompt;completion\na;b").contains("; the cells of a .csv file are separated by commas; see"));
        let tsv = records("prompt,completion\n", b'\t', "d.tsv").unwrap_err().to_string();
        assert!(tsv.contains("; the cells of a .tsv file are separated by tabs; see"), "{tsv}");
        assert_eq!(error("\ntext,id,text\n"), "d.csv:2: two columns are named \"text\"; keep one");
    }

    #[test]
    fn rows_of_too_many_or_too_few_cells() {
        let advice = "put cells that hold separators or line breaks in quotes";
        for (row, cells) in [("a", 1), ("a,b,c,d", 4)] {
            assert_eq!(
                error(&format!("prompt,completion,id\nx,\"\n\",1\n{row}\n")),
                format!("d.csv:4: the row has {cells} cells, but the first row names 3 columns; {advice}")
            );
        }
        assert_eq!(read("text\na,,\n"), [(2, json!({"text": "a"}))]);
    }

    #[test]
    fn quotes_that_never_close() {
        for text in ["text,n\na,1\nb,\"2\nc,3\n", "text,n\na,1\nb,\"2", "text,n\na,1\nb,\"", "text,n\na,1\nb,\"\"\"\n"]
        {
            assert!(error(text).starts_with("d.csv:3: a quote (\") that opens in this row is never closed"), "{text}");
        }
        for text in ["text\n\"a\n\"", "text\n\"a\n\"\n", "text\na\"b", "text\n\"a\"\"\"\n", "text\n\"a\"\"\""] {
            assert_eq!(read(text).len(), 1, "{text:?}");
        }
    }
}
