//! The one error type of the crate. A message says what, where, why, and what to do about it.

use std::path::{Path, PathBuf};

/// Everything that can go wrong, one variant a cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be opened, read or written.
    #[error("{}: {doing} failed: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as a noun: "reading", "creating the folder".
        doing: &'static str,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A model file breaks its format, or describes a model this program does not support.
    #[error("{place}: {what}")]
    Model {
        /// The file, and where in it (tensor, key or offset).
        place: String,
        /// What is wrong and what to do about it.
        what: String,
    },
    /// A row of training or evaluation data cannot be used.
    #[error("{place}: {what}")]
    Data {
        /// `file:line`, or the file alone.
        place: String,
        /// What is wrong and what is expected instead.
        what: String,
    },
    /// The chat template could not be compiled or rendered.
    #[error("chat template: {0}")]
    Template(String),
    /// An adapter does not fit the model or breaks its format.
    #[error("{place}: {what}")]
    Adapter {
        /// The adapter folder or file, or the matrix.
        place: String,
        /// What is wrong and what to do about it.
        what: String,
    },
    /// A setting or a command-line argument is wrong.
    #[error("{0}")]
    Usage(String),
    /// No such device, or the device cannot do what was asked.
    #[error("{0}")]
    Device(String),
    /// The loss or the gradient stopped being a finite number.
    #[error(
        "step {step}: the {what} is not finite; training stopped with the weights of step {}. \
         Lower --learning-rate, raise --warmup-steps, or look at the rows of this step",
        .step - 1
    )]
    NotFinite {
        /// The optimizer step, from 1.
        step: usize,
        /// "loss" or "gradient norm".
        what: &'static str,
    },
    /// The user asked to stop; the state was saved first.
    #[error("interrupted")]
    Interrupted,
}

/// Result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An I/O failure at `path` while `doing` something.
    pub fn io(path: impl AsRef<Path>, doing: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), doing, source }
    }

    /// What a browser refused at `path` while `doing` something. The kind of the I/O error tells what can be acted on.
    #[cfg(target_family = "wasm")]
    pub fn browser(path: impl AsRef<Path>, doing: &'static str, thrown: &wasm_bindgen::JsValue) -> Self {
        use std::io::ErrorKind;
        let text = |key: &str| js_sys::Reflect::get(thrown, &key.into()).ok()?.as_string();
        let (name, message) = (text("name").unwrap_or_default(), text("message").unwrap_or_default());
        let (kind, what) = match &*name {
            "NotFoundError" => (ErrorKind::NotFound, "it is not there".to_owned()),
            "QuotaExceededError" => (ErrorKind::QuotaExceeded, "this browser's storage is full".to_owned()),
            "NoModificationAllowedError" | "InvalidStateError" => (
                ErrorKind::ResourceBusy,
                "another tab with this page is using it; close that tab, and try again".to_owned(),
            ),
            "NotReadableError" => (
                ErrorKind::Other,
                "the file was changed or moved since it was chosen, or does not fit into memory; choose it again"
                    .to_owned(),
            ),
            _ => (ErrorKind::Other, crate::weights::plain(&format!("{name}: {message}"))),
        };
        Self::io(path, doing, std::io::Error::new(kind, what))
    }

    /// A model file that cannot be used: where, and what is wrong with it.
    pub fn model(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Model { place: place.into(), what: what.into() }
    }

    /// A data row that cannot be used: where, and what is wrong with it.
    pub fn data(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Data { place: place.into(), what: what.into() }
    }

    /// An adapter that cannot be used: where, and what is wrong with it.
    pub fn adapter(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Adapter { place: place.into(), what: what.into() }
    }

    /// The exit code of the process that ends with this error: 1 failed, 2 wrong usage, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Interrupted => 130,
            _ => 1,
        }
    }
}

/// `" (did you mean \"q_proj\"?)"` where one of `known` is close to `given`, else nothing.
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!(" (did you mean \"{name}\"?)"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_closest_name_only_when_it_is_close() {
        let known = ["q_proj", "k_proj", "down_proj"];
        assert_eq!(did_you_mean("donw_proj", known), " (did you mean \"down_proj\"?)");
        assert_eq!(did_you_mean("zzz", known), "");
    }

    #[test]
    fn exit_codes() {
        assert_eq!(Error::Usage(String::new()).exit_code(), 2);
        assert_eq!(Error::Interrupted.exit_code(), 130);
        assert_eq!(Error::model("a", "b").exit_code(), 1);
    }
}
