//! Likelihoods, and what they say of an image that may be of another kind.
#[cfg(feature = "image")]
mod complexity;
mod reference;

pub use reference::{OodScore, ReferenceScores, ScoreKind};

use crate::partial::ascending;
use crate::ports::Wanted;
use crate::{Error, Glow, GraphKind, ScoreOptions, trace};
use ndarray::ArrayView4;

/// The likelihood of one image, over several draws of the dequantization noise.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Score {
    /// log p in nats, the mean over the draws.
    pub log_prob: f64,
    /// Standard error of `log_prob`: s/√draws, where s² = Σ (draw − mean)² / (draws − 1). Nothing for a
    /// single draw.
    pub standard_error: Option<f64>,
    /// `log_prob` in bits/dim: −log_prob / (ln 2 · H·W·C).
    pub bits_per_dim: f64,
    /// Whether the bundle's number format can be relied upon for such an image: an 8-bit bundle clips what is far from
    /// the images that it was calibrated on, and its manifest says from which score on
    /// ([`Numerics::reliable_bits_per_dim`](crate::Numerics::reliable_bits_per_dim)). Always true in fp32 and fp16.
    pub reliable: bool,
}

impl Glow {
    /// The likelihood of images [N, H, W, C], over `draws` draws of the dequantization noise u ~ U[0, 1):
    /// mean and standard error of ln p(image + u). The mean is E_u\[ln p(image + u)\], a lower bound of the
    /// discrete model's log-likelihood, as the paper and others report it.
    ///
    /// # Errors
    /// Those of [`Glow::encode`], and [`Error::Option`] for 0 draws.
    pub fn score<'a>(
        &self,
        images: impl Into<ArrayView4<'a, u8>>,
        options: &ScoreOptions,
    ) -> Result<Vec<Score>, Error> {
        Tally::check_draws(options.draws)?;
        let images = images.into();
        self.check_images("images", images.shape())?;
        let n = images.dim().0;
        trace::span!(DEBUG, "score", images = n);
        // The latents are left where they are.
        let wanted = Wanted::last(self.graph(GraphKind::Encoder)?.outputs().len());
        let mut log_prob = Vec::new();
        for draw in 0..options.draws as u64 {
            let noise = self.noise(n, options.seed, options.first, draw);
            let mut outputs = self.run_encoder(images, noise.view(), options.labels.as_deref(), wanted)?;
            log_prob.append(&mut outputs.last_mut().expect("the log-likelihood").floats);
        }
        Tally::scores(self, &log_prob, n)
    }

    /// log p(image) in nats for images [N, H, W, C]: [`Score::log_prob`] of [`Glow::score`].
    ///
    /// # Errors
    /// Those of [`Glow::score`].
    pub fn log_prob<'a>(
        &self,
        images: impl Into<ArrayView4<'a, u8>>,
        options: &ScoreOptions,
    ) -> Result<Vec<f64>, Error> {
        Ok(self.score(images, options)?.iter().map(|score| score.log_prob).collect())
    }

    /// bits/dim of images [N, H, W, C]: [`Score::bits_per_dim`] of [`Glow::score`]. Comparable only between
    /// models of the same n_bits.
    ///
    /// # Errors
    /// Those of [`Glow::score`].
    pub fn bits_per_dim<'a>(
        &self,
        images: impl Into<ArrayView4<'a, u8>>,
        options: &ScoreOptions,
    ) -> Result<Vec<f64>, Error> {
        Ok(self.score(images, options)?.iter().map(|score| score.bits_per_dim).collect())
    }
}

/// Mean and squared deviations of the draws so far (Welford's method).
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    draws: f64,
    mean: f64,
    squares: f64,
}

impl Tally {
    pub fn check_draws(draws: usize) -> Result<(), Error> {
        match draws {
            0 => Err(Error::Option { option: "draws", value: "0".into(), allowed: "at least 1" }),
            _ => Ok(()),
        }
    }

    /// The scores of `n` images from the log-likelihoods of all with the first draw of the noise, then of all
    /// with the second, and so on.
    pub fn scores(glow: &Glow, log_prob: &[f32], n: usize) -> Result<Vec<Score>, Error> {
        let mut tallies = vec![Self::default(); n];
        let of = |(i, nats): (usize, &f32)| (!nats.is_finite()).then_some(i % n);
        let images = ascending(log_prob.iter().enumerate().filter_map(of));
        if !images.is_empty() {
            return Err(Error::NonFinite { array: "the log-likelihood", images, hint: "" });
        }
        for (i, &nats) in log_prob.iter().enumerate() {
            tallies[i % n].add(f64::from(nats));
        }
        Ok(Self::all(&tallies, glow))
    }

    fn all(tallies: &[Self], glow: &Glow) -> Vec<Score> {
        let bits_per_dim = |nats| glow.architecture().bits_per_dim(nats);
        let numerics = glow.manifest().numerics.as_ref();
        let score = |tally: &Self| {
            let mut score = tally.score(bits_per_dim);
            score.reliable = numerics.is_none_or(|numerics| numerics.is_reliable(score.bits_per_dim));
            score
        };
        tallies.iter().map(score).collect()
    }

    fn add(&mut self, nats: f64) {
        self.draws += 1.0;
        let before = nats - self.mean;
        self.mean += before / self.draws;
        self.squares += before * (nats - self.mean);
    }

    fn score(&self, bits_per_dim: impl Fn(f64) -> f64) -> Score {
        let variance = (self.draws > 1.0).then(|| self.squares / (self.draws - 1.0));
        Score {
            log_prob: self.mean,
            standard_error: variance.map(|variance| (variance / self.draws).sqrt()),
            bits_per_dim: bits_per_dim(self.mean),
            reliable: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_the_mean() {
        let mut tally = Tally::default();
        tally.add(-1e7);
        assert_eq!(tally.score(|_| 0.0).standard_error, None);
        tally.add(-1e7 + 1.0);
        tally.add(-1e7 + 5.0);
        let score = tally.score(|nats| -nats);
        assert_eq!((score.log_prob, score.bits_per_dim), (-1e7 + 2.0, 1e7 - 2.0));
        // Deviations −2, −1, 3: s² = 14/2, of three draws.
        assert!((score.standard_error.unwrap() - (7.0f64 / 3.0).sqrt()).abs() < 1e-9);
    }
}
