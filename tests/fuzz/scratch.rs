//! A folder for what has to lie on disk.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// One for each process, made at its first use.
pub fn folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = std::env::temp_dir().join(format!("diablo-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        folder
    });
    &FOLDER
}
