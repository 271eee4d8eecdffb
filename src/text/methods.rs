//! Python's methods of strings, lists and dicts, and the filters that need a limit of their own.

use minijinja::value::{Kwargs, Rest, from_args};
use minijinja::{Error, ErrorKind, FormatStyle, State, Value};
use minijinja_contrib::pycompat;

use super::{limits, python};

/// The longest run of digits in a format string: they are mostly widths, which are filled with spaces.
const MAX_WIDTH_DIGITS: usize = 4;

/// Calls a Python method that minijinja does not know.
pub(super) fn call(state: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else { return pycompat::unknown_method_callback(state, value, method, args) };
    match method {
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            replaced(text, old, new, count).map(Value::from)
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            joined(items, text, None)
        }
        "format" => {
            check_widths(text)?;
            pycompat::unknown_method_callback(state, value, method, args)
        }
        // pycompat counts bytes here, Python characters.
        "find" | "rfind" => {
            let (what,): (&str,) = from_args(args)?;
            let at = if method == "find" { text.find(what) } else { text.rfind(what) };
            Ok(at.map_or(Value::from(-1), |at| Value::from(text[..at].chars().count())))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        "partition" => {
            let (by,): (&str,) = from_args(args)?;
            Ok(text.split_once(by).map_or([text, "", ""], |(head, tail)| [head, by, tail]).into_iter().collect())
        }
        "rpartition" => {
            let (by,): (&str,) = from_args(args)?;
            Ok(text.rsplit_once(by).map_or(["", "", text], |(head, tail)| [head, by, tail]).into_iter().collect())
        }
        "rsplit" => {
            let (by, times): (&str, Option<i64>) = from_args(args)?;
            let pieces = times.and_then(|n| usize::try_from(n).ok()).map_or(usize::MAX, |n| n.saturating_add(1));
            let mut parts: Vec<&str> = text.rsplitn(pieces, by).collect();
            parts.reverse();
            Ok(parts.into_iter().collect())
        }
        _ => pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// The filter `replace`.
pub(super) fn replace(value: &Value, old: &str, new: &str, count: Option<i64>) -> Result<String, Error> {
    replaced(&python::text(value)?, old, new, count)
}

fn replaced(text: &str, old: &str, new: &str, count: Option<i64>) -> Result<String, Error> {
    let count = count.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    // Where nothing is looked for, it is found between all characters.
    let found = text.matches(old).take(count).count();
    limits::check_bytes((text.len() - found * old.len()).saturating_add(found.saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, count))
}

/// The filter `join`.
pub(super) fn join(items: &Value, by: Option<String>, kwargs: Kwargs) -> Result<Value, Error> {
    let attribute: Option<String> = kwargs.get("attribute")?;
    let by = by.or(kwargs.get("d")?).unwrap_or_default();
    kwargs.assert_all_used()?;
    joined(items, &by, attribute.as_deref())
}

fn joined(items: &Value, by: &str, attribute: Option<&str>) -> Result<Value, Error> {
    let size = limits::measure(items)?;
    limits::check_bytes(size.bytes.saturating_add(size.values.saturating_mul(by.len())))?;
    let mut joined = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        if index > 0 {
            joined.push_str(by);
        }
        joined.push_str(&match attribute {
            Some(name) => python::text(&item.get_attr(name)?)?,
            None => python::text(&item)?,
        });
    }
    Ok(Value::from(joined))
}

/// The filter `trim`.
pub(super) fn trim(value: &Value, chars: Option<&str>) -> Result<String, Error> {
    let text = python::text(value)?;
    let trimmed = match chars {
        Some(chars) => text.trim_matches(|c| chars.contains(c)),
        None => text.trim(),
    };
    Ok(trimmed.to_owned())
}

/// The filter `length`. That of nothing is 0.
pub(super) fn length(value: &Value) -> Result<usize, Error> {
    let unsized_value = || Error::new(ErrorKind::InvalidOperation, format!("a {} has no length", value.kind()));
    if value.is_undefined() { Ok(0) } else { value.len().ok_or_else(unsized_value) }
}

/// The test `sequence`: what has a length, of which Jinja's undefined value is one.
pub(super) fn is_sequence(value: &Value) -> bool {
    value.is_undefined() || value.len().is_some()
}

/// The filter `list`. A list times a number has its elements made on the fly, and can be of any length.
pub(super) fn list(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    limits::measure(&value)?;
    minijinja::filters::list(state, value)
}

/// The filter `format`, printf style.
pub(super) fn format(pattern: &str, args: Rest<Value>) -> Result<String, Error> {
    check_widths(pattern)?;
    minijinja::format_filter(FormatStyle::Printf, pattern, &args)
}

fn check_widths(pattern: &str) -> Result<(), Error> {
    if pattern.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > MAX_WIDTH_DIGITS)
        || pattern.contains('*')
    {
        return Err(Error::new(ErrorKind::InvalidOperation, "a width in a format is too large"));
    }
    Ok(())
}
