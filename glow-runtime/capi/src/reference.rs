//! Scores of a reference set, with which others are compared.
use crate::arguments::{Destination, array, handle, required, required_text};
use crate::model::GlowModel;
use crate::status::{GlowError, GlowStatus, free, guard};
use glow_runtime::{ReferenceScores, ScoreKind};
use std::ffi::c_char;

/// Scores of images that are of the model's kind. A likelihood alone does not tell whether an image is: these models
/// often find smooth images of other kinds *more* likely. Hence the comparison counts both tails.
pub struct GlowReference {
    scores: ReferenceScores,
}

/// What a reference set says of an image.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GlowOodScore {
    /// |score - mean| / standard deviation of the reference set.
    pub typicality: f64,
    /// How probable a distance from the mean at least as large is in the reference set: small for images of another
    /// kind, whether too likely or not likely enough.
    pub p_value: f64,
    /// How probable a score at least as high is: small only for images that are not likely enough.
    pub p_value_high: f64,
}

/// Makes a reference of bits/dim of images that are of the kind but were not trained on, two or more that differ.
/// *reference is the caller's, who frees it with glow_reference_free; it is NULL after an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_reference_new(
    model: *const GlowModel,
    bits: *const f64,
    bits_len: usize,
    reference: *mut *mut GlowReference,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let reference = handle(reference, "reference")?;
        let model = required(model, "model")?;
        let bits = array(bits, bits_len, "bits")?.to_vec();
        let scores = ReferenceScores::new(model.glow.manifest(), ScoreKind::BitsPerDim, bits)?;
        reference.give(GlowReference { scores });
        Ok(())
    })
}

/// Reads a reference that glow_reference_save or `glow score --save-reference` wrote for this model. *reference is the
/// caller's, who frees it with glow_reference_free; it is NULL after an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_reference_load(
    model: *const GlowModel,
    path: *const c_char,
    reference: *mut *mut GlowReference,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let reference = handle(reference, "reference")?;
        let model = required(model, "model")?;
        let scores = ReferenceScores::load(required_text(path, "path")?, model.glow.manifest())?;
        if scores.kind() != ScoreKind::BitsPerDim {
            let text = "the file's scores are corrected by complexity, and this interface compares bits/dim";
            return Err(GlowError::argument(text));
        }
        reference.give(GlowReference { scores });
        Ok(())
    })
}

/// Writes a reference as JSON; the file is there whole or not at all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_reference_save(
    reference: *const GlowReference,
    path: *const c_char,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let reference = required(reference, "reference")?;
        Ok(reference.scores.save(required_text(path, "path")?)?)
    })
}

/// Compares the bits/dim of images, with as many draws as those of the reference had, into `scores`, one for each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_reference_compare(
    reference: *const GlowReference,
    bits: *const f64,
    bits_len: usize,
    scores: *mut GlowOodScore,
    scores_len: usize,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let reference = required(reference, "reference")?;
        let bits = array(bits, bits_len, "bits")?;
        let scores = Destination::new(scores, scores_len, "scores", bits_len, "one for each of bits")?;
        let compare = |&bits: &f64| {
            let compared = reference.scores.compare(bits);
            GlowOodScore {
                typicality: compared.typicality,
                p_value: compared.p_value,
                p_value_high: compared.p_value_high,
            }
        };
        scores.write(&bits.iter().map(compare).collect::<Vec<_>>());
        Ok(())
    })
}

/// Frees a reference. Nothing happens for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_reference_free(reference: *mut GlowReference) {
    // SAFETY: NULL or a reference of the caller's, as the header asks.
    unsafe { free(reference) }
}
