//! The rows of one training step side by side.

use std::sync::Arc;

use crate::data::{Example, IGNORED};

/// Rows side by side, padded at their ends to the longest. A row is one example, or several one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Number of rows.
    pub rows: usize,
    /// Tokens of the longest.
    pub len: usize,
    /// `[rows, len]`, row by row, padded with 0.
    pub input_ids: Vec<i32>,
    /// `[rows, len]`, row by row, padded with [`IGNORED`]. The label at `t` belongs to the token at `t`: shifting is
    /// left to the loss.
    pub labels: Vec<i32>,
    /// `[rows]`, the tokens of each row without its padding.
    pub lengths: Vec<usize>,
    /// `[rows, len]`: where in its row the example of each token begins. `None` if every row is one example.
    pub starts: Option<Arc<[u32]>>,
}

impl Batch {
    /// Puts `examples` side by side.
    pub fn new<'a>(examples: impl IntoIterator<Item = &'a Example>) -> Self {
        Self::packed(examples.into_iter().map(|example| [example]))
    }

    /// Puts rows of several examples each side by side.
    pub fn packed<'a, Row: AsRef<[&'a Example]>>(rows: impl IntoIterator<Item = Row>) -> Self {
        let packed: Vec<Row> = rows.into_iter().collect();
        let length = |row: &Row| row.as_ref().iter().map(|example| example.input_ids.len()).sum();
        let lengths: Vec<usize> = packed.iter().map(length).collect();
        let (rows, len) = (packed.len(), lengths.iter().copied().max().unwrap_or(0));
        let mut input_ids = vec![0; rows * len];
        let mut labels = vec![IGNORED; rows * len];
        // Padding, which nothing reads, sees itself only.
        let mut starts: Vec<u32> = (0..rows * len).map(|at| (at % len) as u32).collect();
        for (row, examples) in packed.iter().enumerate() {
            let mut at = row * len;
            for example in examples.as_ref() {
                let here = at..at + example.input_ids.len();
                input_ids[here.clone()].iter_mut().zip(&example.input_ids).for_each(|(slot, &id)| *slot = id as i32);
                labels[here.clone()].copy_from_slice(&example.labels);
                // The last token of one example does not predict the first of the next.
                labels[at] = IGNORED;
                starts[here.clone()].fill((at - row * len) as u32);
                at = here.end;
            }
        }
        let is_packed = packed.iter().any(|examples| examples.as_ref().len() > 1);
        Self { rows, len, input_ids, labels, lengths, starts: is_packed.then(|| starts.into()) }
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
        assert_eq!(batch.labels, [-100, 9, -100, -100, -100, 7]);
        assert_eq!(batch.starts, None);
        // 9 and 7: the first of each row does not count.
        assert_eq!(batch.target_tokens(), 2);
        assert_eq!(batch.target_tokens(), short.target_tokens() + long.target_tokens());
    }

    #[test]
    fn packed_examples_keep_apart() {
        let long = Example { input_ids: vec![5, 6, 7], labels: vec![5, IGNORED, 7] };
        let short = Example { input_ids: vec![8, 9], labels: vec![8, 9] };
        let batch = Batch::packed([vec![&short, &long], vec![&long]]);
        assert_eq!((batch.rows, batch.len, &batch.lengths[..]), (2, 5, &[5, 3][..]));
        assert_eq!(batch.input_ids, [8, 9, 5, 6, 7, 5, 6, 7, 0, 0]);
        assert_eq!(batch.labels, [-100, 9, -100, -100, 7, -100, -100, 7, -100, -100]);
        assert_eq!(batch.starts.as_deref(), Some(&[0, 0, 2, 2, 2, 0, 0, 0, 3, 4][..]));
        assert_eq!(batch.target_tokens(), 3);
    }

    #[test]
    fn of_nothing() {
        let batch = Batch::new([]);
        assert_eq!((batch.rows, batch.len, batch.target_tokens()), (0, 0, 0));
    }
}
