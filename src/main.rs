//! The native binary `diablo`: parse, run, exit code; nothing else. In a browser the binaries of `src/bin` take its
//! place, so for wasm it is empty.

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    diablo::cli::Cli::parse_arguments().run()
}

#[cfg(target_family = "wasm")]
fn main() {}
