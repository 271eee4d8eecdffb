//! How far a chat template may go. Templates come with models from strangers: one that loops, or grows what it holds
//! until memory ends, must end with an error instead.
//!
//! Steps are counted by minijinja (fuel), and so is the depth of macros. Size is checked here, wherever a value is
//! printed or kept: [`prepare`](super::prepare) sends what is `set`, macro arguments and the variables of recursive loops
//! through the filter [`GUARD`]. In between, a single expression can still build something large (minijinja has no hook
//! there), but nothing can grow from step to step.

use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Object, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Instructions one rendering may take. A message takes a few dozen, in elaborate templates a few hundred.
pub(super) const MAX_STEPS: u64 = 5_000_000;
/// Bytes one rendering, or one value within it, may have. That is some four million tokens.
pub(super) const MAX_BYTES: usize = 16 << 20;
/// Depth of blocks and, counted some seven times, macro calls. minijinja allows 500, which takes much of a browser's
/// stack of 1 MiB.
pub(super) const MAX_DEPTH: usize = 250;
/// Words and signs in one tag, and `elif`s in all. Each may nest the parsed tree one deeper, which minijinja follows by
/// recursion without a limit.
pub(super) const MAX_WORDS: usize = 3000;
pub(super) const MAX_ELIFS: usize = 300;
/// Values that one value may hold, and how deep they may nest.
const MAX_VALUES: usize = 1 << 20;
const MAX_NESTING: usize = 64;

/// The name of the filter that passes a value on if it is within the limits.
pub(super) const GUARD: &str = "__guard";
/// The same, for a value that is put into a namespace.
pub(super) const GUARD_INNER: &str = "__guard_inner";

/// The filter [`GUARD`].
pub(super) fn guard(value: &Value) -> Result<Value, Error> {
    measure(value)?;
    Ok(value.clone())
}

/// The filter [`GUARD_INNER`]. A namespace within itself would have no end, so none may hold another.
pub(super) fn guard_inner(value: &Value) -> Result<Value, Error> {
    let size = measure(value)?;
    if size.namespaces > 0 {
        return Err(Error::new(ErrorKind::InvalidOperation, "a namespace cannot be put into a namespace"));
    }
    Ok(value.clone())
}

/// How much there is in `value`; an error if it is beyond the limits.
pub(super) fn measure(value: &Value) -> Result<Size, Error> {
    let mut size = Size::default();
    size.add(value, 0)?;
    Ok(size)
}

/// How large a value is.
#[derive(Default)]
pub(super) struct Size {
    /// Of all strings in it.
    pub bytes: usize,
    /// Itself and all in it.
    pub values: usize,
    namespaces: usize,
}

impl Size {
    fn add(&mut self, value: &Value, nesting: usize) -> Result<(), Error> {
        self.values += 1;
        let kind = value.kind();
        let length = value.len();
        if matches!(kind, ValueKind::String | ValueKind::Bytes) {
            self.bytes += length.unwrap_or(0);
        } else if nesting == MAX_NESTING || length.is_some_and(|length| length > MAX_VALUES) {
            // Elements that are made on the fly can be any number, so that they are not even walked.
            return Err(too_large());
        } else if kind == ValueKind::Map {
            self.namespaces += usize::from(is_namespace(value));
            for key in value.try_iter()? {
                self.add(&value.get_item(&key)?, nesting + 1)?;
                self.add(&key, nesting + 1)?;
            }
        } else if matches!(kind, ValueKind::Seq | ValueKind::Iterable) && length.is_some() {
            for item in value.try_iter()? {
                self.add(&item, nesting + 1)?;
            }
        }
        if self.bytes > MAX_BYTES || self.values > MAX_VALUES { Err(too_large()) } else { Ok(()) }
    }
}

/// Whether `value` came from `namespace()`. minijinja keeps the type to itself.
fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"))
}

/// Fails if a string of `bytes` would be too long to make.
pub(super) fn check_bytes(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_BYTES { Err(too_large()) } else { Ok(()) }
}

/// Counts `bytes` more as printed by this rendering, into a macro's or block's result or to the end.
pub(super) fn count_printed(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    // What is printed inside a macro is printed again by its caller, hence the factor.
    let printed = state.get_or_set_temp_object("__printed", Printed::default);
    let before = printed.0.fetch_add(bytes, Ordering::Relaxed);
    if before + bytes > 4 * MAX_BYTES { Err(too_large()) } else { Ok(()) }
}

#[derive(Debug, Default)]
struct Printed(AtomicUsize);

impl Object for Printed {}

/// The error of everything here.
#[derive(Debug, thiserror::Error)]
#[error("it makes more than {} MiB of text or data", MAX_BYTES >> 20)]
pub(super) struct TooLarge;

fn too_large() -> Error {
    Error::new(ErrorKind::InvalidOperation, "too large").with_source(TooLarge)
}

/// A writer into a string that refuses to exceed [`MAX_BYTES`].
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    pub full: bool,
}

impl Writer {
    /// What was written. minijinja only writes whole strings, so that nothing is replaced here.
    pub fn into_string(self) -> String {
        String::from_utf8(self.bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }
}

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_BYTES {
            self.full = true;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
