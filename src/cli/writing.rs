//! A bar over what is written, for `merge` and `export`.

use super::interrupt;
use crate::error::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// The bar; it goes from the screen with this, whatever became of the writing.
pub struct Writing(ProgressBar);

impl Writing {
    /// Begins, hidden if `json` is printed; from now on Ctrl-C stops the writing. `unit` is what is counted.
    ///
    /// # Errors
    /// If the system refuses to tell of Ctrl-C.
    pub fn start(json: bool, unit: &str) -> Result<Self> {
        let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(0) };
        let style = ProgressStyle::with_template(&format!("{{bar:30}} {{pos}}/{{len}} {unit}"));
        interrupt::watch("stopping; nothing is written")?;
        Ok(Self(bar.with_style(style.expect("a sound template"))))
    }

    /// So many of `all` are written.
    ///
    /// # Errors
    /// If the user has asked to stop.
    pub fn written(&self, written: usize, all: usize) -> Result<()> {
        self.0.set_length(all as u64);
        self.0.set_position(written as u64);
        if interrupt::requested() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
