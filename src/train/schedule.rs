//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

/// How the learning rate runs after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Stays.
    Constant,
    /// Falls to zero in a straight line.
    Linear,
    /// Falls to zero along half a cosine.
    Cosine,
}

/// The learning rate of every step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LearningRate {
    /// The highest rate, reached at the end of warm-up.
    pub peak: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Optimizer steps of the whole run.
    pub total_steps: usize,
    /// What follows warm-up.
    pub schedule: Schedule,
}

impl LearningRate {
    /// The rate of `step`, from 1: `peak · step / warmup_steps` while it warms up. Step `warmup_steps + 1` has the
    /// full rate, and the last step is the last one above zero, as in Hugging Face's schedules.
    pub fn at(&self, step: usize) -> f64 {
        if step <= self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let done = (step - 1 - self.warmup_steps) as f64;
        let progress = (done / self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64).min(1.0);
        self.peak
            * match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Linear => 1.0 - progress,
                Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, warmup_steps: usize) -> Vec<f64> {
        let rate = LearningRate { peak: 2.0, warmup_steps, total_steps: 8, schedule };
        (1..=8).map(|step| rate.at(step)).collect()
    }

    #[test]
    fn warm_up_reaches_the_peak_and_the_schedules_fall_from_it() {
        assert_eq!(rates(Schedule::Constant, 4), [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(rates(Schedule::Linear, 4), [0.5, 1.0, 1.5, 2.0, 2.0, 1.5, 1.0, 0.5]);
        let cosine = rates(Schedule::Cosine, 0);
        assert_eq!(cosine[0], 2.0);
        assert!((cosine[4] - 1.0).abs() < 1e-12);
        assert!(cosine.windows(2).all(|pair| pair[1] < pair[0]) && cosine[7] > 0.0);
    }

    #[test]
    fn a_run_shorter_than_its_warm_up_never_divides_by_zero() {
        let rate = LearningRate { peak: 1.0, warmup_steps: 10, total_steps: 5, schedule: Schedule::Cosine };
        assert_eq!(rate.at(5), 0.5);
        assert_eq!(rate.at(11), 1.0);
        assert_eq!(rate.at(1000), 0.0);
    }
}
