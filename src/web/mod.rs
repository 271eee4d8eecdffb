//! The page and its worker.
//!
//! - [`protocol`]: what they say to each other
//! - `page`: what is drawn; knows the protocol only
//! - `write`: numbers for people
//! - `worker`: holds device, model, data and run
//! - `files`: the browser's origin-private file system
//! - `hub`: models fetched by name, kept there

#[cfg(target_family = "wasm")]
pub mod page;
pub mod protocol;
#[cfg(any(target_family = "wasm", test))]
mod write;

#[cfg(target_family = "wasm")]
mod smoke;

/// What the page's binaries do where there is no page.
#[cfg(not(target_family = "wasm"))]
pub fn for_the_browser_only(name: &str) -> std::process::ExitCode {
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("{name} runs in a browser; build it with: trunk build --release\n").as_bytes(),
    );
    std::process::ExitCode::from(2)
}
