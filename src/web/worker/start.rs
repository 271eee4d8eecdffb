//! Starting the device, and checking that it computes what it should.

use crate::device::{Kind, SelectedDevice, select_with_limits};
use crate::error::{Error, Result};
use crate::kernels::Form;
use crate::selftest::check_kernels;
use crate::web::protocol::{Cause, DeviceReport};
use burn::tensor::{Device, Distribution, Tensor};
use web_time::Instant;

/// How far a kernel may be from its twin, relative in norm: some hundred roundings.
const TOLERANCE: f64 = 1e-5;
/// Launches that are timed.
const LAUNCHES: u32 = 100;
/// Rows, columns and depth of the product that is timed: as in a small model.
const PRODUCT: [usize; 3] = [256, 256, 256];
const PRODUCTS: usize = 4;

/// The browser's GPU, checked.
///
/// # Errors
/// If there is none, or a kernel is wrong; the cause goes with it.
pub async fn start() -> Result<(SelectedDevice, DeviceReport), (Error, Cause)> {
    let (selected, limits) = select_with_limits().await.map_err(|e| (e, Cause::NoWebGpu))?;
    let report = check(&selected, limits).await.map_err(|e| (e, Cause::Kernel))?;
    Ok((selected, report))
}

async fn check(selected: &SelectedDevice, limits: Vec<(String, u64)>) -> Result<DeviceReport> {
    let start = Instant::now();
    let (device, info) = (&selected.device, &selected.info);
    // The one form that this device gets, which must then be the one it has: a compiled kernel takes seconds here.
    let form = if info.kind == Kind::Software { Form::Register } else { Form::Workgroup };
    let kernels = check_kernels(device, &[form]).await?;
    Form::force(Some(form));
    if let Some(wrong) = kernels.iter().find(|check| check.error.is_nan() || check.error > TOLERANCE) {
        return Err(Error::Device(format!(
            "the kernel {} ({}) computes something else on this GPU than on the processor (distance {:e}); \
             nothing can be trusted here: update browser and graphics driver, or try another browser",
            wrong.name, wrong.form, wrong.error
        )));
    }
    let launch_ms = launch_ms(device).await?;
    Ok(DeviceReport {
        name: info.name.clone(),
        is_software: info.kind == Kind::Software,
        max_tensor_bytes: info.max_tensor_bytes,
        limits,
        kernels: kernels.into_iter().map(|check| (check.name.to_owned(), check.form, check.error)).collect(),
        launch_ms,
        matmul_gflops: matmul_gflops(device).await?,
        check_ms: start.elapsed().as_secs_f64() * 1e3,
    })
}

async fn launch_ms(device: &Device) -> Result<f64> {
    let mut x = Tensor::<1>::zeros([1], device);
    crate::train::read(x.clone() + 1.0).await?; // the kernel is compiled
    let start = Instant::now();
    for _ in 0..LAUNCHES {
        x = x + 1.0;
    }
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / f64::from(LAUNCHES);
    let sum = crate::train::read(x).await?;
    if sum != [LAUNCHES as f32] {
        return Err(Error::Device(format!("{LAUNCHES} additions of one gave {sum:?} on this GPU")));
    }
    Ok(milliseconds)
}

async fn matmul_gflops(device: &Device) -> Result<f64> {
    let [rows, columns, depth] = PRODUCT;
    let linear = crate::model::Linear {
        weight: Tensor::random([columns, depth], Distribution::Default, device).into(),
        bias: None,
    };
    let x = Tensor::<2>::random([rows, depth], Distribution::Default, device);
    let corner = |y: Tensor<2>| y.narrow(0, 0, 1).narrow(1, 0, 1);
    crate::train::read(corner(linear.forward(x.clone(), None))).await?;
    let start = Instant::now();
    let mut y = x;
    for _ in 0..PRODUCTS {
        y = linear.forward(y, None) / depth as f32;
    }
    crate::train::read(corner(y)).await?;
    Ok((2 * PRODUCTS * rows * columns * depth) as f64 / start.elapsed().as_secs_f64() / 1e9)
}
