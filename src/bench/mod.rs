//! Measurements: what the device can do, what each kernel makes of it, and what a training step costs.

mod ceiling;
mod kernels;
mod launches;
mod operations;
mod step;

pub use ceiling::{Ceiling, measure_ceiling};
pub use kernels::{KernelRate, measure_kernels};
pub use operations::step_operations;
pub use step::{StepRate, StepSetup, Subject, measure_steps};

use crate::error::{Error, Result};
use burn::tensor::{Device, Tensor, TensorData};
use web_time::Instant;

/// Waits until everything queued on `device` is done.
fn sync(device: &Device) -> Result<()> {
    device.sync().map_err(|e| Error::Device(format!("waiting for the device: {e:?}")))
}

/// So long are the queues that [`seconds`] fills, and no more runs are in one.
const QUEUE: (f64, usize) = (2e-3, 32);

/// Median seconds of `run`, which is warmed up and then repeated until a quarter of a second or 50 measurements are over.
///
/// What is short is queued several times before the device is waited for: waiting takes longer than many a kernel, and
/// nothing is waited for within a step.
fn seconds<T>(device: &Device, mut run: impl FnMut() -> T) -> Result<f64> {
    let mut measure = |count: usize| {
        let start = Instant::now();
        (0..count).for_each(|_| drop(run()));
        sync(device)?;
        Ok(start.elapsed().as_secs_f64() / count as f64)
    };
    measure(1)?;
    let count = ((QUEUE.0 / measure(1)?) as usize).clamp(1, QUEUE.1);
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || (times.len() < 50 && begin.elapsed().as_secs_f64() < 0.25) {
        times.push(measure(count)?);
    }
    Ok(median(&mut times))
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A tensor with values that are neither zero nor special.
fn filled<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> =
        (0..shape.iter().product::<usize>()).map(|i| ((i * 37) % 101) as f32 / 101.0 - 0.5).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Begins the measurements of [`peak_rss_mb`] and [`device_mb`] anew, where the system can.
fn forget_peaks(device: &Device) {
    // What the pool keeps for later goes back to the driver.
    device.memory_cleanup();
    crate::allocator::give_back();
    // Linux, proc(5): 5 sets the peak to what is resident now. Without it the peak is that of the whole run.
    _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Memory that a GPU's pool holds, in MB, most of it since [`forget_peaks`]: it keeps what was given back. `None` on the CPU.
fn device_mb(device: &Device) -> Option<f64> {
    device.memory_pool_usage().map(|usage| usage.bytes_reserved as f64 / MIB)
}

/// Bytes of what is called MB in all these measurements.
const MIB: f64 = (1 << 20) as f64;

/// Largest resident memory of this process so far, in MB; `None` where the system does not tell.
pub fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}
