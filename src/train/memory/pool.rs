//! What Burn's memory pool on a GPU holds for what it is asked for.
//!
//! It cuts allocations from pages (CubeCL 0.11, `MemoryConfiguration::Adaptive`, natively): small ones from pages of their
//! own, others from pages of the size of the largest so far. Where one is larger than all before, the pages get its size,
//! and those that are there take no more. In a browser every allocation has a page, which is not modelled.

use crate::model::{ModelConfig, names::expected_tensors};

/// A page for allocations of at most [`SMALL`] bytes.
const SMALL_PAGE: u64 = 8 << 20;
const SMALL: u64 = 64 << 10;
/// The smallest other page.
const LEAST: u64 = 2 << 20;
/// The unit of a page's size, of which at least one is left over for the largest allocation.
const UNIT: u64 = 1 << 20;

/// Pages of the size that is current.
#[derive(Debug)]
struct Pages {
    size: u64,
    /// What is left in each.
    rooms: Vec<u64>,
    /// Bytes of all pages, those of former sizes too.
    held: u64,
}

impl Pages {
    fn new() -> Self {
        Self { size: LEAST, rooms: Vec::new(), held: SMALL_PAGE }
    }

    /// Makes the pages large enough for `bytes` in one piece.
    fn grow(&mut self, bytes: u64) {
        if bytes > self.size {
            self.size = (bytes + UNIT).next_multiple_of(UNIT);
            self.rooms.clear();
        }
    }

    fn reserve(&mut self, bytes: u64) {
        if bytes <= SMALL {
            return;
        }
        self.grow(bytes);
        match self.rooms.iter_mut().find(|room| **room >= bytes) {
            Some(room) => *room -= bytes,
            None => {
                self.rooms.push(self.size - bytes);
                self.held += self.size;
            }
        }
    }

    /// Reserves `bytes` in pieces small enough to fill every page.
    fn fill(&mut self, bytes: u64) {
        let rest = bytes.saturating_sub(self.rooms.iter().sum());
        self.held += rest.next_multiple_of(self.size);
    }
}

/// Bytes of all pages, for the weights of `model`, `base` bytes in all, and `others` more, of which the `largest` is one
/// piece.
pub(super) fn held(model: &ModelConfig, base: u64, others: u64, largest: u64) -> u64 {
    let mut tensors = expected_tensors(model);
    // The embedding is loaded after the layers.
    let embedding = tensors.remove(0);
    let layers = tensors.iter().position(|(name, _)| name == "model.norm.weight").unwrap_or(tensors.len());
    tensors.insert(layers, embedding);
    let sizes: Vec<u64> = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).collect();
    // Of the mean size of a value, where they are not all of one type.
    let bytes_per_value = base as f64 / sizes.iter().sum::<u64>() as f64;
    let mut pages = Pages::new();
    for size in sizes {
        pages.reserve((size as f64 * bytes_per_value) as u64);
    }
    pages.grow(largest);
    pages.fill(others);
    pages.held
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of SmolLM2-135M's layers in units of a page's: what software Vulkan was seen to hold.
    #[test]
    fn pages_follow_the_largest() {
        let mut pages = Pages::new();
        let [q, k, gate] = [576 * 576 * 4, 576 * 192 * 4, 576 * 1536 * 4];
        for size in [q, k, k, q, gate, gate, gate] {
            pages.reserve(size);
        }
        // Two of 2 MiB, as the second k does not fit beside the first, then three of 5 MiB.
        assert_eq!(pages.held, SMALL_PAGE + ((2 * 2 + 3 * 5) << 20));
        for size in [q, k, k, q, gate, gate, gate] {
            pages.reserve(size);
        }
        // The four small ones find room beside what is there.
        assert_eq!(pages.held, SMALL_PAGE + ((2 * 2 + 6 * 5) << 20));
        pages.reserve(49_152 * 576 * 4);
        assert_eq!((pages.size, pages.held), (109 << 20, SMALL_PAGE + ((2 * 2 + 6 * 5 + 109) << 20)));
        pages.fill(111 << 20);
        assert_eq!(pages.held, SMALL_PAGE + ((2 * 2 + 6 * 5 + 3 * 109) << 20));
    }
}
