//! Values on their way back from the device.

use crate::error::{Error, Result};
use crate::write;
use burn::tensor::{ExecutionError, Tensor, TensorData, Transaction};
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Reads a tensor back.
///
/// # Errors
/// If the device is lost.
pub(crate) async fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    values(tensor.into_data_async().await)
}

type Values = Pin<Box<dyn Future<Output = Result<Vec<f32>>>>>;

/// A tensor that is being read back while the device goes on with other work.
pub struct Reading(Option<Values>);

impl Reading {
    /// Begins to read `tensor`; what is queued from now on does not delay it.
    pub fn begin(tensor: Tensor<1>) -> Self {
        // Not `into_data_async`: natively that copies when the values are looked at, behind all that was queued by then.
        // A transaction queues its copy when it is first polled.
        let mut reading = Box::pin(async {
            let data = Transaction::default().register(tensor).execute_async().await;
            values(data.map(|mut data| data.remove(0)))
        });
        Self(Some(match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(values) => Box::pin(ready(values)),
            Poll::Pending => reading,
        }))
    }

    /// The values, once they are there.
    ///
    /// # Errors
    /// If the device is lost.
    pub async fn finish(mut self) -> Result<Vec<f32>> {
        let values = self.0.as_mut().expect("it is finished once").await;
        self.0 = None;
        values
    }
}

/// The memory that is read into is used again, which must not be before it was filled.
impl Drop for Reading {
    fn drop(&mut self) {
        let reading = self.0.take();
        #[cfg(not(target_family = "wasm"))]
        drop(reading.map(pollster::block_on));
        // Nobody can wait here in a browser, so that memory is never used again.
        #[cfg(target_family = "wasm")]
        std::mem::forget(reading);
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

fn values(data: std::result::Result<TensorData, ExecutionError>) -> Result<Vec<f32>> {
    let failed = |e: &dyn fmt::Debug| Error::Device(why(&format!("{e:?}")));
    data.map_err(|e| failed(&e))?.try_into_vec().map_err(|e| failed(&e))
}

/// Why nothing could be read, by what the layers below say: whatever failed before shows only here.
fn why(said: &str) -> String {
    let size = said.split("can't allocate buffer of size: ").nth(1).unwrap_or_default();
    let size: String = size.chars().take_while(char::is_ascii_digit).collect();
    if let Ok(bytes) = size.parse() {
        return format!(
            "the device has no room for {} more in one piece; a smaller batch, shorter rows or recomputed layers take less",
            write::bytes(bytes)
        );
    }
    let noise = ["No backtrace available", "Asked at:", "Caused by:"];
    let lines = said.lines().map(str::trim).filter(|line| !noise.contains(line));
    format!("reading from the device: {}", lines.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gpu;
    use burn::tensor::Device;

    /// A reading has the values that were there when it began, read or dropped in whatever order.
    #[test]
    fn values_are_those_of_the_beginning() {
        for device in [Device::flex(), gpu()] {
            let mut tensor = Tensor::<1>::from_data([1.0, 2.0], &device);
            let mut readings = Vec::new();
            for _ in 0..6 {
                readings.push(Reading::begin(tensor.clone()));
                tensor = tensor * 2.0;
            }
            for at in [4, 1] {
                drop(readings.remove(at));
            }
            let finished = readings.into_iter().map(|reading| pollster::block_on(reading.finish()).expect("values"));
            assert_eq!(finished.collect::<Vec<_>>(), [1.0f32, 4.0, 8.0, 32.0].map(|factor| vec![factor, 2.0 * factor]));
        }
    }

    /// As CubeCL 0.11 writes it.
    #[test]
    fn what_failed_is_told_without_noise() {
        let said = |cause: &str| {
            format!(
                "An error happened during execution\nCaused by:\n  Several failures at once\nCaused by:\n  {cause}\n\
                 No backtrace available\nAsked at:\nNo backtrace available"
            )
        };
        let full = why(&said("An IO error happened\nCaused by:\n  can't allocate buffer of size: 220416000"));
        assert_eq!(
            full,
            "the device has no room for 220 MB more in one piece; a smaller batch, shorter rows or recomputed layers \
             take less"
        );
        assert_eq!(
            why(&said("the device was lost")),
            "reading from the device: An error happened during execution; Several failures at once; the device was lost"
        );
    }
}
