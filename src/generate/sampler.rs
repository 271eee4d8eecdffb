//! From logits to a token.

use crate::error::{Error, Result};
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0: always the likeliest token; 1: as the model says; above: flatter.
    pub temperature: f64,
    /// Only the likeliest tokens that together reach this probability are drawn from (arXiv 1904.09751); 1: all.
    pub top_p: f64,
    /// Same seed, same logits: same tokens.
    pub seed: u64,
}

/// Tokens of an answer, at most, where nothing else is said.
pub const DEFAULT_MAX_TOKENS: usize = 256;

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_p: 1.0, seed: 0 }
    }
}

/// Draws tokens one after the other.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    random: Random,
}

impl Sampler {
    /// A sampler at the start of its seed's sequence.
    ///
    /// # Errors
    /// On a temperature below 0 or a top-p outside (0, 1].
    pub fn new(sampling: Sampling) -> Result<Self> {
        if !(sampling.temperature >= 0.0 && sampling.temperature.is_finite()) {
            return Err(Error::Usage(format!("--temp is {}; expected 0 or more", sampling.temperature)));
        }
        if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
            return Err(Error::Usage(format!("--top-p is {}; expected more than 0 and at most 1", sampling.top_p)));
        }
        Ok(Self { sampling, random: Random::new(sampling.seed) })
    }

    /// The next token for `logits`, one for each token of the vocabulary.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        let best = || (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or(0);
        if self.sampling.temperature == 0.0 {
            return best() as u32;
        }
        let highest = f64::from(logits[best()]);
        let mut weights: Vec<(f64, usize)> = logits
            .iter()
            .enumerate()
            .map(|(token, logit)| (((f64::from(*logit) - highest) / self.sampling.temperature).exp(), token))
            .collect();
        let mut total: f64 = weights.iter().map(|(weight, _)| weight).sum();
        if self.sampling.top_p < 1.0 {
            weights.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let (wanted, mut reached, mut kept) = (self.sampling.top_p * total, 0.0, 0);
            while kept < weights.len() && reached < wanted {
                reached += weights[kept].0;
                kept += 1;
            }
            weights.truncate(kept.max(1));
            total = weights.iter().map(|(weight, _)| weight).sum();
        }
        let mut left = f64::from(self.random.next_f32()) * total;
        for (weight, token) in &weights {
            left -= weight;
            if left < 0.0 {
                return *token as u32;
            }
        }
        // Rounding may leave a crumb behind the last one.
        weights.last().map_or(0, |(_, token)| *token as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(sampling: Sampling, logits: &[f32], count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling).unwrap();
        (0..count).map(|_| sampler.sample(logits)).collect()
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_largest() {
        assert_eq!(draws(Sampling::default(), &[0.5, 2.0, 2.0, -1.0], 3), [1, 1, 1]);
    }

    #[test]
    fn frequencies_follow_the_probabilities_and_the_seed_repeats_them() {
        let sampling = Sampling { temperature: 1.0, top_p: 1.0, seed: 7 };
        let logits = [0.0, 3f32.ln(), f32::NEG_INFINITY];
        let tokens = draws(sampling, &logits, 4000);
        let ones = tokens.iter().filter(|t| **t == 1).count();
        assert!((2850..3150).contains(&ones), "{ones} of 4000, expected about 3000");
        assert!(!tokens.contains(&2));
        assert_eq!(tokens, draws(sampling, &logits, 4000));
        assert_ne!(tokens, draws(Sampling { seed: 8, ..sampling }, &logits, 4000));
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_reaches_it() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.15f32.ln(), 0.05f32.ln()];
        let sampling = Sampling { temperature: 1.0, top_p: 0.79, seed: 1 };
        let tokens = draws(sampling, &logits, 2000);
        assert!(tokens.iter().all(|t| *t < 2) && tokens.contains(&1));
        let tokens = draws(Sampling { top_p: 0.81, ..sampling }, &logits, 2000);
        assert!(tokens.iter().all(|t| *t < 3) && tokens.contains(&2));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (temperature, top_p) in [(-1.0, 1.0), (f64::NAN, 1.0), (1.0, 0.0), (1.0, 1.5)] {
            assert!(Sampler::new(Sampling { temperature, top_p, seed: 0 }).is_err(), "{temperature} {top_p}");
        }
    }
}
