//! Setting rows apart for validation.

use super::Dataset;
use crate::error::{Error, Result};
use crate::random::Random;

/// Tells this use of a seed from others, such as the shuffling of rows.
const LABEL: u64 = 0x5052_4954;

impl Dataset {
    /// Sets `fraction` of the examples apart for validation: (the others, those set apart), both in the order of the
    /// file. The same seed chooses the same ones.
    ///
    /// # Errors
    /// Unless `fraction` is between 0 and 1, and leaves at least one example on either side.
    pub fn split(self, fraction: f64, seed: u64) -> Result<(Self, Self)> {
        let apart = chosen(self.examples.len(), fraction, seed)?;
        let (mut train, mut valid) = (Self::default(), Self::default());
        for ((example, truncated), is_apart) in self.examples.into_iter().zip(self.truncated).zip(apart) {
            if is_apart { &mut valid } else { &mut train }.push(example, truncated);
        }
        Ok((train, valid))
    }
}

/// For each of `rows` rows whether it is set apart: `fraction` of them, rounded, but at least one on either side.
fn chosen(rows: usize, fraction: f64, seed: u64) -> Result<Vec<bool>> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::Usage(format!("--val-split is {fraction}; expected more than 0 and less than 1")));
    }
    if rows < 2 {
        let what = "a single row cannot be split into training and validation; leave --val-split out, or add rows";
        return Err(Error::data("data", what));
    }
    let count = ((rows as f64 * fraction).round() as usize).clamp(1, rows - 1);
    let mut order: Vec<usize> = (0..rows).collect();
    Random::labelled(seed, LABEL).shuffle(&mut order);
    let mut apart = vec![false; rows];
    for row in &order[..count] {
        apart[*row] = true;
    }
    Ok(apart)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Example;

    fn dataset(rows: usize) -> Dataset {
        let mut data = Dataset::default();
        for row in 0..rows as u32 {
            data.push(Example { input_ids: vec![row; 2], labels: vec![row as i32; 2] }, row % 2 == 0);
        }
        data
    }

    fn rows(data: &Dataset) -> Vec<u32> {
        data.examples.iter().map(|example| example.input_ids[0]).collect()
    }

    #[test]
    fn every_row_is_on_one_side_and_both_have_one() {
        for (count, fraction, expected) in
            [(2, 0.5, 1), (2, 1e-9, 1), (2, 0.999, 1), (3, 0.5, 2), (7, 0.1, 1), (100, 0.1, 10), (101, 0.25, 25)]
        {
            let (train, valid) = dataset(count).split(fraction, 3).unwrap();
            assert_eq!(valid.examples.len(), expected, "{count} {fraction}");
            let (train, valid) = (rows(&train), rows(&valid));
            assert!(train.is_sorted() && valid.is_sorted());
            let mut all = [train, valid].concat();
            all.sort();
            assert_eq!(all, (0..count as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_seed_decides() {
        let valid = |seed| rows(&dataset(100).split(0.1, seed).unwrap().1);
        assert_eq!(valid(1), valid(1));
        assert_ne!(valid(1), valid(2));
        // Over many seeds every row has its turn about equally often.
        let mut times = [0_u32; 20];
        for seed in 0..2000 {
            for row in rows(&dataset(20).split(0.25, seed).unwrap().1) {
                times[row as usize] += 1;
            }
        }
        assert!(times.iter().all(|times| (400..600).contains(times)), "{times:?}");
    }

    #[test]
    fn summaries_are_of_each_side() {
        let whole = dataset(9);
        let summary = whole.summary;
        let (train, valid) = whole.split(0.4, 5).unwrap();
        assert_eq!((train.summary.rows, valid.summary.rows), (5, 4));
        for (of_both, of_all) in [
            (train.summary.truncated + valid.summary.truncated, summary.truncated),
            (train.summary.tokens + valid.summary.tokens, summary.tokens),
            (train.summary.target_tokens + valid.summary.target_tokens, summary.target_tokens),
        ] {
            assert_eq!(of_both, of_all);
        }
        let even = rows(&valid).iter().filter(|row| *row % 2 == 0).count();
        assert_eq!(valid.summary.truncated, even);
    }

    #[test]
    fn says_what_cannot_be() {
        for fraction in [0.0, 1.0, -0.5, 1.5, f64::NAN, f64::INFINITY] {
            let error = dataset(10).split(fraction, 0).unwrap_err();
            let message = format!("--val-split is {fraction}; expected more than 0 and less than 1");
            assert_eq!((error.to_string(), error.exit_code()), (message, 2));
        }
        for rows in [0, 1] {
            let error = dataset(rows).split(0.5, 0).unwrap_err().to_string();
            assert!(error.starts_with("data: a single row cannot be split"), "{error}");
        }
    }
}
