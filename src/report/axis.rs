//! Axes: which range a chart shows, where its ticks are, how they are written.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged};

/// Larger values are left out: the width of a range must be a finite number.
const LARGEST: f64 = 1e300;
/// A range is at least this wide, as a share of its values, so that neighbouring ticks are different numbers.
const NARROWEST: f64 = 1e-6;
/// A logarithmic axis is used from this ratio of the largest to the smallest value on.
const WIDE: f64 = 100.0;

/// How values become positions.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    /// Linear, with ticks at whole numbers only.
    Whole,
    Log,
}

/// One axis of a chart. Its range is never empty, whatever the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    /// The most ticks there may be.
    ticks: usize,
}

/// Whether `value` can be drawn.
pub fn drawable(value: f64) -> bool {
    value.is_finite() && value.abs() < LARGEST
}

impl Axis {
    /// Steps: exactly from the first to the last, ticks at whole numbers.
    pub fn steps(values: impl Iterator<Item = f64>, ticks: usize) -> Self {
        let (low, high) = range(values);
        let room = (low.abs() * NARROWEST).max(1.0);
        Self { scale: Scale::Whole, low, high: if high - low < room { low + room } else { high }, ticks }
    }

    /// All of `values` with some room around them, but not below zero for their sake.
    pub fn around(values: impl Iterator<Item = f64>, ticks: usize) -> Self {
        let (low, high) = widened(range(values));
        let room = (high - low) * 0.05;
        let low = if low >= 0.0 { (low - room).max(0.0) } else { low - room };
        Self { scale: Scale::Linear, low, high: high + room, ticks }
    }

    /// From zero to the largest of `values`: for areas, whose height is read as an amount.
    pub fn from_zero(values: impl Iterator<Item = f64>, ticks: usize) -> Self {
        let high = range(values).1.max(0.0);
        Self { scale: Scale::Linear, low: 0.0, high: if high == 0.0 { 1.0 } else { high * 1.05 }, ticks }
    }

    /// Exactly from the smallest to the largest of `values`.
    pub fn exact(values: impl Iterator<Item = f64>, ticks: usize) -> Self {
        let (low, high) = widened(range(values));
        Self { scale: Scale::Linear, low, high, ticks }
    }

    /// Logarithmic, exactly from the smallest value above zero to the largest; none where the two are not apart.
    pub fn log(values: impl Iterator<Item = f64>, ticks: usize) -> Option<Self> {
        let (low, high) = range(values.filter(|&value| value > 0.0));
        (low > 0.0 && high > low * 1.01).then_some(Self { scale: Scale::Log, low, high, ticks })
    }

    /// [`Axis::around`], or logarithmic where the values are above zero and differ by more than 100 times.
    pub fn around_or_log(values: impl Iterator<Item = f64> + Clone, ticks: usize) -> Self {
        let negative = values.clone().any(|value| value < 0.0);
        match Self::log(values.clone(), ticks) {
            Some(log) if !negative && log.high > WIDE * log.low => {
                Self { low: log.low / 1.3, high: log.high * 1.3, ..log }
            }
            _ => Self::around(values, ticks),
        }
    }

    /// Whether equal distances are equal ratios.
    pub fn is_log(&self) -> bool {
        self.scale == Scale::Log
    }

    /// The lower end.
    pub fn low(&self) -> f64 {
        self.low
    }

    /// The upper end.
    pub fn high(&self) -> f64 {
        self.high
    }

