//! The curves of a run: taken from its events, smoothed, thinned.

use super::axis::drawable;
use crate::train::TrainEvent;

/// A step and what was measured there.
pub type Point = (f64, f64);

/// What the events of a run hold, as curves over the optimizer steps. Values that are not finite are left out.
#[derive(Debug, Default)]
pub struct Curves {
    /// Loss of every step.
    pub loss: Vec<Point>,
    /// Loss of every evaluation.
    pub validation: Vec<Point>,
    /// Learning rate of every step.
    pub learning_rate: Vec<Point>,
    /// Global gradient norm before clipping, of every step.
    pub grad_norm: Vec<Point>,
    /// Tokens a second, over every step.
    pub speed: Vec<Point>,
    /// Loss of the test rows with the adapter that was kept.
    pub test: Option<f64>,
    /// How many values were left out.
    pub left_out: usize,
}

impl Curves {
    /// The curves of `events`.
    pub fn new(events: &[TrainEvent]) -> Self {
        let mut curves = Self::default();
        let mut left_out = 0;
        let mut add = |curve: &mut Vec<Point>, step: usize, value: f64| match drawable(value) {
            true => curve.push((step as f64, value)),
            false => left_out += 1,
        };
        for event in events {
            match event {
                TrainEvent::Step(report) => {
                    add(&mut curves.loss, report.step, report.loss);
                    add(&mut curves.learning_rate, report.step, report.learning_rate);
                    add(&mut curves.grad_norm, report.step, report.grad_norm);
                    add(&mut curves.speed, report.step, report.tokens_per_second);
                }
                TrainEvent::Eval(report) => {
                    if let Some(step) = report.step {
                        add(&mut curves.validation, step, report.loss);
                    }
                }
                TrainEvent::Test(report) => curves.test = Some(report.loss).filter(|&loss| drawable(loss)),
                _ => {}
            }
        }
        curves.left_out = left_out;
        curves
    }

    /// The evaluation with the lowest loss.
    pub fn best(&self) -> Option<Point> {
        self.validation.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// An exponential moving average that does not start at zero (the correction of Adam, arXiv 1412.6980, section 3).
///
/// It looks back over a twentieth of `values`, but at least 5 of them and at most 500. What is not finite is passed
/// over; before the first finite value the result is NaN.
pub fn smooth(values: &[f64]) -> Vec<f64> {
    let window = (values.len() / 20).clamp(5, 500);
    let keep = 1.0 - 2.0 / (window as f64 + 1.0);
    let (mut mean, mut weight) = (0.0, 0.0);
    let next = |&value: &f64| {
        if value.is_finite() {
            mean = keep * mean + (1.0 - keep) * value;
            weight = keep * weight + (1.0 - keep);
        }
        mean / weight
    };
    values.iter().map(next).collect()
}

/// `points` with their values smoothed.
pub fn smooth_points(points: &[Point]) -> Vec<Point> {
    let values: Vec<f64> = points.iter().map(|point| point.1).collect();
    points.iter().zip(smooth(&values)).map(|(point, value)| (point.0, value)).collect()
}

/// At most `2 × buckets` of the `points`: of every bucket of neighbours the lowest and the highest, in their order, so
/// that no spike is lost.
pub fn thin(points: &[Point], buckets: usize) -> Vec<Point> {
    if points.len() <= 2 * buckets {
        return points.to_vec();
    }
    let mut thinned = Vec::with_capacity(2 * buckets);
    for bucket in points.chunks(points.len().div_ceil(buckets)) {
        let by_value = |&a: &usize, &b: &usize| bucket[a].1.total_cmp(&bucket[b].1);
        let (low, high) = ((0..bucket.len()).min_by(by_value), (0..bucket.len()).max_by(by_value));
        let mut kept: Vec<usize> = low.into_iter().chain(high).collect();
        kept.sort_unstable();
        kept.dedup();
        thinned.extend(kept.into_iter().map(|index| bucket[index]));
    }
    thinned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_starts_at_the_first_value() {
        assert!(smooth(&[]).is_empty());
        assert_eq!(smooth(&[3.0]), [3.0]);
        // Window 5 keeps two thirds: (2/3 · 1/3 · 3 + 1/3 · 6) / (1 − 4/9) = 4.8.
        let smoothed = smooth(&[3.0, 6.0]);
        assert!((smoothed[1] - 4.8).abs() < 1e-12, "{smoothed:?}");
        assert!(smooth(&[2.0; 1000]).iter().all(|value| (value - 2.0).abs() < 1e-12));
    }

    #[test]
    fn the_average_passes_over_what_is_not_finite() {
        let smoothed = smooth(&[f64::NAN, 1.0, f64::INFINITY, 1.0]);
        assert!(smoothed[0].is_nan());
        assert_eq!(smoothed[1..3], [1.0, 1.0]);
        assert!((smoothed[3] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_average_follows_over_a_twentieth() {
        let values: Vec<f64> = (0..1000).map(|i| if i < 500 { 4.0 } else { 2.0 }).collect();
        let smoothed = smooth(&values);
        assert_eq!(smoothed[499].round(), 4.0);
        // e⁻² of the old value is left after one window of 50.
        assert!((smoothed[549] - 2.0 - 2.0 * 0.1353).abs() < 0.01, "{}", smoothed[549]);
    }

    #[test]
    fn a_spike_survives_thinning() {
        for count in [1, 2, 20, 21, 999, 100_000] {
            let mut points: Vec<Point> = (0..count).map(|i| (i as f64, 1.0 + (i % 7) as f64 * 1e-3)).collect();
            points[count / 2].1 = 50.0;
            points[count / 3].1 = -50.0;
            let thinned = thin(&points, 10);
            assert!(thinned.len() <= 20 && !thinned.is_empty());
            for kept in [points[count / 2], points[count / 3]] {
                assert!(thinned.contains(&kept), "{count}: {thinned:?}");
            }
            assert!(thinned.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
