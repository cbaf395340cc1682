//! Options of single calls. They begin with a function that gives the defaults; NULL stands for these.
use crate::arguments::{labels, or_default};
use crate::status::GlowError;
use glow_runtime::{EncodeOptions, Noise, SampleOptions, ScoreOptions};
use std::ptr;

/// How to sample. Begin with glow_sample_options().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GlowSampleOptions {
    /// Scale of the noise, at least 0: 1 draws from the model, less gives more typical images. Default 0.7.
    pub temperature: f32,
    /// Values of the normal distribution farther from 0 than this are drawn again; at least 0.01, or 0 for no limit.
    /// Default 0.
    pub truncation: f32,
    /// Seed of the noise. Default 0.
    pub seed: u64,
    /// Number of the first sample: sample i of a seed is the same image in every call that draws it. Default 0.
    pub first: u64,
    /// The class of each sample, for conditional models. Default NULL.
    pub labels: *const i64,
    /// Number of labels: that of the samples, or 0 with NULL. Default 0.
    pub labels_len: usize,
}

/// How to encode. Begin with glow_encode_options().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GlowEncodeOptions {
    /// The dequantization noise: true draws it uniformly from [0, 1), as likelihoods need it; false is its middle, 0.5,
    /// which gives the same latents each time, and the safest ones to decode. Default false.
    pub uniform_noise: bool,
    /// Seed of uniform noise. Default 0.
    pub seed: u64,
    /// Number of the first image in the stream of uniform noise, for data that comes in several calls. Default 0.
    pub first: u64,
    /// The class of each image, for conditional models. Default NULL.
    pub labels: *const i64,
    /// Number of labels: that of the images, or 0 with NULL. Default 0.
    pub labels_len: usize,
}

/// How to compute likelihoods. Begin with glow_score_options().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GlowScoreOptions {
    /// Draws of the dequantization noise that are averaged, at least 1. Default 1.
    pub draws: usize,
    /// Seed of the noise. Default 0.
    pub seed: u64,
    /// Number of the first image in the stream of noise, for data that comes in several calls. Default 0.
    pub first: u64,
    /// The class of each image, for conditional models. Default NULL.
    pub labels: *const i64,
    /// Number of labels: that of the images, or 0 with NULL. Default 0.
    pub labels_len: usize,
}

/// The defaults.
#[unsafe(no_mangle)]
pub extern "C" fn glow_sample_options() -> GlowSampleOptions {
    let SampleOptions { temperature, truncation, seed, first, .. } = SampleOptions::default();
    let truncation = truncation.unwrap_or(0.0);
    GlowSampleOptions { temperature, truncation, seed, first, labels: ptr::null(), labels_len: 0 }
}

/// The defaults.
#[unsafe(no_mangle)]
pub extern "C" fn glow_encode_options() -> GlowEncodeOptions {
    GlowEncodeOptions { uniform_noise: false, seed: 0, first: 0, labels: ptr::null(), labels_len: 0 }
}

/// The defaults.
#[unsafe(no_mangle)]
pub extern "C" fn glow_score_options() -> GlowScoreOptions {
    let ScoreOptions { draws, seed, first, .. } = ScoreOptions::default();
    GlowScoreOptions { draws, seed, first, labels: ptr::null(), labels_len: 0 }
}

/// # Safety
/// `options` is NULL or live, and so are its labels.
pub unsafe fn sampling(options: *const GlowSampleOptions) -> Result<SampleOptions, GlowError> {
    // SAFETY: the caller's promise.
    let (given, labels) = unsafe {
        let given = or_default(options, glow_sample_options());
        (given, labels(given.labels, given.labels_len)?)
    };
    Ok(SampleOptions::new()
        .temperature(given.temperature)
        .truncation((given.truncation != 0.0).then_some(given.truncation))
        .seed(given.seed)
        .first(given.first)
        .labels(labels.map(<[i64]>::to_vec)))
}

/// # Safety
/// `options` is NULL or live, and so are its labels.
pub unsafe fn encoding(options: *const GlowEncodeOptions) -> Result<EncodeOptions, GlowError> {
    // SAFETY: the caller's promise.
    let (given, labels) = unsafe {
        let given = or_default(options, glow_encode_options());
        (given, labels(given.labels, given.labels_len)?)
    };
    let noise = if given.uniform_noise { Noise::Uniform { seed: given.seed } } else { Noise::Midpoint };
    Ok(EncodeOptions::new().noise(noise).first(given.first).labels(labels.map(<[i64]>::to_vec)))
}

/// # Safety
/// `options` is NULL or live, and so are its labels.
pub unsafe fn scoring(options: *const GlowScoreOptions) -> Result<ScoreOptions, GlowError> {
    // SAFETY: the caller's promise.
    let (given, labels) = unsafe {
        let given = or_default(options, glow_score_options());
        (given, labels(given.labels, given.labels_len)?)
    };
    Ok(ScoreOptions::new()
        .draws(given.draws)
        .seed(given.seed)
        .first(given.first)
        .labels(labels.map(<[i64]>::to_vec)))
}
