//! Random numbers as a pure function of a seed, a purpose and the number of an image: they do not depend on
//! the batch, the thread or the order of calls.
//!
//! [`hash`] gives 64 bits for a decision, such as whether to mirror an image. [`normal`] and [`noise`] give
//! as many numbers as an image needs, from a ChaCha8 stream of its own. Both are written out here or pinned
//! by golden values in the tests, since a run that is resumed by a later version must go on with the same
//! numbers, and a seed must give the same pictures in every version.
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// What random numbers are for; keeps the uses of one seed apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The latents of samples.
    Latents,
    /// Dequantization noise of an image that is scored, encoded or validated on; one of several draws.
    Noise {
        /// Number of the draw.
        draw: u64,
    },
    /// Dequantization noise of a training image. Its number is that in the run, so that every epoch has
    /// other noise.
    TrainingNoise,
    /// Initial weights. The number is the place of the parameter in the architecture's list.
    Weights,
    /// The order of a run's images. The number is the epoch's.
    Order,
    /// Whether a training image is mirrored.
    Flip,
    /// Which images are for validation.
    Split,
    /// By how much a training image is moved.
    Shift,
    /// Where a training image is cropped.
    Crop,
}

impl Purpose {
    /// The word that [`hash`] mixes in.
    fn word(self) -> u64 {
        match self {
            Self::Order => 1,
            Self::Flip => 2,
            Self::Split => 3,
            Self::Shift => 4,
            Self::Crop => 5,
            Self::Weights => 6,
            Self::TrainingNoise => 7,
            Self::Latents => 8,
            Self::Noise { .. } => 9,
        }
    }

    /// The first half of a stream's key, and the draw.
    fn tag(self) -> ([u8; 16], u64) {
        match self {
            Self::Latents => (*b"glow latent eps.", 0),
            Self::Noise { draw } => (*b"glow dequantize.", draw),
            Self::TrainingNoise => (*b"glow train noise", 0),
            Self::Weights => (*b"glow new weights", 0),
            Self::Order => (*b"glow image order", 0),
            Self::Flip => (*b"glow image flip.", 0),
            Self::Split => (*b"glow data split.", 0),
            Self::Shift => (*b"glow image shift", 0),
            Self::Crop => (*b"glow image crop.", 0),
        }
    }
}

/// 64 random bits for the image of this number. The draw of a [`Purpose::Noise`] plays no part.
pub fn hash(seed: u64, purpose: Purpose, number: u64) -> u64 {
    hash_words(&[seed, purpose.word(), number])
}

/// A hash of a few words, each of which changes all bits.
pub fn hash_words(words: &[u64]) -> u64 {
    words.iter().fold(0, |hash, &word| mix(hash ^ word))
}

/// A step of SplitMix64, which spreads each bit over all others.
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// The stream of an image: ChaCha with 8 rounds. Its key is made of purpose, seed and draw; its stream
/// number is the image's.
fn stream(seed: u64, purpose: Purpose, number: u64) -> ChaCha8Rng {
    let (tag, draw) = purpose.tag();
    let mut key = [0; 32];
    key[..16].copy_from_slice(&tag);
    key[16..24].copy_from_slice(&seed.to_le_bytes());
    key[24..].copy_from_slice(&draw.to_le_bytes());
    let mut stream = ChaCha8Rng::from_seed(key);
    stream.set_stream(number);
    stream
}

/// The smallest limit of [`normal`]: one draw in 125 is within it.
pub const LEAST_TRUNCATION: f32 = 0.01;

/// Draws from N(0, 1) for the image of this number, without end. With a limit, draws beyond it are replaced
/// by the next ones of the stream, so that the rest has the truncated normal distribution. A limit below
/// [`LEAST_TRUNCATION`] counts as that.
pub fn normal(seed: u64, purpose: Purpose, number: u64, limit: Option<f32>) -> impl Iterator<Item = f32> {
    let mut stream = stream(seed, purpose, number);
    let limit = limit.unwrap_or(f32::INFINITY).max(LEAST_TRUNCATION);
    std::iter::repeat_with(move || {
        loop {
            let z: f32 = StandardNormal.sample(&mut stream);
            if z.abs() <= limit {
                return z;
            }
        }
    })
}

