//! What the browser calls.

use crate::device::{Request, select};
use crate::selftest::{check_kernels, toy_losses};
use burn::tensor::Tensor;
use wasm_bindgen::prelude::*;
use web_time::Instant;

#[allow(unsafe_code)]
fn run_constructors() {
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    // SAFETY: the linker defines it without parameters, and it is called once, before anything it constructs is
    // used. Without a reference to it from here the linker wraps every export in it, and each launch of a kernel
    // runs all constructors again: 6 ms instead of 0.05.
    unsafe { __wasm_call_ctors() }
}

/// Called once when the module is loaded, on whichever thread loads it.
#[wasm_bindgen(start)]
pub fn start() {
    run_constructors();
    console_error_panic_hook::set_once();
    // A shader that fails validation only logs an error; the page must see it.
    let _ = console_log::init_with_level(log::Level::Warn);
}

/// Checks every kernel against its CPU twin on the browser's GPU, trains a toy for `steps` steps there, and times
/// a launch. Returns JSON: `adapter`, `kernels` (name, form, error), `losses`, `launch_ms`.
///
/// # Errors
/// If there is no WebGPU device, or the device is lost.
#[wasm_bindgen]
pub async fn smoke_train(steps: usize) -> Result<String, JsError> {
    let selected = select(Request::Auto).await?;
    let device = &selected.device;
    let kernels = check_kernels(device).await?;
    let losses = toy_losses(device, steps).await?;
    let mut x = Tensor::<1>::zeros([1], device);
    let start = Instant::now();
    const LAUNCHES: u32 = 200;
    for _ in 0..LAUNCHES {
        x = x + 1.0;
    }
    let launch_ms = start.elapsed().as_secs_f64() * 1e3 / f64::from(LAUNCHES);
    let sum = crate::train::read(x).await?;
    if sum != [LAUNCHES as f32] {
        return Err(JsError::new(&format!("{LAUNCHES} additions of one gave {sum:?}")));
    }
    let report = serde_json::json!({
        "adapter": selected.info.name, "kernels": kernels, "losses": losses, "launch_ms": launch_ms,
    });
    Ok(report.to_string())
}
