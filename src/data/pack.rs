//! Several examples in one row, so that little of a batch is padding.

use crate::data::{Batch, Dataset, Example};
use crate::hash::hex;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The rows that training deals out: the examples of a data set, or packs of them.
#[derive(Debug)]
pub struct TrainRows<'a> {
    examples: &'a [Example],
    packs: Option<Vec<Vec<usize>>>,
}

impl<'a> TrainRows<'a> {
    /// Every example a row of its own; with a `capacity`, packed into rows of at most so many tokens.
    pub fn new(data: &'a Dataset, capacity: Option<usize>) -> Self {
        let examples = &data.examples;
        let lengths = || examples.iter().map(|example| example.input_ids.len()).collect::<Vec<_>>();
        Self { examples, packs: capacity.map(|capacity| pack(&lengths(), capacity)) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.packs.as_ref().map_or(self.examples.len(), Vec::len)
    }

    /// Tokens of the longest.
    pub fn longest(&self) -> usize {
        let length = |example: &usize| self.examples[*example].input_ids.len();
        match &self.packs {
            None => (0..self.examples.len()).map(|example| length(&example)).max().unwrap_or(0),
            Some(packs) => packs.iter().map(|pack| pack.iter().map(length).sum()).max().unwrap_or(0),
        }
    }

    /// Some of them side by side.
    ///
    /// # Panics
    /// If one of `rows` is not below [`count`](Self::count).
    pub fn batch(&self, rows: &[usize]) -> Batch {
        match &self.packs {
            None => Batch::new(rows.iter().map(|&row| &self.examples[row])),
            Some(packs) => {
                let pack = |&row: &usize| packs[row].iter().map(|&example| &self.examples[example]).collect::<Vec<_>>();
                Batch::packed(rows.iter().map(pack))
            }
        }
    }

    /// A hash of all tokens and labels, by which a resumed run knows its data again.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for Example { input_ids, labels } in self.examples {
            hash.update((input_ids.len() as u64).to_le_bytes());
            hash.update(bytemuck::cast_slice::<u32, u8>(input_ids));
            hash.update(bytemuck::cast_slice::<i32, u8>(labels));
        }
        hex(hash.finalize())
    }
}

/// Distributes examples of these lengths over rows of at most `capacity` tokens; returns the examples of each row.
///
/// Best fit, longest first: each example goes into the fullest row that still takes it. The rows come in the order of
/// their first example, the examples of a row in that of the file, so that the result depends on nothing but the
/// arguments. An example that is longer than `capacity` has a row to itself.
pub fn pack(lengths: &[usize], capacity: usize) -> Vec<Vec<usize>> {
    let mut longest_first: Vec<usize> = (0..lengths.len()).collect();
    longest_first.sort_by_key(|&example| std::cmp::Reverse(lengths[example]));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    // Rows by the room that is left in them.
    let mut by_room: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for example in longest_first {
        let length = lengths[example];
        let fullest = by_room.range(length..).next().map(|(room, _)| *room);
        let (row, room) = match fullest {
            Some(room) => {
                let same_room = by_room.get_mut(&room).expect("just found");
                let row = same_room.pop().expect("no empty lists are kept");
                if same_room.is_empty() {
                    by_room.remove(&room);
                }
                (row, room)
            }
            None => {
                rows.push(Vec::new());
                (rows.len() - 1, capacity.max(length))
            }
        };
        rows[row].push(example);
        by_room.entry(room - length).or_default().push(row);
    }
    rows.iter_mut().for_each(|row| row.sort_unstable());
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn fills_rows_and_keeps_order() {
        assert_eq!(pack(&[4, 6, 3, 3, 4], 10), [vec![0, 1], vec![2, 3, 4]]);
        assert_eq!(pack(&[1, 1, 1], 1), [[0], [1], [2]]);
        assert_eq!(pack(&[], 8), Vec::<Vec<usize>>::new());
        // Too long for any row: alone, and nothing is lost.
        assert_eq!(pack(&[2, 20, 2], 8), [vec![0, 2], vec![1]]);
    }

    #[test]
    fn every_example_once_and_no_row_too_long() {
        let mut random = Random::new(5);
        for examples in [1, 7, 300] {
            let lengths: Vec<usize> = (0..examples).map(|_| 1 + random.below(64) as usize).collect();
            let rows = pack(&lengths, 64);
            let mut seen: Vec<usize> = rows.iter().flatten().copied().collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..examples).collect::<Vec<_>>());
            let total = |row: &Vec<usize>| row.iter().map(|&example| lengths[example]).sum::<usize>();
            assert!(rows.iter().all(|row| total(row) <= 64));
            // Best fit, longest first, needs at most 11/9 of the least number of rows, and one.
            let least = lengths.iter().sum::<usize>().div_ceil(64);
            assert!(rows.len() <= least * 11 / 9 + 1, "{} rows, {least} at best", rows.len());
        }
    }
}
