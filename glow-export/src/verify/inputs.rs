//! Seeded inputs of the verification: the same in every run.
use super::each_image;
use crate::{ExportError, Reference};
use glow_models::random::{self, Purpose};
use glow_models::{Architecture, LatentShape};
use glow_runtime::Glow;
use ndarray::{Array3, Array4, Axis, concatenate};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::TAU;

/// Temperatures of the samples: the published demo's, and lower ones for those samples that a young affine
/// model throws out of all bounds.
const TEMPERATURES: [f32; 5] = [0.7, 0.35, 0.15, 0.05, 0.0];
/// The largest |x| of a sample that says something: images lie within half of 1.
const LARGEST_X: f64 = 100.0;

/// Images [N, H, W, C] and, for a conditional model, their classes.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    pub pixels: Array4<u8>,
    pub labels: Option<Vec<i64>>,
}

/// Samples of the model.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    /// One array [n, c, h, w] a level.
    pub latents: Vec<Array4<f32>>,
    /// x of each sample, [C, H, W], by the reference.
    pub x: Vec<Array3<f64>>,
    /// Their classes, if the model has any.
    pub labels: Option<Vec<i64>>,
}

impl Samples {
    /// Draws `n` samples, always the same. A sample's temperature is 0.7, or the first lower one at which its x
    /// is below 100 (or, if there is none, a number): an affine model that has hardly been trained may have none at 0.7, and is sound
    /// all the same.
    ///
    /// # Errors
    /// [`ExportError::NoSamples`] if a sample is not finite at any temperature.
    pub fn draw(reference: &Reference, n: usize) -> Result<Self, ExportError> {
        let architecture = reference.architecture();
        let empty = |s: &LatentShape| Array4::zeros((n, s.channels, s.height, s.width));
        let mut latents: Vec<Array4<f32>> = architecture.latent_shapes().iter().map(empty).collect();
        for image in 0..n {
            let mut z = random::normal(0, Purpose::Latents, image as u64, None);
            for level in &mut latents {
                let mut level = level.index_axis_mut(Axis(0), image);
                level.iter_mut().zip(z.by_ref()).for_each(|(eps, z)| *eps = z);
            }
        }
        let labels = labels(architecture, n);
        let decoded = each_image(n, |i| {
            let label = labels.as_ref().map(|labels| labels[i] as usize);
            let decode = |temperature: f32| {
                let eps = latents
                    .iter()
                    .map(|level| level.index_axis(Axis(0), i).mapv(|eps| f64::from(temperature * eps)));
                (temperature, reference.decode(&eps.collect::<Vec<_>>(), label))
            };
            let below = |most: f64| {
                move |(_, x): &(f32, Array3<f64>)| x.iter().all(|x| x.abs() <= most && x.is_finite())
            };
            let mut all = TEMPERATURES.into_iter().map(decode);
            all.find(below(LARGEST_X)).or_else(|| TEMPERATURES.into_iter().map(decode).find(below(f64::MAX)))
        });
        let mut x = Vec::with_capacity(n);
        for (i, decoded) in decoded.into_iter().enumerate() {
            let (temperature, sample) = decoded.ok_or(ExportError::NoSamples)?;
            for level in &mut latents {
                level.index_axis_mut(Axis(0), i).mapv_inplace(|eps| temperature * eps);
            }
            x.push(sample);
        }
        Ok(Self { latents, x, labels })
    }

    /// As an encoding's input: the images of the samples.
    pub fn images(&self, reference: &Reference) -> Images {
        let pixels: Vec<_> =
            self.x.iter().map(|x| reference.quantise(x.view()).insert_axis(Axis(0))).collect();
        let views: Vec<_> = pixels.iter().map(|image| image.view()).collect();
        Images {
            pixels: concatenate(Axis(0), &views).expect("images of one model"),
            labels: self.labels.clone(),
        }
    }
}

impl Images {
    /// Images that are smooth, as photographs are, under noise of a few pixel values.
    pub fn smooth(architecture: &Architecture) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let (height, width) = (architecture.height, architecture.width);
        let shape = (count(architecture), height, width, architecture.channels);
        let mut brightness = Array4::from_elem(shape, 128.0);
        for mut image in brightness.outer_iter_mut() {
            for _ in 0..4 {
                let amplitude = random.random_range(5.0..25.0);
                let (down, across) = (random.random_range(-2.0..2.0), random.random_range(-2.0..2.0));
                let (phase, tint) = (random.random_range(0.0..TAU), random.random_range(0.0..1.0));
                for ((y, x, channel), value) in image.indexed_iter_mut() {
                    let turns = down * y as f64 / height as f64 + across * x as f64 / width as f64;
                    *value += amplitude * (TAU * turns + phase + tint * channel as f64).cos();
                }
            }
        }
        let pixels = brightness.mapv(|value| (value + 3.0 * normal(&mut random)).clamp(0.0, 255.0) as u8);
        let n = pixels.dim().0;
        Self { pixels, labels: labels(architecture, n) }
    }

    /// Dequantization noise for these images, uniform in [0, 1).
    pub fn noise(&self) -> Array4<f32> {
        let mut all = Array4::zeros(self.pixels.dim());
        for (image, mut of_image) in (0..).zip(all.outer_iter_mut()) {
            let noise = random::noise(0, Purpose::Noise { draw: 0 }, image);
            of_image.iter_mut().zip(noise).for_each(|(to, noise)| *to = noise);
        }
        all
    }

    /// Each image's bits/dim by a bundle, always with the same noise.
    pub fn bits_per_dim(&self, glow: &Glow) -> Result<Vec<f64>, ExportError> {
        let noise = self.noise();
        let encoded = glow.encode_with(self.pixels.view(), noise.view(), self.labels.as_deref())?;
        Ok(encoded.log_prob.iter().map(|&nats| glow.architecture().bits_per_dim(nats.into())).collect())
    }

    pub fn len(&self) -> usize {
        self.pixels.dim().0
    }

    pub fn label(&self, image: usize) -> Option<usize> {
        self.labels.as_ref().map(|labels| labels[image] as usize)
    }

    /// These images, then the others.
    pub fn and(self, others: &Self) -> Self {
        let pixels = concatenate(Axis(0), &[self.pixels.view(), others.pixels.view()]);
        let labels = self.labels.zip(others.labels.as_ref());
        Self {
            pixels: pixels.expect("images of one model"),
            labels: labels.map(|(these, others)| [these, others.clone()].concat()),
        }
    }

    pub fn select(&self, images: &[usize]) -> Self {
        let labels = self.labels.as_ref();
        Self {
            pixels: self.pixels.select(Axis(0), images),
            labels: labels.map(|labels| images.iter().map(|&image| labels[image]).collect()),
        }
    }
}

/// How many images of a kind: fewer large ones, of which the reference takes a minute each.
pub(super) fn count(architecture: &Architecture) -> usize {
    (4 * 64 * 64 * 3 / architecture.dims()).clamp(1, 4)
}

/// A class for each of `n` images, from the first class to the last, if the model has any.
pub(super) fn labels(architecture: &Architecture, n: usize) -> Option<Vec<i64>> {
    let classes = architecture.classes;
    (classes > 0).then(|| (0..n).map(|i| (i * (classes - 1) / (n - 1).max(1)) as i64).collect())
}

fn normal(random: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(random)
}
