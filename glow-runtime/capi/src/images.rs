//! Images: sampling, encoding, decoding, interpolating, reading files.
use crate::arguments::{Destination, array, labels as labels_of, required, required_text, same, times};
use crate::latents;
use crate::model::GlowModel;
use crate::options::{GlowEncodeOptions, GlowSampleOptions, encoding, sampling};
use crate::status::{GlowError, GlowStatus, guard};
use glow_runtime::ndarray::ArrayView4;
use glow_runtime::{Interpolation, images};
use std::ffi::c_char;

/// Along the straight line, (1 - t)*a + t*b.
pub const GLOW_LINEAR: u32 = 0;
/// Along the great circle through both, which keeps the norm.
pub const GLOW_SPHERICAL: u32 = 1;

/// Draws `n` images into `images`, uint8 [n, H, W, C], `images_len` = n*H*W*C. `options` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_sample(
    model: *const GlowModel,
    n: usize,
    options: *const GlowSampleOptions,
    images: *mut u8,
    images_len: usize,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let model = required(model, "model")?;
        let options = sampling(options)?;
        let images = destination(model, n, images, images_len)?;
        write(images, model.glow.sample(n, &options)?.view());
        Ok(())
    })
}

/// Encodes `n` images, uint8 [n, H, W, C], into `latents`, float [n, H*W*C], and `log_prob`, float [n]: ln p(image) in
/// nats, with the discretisation term, for this one draw of the noise. `options` may be NULL. Either output may be NULL
/// with length 0: it is left out then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_encode(
    model: *const GlowModel,
    n: usize,
    images: *const u8,
    images_len: usize,
    options: *const GlowEncodeOptions,
    latents: *mut f32,
    latents_len: usize,
    log_prob: *mut f32,
    log_prob_len: usize,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let model = required(model, "model")?;
        let options = encoding(options)?;
        let images = source(model, n, images, images_len)?;
        let left_out = latents.is_null() && latents_len == 0;
        let expected = if left_out { 0 } else { model.len_of(n)? };
        let latents = Destination::new(latents, latents_len, "latents", expected, &model.describe(n))?;
        let expected = if log_prob.is_null() && log_prob_len == 0 { 0 } else { n };
        let log_prob = Destination::new(log_prob, log_prob_len, "log_prob", expected, "one for each image")?;
        let encoded = model.glow.encode(images, &options)?;
        if !left_out {
            latents::write(latents, &encoded.latents);
        }
        if expected == n {
            log_prob.write(&encoded.log_prob);
        }
        Ok(())
    })
}

/// Decodes the latents of `n` images, float [n, H*W*C], into `images`, uint8 [n, H, W, C]. `labels` are the classes of
/// the images for a conditional model, otherwise NULL with length 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_decode(
    model: *const GlowModel,
    n: usize,
    latents: *const f32,
    latents_len: usize,
    labels: *const i64,
    labels_len: usize,
    images: *mut u8,
    images_len: usize,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let model = required(model, "model")?;
        let latents = latents::read(model, n, latents, latents_len, "latents")?;
        let labels = labels_of(labels, labels_len)?;
        let images = destination(model, n, images, images_len)?;
        write(images, model.glow.decode(&latents, labels)?.images.view());
        Ok(())
    })
}

/// Encodes and decodes `n` images, uint8 [n, H, W, C], into `reconstructed`, of the same length: what comes back is each
/// value with the model's n_bits upper bits, but for rare rounding errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_reconstruct(
    model: *const GlowModel,
    n: usize,
    images: *const u8,
    images_len: usize,
    labels: *const i64,
    labels_len: usize,
    reconstructed: *mut u8,
    reconstructed_len: usize,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let model = required(model, "model")?;
        let images = source(model, n, images, images_len)?;
        let labels = labels_of(labels, labels_len)?;
        let expected = model.len_of(n)?;
        let reconstructed = Destination::new(
            reconstructed,
            reconstructed_len,
            "reconstructed",
            expected,
            &model.describe(n),
        )?;
        write(reconstructed, model.glow.reconstruct(images, labels)?.view());
        Ok(())
    })
}