/// Dequantization noise for the image of this number, without end: uniform in [0, 1), multiples of 2⁻¹⁶.
///
/// 16 bits are what f32 can add to a pixel of 8 bits and subtract again exactly; finer noise near 1 would
/// round some pixels up to the next value.
pub fn noise(seed: u64, purpose: Purpose, number: u64) -> impl Iterator<Item = f32> {
    let mut stream = stream(seed, purpose, number);
    std::iter::repeat_with(move || (stream.next_u32() >> 16) as f32 / 65536.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURPOSES: [Purpose; 10] = [
        Purpose::Latents,
        Purpose::Noise { draw: 0 },
        Purpose::Noise { draw: 1 },
        Purpose::TrainingNoise,
        Purpose::Weights,
        Purpose::Order,
        Purpose::Flip,
        Purpose::Split,
        Purpose::Shift,
        Purpose::Crop,
    ];

    /// A seed gives the same pictures and the same run in every version; were these to change, that would
    /// be broken.
    #[test]
    fn the_streams_never_change() {
        let eps: Vec<f32> = normal(1, Purpose::Latents, 7, None).take(3).collect();
        assert_eq!(eps, [0.34973285, 0.7222981, 0.93742794]);
        let weights: Vec<f32> = normal(1, Purpose::Weights, 7, None).take(3).collect();
        assert_eq!(weights, [-0.31636432, 0.39128062, -0.058344323]);
        let first = |purpose| noise(1, purpose, 7).take(3).map(|u| (u * 65536.0) as u32).collect::<Vec<_>>();
        // Those of noise were also computed by a ChaCha written from RFC 8439, with 8 rounds.
        assert_eq!(first(Purpose::Noise { draw: 2 }), [63349, 53099, 42492]);
        assert_eq!(first(Purpose::TrainingNoise), [22469, 31348, 26890]);
    }

    #[test]
    fn the_hashes_never_change() {
        let hashes: Vec<u64> = PURPOSES.iter().map(|&purpose| hash(1, purpose, 7)).collect();
        assert_eq!(
            hashes,
            [
                8269522336557296789,
                15042479335246042055,
                15042479335246042055,
                14582308924489031753,
                7190187776138151153,
                7125996428116321486,
                937349279089814987,
                8750741675758285871,
                8110368364649112013,
                12797570068885275218
            ]
        );
    }

    #[test]
    fn seed_purpose_draw_and_number_each_give_other_numbers() {
        let first = |seed, purpose, number| {
            let noise: Vec<f32> = noise(seed, purpose, number).take(4).collect();
            noise
        };
        let mut all: Vec<Vec<f32>> = PURPOSES.iter().map(|&purpose| first(0, purpose, 0)).collect();
        all.extend([first(1, Purpose::Latents, 0), first(0, Purpose::Latents, 1)]);
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
        let mut words: Vec<u64> = PURPOSES.iter().map(|purpose| purpose.word()).collect();
        words.dedup();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), PURPOSES.len() - 1, "the draws of noise alone share a word");
    }

    /// Every pixel value with every noise comes back from f32: nothing is rounded to the next value.
    #[test]
    fn noise_never_moves_a_pixel() {
        for pixel in 0..=255u16 {
            for u in 0..=u16::MAX {
                let x = (f32::from(pixel) + f32::from(u) / 65536.0) / 256.0 - 0.5;
                assert_eq!(((x + 0.5) * 256.0).floor(), f32::from(pixel));
            }
        }
        assert!(
            noise(3, Purpose::TrainingNoise, 0).take(10_000).all(|u| (u * 65536.0).fract() == 0.0 && u < 1.0)
        );
    }

    /// Without truncation the accepted draws stay; the rest keeps its order.
    #[test]
    fn truncation_only_leaves_out() {
        let all: Vec<f32> = normal(5, Purpose::Latents, 2, None).take(1000).collect();
        let within: Vec<f32> = all.iter().copied().filter(|z| z.abs() <= 0.8).collect();
        let truncated: Vec<f32> = normal(5, Purpose::Latents, 2, Some(0.8)).take(within.len()).collect();
        assert_eq!(truncated, within);
        // P(|z| ≤ 0.8) = 0.5763.
        assert!((within.len() as f64 / 1000.0 - 0.5763).abs() < 0.05, "{}", within.len());
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let n = 100_000;
        let moments = |values: Vec<f32>| {
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
            let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n as f64;
            (mean, variance)
        };
        let (mean, variance) = moments(normal(3, Purpose::Latents, 0, None).take(n).collect());
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        // Var(z | |z| ≤ 1) = 1 − 2·φ(1)/(2·Φ(1) − 1).
        let (mean, variance) = moments(normal(3, Purpose::Latents, 0, Some(1.0)).take(n).collect());
        assert!(mean.abs() < 0.01 && (variance - 0.29112).abs() < 0.01, "{mean} {variance}");
        let (mean, variance) = moments(noise(3, Purpose::Noise { draw: 0 }, 0).take(n).collect());
        assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.002, "{mean} {variance}");
    }
}