    /// Where `value` lies: 0 at the lower end, 1 at the upper; outside of the range, the nearer end.
    pub fn position(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Log => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            _ => (value - self.low) / (self.high - self.low),
        };
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }

    /// The distance of two ticks: 1, 2 or 5 times a power of ten. For a logarithmic axis, their ratio.
    fn step(&self) -> f64 {
        let most = self.ticks.max(1) as f64;
        if self.is_log() {
            return 10f64.powf(((self.high / self.low).log10() / most).ceil().max(1.0));
        }
        let unit = 10f64.powf(((self.high - self.low) / most).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|n| n * unit);
        let allowed = |&step: &f64| step >= 1.0 || self.scale != Scale::Whole;
        let few = |&step: &f64| self.tick_numbers(step).1 <= self.ticks.max(1);
        steps.into_iter().filter(allowed).find(few).unwrap_or((20.0 * unit).max(1.0))
    }

    /// The first tick, counted in steps from zero (or from one, where logarithmic), and how many there are.
    fn tick_numbers(&self, step: f64) -> (f64, usize) {
        let in_steps = |value: f64| if self.is_log() { value.ln() / step.ln() } else { value / step };
        let first = (in_steps(self.low) - 1e-9).ceil();
        let last = (in_steps(self.high) + 1e-9).floor();
        (first, (last - first + 1.0).max(0.0) as usize)
    }

    /// Where the ticks are, from low to high.
    pub fn ticks(&self) -> Vec<f64> {
        let step = self.step();
        let (first, count) = self.tick_numbers(step);
        let at = |number: f64| if self.is_log() { step.powf(number) } else { number * step };
        (0..count.min(self.ticks + 1)).map(|i| at(first + i as f64)).collect()
    }

    /// How a tick at `value` is written: "0.25", "20k", "1.5e-4".
    pub fn label(&self, value: f64) -> String {
        match self.scale {
            Scale::Log => number(value, value, value),
            _ => number(value, self.step(), self.low.abs().max(self.high.abs())),
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        start + (self.position(*value) * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

/// The smallest and the largest of what can be drawn of `values`; (0, 0) without any.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let found = values
        .filter(|&value| drawable(value))
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if found.0 > found.1 { (0.0, 0.0) } else { found }
}

/// `(low, high)`, or a range around it where the two are all but the same.
fn widened((low, high): (f64, f64)) -> (f64, f64) {
    let size = low.abs().max(high.abs());
    if size == 0.0 {
        (0.0, 1.0)
    } else if high - low <= size * NARROWEST {
        (low - size * 0.1, high + size * 0.1)
    } else {
        (low, high)
    }
}

/// `value` to the precision of `step`, among values up to `largest`.
fn number(value: f64, step: f64, largest: f64) -> String {
    // Not `value == 0.0`: a tick at zero may be off by a rounding error.
    if value.abs() < step * 1e-6 {
        return "0".into();
    }
    if !(1e-2..1e15).contains(&largest) {
        let digits = (exponent(value) - exponent(step)).clamp(0, 9) as usize;
        return scientific(value, digits);
    }
    let (unit, suffix) = match largest {
        _ if largest >= 1e12 => (1e12, "T"),
        _ if largest >= 1e9 => (1e9, "G"),
        _ if largest >= 1e6 => (1e6, "M"),
        _ if largest >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let decimals = (-exponent(step / unit)).clamp(0, 9) as usize;
    format!("{:.decimals$}{suffix}", value / unit)
}

/// `value` in four digits, for tables: "2.431", "12340", "1.5e-5"; "–" where it is no number.
pub fn compact(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    match exponent(value) {
        exponent @ -3..=6 => format!("{value:.*}", (3 - exponent).clamp(0, 9) as usize),
        _ => scientific(value, 3),
    }
}

/// `value` with an exponent and up to `digits` decimals, without zeros at the end: "1.5e-5".
fn scientific(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$e}");
    match text.split_once('e') {
        Some((digits, exponent)) if digits.contains('.') => {
            format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// The power of ten of the first digit of `value`.
fn exponent(value: f64) -> i32 {
    (value.abs().log10() + 1e-9).floor() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|tick| axis.label(tick)).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(&Axis::steps([1.0, 300.0].into_iter(), 6)), ["50", "100", "150", "200", "250", "300"]);
        assert_eq!(labels(&Axis::steps([1.0, 100_000.0].into_iter(), 5)), ["20k", "40k", "60k", "80k", "100k"]);
        assert_eq!(labels(&Axis::steps([1.0, 3.0].into_iter(), 8)), ["1", "2", "3"]);
        assert_eq!(labels(&Axis::steps([7.0].into_iter(), 8)), ["7", "8"]);
        assert_eq!(labels(&Axis::around([1.3, 3.9].into_iter(), 5)), ["2", "3", "4"]);
        assert_eq!(labels(&Axis::from_zero([2e-4].into_iter(), 5)), ["0", "5e-5", "1e-4", "1.5e-4", "2e-4"]);
        assert_eq!(labels(&Axis::from_zero([23_000.0].into_iter(), 5)), ["0", "5k", "10k", "15k", "20k"]);
        assert_eq!(labels(&Axis::around([-0.31, 0.29].into_iter(), 5)), ["-0.2", "0", "0.2"]);
    }

    #[test]
    fn values_far_apart_get_a_logarithmic_axis() {
        let axis = Axis::around_or_log([0.02, 1.0, 90.0, f64::NAN, 0.0].into_iter(), 5);
        assert!(axis.is_log());
        assert_eq!(labels(&axis), ["0.1", "1", "10", "100"]);
        assert!(!Axis::around_or_log([0.5, 49.0].into_iter(), 5).is_log());
        // 300 powers of ten still have few ticks.
        let axis = Axis::log([1e-150, 1e150].into_iter(), 5).unwrap();
        assert!((2..=6).contains(&axis.ticks().len()), "{:?}", axis.ticks());
        assert!((axis.position(1.0) - 0.5).abs() < 1e-9);
        assert_eq!(axis.position(0.0), 0.0);
    }

    #[test]
    fn every_range_can_be_drawn() {
        let hard = [0.0, -0.0, 1.0, -3.0, 1e-300, 1e299, -1e299, 1e301, f64::MAX, f64::MIN, f64::NAN, f64::INFINITY];
        for a in hard {
            for b in hard {
                let values = [a, b].into_iter();
                for ticks in [1, 5] {
                    for axis in [
                        Axis::steps(values.clone(), ticks),
                        Axis::around(values.clone(), ticks),
                        Axis::from_zero(values.clone(), ticks),
                        Axis::exact(values.clone(), ticks),
                        Axis::around_or_log(values.clone(), ticks),
                    ] {
                        assert!(axis.low < axis.high && (axis.high - axis.low).is_finite(), "{a} {b}: {axis:?}");
                        assert!(axis.ticks().len() <= ticks + 1, "{a} {b}: {axis:?}");
                        assert!(labels(&axis).iter().all(|label| label.len() < 16), "{a} {b}: {:?}", labels(&axis));
                        assert!(hard.iter().all(|&value| (0.0..=1.0).contains(&axis.position(value))));
                    }
                }
            }
        }
    }

    #[test]
    fn four_digits() {
        let written = [0.0, 2.43149, 0.01234, 123.456, 12_345.6, 1.5e-5, -7e9, f64::NAN].map(compact);
        assert_eq!(written, ["0", "2.431", "0.01234", "123.5", "12346", "1.5e-5", "-7e9", "–"]);
    }
}
