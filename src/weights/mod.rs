//! Files of weights: what tensors they hold and where, and the number formats they use.
//!
//! [`safetensors`] and [`gguf`] read headers only. They check everything a header says against the size of the file
//! before they believe it, so that reading a tensor later can fail only where the storage does. Values come from
//! [`Storage`] by byte range and become f32 with [`TensorType::dequantize`].

pub mod gguf;
pub mod safetensors;

mod encode;
mod k_quants;
mod storage;
mod tensor_type;

pub use encode::{Q8_0_BLOCK, quantize_q8_0};
pub use storage::Storage;
pub(crate) use storage::zeroed;
pub use tensor_type::{FloatType, TensorType};

use std::ops::Range;

/// Where one tensor lies in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The number format, or the name of one that this crate does not read: no error before the tensor is needed.
    pub ty: Result<TensorType, String>,
    /// Outermost dimension first: `[out, in]` for a matrix.
    pub shape: Vec<usize>,
    /// Its bytes in the file: inside it, and as many as the format and the shape ask for.
    pub range: Range<u64>,
}

/// `name` for a message: in quotes, without control characters, and not longer than fits on a line. Names come from
/// files, and a hostile one would otherwise rewrite the terminal.
pub(crate) fn quoted(name: &str) -> String {
    const LONGEST: usize = 100;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &name[..end]),
        None => format!("{name:?}"),
    }
}

/// `text` for a message, where a library or a file wrote it: without control characters, and not longer than a few
/// lines of a terminal.
pub(crate) fn plain(text: &str) -> String {
    const LONGEST: usize = 500;
    let mut plain = String::new();
    for (count, letter) in text.chars().enumerate() {
        match letter {
            _ if count == LONGEST => return plain + "…",
            '\n' | '\r' | '\t' => plain.push(' '),
            control if control.is_control() => plain.extend(control.escape_default()),
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{plain, quoted};

    #[test]
    fn messages_of_others_stay_on_their_line() {
        assert_eq!(plain("it's Ġthe\nend"), "it's Ġthe end");
        assert_eq!(plain("\x1b[2J\u{9b}"), r"\u{1b}[2J\u{9b}");
        assert_eq!(plain(&"ä".repeat(500)), "ä".repeat(500));
        assert_eq!(plain(&"ä".repeat(501)), "ä".repeat(500) + "…");
    }

    #[test]
    fn names_stay_on_their_line() {
        assert_eq!(quoted("it's Ġthe"), "\"it's Ġthe\"");
        assert_eq!(quoted("\x1b[2J\n"), r#""\u{1b}[2J\n""#);
        assert_eq!(quoted(&"ä".repeat(101)), format!("\"{}\"…", "ä".repeat(100)));
    }
}
