//! Which rows come in which step.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::random::Random;

/// Deals out the rows of a data set in batches, epoch after epoch, without end.
///
/// The rows of all epochs follow one another without a gap, so that every batch is full: one that begins at the end of
/// an epoch goes on into the next. The order is a function of seed and epoch alone.
#[derive(Debug, Clone)]
pub struct Batcher {
    rows: usize,
    batch_size: usize,
    shuffle: bool,
    seed: u64,
    cursor: Cursor,
    /// The rows in the order of the current epoch.
    order: Vec<usize>,
}

/// How far a [`Batcher`] has come; all that is needed to go on from there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// From 0.
    pub epoch: u64,
    /// Rows of this epoch that were dealt out, always less than there are.
    pub position: usize,
}

impl Batcher {
    /// For a data set of `rows` rows. Batches have `batch_size` rows, or all there are if that is less.
    pub fn new(rows: usize, batch_size: usize, shuffle: bool, seed: u64) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::Usage("--batch-size must be at least 1".into()));
        }
        if rows == 0 {
            return Err(Error::data("data", "no rows"));
        }
        let batch_size = batch_size.min(rows);
        let mut batcher = Self { rows, batch_size, shuffle, seed, cursor: Cursor::default(), order: Vec::new() };
        batcher.begin_epoch();
        Ok(batcher)
    }

    /// The rows of the next batch, as indices into the data set.
    pub fn next_rows(&mut self) -> Vec<usize> {
        (0..self.batch_size).map(|_| self.next_row()).collect()
    }

    /// Rows in a batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// How far it has come.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes on from `cursor`, which a batcher with the same arguments was at.
    pub fn restore(&mut self, cursor: Cursor) -> Result<()> {
        if cursor.position >= self.rows {
            let Cursor { position, .. } = cursor;
            let what = format!("cannot go on after row {position}: there are {} rows; the data has changed", self.rows);
            return Err(Error::data("data", what));
        }
        self.cursor = cursor;
        self.begin_epoch();
        Ok(())
    }

    fn next_row(&mut self) -> usize {
        let row = self.order[self.cursor.position];
        self.cursor.position += 1;
        if self.cursor.position == self.rows {
            self.cursor = Cursor { epoch: self.cursor.epoch + 1, position: 0 };
            self.begin_epoch();
        }
        row
    }

    /// Brings the rows into the order of the cursor's epoch.
    fn begin_epoch(&mut self) {
        self.order.clear();
        self.order.extend(0..self.rows);
        if self.shuffle {
            Random::labelled(self.seed, self.cursor.epoch).shuffle(&mut self.order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deal(batcher: &mut Batcher, batches: usize) -> Vec<usize> {
        (0..batches).flat_map(|_| batcher.next_rows()).collect()
    }

    #[test]
    fn every_epoch_has_every_row_once_in_another_order() {
        let mut batcher = Batcher::new(10, 4, true, 1).unwrap();
        let dealt = deal(&mut batcher, 15);
        let epochs: Vec<Vec<usize>> = dealt.chunks(10).map(<[usize]>::to_vec).collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        let different: std::collections::HashSet<_> = epochs.iter().collect();
        assert_eq!(different.len(), 6);
        assert_eq!(batcher.cursor(), Cursor { epoch: 6, position: 0 });
    }

    #[test]
    fn the_seed_decides() {
        let order = |seed| deal(&mut Batcher::new(50, 5, true, seed).unwrap(), 20);
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
        // The order must not change between releases, or resuming would train other rows.
        assert_eq!(deal(&mut Batcher::new(8, 4, true, 0).unwrap(), 2), [3, 5, 0, 2, 4, 7, 6, 1]);
    }

    #[test]
    fn without_shuffling_the_order_is_that_of_the_file() {
        let mut batcher = Batcher::new(3, 2, false, 1).unwrap();
        assert_eq!(deal(&mut batcher, 4), [0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(batcher.cursor(), Cursor { epoch: 2, position: 2 });
    }

    #[test]
    fn going_on_from_a_cursor_is_as_if_never_stopped() {
        for stop in 0..12 {
            let mut whole = Batcher::new(7, 3, true, 9).unwrap();
            deal(&mut whole, stop);
            let mut resumed = Batcher::new(7, 3, true, 9).unwrap();
            resumed.restore(whole.cursor()).unwrap();
            assert_eq!(deal(&mut resumed, 10), deal(&mut whole, 10));
            assert_eq!(resumed.cursor(), whole.cursor());
        }
    }

    #[test]
    fn few_rows_make_small_batches() {
        let mut batcher = Batcher::new(2, 8, true, 0).unwrap();
        assert_eq!(batcher.batch_size(), 2);
        let mut rows = batcher.next_rows();
        rows.sort();
        assert_eq!(rows, [0, 1]);
    }

    #[test]
    fn says_what_cannot_be() {
        let error = Batcher::new(2, 0, true, 0).unwrap_err();
        assert_eq!(error.to_string(), "--batch-size must be at least 1");
        assert_eq!(Batcher::new(0, 1, true, 0).unwrap_err().to_string(), "data: no rows");
        let mut batcher = Batcher::new(5, 1, true, 0).unwrap();
        let error = batcher.restore(Cursor { epoch: 0, position: 5 }).unwrap_err();
        assert_eq!(error.to_string(), "data: cannot go on after row 5: there are 5 rows; the data has changed");
    }
}
