//! What a number format costs: likelihood, x, and pixels that do not come back.
use super::inputs::{Images, Samples, count};
use super::rounding::{Peaks, Rounding, rounding};
use super::speed::{self, Footprint};
use super::{Verification, examine, far, magnitude};
use crate::precision::Emulation;
use crate::{ExportError, Precision, Reference};
use glow_models::{Architecture, Int8Layout};
use glow_runtime::{Glow, Latents};
use ndarray::{Axis, Zip};
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
    /// The largest absolute output of each convolution of the coupling networks, by its name; none in fp32.
    pub peaks: Peaks,
    /// The largest score, in bits/dim, below which this bundle's scores are those of fp32; `None` if it was not found to
    /// differ anywhere.
    pub reliable_bits_per_dim: Option<f64>,
    /// What the bundle needs on this machine.
    pub footprint: Footprint,
    /// What the same model in fp32 needs.
    pub fp32_footprint: Option<Footprint>,
}

impl Quality {
    /// The convolution with the largest output, and that output.
    pub fn largest_activation(&self) -> Option<(&str, f32)> {
        let peaks = self.peaks.iter().map(|(layer, &largest)| (layer.as_str(), largest));
        peaks.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// How many images [`Quality`] is measured on: about half a minute's work of two cores at most.
pub(crate) fn evaluation_size(architecture: &Architecture) -> usize {
    (250_000_000_000 / architecture.multiply_adds()).clamp(8, 256) as usize
}

/// A bundle of lower precision beside the same model in fp32.
pub(crate) struct Lowered<'a> {
    /// The fp32 bundle's folder.
    pub fp32: &'a Path,
    /// The networks in the arithmetic of the bundle's number format.
    pub emulation: &'a Emulation,
}

/// Verifies the bundle in `folder`. Of one of lower precision the fp32 bundle of the same model is compared
/// with the reference, its networks are compared with the reference by emulation, and the bundle is
/// measured against both.
pub(crate) fn prove(
    folder: &Path,
    lowered: Option<Lowered<'_>>,
    reference: &Reference,
    images: Option<&Images>,
    allow_inexact: bool,
) -> Result<(Verification, Quality), ExportError> {
    let architecture = reference.architecture();
    let samples = Samples::draw(reference, count(architecture))?;
    let (glow, footprint) = speed::load(folder, &samples)?;
    let fp32 = lowered.as_ref().map(|lowered| speed::load(lowered.fp32, &samples)).transpose()?;
    let (fp32, fp32_footprint) = fp32.unzip();
    let mut verification = examine(fp32.as_ref().unwrap_or(&glow), reference, &samples)?;
    let from_samples;
    let (images, real) = match images {
        Some(images) => (images, true),
        None => {
            from_samples = samples.images(reference);
            (&from_samples, false)
        }
    };
    let mut quality = measure(&glow, fp32.as_ref(), images, real, footprint)?;
    quality.fp32_footprint = fp32_footprint;
    let bound = Bound::of(&glow);
    if let (Some(lowered), Some(fp32)) = (&lowered, &fp32) {
        let few: Vec<usize> = (0..images.len().min(count(architecture))).collect();
        let few = images.select(&few);
        let rounding = rounding(reference, lowered.emulation, &few);
        if glow.manifest().precision == Precision::Fp16 {
            check_half_range(&rounding.peaks)?;
        }
        verification.add(
            "the bundle against its format's own arithmetic (to its rounding)",
            emulation_difference(&glow, &few, &rounding)? / rounding.eps.max(FP32_ROUNDING),
            bound.emulation,
        );
        verification.add_cost("worst convolution (error to output, rms)", rounding.layer, bound.layer);
        verification.note_last(&rounding.worst);
        verification.add_cost("networks rounded: x (rms, image steps)", rounding.x, bound.x);
        verification.add_cost("networks rounded: bits/dim", rounding.bits_per_dim, bound.bits_per_dim);
        verification.add_cost(
            "x against fp32 (rms, image steps)",
            difference(&glow, fp32, &samples)?,
            bound.sample_x,
        );
        let excess = (quality.bits_per_dim - quality.fp32_bits_per_dim).abs();
        verification.add_cost("bits/dim against fp32", excess, bound.bits_per_dim);
        quality.peaks = rounding.peaks;
        if glow.manifest().precision == Precision::Int8 {
            quality.reliable_bits_per_dim = far::reliable_bits_per_dim(&glow, fp32, images)?;
        }
    }
    let changed = quality.changed_values;
    verification.add_cost("values changed (share)", changed, bound.changed_values);
    verification.add_cost(
        "largest change (image steps)",
        quality.largest_change.into(),
        bound.largest_change,
    );
    if verification.holds() || allow_inexact && verification.holds_but_for_cost() {
        Ok((verification, quality))
    } else if verification.holds_but_for_cost() {
        Err(ExportError::Inexact(verification))
    } else {
        Err(ExportError::Verification(verification))
    }
}

/// What 32-bit arithmetic changes in the latents of any model: networks that round less are not asked for more.
const FP32_ROUNDING: f64 = 1e-5;

/// The largest number of half precision, and the share of it that activations may reach on the few images
/// looked at.
const LARGEST_HALF: f32 = 65_504.0;
const HALF_MARGIN: f32 = 8.0;

fn check_half_range(peaks: &Peaks) -> Result<(), ExportError> {
    let most = LARGEST_HALF / HALF_MARGIN;
    match peaks.iter().find(|(_, largest)| largest.is_nan() || **largest > most) {
        Some((layer, &largest)) => Err(ExportError::HalfRange { layer: layer.clone(), largest }),
        None => Ok(()),
    }
}

/// What a number format may cost: about three times what trained models show. Those were 32×32 at 8 bits
/// (K 4, w 128 and K 32, w 64, affine) and faces of 64×64 at 5 bits (K 12, w 160, additive); see
/// docs/precision.md. None grows with depth.
struct Bound {
    /// What the bundle's latents differ from those of the emulation, relative to what rounding changes in them: the
    /// order of sums decides what lies between two steps, and a CPU does not round the activations of fp16.
    emulation: f64,
    /// The worst convolution's error on exact inputs, relative to what its weights make of them.
    layer: f64,
    /// x of an image's own latents with rounded networks, rms in image steps.
    x: f64,
    /// x of a sample against fp32, rms in image steps.
    sample_x: f64,
    /// Mean bits/dim against fp32.
    bits_per_dim: f64,
    /// Share of the values that do not come back.
    changed_values: f64,
    /// The largest change, in image steps.
    largest_change: f64,
}

impl Bound {
    const NONE: Self = Self {
        emulation: 0.0,
        layer: 0.0,
        x: 0.0,
        sample_x: 0.0,
        bits_per_dim: 0.0,
        changed_values: 0.0,
        largest_change: 0.0,
    };

