//! Files of rows.

use std::path::Path;

use crate::error::{Error, Result};

/// What a data set may be, for errors.
const EXPECTED: &str = "--data takes a .jsonl, .json, .csv, .tsv or .txt file, or a folder with a train file of these \
                        kinds and, if you like, valid and test files";

/// How a file holds its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// One JSON object a line.
    Jsonl,
    /// A list of JSON objects, or objects one after the other.
    Json,
    /// Cells separated by commas under a first row that names the columns.
    Csv,
    /// The same with tabs.
    Tsv,
    /// One text, which is cut into rows of the maximum length.
    Text,
}

impl FileKind {
    const ALL: [(&'static str, Self); 5] =
        [("jsonl", Self::Jsonl), ("json", Self::Json), ("csv", Self::Csv), ("tsv", Self::Tsv), ("txt", Self::Text)];

    /// The kind that a file's name tells, if it is one of these.
    pub fn of(name: impl AsRef<Path>) -> Option<Self> {
        let extension = name.as_ref().extension()?;
        Self::ALL.into_iter().find(|(known, _)| extension.eq_ignore_ascii_case(known)).map(|(_, kind)| kind)
    }
}

/// A file of rows, read but not parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Its name in errors.
    pub place: String,
    /// How it holds its rows.
    pub kind: FileKind,
    /// What it holds.
    pub text: String,
}

impl DataFile {
    /// The file called `place` with these `bytes`.
    ///
    /// # Errors
    /// If its name does not end as one of [`FileKind`]'s, or the bytes are not UTF-8.
    pub fn from_bytes(place: impl Into<String>, bytes: Vec<u8>) -> Result<Self> {
        let place = place.into();
        let kind = FileKind::of(&place)
            .ok_or_else(|| Error::data(&place, format!("this kind of file is not supported; {EXPECTED}")))?;
        Ok(Self { kind, text: utf8_text(bytes, &place)?, place })
    }
}

/// The files of a data set, apart by use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splits {
    /// For training.
    pub train: DataFile,
    /// For evaluation during training.
    pub valid: Option<DataFile>,
    /// For evaluation at the end.
    pub test: Option<DataFile>,
}

/// The text of a file's `bytes`; `place` names it in errors.
fn utf8_text(bytes: Vec<u8>, place: &str) -> Result<String> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(Error::data(place, "the file is UTF-16; save it as UTF-8"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let (good, bad) = e.as_bytes().split_at(e.utf8_error().valid_up_to());
        let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
        let byte = bad.first().copied().unwrap_or_default();
        Error::data(format!("{place}:{line}"), format!("not UTF-8 (byte 0x{byte:02X}); save the file as UTF-8"))
    })
}

#[cfg(not(target_family = "wasm"))]
pub use native::{find_split, load_file, load_rows};

#[cfg(not(target_family = "wasm"))]
mod native {
    use std::io::ErrorKind;
    use std::path::{Path, PathBuf};

    use super::{DataFile, EXPECTED, FileKind, Splits};
    use crate::error::{Error, Result};

