//! What the smoke test calls.

use crate::device::{Request, select};
use crate::selftest::{check_kernels, toy_losses};
use burn::tensor::Tensor;
use wasm_bindgen::prelude::*;
use web_time::Instant;

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
