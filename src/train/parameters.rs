//! The trained tensors of an adapter in a few flat buffers, so that the optimizer runs in as many launches.

use crate::adapter::Slot;
use crate::error::{Error, Result};
use crate::kernels::{AdamWStep, adamw, global_norm};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use std::ops::Range;

/// Elements to which a slot's start is aligned: 256 bytes, so that a slice can be bound where it lies.
const ALIGN: usize = 64;
/// Elements of a segment, at most: 64 MiB, half of the smallest binding limit there is.
const MAX_SEGMENT: usize = 1 << 24;

/// Parameters and AdamW moments of all slots.
#[derive(Debug)]
pub struct Parameters {
    slots: Vec<Slot>,
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    /// Where each of its slots lies in the buffers, in order.
    ranges: Vec<Range<usize>>,
    length: usize,
    /// Parameter, first and second moment, `[length]` each; `None` only while a step runs over them.
    buffers: Option<[Tensor<1>; 3]>,
}

/// The gradient of every segment, `[length]` each.
#[derive(Debug, Clone)]
pub struct FlatGradient(Vec<Tensor<1>>);

impl Parameters {
    /// Puts `values`, one list for each slot, on `device`; moments are zero.
    ///
    /// # Panics
    /// If a list does not have its slot's length.
    pub fn new(slots: Vec<Slot>, values: &[Vec<f32>], device: &Device) -> Self {
        let mut segments = Vec::new();
        let mut rest = values.iter().zip(&slots).peekable();
        while rest.peek().is_some() {
            let (mut ranges, mut buffer) = (Vec::new(), Vec::new());
            while let Some((values, slot)) =
                rest.next_if(|(v, _)| buffer.is_empty() || buffer.len() + v.len() <= MAX_SEGMENT)
            {
                assert_eq!(values.len(), slot.len(), "values of {}", slot.name);
                ranges.push(buffer.len()..buffer.len() + values.len());
                buffer.extend_from_slice(values);
                buffer.resize(buffer.len().next_multiple_of(ALIGN), 0.0);
            }
            let length = buffer.len();
            let values = Tensor::from_data(TensorData::new(buffer, [length]), device);
            let zeros = || Tensor::zeros([length], device);
            segments.push(Segment { ranges, length, buffers: Some([values, zeros(), zeros()]) });
        }
        Self { slots, segments }
    }

    /// What is trained, in order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Every slot as a flat tensor, without autodiff; views of the buffers where the device allows.
    pub fn tensors(&self) -> Vec<Tensor<1>> {
        let slices = self.segments.iter().flat_map(|segment| {
            let values = segment.values();
            segment.ranges.iter().map(move |range| values.clone().slice([range.clone()]))
        });
        slices.collect()
    }

    /// Every slot as the leaf of an autodiff graph.
    pub fn leaves(&self) -> Vec<Tensor<1>> {
        self.tensors().into_iter().map(|tensor| tensor.autodiff().require_grad()).collect()
    }

    /// Gathers the gradients of `leaves`, which must be all that still holds the buffers.
    pub fn gather(&self, leaves: Vec<Tensor<1>>, grads: &mut Gradients) -> FlatGradient {
        let mut leaves = leaves.into_iter();
        let gather = |segment: &Segment| {
            let device = segment.values().device();
            let mut parts = Vec::with_capacity(segment.ranges.len() * 2);
            let mut at = 0;
            for range in &segment.ranges {
                if range.start > at {
                    parts.push(Tensor::zeros([range.start - at], &device));
                }
                let leaf = leaves.next().expect("one leaf for each slot");
                parts.push(leaf.grad_remove(grads).unwrap_or_else(|| Tensor::zeros([range.len()], &device)));
                at = range.end;
            }
            if segment.length > at {
                parts.push(Tensor::zeros([segment.length - at], &device));
            }
            Tensor::cat(parts, 0)
        };
        FlatGradient(self.segments.iter().map(gather).collect())
    }

    /// One AdamW step; returns the global gradient norm before clipping, `[1]`, still on the device.
    /// Where the norm is not finite nothing changes.
    pub fn update(&mut self, gradient: FlatGradient, step: AdamWStep) -> Tensor<1> {
        let norms: Vec<_> = gradient.0.iter().map(|g| global_norm(g.clone())).collect();
        let norm =
            if norms.len() == 1 { norms.into_iter().next().expect("one") } else { global_norm(Tensor::cat(norms, 0)) };
        for (segment, gradient) in self.segments.iter_mut().zip(gradient.0) {
            let buffers = segment.buffers.take().expect("no step is running");
            segment.buffers = Some(adamw(buffers, gradient, norm.clone(), step));
        }
        norm
    }

    /// The trained values, one list for each slot.
    ///
    /// # Errors
    /// If the device is lost.
    pub async fn values(&self) -> Result<Vec<Vec<f32>>> {
        self.cut(self.segments.iter().map(|segment| segment.values().clone()).collect()).await
    }

    /// A gradient as one list for each slot.
    ///
    /// # Errors
    /// If the device is lost.
    pub async fn unflatten(&self, gradient: FlatGradient) -> Result<Vec<Vec<f32>>> {
        self.cut(gradient.0).await
    }

    /// Reads one buffer for each segment and cuts it into its slots.
    async fn cut(&self, buffers: Vec<Tensor<1>>) -> Result<Vec<Vec<f32>>> {
        let mut values = Vec::with_capacity(self.slots.len());
        for (segment, buffer) in self.segments.iter().zip(buffers) {
            let buffer = read(buffer).await?;
            values.extend(segment.ranges.iter().map(|range| buffer[range.clone()].to_vec()));
        }
        Ok(values)
    }
}

impl Segment {
    fn values(&self) -> &Tensor<1> {
        &self.buffers.as_ref().expect("no step is running")[0]
    }
}

impl FlatGradient {
    /// Adds the gradient of another micro-batch.
    pub fn add(self, other: Self) -> Self {
        Self(self.0.into_iter().zip(other.0).map(|(a, b)| a + b).collect())
    }
}

/// Reads a tensor back.
///
/// # Errors
/// If the device is lost.
pub(crate) async fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.into_data_async().await.map_err(|e| Error::Device(format!("reading from the device: {e:?}")))?;
    data.try_into_vec().map_err(|e| Error::Device(format!("reading from the device: {e:?}")))
}
