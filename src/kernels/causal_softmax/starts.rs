//! Where the example of each query begins, in packed rows.

use burn::backend::{
    ops::IntTensorOps,
    wgpu::{CubeBackend, CubeTensor},
};
use burn::tensor::TensorData;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// The first key that each query sees; `None` where all of them see the first one. In a packed row it is the first token
/// of the query's own example.
pub type FirstKeys = Option<KeyStarts>;

/// The first key that each query of some rows sees, brought to a GPU once however many layers ask for it.
#[derive(Debug, Clone)]
pub struct KeyStarts {
    /// `[rows, queries]`, row by row, of all queries.
    all: Arc<[u32]>,
    on_gpu: Arc<OnceLock<CubeTensor>>,
    /// All queries of a row, and the first that is meant; `None` where all are.
    part: Option<(usize, usize)>,
}

impl KeyStarts {
    /// `[rows, queries]`, row by row.
    pub fn all(&self) -> &[u32] {
        &self.all
    }

    /// Those of `queries` only, in rows of `length`.
    pub(in crate::kernels) fn of_queries(&self, queries: &Range<usize>, length: usize) -> Self {
        let (length, first) = self.part.unwrap_or((length, 0));
        Self { part: Some((length, first + queries.start)), ..self.clone() }
    }

    /// Those of the `length` queries of one row.
    pub(in crate::kernels) fn of_row(&self, row: usize, length: usize) -> &[u32] {
        let (all, first) = self.part(length);
        &self.all[row * all + first..][..length]
    }

    /// All queries of a row, and the first of the `length` that are meant.
    pub(super) fn part(&self, length: usize) -> (usize, usize) {
        self.part.unwrap_or((length, 0))
    }

    /// Those of all queries, where `like` is.
    pub(super) fn beside(&self, like: &CubeTensor) -> CubeTensor {
        let upload = || {
            let keys: Vec<i32> = self.all.iter().map(|key| *key as i32).collect();
            let shape = [keys.len()];
            CubeBackend::int_from_data(TensorData::new(keys, shape), &like.device)
        };
        let known = self.on_gpu.get_or_init(upload);
        if known.device == like.device { known.clone() } else { upload() }
    }
}

impl FromIterator<u32> for KeyStarts {
    fn from_iter<I: IntoIterator<Item = u32>>(all: I) -> Self {
        Self::from(Arc::from_iter(all))
    }
}

impl From<Arc<[u32]>> for KeyStarts {
    fn from(all: Arc<[u32]>) -> Self {
        Self { all, on_gpu: Arc::default(), part: None }
    }
}
