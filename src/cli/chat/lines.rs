//! Lines from a person at a terminal, or from a pipe.

use crate::error::{Error, Result};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::io::{IsTerminal, Lines as StdLines, StdinLock};

/// Where lines come from.
pub enum Lines {
    /// A person, with what a line editor offers. What was typed is not kept beyond the conversation.
    Terminal(Box<DefaultEditor>),
    /// A file or another program.
    Piped(StdLines<StdinLock<'static>>),
}

/// What came.
#[derive(Debug)]
pub enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// There are no more.
    End,
}

impl Lines {
    /// The terminal, where there is one on both sides and `is_plain` does not ask to do without; else standard input.
    pub fn open(is_plain: bool) -> Result<Self> {
        if !is_plain && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            return Ok(Self::Terminal(Box::new(DefaultEditor::new().map_err(terminal)?)));
        }
        Ok(Self::Piped(std::io::stdin().lines()))
    }

    /// Whether a person types them.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next line; a person is asked for it with `prompt`.
    pub fn next(&mut self, prompt: &str) -> Result<Line> {
        match self {
            Self::Piped(lines) => match lines.next() {
                None => Ok(Line::End),
                Some(line) => line.map(Line::Text).map_err(|e| Error::io("standard input", "reading", e)),
            },
            Self::Terminal(editor) => match editor.readline(prompt) {
                Ok(line) => {
                    editor.add_history_entry(line.as_str()).map_err(terminal)?;
                    Ok(Line::Text(line))
                }
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(e) => Err(terminal(e)),
            },
        }
    }
}

fn terminal(error: ReadlineError) -> Error {
    Error::io("the terminal", "reading", std::io::Error::other(error))
}
