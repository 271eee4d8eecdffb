//! The page's worker: it holds the model, trains and talks.

#[cfg(target_family = "wasm")]
fn main() {
    diablo::web::run_constructors();
    diablo::web::worker::serve();
}

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    diablo::web::for_the_browser_only("worker")
}
