//! A weight matrix as the device holds it.

use crate::kernels::{self, StoredWeight, stored_linear};
use burn::tensor::{Device, Int, Tensor};

/// A weight matrix, `[out, in]`.
#[derive(Debug, Clone)]
// A model has a few hundred of them at most; boxing would save nothing.
#[allow(clippy::large_enum_variant)]
pub enum Weight {
    /// In f32, in one piece.
    Dense(Tensor<2>),
    /// As its file has it, or in parts where the device binds no more at a time.
    Stored(StoredWeight),
}

impl Weight {
    /// `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Dense(weight) => weight.dims(),
            Self::Stored(weight) => weight.shape,
        }
    }

    /// The device that holds it.
    pub fn device(&self) -> Device {
        match self {
            Self::Dense(weight) => weight.device(),
            Self::Stored(weight) => weight.device(),
        }
    }

    /// The matrix, where it is in f32 and in one piece.
    pub fn dense(&self) -> Option<&Tensor<2>> {
        match self {
            Self::Dense(weight) => Some(weight),
            Self::Stored(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn dense_mut(&mut self) -> Option<&mut Tensor<2>> {
        match self {
            Self::Dense(weight) => Some(weight),
            Self::Stored(_) => None,
        }
    }

    /// The matrix in f32 and in one piece, whatever it is held as.
    pub fn to_dense(&self) -> Tensor<2> {
        match self {
            Self::Dense(weight) => weight.clone(),
            Self::Stored(weight) => weight.to_dense(),
        }
    }

    /// `x·Wᵀ`, `[n, in] -> [n, out]`.
    pub fn linear(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Dense(weight) => kernels::linear(x, weight.clone()),
            Self::Stored(weight) => stored_linear(x, weight, None),
        }
    }

    /// The rows of `ids: [n]`, `[n, in]`.
    pub fn select(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Self::Dense(weight) => weight.clone().select(0, ids),
            Self::Stored(weight) => weight.select(ids),
        }
    }

    /// The first row, `[1, in]`.
    pub fn first_row(&self) -> Tensor<2> {
        match self {
            Self::Dense(weight) => weight.clone().narrow(0, 0, 1),
            Self::Stored(weight) => weight.values(0..1),
        }
    }
}

impl From<Tensor<2>> for Weight {
    fn from(weight: Tensor<2>) -> Self {
        Self::Dense(weight)
    }
}
