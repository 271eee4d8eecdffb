//! How far a chat template may go. Templates come with models from strangers: one that loops, or grows what it holds
//! until memory ends, must end with an error instead.
//!
//! Steps are counted by minijinja (fuel), and so is the depth of macros. Size is checked here, wherever a value is
//! printed or kept: `set`, macro arguments and recursive loops get the filter [`GUARD`] from
//! [`prepare`](super::prepare). In between, a single expression can still build something large (minijinja has no
//! hook there), but nothing can grow from step to step.

use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Object, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Instructions one rendering may take. A message takes a few dozen, in elaborate templates a few hundred.
pub(super) const MAX_STEPS: u64 = 5_000_000;
/// Bytes one rendering, or one value within it, may have. That is some four million tokens.
pub(super) const MAX_BYTES: usize = 16 << 20;
/// Depth of macro calls and blocks. minijinja stops at 500 unasked, which a thread of 1 MiB may not survive.
pub(super) const MAX_DEPTH: usize = 100;
/// Words and signs in one tag, and `elif`s in all. Each may nest the parsed tree one deeper, which minijinja follows by
/// recursion without a limit.
pub(super) const MAX_WORDS: usize = 3000;
pub(super) const MAX_ELIFS: usize = 300;
/// Values that one value may hold, and how deep they may nest.
const MAX_VALUES: usize = 1 << 20;
const MAX_NESTING: usize = 64;

/// The name of the filter that passes a value on if it is within the limits.
pub(super) const GUARD: &str = "__guard";

/// The filter [`GUARD`].
pub(super) fn guard(value: &Value) -> Result<Value, Error> {
    measure(value)?;
    Ok(value.clone())
}

/// The bytes of all strings in `value`, and the number of values in it; an error if it is beyond the limits.
pub(super) fn measure(value: &Value) -> Result<Size, Error> {
    let mut size = Size { bytes: 0, values: 0 };
    size.add(value, 0)?;
    Ok(size)
}

/// How large a value is.
pub(super) struct Size {
    pub bytes: usize,
    pub values: usize,
}

impl Size {
    fn add(&mut self, value: &Value, nesting: usize) -> Result<(), Error> {
        self.values += 1;
        match value.kind() {
            ValueKind::String | ValueKind::Bytes => self.bytes += value.len().unwrap_or(0),
            // Elements made on the fly are counted first: there may be any number of them.
            ValueKind::Seq | ValueKind::Map | ValueKind::Iterable if value.len().is_some_and(|n| n > MAX_VALUES) => {
                return Err(too_large());
            }
            ValueKind::Seq | ValueKind::Map | ValueKind::Iterable if nesting == MAX_NESTING => return Err(too_large()),
            ValueKind::Seq => {
                for item in value.try_iter()? {
                    self.add(&item, nesting + 1)?;
                }
            }
            ValueKind::Iterable if value.len().is_some() => {
                for item in value.try_iter()? {
                    self.add(&item, nesting + 1)?;
                }
            }
            ValueKind::Map => {
                for key in value.try_iter()? {
                    self.add(&key, nesting + 1)?;
                    self.add(&value.get_item(&key)?, nesting + 1)?;
                }
            }
            _ => {}
        }
        if self.bytes > MAX_BYTES || self.values > MAX_VALUES { Err(too_large()) } else { Ok(()) }
    }
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
