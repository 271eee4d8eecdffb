//! The rows of one training step side by side.

use crate::data::{Example, IGNORED};

/// Examples side by side, padded at their ends to the longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Number of examples.
    pub rows: usize,
    /// Tokens of the longest.
    pub len: usize,
    /// `[rows, len]`, row by row, padded with 0.
    pub input_ids: Vec<i32>,
    /// `[rows, len]`, row by row, padded with [`IGNORED`]. The label at `t` belongs to the token at `t`: shifting is
    /// left to the loss.
    pub labels: Vec<i32>,
    /// `[rows]`, the tokens of each example without its padding.
    pub lengths: Vec<usize>,
}

impl Batch {
    /// Puts `examples` side by side.
    pub fn new<'a>(examples: impl IntoIterator<Item = &'a Example>) -> Self {
        let examples: Vec<&Example> = examples.into_iter().collect();
        let lengths: Vec<usize> = examples.iter().map(|example| example.input_ids.len()).collect();
        let (rows, len) = (examples.len(), lengths.iter().copied().max().unwrap_or(0));
        let mut input_ids = vec![0; rows * len];
        let mut labels = vec![IGNORED; rows * len];
        for (row, example) in examples.into_iter().enumerate() {
            for (slot, &id) in input_ids[row * len..].iter_mut().zip(&example.input_ids) {
                *slot = id as i32;
            }
            labels[row * len..][..example.labels.len()].copy_from_slice(&example.labels);
        }
        Self { rows, len, input_ids, labels, lengths }
    }

    /// Tokens without padding.
    pub fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// How many tokens count in the loss: those with a label, but for the first of each row, which nothing predicts.
    pub fn target_tokens(&self) -> usize {
        // An empty batch has no rows to cut, but chunks of 0 are not allowed.
        let rows = self.labels.chunks(self.len.max(1));
        rows.map(|row| row[1..].iter().filter(|&&label| label != IGNORED).count()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_to_the_longest() {
        let long = Example { input_ids: vec![5, 6, 7], labels: vec![5, IGNORED, 7] };
        let short = Example { input_ids: vec![8, 9], labels: vec![8, 9] };
        let batch = Batch::new([&short, &long]);
        assert_eq!((batch.rows, batch.len, &batch.lengths[..]), (2, 3, &[2, 3][..]));
        assert_eq!(batch.input_ids, [8, 9, 0, 5, 6, 7]);
        assert_eq!(batch.labels, [8, 9, -100, 5, -100, 7]);
        // 9 and 7: the first of each row does not count.
        assert_eq!(batch.target_tokens(), 2);
        assert_eq!(batch.target_tokens(), short.target_tokens() + long.target_tokens());
    }

    #[test]
    fn of_nothing() {
        let batch = Batch::new([]);
        assert_eq!((batch.rows, batch.len, batch.target_tokens()), (0, 0, 0));
    }
}