    fn of(glow: &Glow) -> Self {
        // An image step of 8 bits is an eighth of one of 5 bits.
        let bins = f64::from(glow.architecture().bins()) / 256.0;
        match glow.manifest().precision {
            Precision::Fp32 => Self::NONE,
            Precision::Fp16 => Self {
                emulation: 2.0,
                layer: 3e-3,
                x: 0.1 * bins,
                sample_x: 0.1 * bins,
                bits_per_dim: 2e-4,
                changed_values: 1e-3,
                largest_change: 1.0,
            },
            Precision::Int8 => Self {
                // The CPU computes TensorRT's layout in float, so that sums near the middle of two steps go either way, and
                // what follows is rounded differently: two such evaluations differ by √2 of what rounding changes.
                emulation: match glow.manifest().int8_layout() {
                    Int8Layout::Cpu => 0.9,
                    Int8Layout::TensorRt => 1.8,
                },
                layer: 0.3,
                x: 8.0 * bins,
                sample_x: 2.0 * bins,
                bits_per_dim: 0.03,
                changed_values: 0.4,
                largest_change: (16.0 * bins).max(2.0),
            },
        }
    }
}

fn measure(
    glow: &Glow,
    fp32: Option<&Glow>,
    images: &Images,
    real: bool,
    footprint: Footprint,
) -> Result<Quality, ExportError> {
    let architecture = glow.architecture();
    let labels = images.labels.as_deref();
    let own = mean(&images.bits_per_dim(glow)?);
    let fp32_bits_per_dim = match fp32 {
        Some(fp32) => mean(&images.bits_per_dim(fp32)?),
        None => own,
    };
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
        peaks: Peaks::new(),
        reliable_bits_per_dim: None,
        footprint,
        fp32_footprint: None,
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Root mean square difference of the latents between the bundle and the emulation of its number format.
fn emulation_difference(glow: &Glow, images: &Images, rounding: &Rounding) -> Result<f64, ExportError> {
    let noise = images.noise();
    let encoded = glow.encode_with(images.pixels.view(), noise.view(), images.labels.as_deref())?;
    let mut squares = 0.0;
    for (i, emulated) in rounding.emulated.iter().enumerate() {
        for (level, expected) in encoded.latents.levels().iter().zip(emulated) {
            let actual = level.index_axis(Axis(0), i);
            squares += actual.iter().zip(expected).map(|(&a, &e)| (f64::from(a) - e).powi(2)).sum::<f64>();
        }
    }
    Ok((squares / (images.len() * glow.architecture().dims()) as f64).sqrt())
}

/// Root mean square of the difference of both models' x, of the same latents, in image steps; each sample's to
/// the larger of 1 and its largest x.
fn difference(glow: &Glow, fp32: &Glow, samples: &Samples) -> Result<f64, ExportError> {
    let latents = Latents::from_levels(samples.latents.clone())?;
    let x = glow.decode(&latents, samples.labels.as_deref())?.x;
    let expected = fp32.decode(&latents, samples.labels.as_deref())?.x;
    let mut squares = 0.0;
    for ((x, expected), exact) in x.outer_iter().zip(expected.outer_iter()).zip(&samples.x) {
        let scale = magnitude(exact);
        squares += x.iter().zip(&expected).map(|(&a, &b)| (f64::from(a - b) / scale).powi(2)).sum::<f64>();
    }
    Ok((squares / x.len() as f64).sqrt() * f64::from(glow.architecture().bins()))
}
