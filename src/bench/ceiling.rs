//! The limits of a device: dense matmul at the model's shapes, and copying.

use super::{filled, seconds};
use crate::error::Result;
use crate::kernels::{Form, Strategy, linear};
use crate::model::{ModelConfig, Projection};
use burn::tensor::Device;
use rayon::prelude::*;
use serde::Serialize;

/// What a device reaches at best.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ceiling {
    /// Dense products `x·Wᵀ` of the model by the fastest matmul there is, as `(tokens, in, out, GFLOP/s)`.
    pub matmul: Vec<(usize, usize, usize, f64)>,
    /// The rate at which all projections of a layer and the head together run, in GFLOP/s.
    pub matmul_gflops: f64,
    /// Bytes read and written a second in copying 64 MiB, in GB. A kernel whose data fits into a cache can beat it.
    pub copy_gb_per_second: f64,
}

/// Values that are copied: 64 MiB, more than caches hold.
const COPIED: usize = 1 << 24;

/// Seconds to copy [`COPIED`] values on all of the device.
fn copy_seconds(device: &Device) -> Result<f64> {
    if *device == Device::flex() {
        // Burn's own element-wise operations run on one thread there, which is not what memory can do.
        let from = vec![1.0f32; COPIED];
        let mut to = vec![0.0f32; COPIED];
        let part = COPIED.div_ceil(rayon::current_num_threads());
        return seconds(device, || {
            to.par_chunks_mut(part).zip(from.par_chunks(part)).for_each(|(to, from)| to.copy_from_slice(from));
        });
    }
    let x = filled([COPIED], device);
    seconds(device, || x.clone() + 1.0)
}

/// Measures `x·Wᵀ` for every shape of the model at `tokens` rows, and copying.
///
/// # Errors
/// If the device is lost.
pub fn measure_ceiling(config: &ModelConfig, tokens: usize, device: &Device) -> Result<Ceiling> {
    let mut shapes: Vec<(usize, usize, usize)> = Vec::new(); // in, out, how often in the model
    let layers = Projection::ALL.map(|projection| (projection.size(config), config.num_hidden_layers));
    for ([d_in, d_out], count) in layers.into_iter().chain([([config.hidden_size, config.vocab_size], 1)]) {
        match shapes.iter_mut().find(|(i, o, _)| (*i, *o) == (d_in, d_out)) {
            Some(known) => known.2 += count,
            None => shapes.push((d_in, d_out, count)),
        }
    }
    let (mut matmul, mut operations, mut time) = (Vec::new(), 0.0, 0.0);
    for (d_in, d_out, count) in shapes {
        let (x, w) = (filled([tokens, d_in], device), filled([d_out, d_in], device));
        // Burn's own product, the one of a layer, and what could be that on a real GPU: whichever is fastest here.
        let ours = || linear(x.clone(), w.clone());
        let burns = seconds(device, || x.clone().matmul(w.clone().transpose()))?;
        let mut elapsed = burns.min(seconds(device, ours)?);
        if Form::on(device) == Some(Form::Workgroup) {
            elapsed = elapsed.min(seconds(device, || Strategy::Tiled.serve(ours))?);
        }
        let flop = 2.0 * (tokens * d_in * d_out) as f64;
        matmul.push((tokens, d_in, d_out, flop / elapsed / 1e9));
        operations += flop * count as f64;
        time += elapsed * count as f64;
    }
    let elapsed = copy_seconds(device)?;
    let copy_gb_per_second = (2 * 4 * COPIED) as f64 / elapsed / 1e9;
    Ok(Ceiling { matmul, matmul_gflops: operations / time / 1e9, copy_gb_per_second })
}
