//! `--config FILE`: flags from a TOML file, and the flags of a run written as one.
//!
//! The file is read before the command line is: each of its keys becomes a flag in front of those that were given, and
//! of two flags of one name the later counts.

use crate::demo;
use crate::error::{Error, Result, did_you_mean};
use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::any::TypeId;
use std::ffi::OsString;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The settings of a run, beside its adapter.
pub const SETTINGS_FILE: &str = "run.toml";

/// The subcommand that trains.
const TRAIN: &str = "finetune";
/// The flag that names the file.
const CONFIG: &str = "config";
/// Flags that are not settings.
const NOT_SETTINGS: [&str; 4] = [CONFIG, "help", "version", "json"];
/// Settings that say what becomes of an earlier run, so that they belong to one run only.
const OF_ONE_RUN: [&str; 2] = ["resume", "overwrite"];

/// Puts the settings of the file that `--config` names, where `args` have one, after the name of the subcommand. A run
/// that is resumed, and one that names neither model nor data, have settings of their own.
///
/// A key is the long name of a flag, with `-` or `_`, at the top of the file or in a table named after the subcommand; a
/// value is a string, a number, true or false, or a list of strings and numbers, which becomes one value with commas.
///
/// # Errors
/// If the file cannot be read, is not TOML, or has a key or value that is no flag's.
pub fn expand(mut args: Vec<OsString>, command: &Command) -> Result<Vec<OsString>> {
    let Some((index, subcommand)) = subcommand(&args, command) else { return Ok(args) };
    let has_config = subcommand.get_arguments().any(|arg| arg.get_long() == Some(CONFIG));
    if !has_config {
        return Ok(args);
    }
    let rest = &args[index + 1..];
    let (place, text) = match value_of(rest, CONFIG).or_else(|| resumed(rest, subcommand)) {
        Some(path) => {
            let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, "reading", e))?;
            (Path::new(&path).display().to_string(), text)
        }
        // Nothing to train, and nothing to train on: what the program carries shows what it does.
        None if subcommand.get_name() == TRAIN
            && ["model", "data"].iter().all(|flag| value_of(rest, flag).is_none()) =>
        {
            ("the bundled run".to_owned(), demo::Set::ALL[0].run_toml(value_of(rest, "method").is_none()))
        }
        None => return Ok(args),
    };
    let flags = File { text: &text, place, subcommand, command }.flags()?;
    args.splice(index + 1..index + 1, flags);
    Ok(args)
}

/// Where in `args` the name of a subcommand stands, and which it is.
fn subcommand<'c>(args: &[OsString], command: &'c Command) -> Option<(usize, &'c Command)> {
    // No flag before it takes a value.
    let is_flag = |arg: &OsString| arg.as_encoded_bytes().starts_with(b"-");
    let (index, name) = args.iter().enumerate().skip(1).find(|(_, arg)| !is_flag(arg))?;
    command.find_subcommand(name).map(|command| (index, command))
}

/// The settings of the run that `--resume` asks for, if they lie beside its adapter: they need not be given again.
fn resumed(args: &[OsString], subcommand: &Command) -> Option<OsString> {
    const FOLDER: &str = "adapter-path";
    args.iter().any(|arg| arg == "--resume").then_some(())?;
    let folder = value_of(args, FOLDER).or_else(|| {
        let flag = subcommand.get_arguments().find(|arg| arg.get_long() == Some(FOLDER))?;
        flag.get_default_values().first().map(|folder| folder.to_os_string())
    });
    let path = Path::new(&folder?).join(SETTINGS_FILE);
    path.exists().then(|| path.into_os_string())
}

/// The last value of `--flag`.
fn value_of(args: &[OsString], flag: &str) -> Option<OsString> {
    let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    args[..end].iter().enumerate().rev().find_map(|(index, arg)| {
        // Only a value that is UTF-8 can be cut off without unsafe code; others can stand on their own.
        let rest = arg.to_str()?.strip_prefix("--")?.strip_prefix(flag)?;
        if rest.is_empty() { args[..end].get(index + 1).cloned() } else { rest.strip_prefix('=').map(OsString::from) }
    })
}

/// A configuration, and what it is for.
struct File<'a> {
    text: &'a str,
    /// Its name in errors.
    place: String,
    /// Whose flags its keys are.
    subcommand: &'a Command,
    /// The program.
    command: &'a Command,
}

