//! Chat templates: conversations to the text that the model was trained on.

use std::error::Error as _;

use minijinja::{Environment, ErrorKind, Output, State, Value, context};

use crate::error::{Error, Result};
use crate::text::limits::{self, MAX_DEPTH, MAX_STEPS};
use crate::text::{Message, methods, prepare, python, strftime};
use crate::weights::plain;

const NAME: &str = "chat template";

/// A model's chat template, compiled. Renders as transformers' `apply_chat_template` does.
///
/// Not supported: `tools` and `documents` (both are none), the local time zone (`strftime_now` is in UTC), `%` between
/// strings. A tuple prints as a list. A template that does not end, or makes too much, is an error.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles the Jinja `source`; `bos` and `eos` are the texts of the tokens that begin and end a text, empty if
    /// the model has none.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(MAX_STEPS));
        environment.set_recursion_limit(MAX_DEPTH);
        environment.set_formatter(print);
        environment.set_unknown_method_callback(methods::call);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime::strftime_now);
        environment.add_filter("tojson", python::tojson);
        environment.add_filter("replace", methods::replace);
        environment.add_filter("join", methods::join);
        environment.add_filter("list", methods::list);
        environment.add_filter("trim", methods::trim);
        environment.add_filter("string", python::text);
        environment.add_filter("length", methods::length);
        environment.add_filter("count", methods::length);
        environment.add_filter("format", methods::format);
        // They make as many lists as they are told at once, until memory ends; no template in use needs them.
        environment.remove_filter("batch");
        environment.remove_filter("slice");
        environment.add_filter(limits::GUARD, limits::guard);
        environment.add_filter(limits::GUARD_INNER, limits::guard_inner);
        environment.add_test("sequence", methods::is_sequence);
        environment.add_template_owned(NAME, prepare::prepare(source)?).map_err(|e| explain(&e))?;
        Ok(Self { environment, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The text of the conversation `messages`; with `add_generation_prompt` it ends where the assistant begins
    /// to answer.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let template = self.environment.get_template(NAME).map_err(|e| explain(&e))?;
        let variables = context! {
            messages,
            add_generation_prompt,
            bos_token => self.bos,
            eos_token => self.eos,
            tools => (),
            documents => (),
        };
        let mut written = limits::Writer::default();
        match template.render_captured_to(variables, &mut written) {
            Ok(_) => Ok(written.into_string()),
            Err(_) if written.full => Err(Error::Template(limits::TooLarge.to_string())),
            Err(e) => Err(explain(&e)),
        }
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("bos", &self.bos).field("eos", &self.eos).finish_non_exhaustive()
    }
}

/// Prints a value as Python would, and keeps count.
fn print(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), minijinja::Error> {
    let printed;
    let text = match value.as_str() {
        Some(text) => text,
        None => {
            printed = python::repr(value)?;
            &printed
        }
    };
    limits::count_printed(state, text.len())?;
    out.write_str(text).map_err(|_| minijinja::Error::from(ErrorKind::WriteFailure))
}

/// What a template says when it rejects a conversation.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, "raised").with_source(Raised(message)))
}

/// Puts an error of the template engine in our words.
fn explain(error: &minijinja::Error) -> Error {
    for cause in std::iter::successors(error.source(), |&e| e.source()) {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return Error::Template(format!("it refuses this conversation: {}", plain(message)));
        }
        if cause.is::<limits::TooLarge>() {
            return Error::Template(cause.to_string());
        }
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return Error::Template(format!("it did not finish within {MAX_STEPS} steps"));
    }
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {}", plain(detail))).unwrap_or_default();
    Error::Template(format!("{line}{}{detail}", error.kind()))
}

#[cfg(test)]
mod tests;