    /// Reads the file or folder that `--data` names.
    pub fn load_rows(path: impl AsRef<Path>) -> Result<Splits> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Ok(Splits { train: load_file(path)?, valid: None, test: None });
        }
        let read = |name| find_split(path, name)?.map(load_file).transpose();
        let train = read("train")?.ok_or_else(|| {
            Error::data(path.display().to_string(), format!("no train.jsonl, or like it, in this folder; {EXPECTED}"))
        })?;
        Ok(Splits { train, valid: read("valid")?, test: read("test")? })
    }

    /// The file of `folder` that holds the rows called `name`, such as "train", in any [`FileKind`].
    ///
    /// # Errors
    /// If there are several.
    pub fn find_split(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
        let named = FileKind::ALL.map(|(extension, _)| format!("{name}.{extension}"));
        let mut found = named.into_iter().filter(|name| folder.join(name).exists());
        match (found.next(), found.next()) {
            (Some(one), Some(other)) => {
                let what = format!("this folder has both {one} and {other}; keep one of them");
                Err(Error::data(folder.display().to_string(), what))
            }
            (found, _) => Ok(found.map(|name| folder.join(name))),
        }
    }

    /// Reads one file.
    pub fn load_file(path: impl AsRef<Path>) -> Result<DataFile> {
        let path = path.as_ref();
        let place = path.display().to_string();
        // A file that is not there is reported as such, whatever its name; one of a wrong kind is not read in vain.
        if path.exists() && FileKind::of(path).is_none() {
            return DataFile::from_bytes(place, Vec::new());
        }
        let bytes = std::fs::read(path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::data("data", format!("no file or folder {place:?}; {EXPECTED}")),
            _ => Error::io(path, "reading", e),
        })?;
        DataFile::from_bytes(place, bytes)
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;

    fn error(path: impl AsRef<Path>) -> String {
        load_rows(path).unwrap_err().to_string()
    }

    #[test]
    fn reads_a_file_or_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("train.csv"), "a\n").unwrap();
        std::fs::write(path("test.jsonl"), "b\n").unwrap();
        let splits = load_rows(folder.path()).unwrap();
        assert_eq!((splits.train.text.as_str(), splits.train.kind, splits.valid), ("a\n", FileKind::Csv, None));
        assert_eq!(splits.train.place, path("train.csv").display().to_string());
        assert_eq!(splits.test.unwrap().text, "b\n");
        let splits = load_rows(path("test.jsonl")).unwrap();
        assert_eq!((splits.train.text.as_str(), splits.valid, splits.test), ("b\n", None, None));
    }

    #[test]
    fn kinds_by_name() {
        let kinds = ["a.jsonl", "b/a.JSON", "a.csv", "a.b.tsv", "a.Txt"].map(FileKind::of);
        assert_eq!(kinds, FileKind::ALL.map(|(_, kind)| Some(kind)));
        assert_eq!(["", "jsonl", ".jsonl", "a.parquet", "a.jsonl.gz"].map(FileKind::of), [None; 5]);
    }

    #[test]
    fn says_what_is_missing_or_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let shown = |name: &str| path(name).display().to_string();
        assert_eq!(error("no/such"), format!("data: no file or folder \"no/such\"; {EXPECTED}"));
        assert_eq!(error("no/such.bin"), format!("data: no file or folder \"no/such.bin\"; {EXPECTED}"));
        let here = folder.path().display().to_string();
        assert_eq!(error(folder.path()), format!("{here}: no train.jsonl, or like it, in this folder; {EXPECTED}"));
        std::fs::write(path("a.parquet"), [0xFF]).unwrap();
        let expected = format!("{}: this kind of file is not supported; {EXPECTED}", shown("a.parquet"));
        assert_eq!(error(path("a.parquet")), expected);
        std::fs::create_dir(path("train.jsonl")).unwrap();
        assert!(error(folder.path()).starts_with(&format!("{}: reading failed: ", shown("train.jsonl"))));
        std::fs::write(path("train.txt"), "a").unwrap();
        let expected = format!("{here}: this folder has both train.jsonl and train.txt; keep one of them");
        assert_eq!(error(folder.path()), expected);
    }

    #[test]
    fn says_which_line_is_not_utf_8() {
        let read = |bytes: &[u8]| DataFile::from_bytes("d.csv", bytes.to_vec());
        let error = |bytes| read(bytes).unwrap_err().to_string();
        assert_eq!(error(b"a\nb\nc\xE9d\n"), "d.csv:3: not UTF-8 (byte 0xE9); save the file as UTF-8");
        assert_eq!(error(b"\xFF\xFEa\0"), "d.csv: the file is UTF-16; save it as UTF-8");
        assert_eq!(read("é\n".as_bytes()).unwrap().text, "é\n");
    }
}
