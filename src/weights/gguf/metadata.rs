//! Metadata: values by key.

use crate::error::{Error, Result};
use crate::weights::quoted;
use std::collections::BTreeMap;
use std::ops::Range;

/// A value; widths are not kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    String(String),
    Strings(Vec<String>),
    /// From an array of 32-bit integers.
    Integers(Vec<i64>),
    /// An array of another type: checked, passed over, and of no use to us.
    OtherArray,
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::String(_) => "a string",
            Self::Strings(_) => "a list of strings",
            Self::Integers(_) => "a list of 32-bit whole numbers",
            Self::OtherArray => "a list",
        }
    }
}

/// The metadata of a GGUF file. Each getter gives `None` for a key that is not there, and an error for one that holds
/// something else.
#[derive(Debug)]
pub struct Metadata {
    place: String,
    values: BTreeMap<String, Value>,
    entries: Vec<(String, Range<u64>)>,
}

impl Metadata {
    pub(super) fn new(place: &str) -> Self {
        Self { place: place.to_owned(), values: BTreeMap::new(), entries: Vec::new() }
    }

    /// Adds a value and where it lies in the file, key included; false if there is one of this name already.
    pub(super) fn insert(&mut self, key: String, value: Value, range: Range<u64>) -> bool {
        self.entries.push((key.clone(), range));
        self.values.insert(key, value).is_none()
    }

    /// Every key in the file's order, and the bytes of the file that hold key, type and value.
    pub fn entries(&self) -> &[(String, Range<u64>)] {
        &self.entries
    }

    /// What `get` finds under `key`, or an error if there is no such key.
    pub fn required<'a, T>(&'a self, key: &str, get: fn(&'a Self, &str) -> Result<Option<T>>) -> Result<T> {
        get(self, key)?.ok_or_else(|| Error::model(&self.place, format!("no key {} in the metadata", quoted(key))))
    }

    /// A whole number from 0 on.
    pub fn size(&self, key: &str) -> Result<Option<usize>> {
        self.get(key, "a whole number that is not negative", |value| match value {
            Value::Integer(n) => usize::try_from(*n).ok(),
            _ => None,
        })
    }

    /// A number. One stored as f32 is the shortest decimal that rounds to it: 1e-5, not 9.999999747378752e-6.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.get(key, "a number", |value| match value {
            Value::Float(n) => Some(*n),
            Value::Integer(n) => Some(*n as f64),
            _ => None,
        })
    }

    /// True or false.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "true or false", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A string.
    pub fn string(&self, key: &str) -> Result<Option<&str>> {
        self.get(key, "a string", |value| match value {
            Value::String(string) => Some(string.as_str()),
            _ => None,
        })
    }

    /// A list of strings.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>> {
        self.get(key, "a list of strings", |value| match value {
            Value::Strings(strings) => Some(strings.as_slice()),
            _ => None,
        })
    }

    /// A list of 32-bit whole numbers.
    pub fn integers(&self, key: &str) -> Result<Option<&[i64]>> {
        self.get(key, "a list of 32-bit whole numbers", |value| match value {
            Value::Integers(integers) => Some(integers.as_slice()),
            _ => None,
        })
    }

    fn get<'a, T>(&'a self, key: &str, expected: &str, read: fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| {
            let found = match value {
                Value::Integer(n) => n.to_string(),
                Value::Float(n) => n.to_string(),
                other => other.kind().to_owned(),
            };
            Error::model(&self.place, format!("key {} is {found}, expected {expected}", quoted(key)))
        })
    }
}
