//! Random numbers that are the same on every machine, and that need no order of asking.
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011):
//! ten rounds of multiply and xor turn a 128-bit counter and a 64-bit key into 128 random bits. Key and upper half of
//! the counter come from SHA-256 of the seed and of a **stream** name, so that `("shuffle", epoch 3)` and
//! `("augment", epoch 3, image 17)` never share numbers and can be drawn on any thread. The lower half counts blocks.
//!
//! Everything is made of integer arithmetic, IEEE basic operations and `libm` in Rust: no C library, no global state.
//! burn's own seed is global and differs between backends, so nothing here ever uses it.

use sha2::{Digest as _, Sha256};

/// Sets these hashes apart from all others of this project.
const DOMAIN: &[u8] = b"taskvec random v1\0";

// Multipliers and key increments of Philox4x32, from the paper.
const MULTIPLIER_0: u32 = 0xD251_1F53;
const MULTIPLIER_1: u32 = 0xCD9E_8D57;
const KEY_STEP_0: u32 = 0x9E37_79B9;
const KEY_STEP_1: u32 = 0xBB67_AE85;
const ROUNDS: usize = 10;

/// A stream of random numbers, named by a seed and a text.
///
/// ```
/// use taskvec_packer::random::Random;
///
/// let mut a = Random::new(7, "shuffle/epoch 0");
/// let mut b = Random::new(7, "shuffle/epoch 0");
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert_ne!(a.next_u64(), Random::new(7, "shuffle/epoch 1").next_u64());
/// ```
#[derive(Clone, Debug)]
pub struct Random {
    key: [u32; 2],
    stream: [u32; 2],
    block: u64,
    words: [u32; 4],
    used: usize,
    spare_normal: Option<f64>,
}

