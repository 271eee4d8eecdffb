//! Watching a run for values that stand out.

use serde::{Deserialize, Serialize};

/// How many values are seen before any of them can stand out.
const WARM_UP: u32 = 20;
/// Weight of a new value in the running mean and variance.
const WEIGHT: f64 = 0.05;
/// Standard deviations above the mean, and how many times the mean, that make an outlier: both are asked for.
const DEVIATIONS: f64 = 6.0;
const TIMES: f64 = 2.0;

/// Running mean and variance of a series of positive values, such as loss or gradient norm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    count: u32,
    mean: f64,
    variance: f64,
}

impl Watch {
    /// Takes the next value. Returns the mean so far where `value` lies far above it.
    pub fn outlier(&mut self, value: f64) -> Option<f64> {
        let mean = self.mean;
        let limit = (mean + DEVIATIONS * self.variance.sqrt()).max(TIMES * mean);
        let stands_out = self.count >= WARM_UP && value > limit;
        // One outlier must not hide the next, so that it counts only up to the limit.
        let value = if stands_out { limit } else { value };
        let weight = WEIGHT.max(1.0 / f64::from(self.count + 1));
        let difference = value - self.mean;
        self.mean += weight * difference;
        self.variance = (1.0 - weight) * (self.variance + weight * difference * difference);
        self.count = self.count.saturating_add(1);
        stands_out.then_some(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn noise_and_a_falling_loss_are_nothing_special() {
        let (mut watch, mut random) = (Watch::default(), Random::new(1));
        for step in 0..2000 {
            let loss = 0.1 + 3.0 * (-f64::from(step) / 100.0).exp();
            assert_eq!(watch.outlier(loss * f64::from(0.7 + 0.6 * random.next_f32())), None, "step {step}");
        }
    }

    #[test]
    fn a_spike_is_told_every_time() {
        let mut watch = Watch::default();
        for _ in 0..30 {
            assert_eq!(watch.outlier(1.0), None);
        }
        assert_eq!(watch.outlier(1.5), None);
        assert!(watch.outlier(9.0).is_some_and(|mean| (1.0..1.1).contains(&mean)));
        assert!(watch.outlier(9.0).is_some());
    }

    #[test]
    fn the_first_values_are_taken_as_they_come() {
        let mut watch = Watch::default();
        for value in [1.0, 50.0, 0.1, 1e6] {
            assert_eq!(watch.outlier(value), None);
        }
    }
}
