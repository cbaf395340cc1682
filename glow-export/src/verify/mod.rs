//! The proof that a bundle computes what its checkpoint means: both graphs run through `glow-runtime`
//! on a few seeded inputs, against [`Reference`].
mod far;
mod inputs;
mod quality;
mod rounding;
mod speed;
mod table;
#[cfg(test)]
mod tests;

pub use quality::Quality;
pub(crate) use quality::{Lowered, evaluation_size, prove};
pub use rounding::Peaks;
pub use speed::Footprint;
pub use table::{Check, Verification};

use crate::{ExportError, Reference, ReferenceEncoding};
use glow_runtime::{Glow, Latents};
use inputs::count;
pub(crate) use inputs::{Images, Samples};
use ndarray::{Array3, Axis};
use rayon::prelude::*;
use std::path::Path;

/// Compares the fp32 bundle in `folder` with the float64 evaluation of the checkpoint it comes from, on
/// samples of the model at temperature 0.7 (lower where the model has none) and on smooth images. Of the latter those are left out that
/// the model rules out (more than 2·n_bits bits/dim in float64): so far from what it was trained on, a
/// flow need not be invertible in 32 bits. With T the number of steps of flow, K·L:
///
/// | quantity | largest difference of | tolerance |
/// | --- | --- | --- |
/// | x | the samples' x in image steps, to the larger of 1 and the sample's largest x | 2e-4·(4 + T) |
/// | image | the samples' pixels that differ although x is no closer to rounding than that | 0 |
/// | eps | the images' latents, to the larger of 1 and the level's largest latent | 5e-6·(4 + T) |
/// | log_prob | the images' bits/dim, to the larger of 1 and bits/dim | 1e-6·(4 + T) |
/// | reconstruction | the images' pixels that do not come back from their latents | 0 |
///
/// The tolerances are at least thirty times what models after up to 2,500 training steps show.
///
/// # Errors
/// [`ExportError::Runtime`] if the bundle does not run, [`ExportError::Verification`] if a difference is
/// over its tolerance.
pub fn verify(folder: &Path, reference: &Reference) -> Result<Verification, ExportError> {
    let samples = Samples::draw(reference, count(reference.architecture()))?;
    let verification = examine(&Glow::builder().check(false).load(folder)?, reference, &samples)?;
    match verification.holds() {
        true => Ok(verification),
        false => Err(ExportError::Verification(verification)),
    }
}

fn examine(glow: &Glow, reference: &Reference, samples: &Samples) -> Result<Verification, ExportError> {
    let steps = 4.0 + (reference.architecture().levels * reference.architecture().depth) as f64;
    let mut verification = Verification::default();

    let tolerance = 2e-4 * steps;
    let decoding = decoding(glow, reference, samples, tolerance)?;
    verification.add("x (image steps)", decoding.x, tolerance);
    verification.add("image (pixels)", decoding.wrong as f64, 0.0);

    let images = Images::smooth(reference.architecture()).and(&decoding.samples);
    let encoding = encoding(glow, reference, &images, decoding.samples.len())?;
    verification.add("eps", encoding.eps, 5e-6 * steps);
    verification.add("log_prob (bits/dim)", encoding.bits_per_dim, 1e-6 * steps);
    verification.add_cost("reconstruction (pixels)", encoding.lost as f64, 0.0);
    Ok(verification)
}

struct Decoding {
    /// Largest difference in x, in image steps.
    x: f64,
    /// Pixels that are not what x, up to the tolerance, rounds to.
    wrong: usize,
    samples: Images,
}

