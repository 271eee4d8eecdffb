//! The command line: one file for each subcommand. They only read arguments, call the engine, and print.

// Printing is what this module is for; the rest of the crate does not.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod answer;
mod bench;
mod chat;
mod common;
mod completions;
mod config_file;
mod devices;
mod download;
mod eval;
mod export;
mod finetune;
mod generate;
mod inspect;
mod interrupt;
mod merge;
mod output;
mod preview;
mod progress;
mod results;
mod run_folder;
mod writing;

use crate::error::Result;
use crate::kernels::Strategy;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Fine-tune small language models on your own data: any GPU, or none; no Python, no CUDA.
#[derive(Debug, Parser)]
#[command(name = "diablo", version, arg_required_else_help = true, args_override_self = true)]
#[command(after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Print one JSON object a line on standard output, and nothing else there
    #[arg(long, global = true, display_order = 1000)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  diablo finetune --model SmolLM2-135M-Instruct --data train.jsonl
  diablo generate --model SmolLM2-135M-Instruct --adapter-path adapters --prompt \"Hello\" --compare";

// One of them lives, for as long as the program: boxing would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Subcommand)]
enum Command {
    Finetune(finetune::Args),
    Preview(preview::Args),
    Generate(generate::Args),
    Chat(chat::Args),
    Eval(eval::Args),
    Merge(merge::Args),
    Export(export::Args),
    Inspect(inspect::Args),
    Devices(devices::Args),
    Bench(bench::Args),
    Completions(completions::Args),
}

impl Cli {
    /// Reads the arguments of the process; wrong ones, `--help` and `--version` end it here.
    pub fn parse_arguments() -> Self {
        let args: Vec<OsString> = std::env::args_os().collect();
        let json = args.iter().any(|arg| arg == "--json");
        let args = config_file::expand(args, &Self::command()).unwrap_or_else(|error| {
            output::failure(&error, json);
            std::process::exit(error.exit_code().into())
        });
        Self::from_arguments(args).unwrap_or_else(|error| error.exit())
    }

    fn from_arguments(args: Vec<OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.clone().try_get_matches_from(args)?;
        let mut cli = Self::from_arg_matches(&matches).map_err(|e| e.format(&mut command))?;
        if let (Command::Finetune(args), Some((name, matches))) = (&mut cli.command, matches.subcommand()) {
            args.settings = command
                .find_subcommand(name)
                .map(|command| config_file::effective_toml(matches, command))
                .unwrap_or_default();
        }
        Ok(cli)
    }

    /// Runs the command and says what went wrong, if anything did.
    pub fn run(self) -> ExitCode {
        crate::allocator::keep_freed();
        let chosen = match std::env::var_os(Strategy::VARIABLE) {
            Some(name) if !name.is_empty() => Strategy::choose(&name.to_string_lossy()),
            _ => Ok(()),
        };
        match chosen.and_then(|()| pollster::block_on(self.command.run(self.json))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if output::reader_is_gone(&error) => ExitCode::SUCCESS,
            Err(error) => {
                output::failure(&error, self.json);
                ExitCode::from(error.exit_code())
            }
        }
    }
}

impl Command {
    async fn run(self, json: bool) -> Result<()> {
        match self {
            Self::Finetune(args) => args.run(json).await,
            Self::Preview(args) => args.run(json).await,
            Self::Generate(args) => args.run(json).await,
            Self::Chat(args) => args.run(json).await,
            Self::Eval(args) => args.run(json).await,
            Self::Merge(args) => args.run(json).await,
            Self::Export(args) => args.run(json).await,
            Self::Inspect(args) => args.run(json).await,
            Self::Devices(args) => args.run(json).await,
            Self::Bench(args) => args.run(json).await,
            Self::Completions(args) => args.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_flags_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_has_help() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            assert!(command.get_after_help().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} --{}", command.get_name(), argument.get_id());
            }
        }
    }
}
