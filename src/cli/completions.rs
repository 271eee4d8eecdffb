//! `diablo completions`: a script by which a shell completes subcommands and flags.

use super::{Cli, output};
use crate::error::Result;
use clap::CommandFactory;
use clap_complete::Shell;

/// Print a script that completes subcommands and flags in your shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  diablo completions bash > ~/.local/share/bash-completion/completions/diablo
  diablo completions zsh > ~/.zfunc/_diablo     (a folder of $fpath)
  diablo completions fish > ~/.config/fish/completions/diablo.fish")]
pub struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "diablo", &mut script);
        output::text(&String::from_utf8_lossy(&script))
    }
}
