//! The page: it draws, and asks the worker.

#[cfg(target_family = "wasm")]
fn main() {
    diablo::web::run_constructors();
    diablo::web::page::run();
}

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    diablo::web::for_the_browser_only("web")
}
