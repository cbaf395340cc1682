//! Likelihoods.
use crate::arguments::{Destination, required};
use crate::images::source;
use crate::model::GlowModel;
use crate::options::{GlowScoreOptions, scoring};
use crate::status::{GlowError, GlowStatus, guard};

/// The likelihood of one image, over several draws of the dequantization noise.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GlowScore {
    /// ln p(image) in nats, the mean over the draws.
    pub log_prob: f64,
    /// Standard error of log_prob; NaN for a single draw, which has none.
    pub standard_error: f64,
    /// log_prob in bits/dim: -log_prob / (ln 2 * H*W*C).
    pub bits_per_dim: f64,
    /// Whether the bundle's number format can be relied upon for such an image; always true in fp32 and fp16.
    pub reliable: bool,
}

/// Computes the likelihoods of `n` images, uint8 [n, H, W, C], into `scores`, one for each. `options` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_score(
    model: *const GlowModel,
    n: usize,
    images: *const u8,
    images_len: usize,
    options: *const GlowScoreOptions,
    scores: *mut GlowScore,
    scores_len: usize,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let model = required(model, "model")?;
        let options = scoring(options)?;
        let images = source(model, n, images, images_len)?;
        let destination = Destination::new(scores, scores_len, "scores", n, "one for each image")?;
        let scores = model.glow.score(images, &options)?;
        let convert = |score: &glow_runtime::Score| GlowScore {
            log_prob: score.log_prob,
            standard_error: score.standard_error.unwrap_or(f64::NAN),
            bits_per_dim: score.bits_per_dim,
            reliable: score.reliable,
        };
        destination.write(&scores.iter().map(convert).collect::<Vec<_>>());
        Ok(())
    })
}

/// Computes bits/dim of `n` images, uint8 [n, H, W, C], into `bits`, one for each: the bits_per_dim of glow_score.
/// `options` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_bits_per_dim(
    model: *const GlowModel,
    n: usize,
    images: *const u8,
    images_len: usize,
    options: *const GlowScoreOptions,
    bits: *mut f64,
    bits_len: usize,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let model = required(model, "model")?;
        let options = scoring(options)?;
        let images = source(model, n, images, images_len)?;
        let bits = Destination::new(bits, bits_len, "bits", n, "one for each image")?;
        bits.write(&model.glow.bits_per_dim(images, &options)?);
        Ok(())
    })
}
