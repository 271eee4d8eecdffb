//! Counting kernel launches.

use burn::cubecl::logging::{LaunchObservation, LaunchObserver};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the kernels that this process launches on GPUs, our own and Burn's, from its beginning on.
pub struct LaunchCount {
    count: Arc<Count>,
    _observation: LaunchObservation,
}

#[derive(Default)]
struct Count(AtomicUsize);

impl LaunchObserver for Count {
    fn launched(&self, _: &'static str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl LaunchCount {
    pub fn begin() -> Self {
        let count = Arc::new(Count::default());
        Self { _observation: LaunchObservation::new(count.clone()), count }
    }

    /// How many there were; `None` for none, as on the CPU backend.
    pub fn end(self) -> Option<usize> {
        Some(self.count.0.load(Ordering::Relaxed)).filter(|count| *count > 0)
    }
}
