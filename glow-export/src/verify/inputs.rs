//! Seeded inputs of the verification: the same in every run.
use glow_models::random::{self, Purpose};
use glow_models::{Architecture, LatentShape};
use ndarray::{Array4, Axis, concatenate};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::TAU;

/// Temperature of the samples, the published demo's.
const TEMPERATURE: f32 = 0.7;

/// Images [N, H, W, C] and, for a conditional model, their classes.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    pub pixels: Array4<u8>,
    pub labels: Option<Vec<i64>>,
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

    /// The latents of `n` samples at temperature 0.7, one array [n, c, h, w] a level.
    pub fn latents(architecture: &Architecture, n: usize) -> Vec<Array4<f32>> {
        let empty = |s: &LatentShape| Array4::zeros((n, s.channels, s.height, s.width));
        let mut levels: Vec<Array4<f32>> = architecture.latent_shapes().iter().map(empty).collect();
        for image in 0..n {
            let mut z = random::normal(0, Purpose::Latents, image as u64, None);
            for level in &mut levels {
                let mut level = level.index_axis_mut(Axis(0), image);
                level.iter_mut().zip(z.by_ref()).for_each(|(eps, z)| *eps = TEMPERATURE * z);
            }
        }
        levels
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
