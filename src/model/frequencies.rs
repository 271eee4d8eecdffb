//! Frequencies of the rotary embedding (arXiv 2104.09864), and how longer contexts scale them.

use super::config::ModelConfig;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// What a family does to the frequencies to reach beyond the length it was first trained with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "rope_type")]
pub enum RopeScaling {
    /// Divides every frequency (arXiv 2306.15595).
    Linear {
        /// By this.
        factor: f64,
    },
    /// Divides low frequencies, keeps high ones, and blends in between (Llama 3.1, arXiv 2407.21783).
    Llama3 {
        /// By this.
        factor: f64,
        /// Waves longer than `original_max_position_embeddings` over this are low.
        low_freq_factor: f64,
        /// Waves shorter than `original_max_position_embeddings` over this are high.
        high_freq_factor: f64,
        /// The length of the first training.
        original_max_position_embeddings: usize,
    },
}

impl RopeScaling {
    /// What a frequency is divided by.
    pub fn divisor(self, frequency: f64) -> f64 {
        match self {
            Self::Linear { factor } => factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let waves = original_max_position_embeddings as f64 * frequency / TAU; // in the original length
                let high = (waves - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let high = high.clamp(0.0, 1.0);
                1.0 / (high + (1.0 - high) / factor)
            }
        }
    }

    /// The scaling of Llama 3.1 to 3.3 whose divisors are these for `frequencies`: GGUF files have nothing else. Its
    /// constants but the factor are the same in all of them.
    pub(crate) fn llama3_from_divisors(frequencies: &[f64], divisors: &[f32]) -> Option<Self> {
        let factor = divisors.iter().copied().fold(1.0, f32::max).into();
        let scaling = Self::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let close = |(frequency, divisor): (&f64, &f32)| {
            let expected = scaling.divisor(*frequency);
            (f64::from(*divisor) - expected).abs() <= 1e-4 * expected // they were computed in f32
        };
        (frequencies.len() == divisors.len() && frequencies.iter().zip(divisors).all(close)).then_some(scaling)
    }

    /// What is wrong with these constants, if anything.
    pub(super) fn fault(self) -> Option<String> {
        let (sound, original) = match self {
            Self::Linear { factor } => (is_factor(factor), 1),
            Self::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings } => {
                let sound = is_factor(factor) && low.is_finite() && high.is_finite() && 0.0 < low && low < high;
                (sound, original_max_position_embeddings)
            }
        };
        (!sound || original == 0).then(|| format!("the scaling of the rotary embedding is out of range: {self:?}"))
    }
}

fn is_factor(factor: f64) -> bool {
    factor.is_finite() && factor >= 1.0
}

impl ModelConfig {
    /// Radians per position of each pair of a head, `[head_dim / 2]`: `rope_theta^(-2i / head_dim)`, scaled.
    pub fn rope_frequencies(&self) -> Vec<f64> {
        let unscaled = |i: usize| self.rope_theta.powf(-2.0 * i as f64 / self.head_dim as f64);
        let divisor = |frequency| self.rope_scaling.map_or(1.0, |scaling| scaling.divisor(frequency));
        (0..self.head_dim / 2).map(unscaled).map(|frequency| frequency / divisor(frequency)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA3: RopeScaling = RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };

    /// Unscaled over scaled frequencies of Llama 3.2 1B, by transformers 5.23 in f32.
    const LLAMA_3_2_1B: [f32; 32] = {
        let mut divisors = [32.0; 32];
        let mut i = 0;
        while i < 15 {
            divisors[i] = 1.0;
            i += 1;
        }
        (divisors[15], divisors[16], divisors[17]) = (1.651_329_2, 3.292_262_6, 9.666_73);
        divisors
    };

    fn frequencies(theta: f64, head_dim: usize) -> Vec<f64> {
        (0..head_dim / 2).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64)).collect()
    }

    #[test]
    fn divisors_of_llama_3_2_1b() {
        let frequencies = frequencies(5e5, 64);
        assert_eq!(frequencies.len(), LLAMA_3_2_1B.len());
        for (frequency, expected) in frequencies.iter().zip(LLAMA_3_2_1B) {
            let divisor = LLAMA3.divisor(*frequency);
            assert!((divisor - f64::from(expected)).abs() <= 2e-5 * divisor, "{frequency}: {divisor}, not {expected}");
        }
        assert_eq!(RopeScaling::llama3_from_divisors(&frequencies, &LLAMA_3_2_1B), Some(LLAMA3));
    }

    #[test]
    fn other_divisors_are_not_llama3s() {
        let frequencies = frequencies(5e5, 64);
        let with = |i: usize, divisor: f32| {
            let mut divisors = LLAMA_3_2_1B;
            divisors[i] = divisor;
            RopeScaling::llama3_from_divisors(&frequencies, &divisors)
        };
        for (i, divisor) in [(0, 1.01), (31, 31.0), (31, 33.0), (15, f32::NAN), (15, -1.0), (0, f32::INFINITY)] {
            assert_eq!(with(i, divisor), None, "{divisor} at {i}");
        }
        assert_eq!(RopeScaling::llama3_from_divisors(&frequencies, &LLAMA_3_2_1B[1..]), None);
    }

    #[test]
    fn linear() {
        assert_eq!(RopeScaling::Linear { factor: 4.0 }.divisor(0.3), 4.0);
    }

    #[test]
    fn constants_out_of_range() {
        assert_eq!(LLAMA3.fault(), None);
        for factor in [0.0, 0.5, -1.0, f64::NAN, f64::INFINITY] {
            assert!(RopeScaling::Linear { factor }.fault().is_some(), "{factor}");
        }
        for (low, high, original) in [(0.0, 4.0, 1), (4.0, 4.0, 1), (4.0, 1.0, 1), (1.0, f64::NAN, 1), (1.0, 4.0, 0)] {
            let scaling = RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            };
            assert!(scaling.fault().is_some(), "{scaling:?}");
        }
    }
}