/// Decodes `steps` images from a to b for each of `n` pairs of latents, float [n, H*W*C], both ends included: those of
/// the first pair, then those of the second, and so on, into `images`, uint8 [n*steps, H, W, C]. `steps` is at least 2,
/// `way` is GLOW_LINEAR or GLOW_SPHERICAL. There is one label for each pair, or NULL with length 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_interpolate(
    model: *const GlowModel,
    n: usize,
    a: *const f32,
    a_len: usize,
    b: *const f32,
    b_len: usize,
    steps: usize,
    way: u32,
    labels: *const i64,
    labels_len: usize,
    images: *mut u8,
    images_len: usize,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let model = required(model, "model")?;
        let a = latents::read(model, n, a, a_len, "a")?;
        let b = latents::read(model, n, b, b_len, "b")?;
        let labels = labels_of_pairs(n, labels, labels_len)?;
        let way = match way {
            GLOW_LINEAR => Interpolation::Linear,
            GLOW_SPHERICAL => Interpolation::Spherical,
            other => {
                let text = format!("way = {other} is out of range: GLOW_LINEAR or GLOW_SPHERICAL");
                return Err(GlowError::argument(text));
            }
        };
        let images = destination(model, times(n, steps)?, images, images_len)?;
        write(images, model.glow.interpolate(&a, &b, steps, way, labels)?.view());
        Ok(())
    })
}

/// Reads an image file (PNG, JPEG, WebP, BMP, PNM, TIFF, GIF), turns it as its EXIF orientation says, and brings it to
/// the model's size as in training, into `image`, uint8 [H, W, C]. It is never enlarged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn glow_read_image(
    model: *const GlowModel,
    path: *const c_char,
    image: *mut u8,
    image_len: usize,
    error: *mut *mut GlowError,
) -> GlowStatus {
    // SAFETY: the pointers are NULL or what the header asks for.
    guard(error, || unsafe {
        let model = required(model, "model")?;
        let path = required_text(path, "path")?;
        let image = Destination::new(image, image_len, "image", model.dims(), &model.describe(1))?;
        let pixels = images::read(path, &model.glow)?;
        image.write(pixels.as_slice().expect("standard layout"));
        Ok(())
    })
}

/// `n` images from C.
///
/// # Safety
/// `pointer` is NULL or points to `len` bytes that live as long as 'a.
pub unsafe fn source<'a>(
    model: &GlowModel,
    n: usize,
    pointer: *const u8,
    len: usize,
) -> Result<ArrayView4<'a, u8>, GlowError> {
    // SAFETY: the caller's promise.
    let pixels = unsafe { array(pointer, len, "images")? };
    same(len, model.len_of(n)?, "images", &model.describe(n))?;
    Ok(model.images(n, pixels))
}

/// Where `n` images are to be written.
///
/// # Safety
/// `pointer` is NULL or may be written for `len` bytes.
pub unsafe fn destination(
    model: &GlowModel,
    n: usize,
    pointer: *mut u8,
    len: usize,
) -> Result<Destination<u8>, GlowError> {
    // SAFETY: the caller's promise.
    unsafe { Destination::new(pointer, len, "images", model.len_of(n)?, &model.describe(n)) }
}

pub fn write(destination: Destination<u8>, images: ArrayView4<'_, u8>) {
    destination.write(images.as_slice().expect("standard layout"));
}

/// # Safety
/// As [`labels_of`].
unsafe fn labels_of_pairs<'a>(
    n: usize,
    pointer: *const i64,
    len: usize,
) -> Result<Option<&'a [i64]>, GlowError> {
    // SAFETY: the caller's promise.
    let labels = unsafe { labels_of(pointer, len)? };
    if labels.is_some() {
        same(len, n, "labels", "one for each pair")?;
    }
    Ok(labels)
}
