//! Ctrl-C: the first one asks the running command to stop and save, the second one ends the process at once.

use super::output::note;
use crate::error::{Error, Result};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C, like SIGTERM, only asks; see [`requested`]. On a terminal it is answered with `answer`.
///
/// # Errors
/// If the system refuses the handler.
pub fn watch(answer: &'static str) -> Result<()> {
    ctrlc::set_handler(move || {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(Error::Interrupted.exit_code()));
        }
        if std::io::stderr().is_terminal() {
            note(&format!("\n{answer}; Ctrl-C again ends the program at once"));
        }
    })
    .map_err(|e| Error::io("Ctrl-C", "listening for it", std::io::Error::other(e)))
}

/// Whether the user has asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Work begins that the next signal may stop; earlier ones are forgotten.
pub fn begin() {
    REQUESTED.store(false, Ordering::Relaxed);
}

/// That work has ended: the next signal ends the process at once.
pub fn end() {
    REQUESTED.store(true, Ordering::Relaxed);
}
