//! What a number format costs: likelihood, and pixels that do not come back.
use super::inputs::{Images, count};
use super::{Verification, examine};
use crate::{ExportError, Precision, Reference};
use glow_models::Architecture;
use glow_runtime::{Glow, Latents, SampleOptions};
use ndarray::Zip;
use std::path::Path;

/// How good a bundle is on images that it was not calibrated on.
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    /// Images looked at.
    pub images: usize,
    /// Whether they are real ones; else samples of the model.
    pub real: bool,
    /// Their mean bits/dim, with one draw of dequantisation noise.
    pub bits_per_dim: f64,
    /// The same, with the same noise, of the model in fp32.
    pub fp32_bits_per_dim: f64,
    /// Images of which encoding and decoding change no value.
    pub unchanged_images: usize,
    /// Share of all values that encoding and decoding change.
    pub changed_values: f64,
    /// The largest change of a value, in image steps of 2^−n_bits.
    pub largest_change: u32,
}

/// How many images [`Quality`] is measured on: about half a minute's work of two cores at most.
pub(crate) fn evaluation_size(architecture: &Architecture) -> usize {
    (250_000_000_000 / architecture.multiply_adds()).clamp(8, 256) as usize
}

/// Verifies the bundle in `folder`. One of lower precision is measured against the fp32 bundle of the
/// same model in `fp32`, which is verified in its stead.
pub(crate) fn prove(
    folder: &Path,
    fp32: Option<&Path>,
    reference: &Reference,
    images: Option<&Images>,
    allow_inexact: bool,
) -> Result<(Verification, Quality), ExportError> {
    let glow = Glow::load(folder)?;
    let fp32 = fp32.map(Glow::load).transpose()?;
    let mut verification = examine(fp32.as_ref().unwrap_or(&glow), reference)?;
    let quality = measure(&glow, fp32.as_ref(), images)?;
    let bound = Bound::of(&glow);
    if let Some(fp32) = &fp32 {
        verification.add("x against fp32 (rms, image steps)", difference(&glow, fp32)?, bound.x);
        let excess = (quality.bits_per_dim - quality.fp32_bits_per_dim).abs();
        verification.add("bits/dim against fp32", excess, bound.bits_per_dim);
    }
    let changed = quality.changed_values;
    verification.add_round_trip("values changed (share)", changed, bound.changed_values);
    verification.add_round_trip(
        "largest change (image steps)",
        quality.largest_change.into(),
        bound.largest_change,
    );
    if verification.holds() || allow_inexact && verification.holds_but_for_the_round_trip() {
        Ok((verification, quality))
    } else if verification.holds_but_for_the_round_trip() {
        Err(ExportError::Inexact(verification))
    } else {
        Err(ExportError::Verification(verification))
    }
}

/// What a number format may cost.
struct Bound {
    x: f64,
    bits_per_dim: f64,
    changed_values: f64,
    largest_change: f64,
}

impl Bound {
    fn of(glow: &Glow) -> Self {
        let architecture = glow.architecture();
        let steps = 4.0 + (architecture.levels * architecture.depth) as f64;
        // An image step of 8 bits is an eighth of one of 5 bits.
        let bins = f64::from(architecture.bins()) / 256.0;
        match glow.manifest().precision {
            Precision::Fp32 => Self { x: 0.0, bits_per_dim: 0.0, changed_values: 0.0, largest_change: 0.0 },
            Precision::Fp16 => Self {
                x: 0.01 * steps * bins,
                bits_per_dim: 1e-4 * steps,
                changed_values: 0.01,
                largest_change: 2.0,
            },
            Precision::Int8 => Self {
                x: 2.0 * steps * bins,
                bits_per_dim: 2e-3 * steps,
                changed_values: 0.2,
                largest_change: (16.0 * bins).max(2.0),
            },
        }
    }
}

fn measure(glow: &Glow, fp32: Option<&Glow>, images: Option<&Images>) -> Result<Quality, ExportError> {
    let architecture = glow.architecture();
    let real = images.is_some();
    let images = match images {
        Some(images) => images.clone(),
        None => {
            let n = 4 * count(architecture);
            let labels = super::inputs::labels(architecture, n);
            let options = SampleOptions::new().labels(labels.clone()).seed(1);
            Images { pixels: fp32.unwrap_or(glow).sample(n, &options)?, labels }
        }
    };
    let labels = images.labels.as_deref();
    let noise = images.noise();
    let bits_per_dim = |glow: &Glow| {
        let encoded = glow.encode_with(images.pixels.view(), noise.view(), labels)?;
        let bits = encoded.log_prob.iter().map(|&nats| architecture.bits_per_dim(nats.into()));
        Ok::<_, glow_runtime::Error>(bits.sum::<f64>() / images.len() as f64)
    };
    let own = bits_per_dim(glow)?;
    let fp32_bits_per_dim = fp32.map_or(Ok(own), bits_per_dim)?;
    let expected = glow.quantize(images.pixels.view());
    let actual = glow.reconstruct(images.pixels.view(), labels)?;
    let step = 256 / architecture.bins();
    let (mut unchanged_images, mut changed, mut largest) = (0, 0, 0);
    for (expected, actual) in expected.outer_iter().zip(actual.outer_iter()) {
        let before = changed;
        Zip::from(&expected).and(&actual).for_each(|&expected, &actual| {
            let change = u32::from(expected.abs_diff(actual)).div_ceil(step);
            changed += usize::from(change > 0);
            largest = largest.max(change);
        });
        unchanged_images += usize::from(changed == before);
    }
    Ok(Quality {
        images: images.len(),
        real,
        bits_per_dim: own,
        fp32_bits_per_dim,
        unchanged_images,
        changed_values: changed as f64 / expected.len() as f64,
        largest_change: largest,
    })
}

/// Root mean square of the difference of both models' x, of the same latents, in image steps.
fn difference(glow: &Glow, fp32: &Glow) -> Result<f64, ExportError> {
    let architecture = glow.architecture();
    let n = 4 * count(architecture);
    let latents = Latents::from_levels(Images::latents(architecture, n))?;
    let labels = super::inputs::labels(architecture, n);
    let x = glow.decode(&latents, labels.as_deref())?.x;
    let expected = fp32.decode(&latents, labels.as_deref())?.x;
    let squares: f64 = x.iter().zip(&expected).map(|(&a, &b)| f64::from(a - b).powi(2)).sum();
    Ok((squares / x.len() as f64).sqrt() * f64::from(architecture.bins()))
}
