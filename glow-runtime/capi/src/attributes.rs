//! Named directions in latent space.
use crate::arguments::{Destination, array, handle, labels as labels_of, required, required_text};
use crate::images::{destination, source, write};
use crate::latents;
use crate::model::GlowModel;
use crate::status::{GlowError, GlowStatus, free, guard};
use glow_runtime::Attributes;
use std::ffi::{CString, c_char};
use std::ptr;

/// The attributes of a model, such as Smiling: named directions in latent space.
pub struct GlowAttributes {
    attributes: Attributes,
    names: Vec<CString>,
}

/// Reads the attributes of the model's bundle, which may be none. *attributes is the caller's, who frees it with
/// glow_attributes_free; it is NULL after an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_attributes(
    model: *const GlowModel,
    attributes: *mut *mut GlowAttributes,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let destination = handle(attributes, "attributes")?;
        let attributes = required(model, "model")?.glow.attributes()?;
        // Names have no control characters.
        let names = attributes.iter().map(|one| CString::new(one.name()).unwrap_or_default()).collect();
        destination.give(GlowAttributes { attributes, names });
        Ok(())
    })
}

/// The number of attributes; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_attributes_count(attributes: *const GlowAttributes) -> usize {
    // SAFETY: NULL or live attributes, as the header asks.
    unsafe { attributes.as_ref() }.map_or(0, |attributes| attributes.names.len())
}

/// The name of an attribute, 0 to count - 1. It belongs to the attributes. NULL where there is no such attribute.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_attributes_name(
    attributes: *const GlowAttributes,
    index: usize,
) -> *const c_char {
    // SAFETY: NULL or live attributes, as the header asks.
    let name = unsafe { attributes.as_ref() }.and_then(|attributes| attributes.names.get(index));
    name.map_or(ptr::null(), |name| name.as_ptr())
}

/// Moves the latents of `n` images, float [n, H*W*C], along `count` attributes at once, into `moved`, of the same
/// length: z + sum of strength * direction. Strength 1 goes as far along an attribute as the mean of the images that
/// have it is from the mean of those that do not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_attributes_apply(
    model: *const GlowModel,
    attributes: *const GlowAttributes,
    n: usize,
    latents: *const f32,
    latents_len: usize,
    count: usize,
    names: *const *const c_char,
    strengths: *const f32,
    moved: *mut f32,
    moved_len: usize,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let model = required(model, "model")?;
        let attributes = required(attributes, "attributes")?;
        let latents = latents::read(model, n, latents, latents_len, "latents")?;
        let strengths = pairs(count, names, strengths)?;
        let moved = Destination::new(moved, moved_len, "moved", model.len_of(n)?, &model.describe(n))?;
        latents::write(moved, &attributes.attributes.apply(&latents, &strengths)?);
        Ok(())
    })
}

/// Changes `count` attributes of `n` images, uint8 [n, H, W, C], at once, into `edited`, of the same length: encodes,
/// moves the latents as glow_attributes_apply does, and decodes. `labels` are the classes of the images for a conditional
/// model, otherwise NULL with length 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_edit(
    model: *const GlowModel,
    attributes: *const GlowAttributes,
    n: usize,
    images: *const u8,
    images_len: usize,
    count: usize,
    names: *const *const c_char,
    strengths: *const f32,
    labels: *const i64,
    labels_len: usize,
    edited: *mut u8,
    edited_len: usize,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let model = required(model, "model")?;
        let attributes = required(attributes, "attributes")?;
        let images = source(model, n, images, images_len)?;
        let strengths = pairs(count, names, strengths)?;
        let labels = labels_of(labels, labels_len)?;
        let edited = destination(model, n, edited, edited_len)?;
        write(edited, model.glow.edit(images, &attributes.attributes, &strengths, labels)?.view());
        Ok(())
    })
}

/// Frees attributes. Nothing happens for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_attributes_free(attributes: *mut GlowAttributes) {
    // SAFETY: NULL or attributes of the caller's, as the header asks.
    unsafe { free(attributes) }
}

/// Names and their strengths.
///
/// # Safety
/// Both are NULL or point to `count` elements, the names to texts that live as long as 'a.
unsafe fn pairs<'a>(
    count: usize,
    names: *const *const c_char,
    strengths: *const f32,
) -> Result<Vec<(&'a str, f32)>, GlowError> {
    // SAFETY: the caller's promise.
    unsafe {
        let (names, strengths) = (array(names, count, "names")?, array(strengths, count, "strengths")?);
        let pair =
            |(&name, &strength): (&*const c_char, &f32)| Ok((required_text(name, "a name")?, strength));
        names.iter().zip(strengths).map(pair).collect()
    }
}
