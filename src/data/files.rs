//! Files of rows.

use crate::error::{Error, Result};

/// A `.jsonl` file, read but not parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonlFile {
    /// Its name in errors.
    pub place: String,
    /// What it holds.
    pub text: String,
}

/// The text of a file's `bytes`; `place` names it in errors.
pub fn utf8_text(bytes: Vec<u8>, place: &str) -> Result<String> {
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
pub use native::{Splits, load_rows};

#[cfg(not(target_family = "wasm"))]
mod native {
    use std::io::ErrorKind;
    use std::path::Path;

    use super::{JsonlFile, utf8_text};
    use crate::error::{Error, Result};

    const EXPECTED: &str =
        "--data takes a .jsonl file, or a folder with train.jsonl and optional valid.jsonl and test.jsonl";

    /// The files of a data set, apart by use.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Splits {
        /// For training.
        pub train: JsonlFile,
        /// For evaluation during training.
        pub valid: Option<JsonlFile>,
        /// For evaluation at the end.
        pub test: Option<JsonlFile>,
    }

    /// Reads the file or folder that `--data` names.
    pub fn load_rows(path: impl AsRef<Path>) -> Result<Splits> {
        let path = path.as_ref();
        if path.is_dir() {
            let optional = |name| {
                let file = path.join(name);
                if file.exists() { read(&file).map(Some) } else { Ok(None) }
            };
            let train = optional("train.jsonl")?.ok_or_else(|| {
                Error::data(path.display().to_string(), format!("no train.jsonl in this folder; {EXPECTED}"))
            })?;
            return Ok(Splits { train, valid: optional("valid.jsonl")?, test: optional("test.jsonl")? });
        }
        // A file that is not there is reported as such, whatever its name.
        let is_jsonl = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("jsonl"));
        if path.exists() && !is_jsonl {
            let what = format!("this kind of file is not supported; {EXPECTED}");
            return Err(Error::data(path.display().to_string(), what));
        }
        Ok(Splits { train: read(path)?, valid: None, test: None })
    }

    fn read(path: &Path) -> Result<JsonlFile> {
        let bytes = std::fs::read(path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                Error::data("data", format!("no file or folder {:?}; {EXPECTED}", path.display().to_string()))
            }
            _ => Error::io(path, "reading", e),
        })?;
        let place = path.display().to_string();
        Ok(JsonlFile { text: utf8_text(bytes, &place)?, place })
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;

    fn error(path: impl AsRef<std::path::Path>) -> String {
        load_rows(path).unwrap_err().to_string()
    }

    #[test]
    fn reads_a_file_or_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("train.jsonl"), "a\n").unwrap();
        std::fs::write(path("test.jsonl"), "b\n").unwrap();
        let splits = load_rows(folder.path()).unwrap();
        assert_eq!((splits.train.text.as_str(), splits.valid), ("a\n", None));
        assert_eq!(splits.train.place, path("train.jsonl").display().to_string());
        assert_eq!(splits.test.unwrap().text, "b\n");
        let splits = load_rows(path("test.jsonl")).unwrap();
        assert_eq!((splits.train.text.as_str(), splits.valid, splits.test), ("b\n", None, None));
    }

    #[test]
    fn says_what_is_missing_or_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let shown = |name: &str| path(name).display().to_string();
        let expected =
            "--data takes a .jsonl file, or a folder with train.jsonl and optional valid.jsonl and test.jsonl";
        assert_eq!(error("no/such"), format!("data: no file or folder \"no/such\"; {expected}"));
        assert_eq!(error("no/such.csv"), format!("data: no file or folder \"no/such.csv\"; {expected}"));
        let here = folder.path().display().to_string();
        assert_eq!(error(folder.path()), format!("{here}: no train.jsonl in this folder; {expected}"));
        std::fs::write(path("a.csv"), "a").unwrap();
        assert_eq!(error(path("a.csv")), format!("{}: this kind of file is not supported; {expected}", shown("a.csv")));
        std::fs::create_dir(path("train.jsonl")).unwrap();
        assert!(error(folder.path()).starts_with(&format!("{}: reading failed: ", shown("train.jsonl"))));
    }

    #[test]
    fn says_which_line_is_not_utf_8() {
        let error = |bytes: &[u8]| utf8_text(bytes.to_vec(), "d.jsonl").unwrap_err().to_string();
        assert_eq!(error(b"a\nb\nc\xE9d\n"), "d.jsonl:3: not UTF-8 (byte 0xE9); save the file as UTF-8");
        assert_eq!(error(b"\xFF\xFEa\0"), "d.jsonl: the file is UTF-16; save it as UTF-8");
        assert_eq!(utf8_text("é\n".into(), "d").unwrap(), "é\n");
    }
}
