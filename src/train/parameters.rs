//! The trained tensors of an adapter in a few flat buffers, so that the optimizer runs in as many launches.

use super::reading::read;
use crate::adapter::Slot;
use crate::error::Result;
use crate::kernels::{AdamWStep, adamw, global_norm, step_guard};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use std::ops::Range;

/// Elements to which a slot's start is aligned: 256 bytes, so that a slice can be bound where it lies.
const ALIGN: usize = 64;
/// Elements of a segment, at most: 64 MiB, half of the smallest binding limit there is.
pub(super) const MAX_SEGMENT: usize = 1 << 24;

/// Parameters and AdamW moments of all slots.
#[derive(Debug)]
pub struct Parameters {
    slots: Vec<Slot>,
    segments: Vec<Segment>,
    /// Gradient norm and loss of the last step, `[2]`. Once the norm is not finite, no step changes anything.
    numbers: Tensor<1>,
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
        let segments = layout(&slots)
            .into_iter()
            .map(|(first, ranges, length)| {
                let values = flatten(&slots[first..], &values[first..], &ranges, length, device);
                let zeros = || Tensor::zeros([length], device);
                Segment { ranges, length, buffers: Some([values, zeros(), zeros()]) }
            })
            .collect();
        Self { slots, segments, numbers: Tensor::zeros([2], device) }
    }

    /// Replaces parameters and first and second moments, one list for each slot, each.
    ///
    /// # Panics
    /// If a list does not have its slot's length.
    pub fn restore(&mut self, state: [&[Vec<f32>]; 3], device: &Device) {
        let mut first = 0;
        for Segment { ranges, length, buffers } in &mut self.segments {
            let slots = &self.slots[first..];
            *buffers = Some(state.map(|values| flatten(slots, &values[first..], ranges, *length, device)));
            first += ranges.len();
        }
        self.numbers = Tensor::zeros([2], device);
    }

    /// Lets steps change the parameters again after one that was not finite.
    pub fn forget_numbers(&mut self) {
        self.numbers = Tensor::zeros([2], &self.numbers.device());
    }

    /// What is trained, in order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Every slot as a flat tensor, without autodiff; views of the buffers where the device allows.
    pub fn tensors(&self) -> Vec<Tensor<1>> {
        self.slices(self.segments.iter().map(Segment::values))
    }

    /// Every slot's part of `buffers`, one for each segment.
    fn slices<'a>(&self, buffers: impl Iterator<Item = &'a Tensor<1>>) -> Vec<Tensor<1>> {
        let slices = self
            .segments
            .iter()
            .zip(buffers)
            .flat_map(|(segment, buffer)| segment.ranges.iter().map(|range| buffer.clone().slice([range.clone()])));
        slices.collect()
    }

    /// Every slot as the leaf of an autodiff graph: its values, or its part of the `place` for the gradient.
    pub fn leaves(&self, place: Option<&FlatGradient>) -> Vec<Tensor<1>> {
        let tensors = place.map_or_else(|| self.tensors(), |place| self.slices(place.0.iter()));
        tensors.into_iter().map(|tensor| tensor.autodiff().require_grad()).collect()
    }

    /// Where every slot's gradient can be written as it is made: a gradient of zeros. `None` where a slot fills its place
    /// in part only, which cannot be bound as it lies.
    pub fn place(&self) -> Option<FlatGradient> {
        let zeros = |segment: &Segment| {
            let is_bindable = segment.ranges.iter().all(|range| range.len().is_multiple_of(ALIGN));
            is_bindable.then(|| Tensor::zeros([segment.length], &segment.values().device()))
        };
        self.segments.iter().map(zeros).collect::<Option<_>>().map(FlatGradient)
    }

    /// Gathers the gradients of `leaves`, which must be all that still holds the buffers; each is in one of `grads`.
    pub fn gather(&self, leaves: Vec<Tensor<1>>, grads: &mut [Gradients]) -> FlatGradient {
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
                let gradient = grads.iter_mut().find_map(|grads| leaf.grad_remove(grads));
                parts.push(gradient.unwrap_or_else(|| Tensor::zeros([range.len()], &device)));
                at = range.end;
            }
            if segment.length > at {
                parts.push(Tensor::zeros([segment.length - at], &device));
            }
            Tensor::cat(parts, 0)
        };
        FlatGradient(self.segments.iter().map(gather).collect())
    }

    /// One AdamW step; returns the global gradient norm before clipping and the loss, `[2]`, still on the device.
    /// Where one of them is not finite, or one of an earlier step was not, nothing changes, and the norm is infinite.
    pub fn update(&mut self, gradient: FlatGradient, loss: Tensor<1>, step: AdamWStep) -> Tensor<1> {
        let norms: Vec<_> = gradient.0.iter().map(|g| global_norm(g.clone())).collect();
        let norm =
            if norms.len() == 1 { norms.into_iter().next().expect("one") } else { global_norm(Tensor::cat(norms, 0)) };
        self.numbers = step_guard(norm, loss, self.numbers.clone());
        for (segment, gradient) in self.segments.iter_mut().zip(gradient.0) {
            let buffers = segment.buffers.take().expect("no step is running");
            segment.buffers = Some(adamw(buffers, gradient, self.numbers.clone(), step));
        }
        self.numbers.clone()
    }

    /// The trained values, one list for each slot.
    ///
    /// # Errors
    /// If the device is lost.
    pub async fn values(&self) -> Result<Vec<Vec<f32>>> {
        self.cut(self.segments.iter().map(|segment| segment.values().clone()).collect()).await
    }

    /// AdamW's first and second moments, one list for each slot, each.
    ///
    /// # Errors
    /// If the device is lost.
    pub async fn moments(&self) -> Result<[Vec<Vec<f32>>; 2]> {
        let buffer = |index: usize| self.segments.iter().map(|segment| segment.buffer(index).clone()).collect();
        Ok([self.cut(buffer(1)).await?, self.cut(buffer(2)).await?])
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
        self.buffer(0)
    }

    fn buffer(&self, index: usize) -> &Tensor<1> {
        &self.buffers.as_ref().expect("no step is running")[index]
    }
}

/// The segments of `slots`: index of the first slot, where each slot lies, and the length of the buffers.
fn layout(slots: &[Slot]) -> Vec<(usize, Vec<Range<usize>>, usize)> {
    let mut segments: Vec<(usize, Vec<Range<usize>>, usize)> = Vec::new();
    for (index, slot) in slots.iter().enumerate() {
        let open = segments.last_mut().filter(|(_, _, length)| length + slot.len() <= MAX_SEGMENT);
        let (_, ranges, length) = match open {
            Some(segment) => segment,
            None => segments.push_mut((index, Vec::new(), 0)),
        };
        ranges.push(*length..*length + slot.len());
        *length = (*length + slot.len()).next_multiple_of(ALIGN);
    }
    segments
}

/// One buffer with `values` in their `ranges` and zeros between them.
fn flatten(slots: &[Slot], values: &[Vec<f32>], ranges: &[Range<usize>], length: usize, device: &Device) -> Tensor<1> {
    let mut buffer = vec![0.0; length];
    for ((range, values), slot) in ranges.iter().zip(values).zip(slots) {
        assert_eq!(values.len(), slot.len(), "values of {}", slot.name);
        buffer[range.clone()].copy_from_slice(values);
    }
    Tensor::from_data(TensorData::new(buffer, [length]), device)
}

impl FlatGradient {
    /// Adds the gradient of another micro-batch.
    pub fn add(self, other: Self) -> Self {
        Self(self.0.into_iter().zip(other.0).map(|(a, b)| a + b).collect())
    }
}
