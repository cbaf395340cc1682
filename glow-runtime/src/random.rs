//! Random numbers that depend on the seed and the image's number alone, whatever the batch, the
//! chunk and the thread.
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// What the numbers are for: streams of one seed that must not be the same.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    Latents,
    /// Dequantization, of one of several draws.
    Dequantization {
        draw: u64,
    },
}

/// ChaCha with 8 rounds: its key is made of the seed and the use, its stream is the image's number.
fn generator(seed: u64, purpose: Use, index: u64) -> ChaCha8Rng {
    let (tag, draw) = match purpose {
        Use::Latents => (b"glow latent eps.", 0),
        Use::Dequantization { draw } => (b"glow dequantize.", draw),
    };
    let mut key = [0; 32];
    key[..16].copy_from_slice(tag);
    key[16..24].copy_from_slice(&seed.to_le_bytes());
    key[24..].copy_from_slice(&draw.to_le_bytes());
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(index);
    generator
}

/// The smallest limit of [`normal`]: one draw in 125 is within it.
pub(crate) const LEAST_TRUNCATION: f32 = 0.01;

/// Draws of N(0, 1) without end. With a limit those beyond it are drawn again, from the same stream, so
/// that the rest has the truncated distribution.
pub(crate) fn normal(seed: u64, purpose: Use, index: u64, limit: Option<f32>) -> impl Iterator<Item = f32> {
    let mut generator = generator(seed, purpose, index);
    let limit = limit.unwrap_or(f32::INFINITY);
    debug_assert!(limit >= LEAST_TRUNCATION, "the search would take for ever");
    std::iter::repeat_with(move || {
        loop {
            let z: f32 = StandardNormal.sample(&mut generator);
            if z.abs() <= limit {
                return z;
            }
        }
    })
}

/// `count` draws that are uniform in [0, 1), multiples of 2^−24.
pub(crate) fn uniform(seed: u64, purpose: Use, index: u64, count: usize) -> impl Iterator<Item = f32> {
    let mut generator = generator(seed, purpose, index);
    (0..count).map(move |_| (generator.next_u32() >> 8) as f32 / (1 << 24) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seed gives the same images in every version of this crate; were these to change, that
    /// would be broken.
    #[test]
    fn the_streams_are_what_they_were() {
        let eps: Vec<f32> = normal(1, Use::Latents, 7, None).take(3).collect();
        let noise: Vec<f32> = uniform(1, Use::Dequantization { draw: 2 }, 7, 3).collect();
        assert_eq!(eps, [0.34973285, 0.7222981, 0.93742794]);
        assert_eq!(noise, [0.9666364, 0.8102296, 0.64838547]);
    }

    #[test]
    fn seed_use_draw_and_index_each_give_another_stream() {
        let first = |seed, purpose, index| uniform(seed, purpose, index, 1).next().unwrap();
        let reference = first(0, Use::Dequantization { draw: 0 }, 0);
        for other in [
            first(1, Use::Dequantization { draw: 0 }, 0),
            first(0, Use::Dequantization { draw: 1 }, 0),
            first(0, Use::Dequantization { draw: 0 }, 1),
            first(0, Use::Latents, 0),
        ] {
            assert_ne!(reference, other);
        }
    }

    /// Without truncation what is drawn stays; the rest keeps its order.
    #[test]
    fn truncation_only_leaves_out() {
        let all: Vec<f32> = normal(5, Use::Latents, 2, None).take(1000).collect();
        let within: Vec<f32> = all.iter().copied().filter(|z| z.abs() <= 0.8).collect();
        let truncated: Vec<f32> = normal(5, Use::Latents, 2, Some(0.8)).take(within.len()).collect();
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
        let (mean, variance) = moments(normal(3, Use::Latents, 0, None).take(n).collect());
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        // Var(z | |z| ≤ 1) = 1 − 2·φ(1)/(2·Φ(1) − 1).
        let (mean, variance) = moments(normal(3, Use::Latents, 0, Some(1.0)).take(n).collect());
        assert!(mean.abs() < 0.01 && (variance - 0.29112).abs() < 0.01, "{mean} {variance}");
        let (mean, variance) = moments(uniform(3, Use::Latents, 0, n).collect());
        assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.002, "{mean} {variance}");
    }
}