impl Random {
    /// The stream called `stream` of `seed`, at its beginning.
    pub fn new(seed: u64, stream: &str) -> Random {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(seed.to_le_bytes());
        hash.update(stream.as_bytes());
        let hash = hash.finalize();
        let word = |i: usize| u32::from_le_bytes([hash[4 * i], hash[4 * i + 1], hash[4 * i + 2], hash[4 * i + 3]]);
        Random {
            key: [word(0), word(1)],
            stream: [word(2), word(3)],
            block: 0,
            words: [0; 4],
            used: 4,
            spare_normal: None,
        }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            let low = (self.block & 0xFFFF_FFFF) as u32;
            let high = (self.block >> 32) as u32;
            self.words = philox([low, high, self.stream[0], self.stream[1]], self.key);
            self.block = self.block.wrapping_add(1);
            self.used = 0;
        }
        let word = self.words[self.used];
        self.used += 1;
        word
    }

    /// The next 64 random bits: two words, the lower half first.
    pub fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.next_u32());
        low | (u64::from(self.next_u32()) << 32)
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-53.
    pub fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `[low, high)`; `low` itself when the two are equal.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Normal with mean 0 and deviation 1 (polar method, Marsaglia and Bray 1964; computed in f64, rounded once).
    pub fn normal(&mut self) -> f32 {
        if let Some(spare) = self.spare_normal.take() {
            return spare as f32;
        }
        loop {
            let x = 2.0 * self.uniform_f64() - 1.0;
            let y = 2.0 * self.uniform_f64() - 1.0;
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * libm::log(square) / square).sqrt();
                self.spare_normal = Some(y * factor);
                return (x * factor) as f32;
            }
        }
    }

    /// Uniform in `0..bound`, without bias (multiply and reject, Lemire 2019). A `bound` of 0 gives 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        let reject_below = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(bound);
            if (wide & u128::from(u64::MAX)) as u64 >= reject_below {
                return (wide >> 64) as u64;
            }
        }
    }

    /// All orders of `items` are equally likely (Fisher and Yates, from the back).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u64 + 1) as usize;
            items.swap(i, j);
        }
    }

    /// An index drawn with a probability proportional to its weight. Negative weights and NaN count as 0; when
    /// nothing is left to draw from, the answer is 0.
    pub fn choose(&mut self, weights: &[f32]) -> usize {
        let positive = |weight: f32| if weight > 0.0 { f64::from(weight) } else { 0.0 };
        let total: f64 = weights.iter().map(|&weight| positive(weight)).sum();
        let mut left = self.uniform_f64() * total;
        let mut last = 0;
        for (index, &weight) in weights.iter().enumerate() {
            let weight = positive(weight);
            if weight > 0.0 {
                last = index;
                if left < weight {
                    return index;
                }
                left -= weight;
            }
        }
        last
    }
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(KEY_STEP_0), key[1].wrapping_add(KEY_STEP_1)];
        }
        let product_0 = u64::from(MULTIPLIER_0) * u64::from(counter[0]);
        let product_1 = u64::from(MULTIPLIER_1) * u64::from(counter[2]);
        counter = [
            (product_1 >> 32) as u32 ^ counter[1] ^ key[0],
            (product_1 & 0xFFFF_FFFF) as u32,
            (product_0 >> 32) as u32 ^ counter[3] ^ key[1],
            (product_0 & 0xFFFF_FFFF) as u32,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors of Philox publish with Random123 (`kat_vectors`, philox4x32 10).
    #[test]
    fn philox_gives_its_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(pi, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    /// Computed once by a program of its own in another language; a change here changes every run ever recorded.
    #[test]
    fn a_seed_means_the_same_numbers_for_ever() {
        let mut random = Random::new(1, "test");
        let words: Vec<u32> = (0..5).map(|_| random.next_u32()).collect();
        assert_eq!(words, FIRST_WORDS);
        let normals: Vec<u32> = (0..3).map(|_| random.normal().to_bits()).collect();
        assert_eq!(normals, NEXT_NORMALS);
    }
    const FIRST_WORDS: [u32; 5] = [1_955_062_236, 1_943_228_795, 148_801_921, 3_280_776_772, 731_944_693];
    const NEXT_NORMALS: [u32; 3] = [0x3e64_c584, 0x3ef2_a777, 0x3f01_c03d];

    #[test]
    fn draws_have_the_moments_they_should() {
        let mut random = Random::new(3, "moments");
        let count = 100_000;
        let (mut sum, mut square, mut uniform) = (0.0f64, 0.0f64, 0.0f64);
        for _ in 0..count {
            let normal = f64::from(random.normal());
            sum += normal;
            square += normal * normal;
            uniform += f64::from(random.uniform());
        }
        // Five standard errors of each mean.
        let count = f64::from(count);
        assert!((sum / count).abs() < 5.0 / count.sqrt());
        assert!((square / count - 1.0).abs() < 5.0 * (2.0 / count).sqrt());
        assert!((uniform / count - 0.5).abs() < 5.0 * (1.0 / 12.0 / count).sqrt());
    }

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let mut random = Random::new(5, "below");
        let mut seen = [0u32; 7];
        for _ in 0..7000 {
            seen[random.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (800..1200).contains(&count)), "{seen:?}");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
        let high = random.below(u64::MAX);
        assert!(high < u64::MAX);
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(9, "shuffle").shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<u32>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<u32>>());
    }

    #[test]
    fn choose_follows_the_weights_and_survives_bad_ones() {
        let mut random = Random::new(2, "choose");
        let mut seen = [0u32; 4];
        for _ in 0..10_000 {
            seen[random.choose(&[1.0, 0.0, 3.0, f32::NAN])] += 1;
        }
        assert_eq!((seen[1], seen[3]), (0, 0));
        assert!((2200..2800).contains(&seen[0]), "{seen:?}");
        assert_eq!(random.choose(&[]), 0);
        assert_eq!(random.choose(&[0.0, -1.0]), 0);
    }
}
