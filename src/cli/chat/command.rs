//! What a line of a conversation asks for.

use crate::error::did_you_mean;

/// What may be typed instead of a message.
pub const HELP: &str = "/reset             forget the conversation
/adapter on|off    answer with the adapter, or as the model was before
/system TEXT       set the system message; without TEXT there is none
/help              this list
/quit              end; Ctrl-D does so too, and Ctrl-C ends an answer
//...               a message that begins with /";

const NAMES: [&str; 5] = ["/reset", "/adapter", "/system", "/help", "/quit"];

/// One line, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Nothing.
    Blank,
    /// A message to the model.
    Say(&'a str),
    /// Forget the conversation.
    Reset,
    /// Answer with the adapter, or without.
    Adapter(bool),
    /// Another system message, or none if it is empty.
    System(&'a str),
    /// List the commands.
    Help,
    /// End the program.
    Quit,
}

impl<'a> Command<'a> {
    /// Understands a line.
    pub fn parse(line: &'a str) -> Result<Self, String> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(Self::Blank);
        }
        if !line.starts_with('/') {
            return Ok(Self::Say(line));
        }
        if line.starts_with("//") {
            return Ok(Self::Say(&line[1..]));
        }
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match (name, rest.trim()) {
            ("/reset", "") => Ok(Self::Reset),
            ("/help", "") => Ok(Self::Help),
            ("/quit", "") => Ok(Self::Quit),
            ("/adapter", "on") => Ok(Self::Adapter(true)),
            ("/adapter", "off") => Ok(Self::Adapter(false)),
            ("/adapter", rest) => Err(format!("/adapter takes \"on\" or \"off\", not {rest:?}")),
            ("/system", text) => Ok(Self::System(text)),
            ("/reset" | "/help" | "/quit", rest) => Err(format!("{name} takes nothing more, but here is {rest:?}")),
            _ => Err(format!("unknown command {name:?}{}; /help lists them", did_you_mean(name, NAMES))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_commands() {
        for (line, expected) in [
            ("", Command::Blank),
            (" \t\r\n", Command::Blank),
            (" what is /reset? \r\n", Command::Say("what is /reset?")),
            ("//reset", Command::Say("/reset")),
            ("//", Command::Say("/")),
            (" /reset ", Command::Reset),
            ("/adapter\ton", Command::Adapter(true)),
            ("/adapter  off", Command::Adapter(false)),
            ("/system Be brief.  Always. ", Command::System("Be brief.  Always.")),
            ("/system", Command::System("")),
            ("/help", Command::Help),
            ("/quit", Command::Quit),
        ] {
            assert_eq!(Command::parse(line), Ok(expected), "{line:?}");
        }
    }

    #[test]
    fn what_is_no_command() {
        for (line, expected) in [
            ("/rest", "unknown command \"/rest\" (did you mean \"/reset\"?); /help lists them"),
            ("/é", "unknown command \"/é\"; /help lists them"),
            ("/adapter", "/adapter takes \"on\" or \"off\", not \"\""),
            ("/adapter of", "/adapter takes \"on\" or \"off\", not \"of\""),
            ("/quit now", "/quit takes nothing more, but here is \"now\""),
        ] {
            assert_eq!(Command::parse(line).unwrap_err(), expected);
        }
    }

    #[test]
    fn help_has_every_command() {
        assert!(NAMES.iter().all(|name| HELP.lines().any(|line| line.starts_with(name))));
    }
}