impl File<'_> {
    /// The flags that the file stands for.
    fn flags(&self) -> Result<Vec<OsString>> {
        let table = DeTable::parse(self.text).map_err(|e| {
            let start = e.span().map_or(0, |span| span.start);
            let (line, column) = self.position(start);
            Error::Usage(format!("{}:{line}:{column}: not TOML: {}", self.place, e.message().replace('\n', ", ")))
        })?;
        let mut flags = Vec::new();
        self.add(table.get_ref(), true, &mut flags)?;
        Ok(flags)
    }

    fn add(&self, table: &DeTable<'_>, is_top: bool, flags: &mut Vec<OsString>) -> Result<()> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut seen = Vec::new();
        let mut own = None;
        for (key, value) in entries {
            let name = key.get_ref().replace('_', "-");
            match value.get_ref() {
                DeValue::Table(table) if is_top && name == self.subcommand.get_name() => own = Some(table),
                // A file may serve several subcommands.
                DeValue::Table(_) if is_top && self.command.find_subcommand(&name).is_some() => {}
                _ if seen.contains(&name) => return Err(self.error(key, format!("{name:?} stands here twice"))),
                _ => flags.extend(self.flag(&name, key, value)?),
            }
            seen.push(name);
        }
        // After the keys above it, so that it counts more.
        own.map_or(Ok(()), |table| self.add(table, false, flags))
    }

    /// The flag called `name` with its value; nothing for a switch that is off.
    fn flag<T>(&self, name: &str, key: &Spanned<T>, value: &Spanned<DeValue<'_>>) -> Result<Option<OsString>> {
        let arg = self.arg(name).map_err(|what| self.error(key, what))?;
        let wrong = |expected: &str| {
            let found = kind(value.get_ref());
            Err(self.error(key, format!("{name:?} is {found}, expected {expected}")))
        };
        if is_switch(arg) {
            return match value.get_ref() {
                DeValue::Boolean(is_on) => Ok(is_on.then(|| format!("--{name}").into())),
                _ => wrong("true or false"),
            };
        }
        let text = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|item| scalar(item.get_ref())).collect::<Option<Vec<_>>>(),
            value => scalar(value).map(|text| vec![text]),
        };
        let Some(text) = text.map(|items| items.join(",")) else {
            return wrong(if is_number(arg) { "a number" } else { "a string" });
        };
        self.check(arg, name, &text).map_err(|what| self.error(key, what))?;
        Ok(Some(format!("--{name}={text}").into()))
    }

    /// The flag that the key `name` stands for.
    fn arg(&self, name: &str) -> Result<&Arg, String> {
        if name == CONFIG {
            return Err("a configuration cannot name another one".into());
        }
        let settings = || settings(self.subcommand);
        settings().find(|(long, _)| *long == name).map(|(_, arg)| arg).ok_or_else(|| {
            let hint = did_you_mean(name, settings().map(|(long, _)| long));
            let command = self.subcommand.get_name();
            format!("unknown key {name:?}{hint}; keys are the flags of diablo {command}, see its --help")
        })
    }

    /// Whether the flag takes `text`.
    fn check(&self, arg: &Arg, name: &str, text: &str) -> Result<(), String> {
        // Alone, so that the error is about this value and not about the rest of the command line.
        let alone =
            Command::new("alone").arg(Arg::new("value").long("value").value_parser(arg.get_value_parser().clone()));
        let Err(error) = alone.try_get_matches_from(["alone", &format!("--value={text}")]) else { return Ok(()) };
        let message = error.to_string();
        let why = message.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
        let why = why.strip_prefix("error: ").unwrap_or(&why).replace(" for '--value <value>'", "");
        Err(format!("{name:?}: {why}"))
    }

    fn error<T>(&self, key: &Spanned<T>, what: String) -> Error {
        Error::Usage(format!("{}:{}: {what}", self.place, self.position(key.span().start).0))
    }

    /// Line and column, from 1, of a byte.
    fn position(&self, byte: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(byte)];
        let line = before.rsplit('\n').next().unwrap_or(before);
        (1 + before.matches('\n').count(), 1 + line.chars().count())
    }
}

/// A value as the command line takes it; nothing for what it does not take.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The flags of `command` that are settings of a run, by their long names.
fn settings(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let named = command.get_arguments().filter_map(|arg| Some((arg.get_long()?, arg)));
    named.filter(|(long, _)| !NOT_SETTINGS.contains(long))
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

fn is_number(arg: &Arg) -> bool {
    let parser: &ValueParser = arg.get_value_parser();
    let numbers = [TypeId::of::<usize>(), TypeId::of::<u64>(), TypeId::of::<u32>(), TypeId::of::<f64>()];
    numbers.iter().any(|number| parser.type_id() == *number)
}

/// Every setting of a run with its final value, as a file that [`expand`] reads back to the same run. `matches` are those
/// of `command`, a subcommand. Flags that were not given and have no default are left out, and so are those by which one
/// run follows another.
pub fn effective_toml(matches: &ArgMatches, command: &Command) -> String {
    let line = |(long, arg): (&str, &Arg)| {
        if is_switch(arg) {
            return Some(format!("{long} = {}\n", matches.get_flag(arg.get_id().as_str())));
        }
        let raw = matches.get_raw(arg.get_id().as_str())?.next_back()?;
        // A path that is not UTF-8 cannot be written in TOML; what is close to it is still of use to a reader.
        let text = raw.to_string_lossy();
        let is_number = is_number(arg) && toml::from_str::<toml::Table>(&format!("x = {text}")).is_ok();
        let value = if is_number { text.into_owned() } else { toml::Value::from(text.into_owned()).to_string() };
        Some(format!("{long} = {value}\n"))
    };
    settings(command).filter(|(long, _)| !OF_ONE_RUN.contains(long)).filter_map(line).collect()
}

#[cfg(test)]
mod tests;
