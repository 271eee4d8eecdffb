//! Counter-based random numbers: every number is a function of a seed and a counter.
//!
//! There is no hidden state, so a checkpoint stores two integers, and resuming gives the same numbers.

use serde::{Deserialize, Serialize};

/// The odd constant by which SplitMix64 walks: 2^64 over the golden ratio.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The SplitMix64 hash: adds its constant to `x` and mixes all bits. Good enough to tell any two inputs apart,
/// not for secrets.
pub fn splitmix64(x: u64) -> u64 {
    let z = x.wrapping_add(GAMMA);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stream of random numbers, wholly described by its two fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Random {
    /// Names the stream.
    pub seed: u64,
    /// How many numbers were drawn.
    pub counter: u64,
}

impl Random {
    /// The stream of `seed`, at its start.
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    /// The stream for one use of a seed, such as the shuffle of one epoch, at its start. Streams with different
    /// labels do not follow from one another, which those of neighbouring seeds do not promise.
    pub fn labelled(seed: u64, label: u64) -> Self {
        Self::new(splitmix64(splitmix64(seed) ^ label))
    }

    /// The next 64 bits, the same as of the well-known SplitMix64 generator with this seed.
    pub fn next_u64(&mut self) -> u64 {
        let z = splitmix64(self.seed.wrapping_add(self.counter.wrapping_mul(GAMMA)));
        self.counter = self.counter.wrapping_add(1);
        z
    }

    /// The next number in [0, 1), a multiple of 2^-24, exact in f32.
    pub fn next_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1 << 24) as f32
    }

    /// The next integer in `0..n`, every one equally likely. `n` must not be 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "no integer is below 0");
        // Lemire's method: the high half of a 64x64-bit product is the answer. Products whose low half falls
        // under 2^64 mod n belong to answers that would come up once too often, so they are drawn again.
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Brings `items` into a random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let chosen = self.below(last as u64 + 1) as usize;
            items.swap(last, chosen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_generator() {
        // The first outputs of SplitMix64 for seed 1234567, as published with the reference code's tests.
        let mut random = Random::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
        assert_eq!(random, Random { seed: 1_234_567, counter: 3 });
    }

    #[test]
    fn seed_and_counter_are_the_whole_state() {
        let mut one = Random::labelled(7, 3);
        let _ = (one.next_f32(), one.below(10));
        let mut two = Random { seed: one.seed, counter: one.counter };
        assert_eq!(one.next_u64(), two.next_u64());
    }

    #[test]
    fn labels_give_streams_of_their_own() {
        let firsts: std::collections::HashSet<u64> =
            (0..100).flat_map(|seed| (0..100).map(move |label| Random::labelled(seed, label).next_u64())).collect();
        assert_eq!(firsts.len(), 10_000);
    }

    #[test]
    fn floats_fill_the_unit_interval() {
        let mut random = Random::new(1);
        let drawn: Vec<f32> = (0..20_000).map(|_| random.next_f32()).collect();
        assert!(drawn.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = drawn.iter().sum::<f32>() / drawn.len() as f32;
        // The standard error is 0.002.
        assert!((mean - 0.5).abs() < 0.01, "mean {mean}");
        assert!(drawn.iter().any(|&x| x < 0.001) && drawn.iter().any(|&x| x > 0.999));
    }

    #[test]
    fn integers_are_even_over_their_range() {
        let mut random = Random::new(2);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[random.below(7) as usize] += 1;
        }
        // 10,000 each; the standard deviation is 93.
        assert!(counts.iter().all(|&n| n.abs_diff(10_000) < 500), "{counts:?}");
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn draws_again_what_would_bias() {
        // 3·2^62 divides 2^64 with a rest of a quarter: a plain product would give every third number twice as often.
        let n = 3 << 62;
        let mut random = Random::new(3);
        let third = (0..30_000).filter(|_| random.below(n).is_multiple_of(3)).count();
        assert!(third.abs_diff(10_000) < 500, "{third} of 30,000");
        assert!(random.counter > 35_000, "{} draws: none was rejected", random.counter);
    }

    #[test]
    fn every_order_of_three_comes_up() {
        let mut random = Random::new(4);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..6_000 {
            let mut items = [0, 1, 2];
            random.shuffle(&mut items);
            *counts.entry(items).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|&n| n.abs_diff(1_000) < 200), "{counts:?}");
    }
}