fn decoding(
    glow: &Glow,
    reference: &Reference,
    samples: &Samples,
    tolerance: f64,
) -> Result<Decoding, ExportError> {
    let architecture = reference.architecture();
    let bins = f64::from(architecture.bins());
    let decoded = glow.decode(&Latents::from_levels(samples.latents.clone())?, samples.labels.as_deref())?;
    let images = Images { pixels: decoded.images, labels: samples.labels.clone() };
    let (mut largest, mut wrong) = (Largest::default(), 0);
    for (i, expected) in samples.x.iter().enumerate() {
        let scale = magnitude(expected);
        let x = decoded.x.index_axis(Axis(0), i).permuted_axes([2, 0, 1]);
        x.iter().zip(expected).for_each(|(&x, &e)| largest.add((f64::from(x) - e) * bins / scale));
        // Rounding is monotone: what x ± tolerance rounds to bounds what is right.
        let slack = tolerance * scale / bins;
        let lowest = reference.quantise((expected - slack).view());
        let highest = reference.quantise((expected + slack).view());
        let bounds = lowest.iter().zip(&highest);
        let pixels = images.pixels.index_axis(Axis(0), i);
        wrong += pixels.iter().zip(bounds).filter(|(pixel, (low, high))| pixel < low || pixel > high).count();
    }
    Ok(Decoding { x: largest.0, wrong, samples: images })
}

struct Encoding {
    /// Largest difference in the latents, relative.
    eps: f64,
    /// Largest difference in bits/dim, relative.
    bits_per_dim: f64,
    /// Pixels that do not come back.
    lost: usize,
}

/// Of the images all but the last `samples` must be ones that the model does not rule out; see [`verify`].
fn encoding(
    glow: &Glow,
    reference: &Reference,
    images: &Images,
    samples: usize,
) -> Result<Encoding, ExportError> {
    let architecture = reference.architecture();
    let noise = images.noise();
    let expected = each_image(images.len(), |i| {
        let (image, noise) = (images.pixels.index_axis(Axis(0), i), noise.index_axis(Axis(0), i));
        reference.encode(reference.dequantise(image, noise).view(), images.label(i))
    });
    let bits = |encoding: &ReferenceEncoding| architecture.bits_per_dim(encoding.log_prob);
    let most = f64::from(2 * architecture.n_bits);
    let kept: Vec<usize> =
        (0..images.len()).filter(|&i| i + samples >= images.len() || bits(&expected[i]) <= most).collect();
    let (images, noise) = (images.select(&kept), noise.select(Axis(0), &kept));

    let encoded = glow.encode_with(images.pixels.view(), noise.view(), images.labels.as_deref())?;
    let (mut eps, mut bits_per_dim) = (Largest::default(), Largest::default());
    for (i, expected) in kept.iter().map(|&i| &expected[i]).enumerate() {
        for (actual, expected) in encoded.latents.levels().iter().zip(&expected.eps) {
            let scale = magnitude(expected);
            let actual = actual.index_axis(Axis(0), i);
            actual.iter().zip(expected).for_each(|(&a, &e)| eps.add((f64::from(a) - e) / scale));
        }
        let actual = architecture.bits_per_dim(encoded.log_prob[i].into());
        bits_per_dim.add((actual - bits(expected)) / bits(expected).abs().max(1.0));
    }
    let back = glow.reconstruct(images.pixels.view(), images.labels.as_deref())?;
    let lost = back.iter().zip(&glow.quantize(images.pixels.view())).filter(|(a, b)| a != b).count();
    Ok(Encoding { eps: eps.0, bits_per_dim: bits_per_dim.0, lost })
}

/// The larger of 1 and the largest number.
fn magnitude(array: &Array3<f64>) -> f64 {
    array.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()))
}

/// The largest absolute value so far; NaN once there was one.
#[derive(Debug, Default)]
struct Largest(f64);

impl Largest {
    fn add(&mut self, difference: f64) {
        if difference.is_nan() || difference.abs() > self.0 {
            self.0 = difference.abs();
        }
    }
}

/// Evaluates the images on all cores.
fn each_image<T: Send>(n: usize, evaluate: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
    (0..n).into_par_iter().map(evaluate).collect()
}
