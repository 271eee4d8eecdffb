//! A model on its way from the hub: a bar on a terminal, one line elsewhere, nothing if it is in the cache.

use super::output;
use crate::error::Result;
use crate::source::hub::{Hub, HubName, Progress};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::time::Duration;

/// The model `name` in the cache, fetched if need be, as the environment says.
pub fn fetch(name: &HubName) -> Result<PathBuf> {
    let mut drawing = Drawing { name, bar: None };
    let path = Hub::from_env()?.fetch(name, &mut drawing);
    if let Some(bar) = drawing.bar {
        bar.finish_and_clear();
    }
    path
}

struct Drawing<'a> {
    name: &'a HubName,
    /// From the first byte on. It draws nothing where standard error is no terminal.
    bar: Option<ProgressBar>,
}

impl Progress for Drawing<'_> {
    fn downloaded(&mut self, file: &str, done: u64, total: u64) {
        let bar = self.bar.get_or_insert_with(|| {
            output::note(&format!("downloading {}", self.name));
            bar()
        });
        bar.set_length(total.max(done));
        bar.set_position(done);
        bar.set_message(file.to_owned());
    }

    fn waiting(&mut self, why: &str, pause: Duration) {
        let note = || output::note(&format!("{why}; trying again in {} s", pause.as_secs()));
        match &self.bar {
            Some(bar) => bar.suspend(note),
            None => note(),
        }
    }
}

fn bar() -> ProgressBar {
    let colour = if output::Style::stderr().is_enabled() { ".green" } else { "" };
    let numbers = "{bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
    let template = format!("{{bar:30{colour}}} {numbers}");
    let style = ProgressStyle::with_template(&template).expect("a sound template").progress_chars("━━─");
    ProgressBar::no_length().with_style(style)
}
