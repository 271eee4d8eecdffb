//! The page and its worker.
//!
//! - [`protocol`]: what they say to each other
//! - `page`: what is drawn; knows the protocol only, and is compiled by its program alone (`src/bin/web.rs`)
//! - `worker`: holds device, model, data and run
//! - `files`: the browser's origin-private file system
//! - `hub`: models fetched by name, kept there
//! - `checkpoints`: the run that goes on after a reload, kept there

#[cfg(target_family = "wasm")]
pub mod checkpoints;
#[cfg(target_family = "wasm")]
pub mod files;
#[cfg(target_family = "wasm")]
pub mod hub;
pub mod protocol;

#[cfg(target_family = "wasm")]
pub mod worker;

/// Runs what the linker collected to be run at the start. Called once, first of all.
#[cfg(target_family = "wasm")]
#[allow(unsafe_code)]
pub fn run_constructors() {
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    // SAFETY: the linker defines it without parameters, and it is called once, before anything it constructs is
    // used. Without a reference to it from here the linker wraps every export in it, and each launch of a kernel
    // runs all constructors again: 6 ms instead of 0.05.
    unsafe { __wasm_call_ctors() }
}

/// What the page's binaries do where there is no page.
#[cfg(not(target_family = "wasm"))]
pub fn for_the_browser_only(name: &str) -> std::process::ExitCode {
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("{name} runs in a browser; build it with: trunk build --release\n").as_bytes(),
    );
    std::process::ExitCode::from(2)
}
