//! numpy arrays to and from the library's.
use crate::errors::{Result, argument};
use glow_runtime::{Glow, Latents};
use numpy::ndarray::{ArrayView2, ArrayView3};
use numpy::{PyArray2, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray4};
use pyo3::prelude::*;

/// The class of each image, int64 [N].
pub type Labels<'py> = Option<PyReadonlyArray1<'py, i64>>;

/// Labels as the library takes them; few numbers, so that they are copied.
pub fn labels(labels: &Labels<'_>) -> Option<Vec<i64>> {
    labels.as_ref().map(|labels| labels.as_array().to_vec())
}

/// Flat latents [N, H·W·C] as a value of the model's shapes.
pub fn latents(glow: &Glow, flat: ArrayView2<'_, f32>) -> Result<Latents> {
    Ok(Latents::from_flat(flat, &glow.manifest().latent_shapes)?)
}

/// Latents as flat rows, in the library's memory.
pub fn flat<'py>(py: Python<'py>, latents: &Latents) -> Bound<'py, PyArray2<f32>> {
    PyArray2::from_owned_array(py, latents.flat())
}

/// Flat latents, uint8 images: what calls take.
pub type Flat<'py> = PyReadonlyArray2<'py, f32>;
pub type Images<'py> = PyReadonlyArray4<'py, u8>;

/// One image of any size, uint8 [h, w, 1 to 4], as a value of the `image` crate: gray, gray with alpha, RGB, RGBA.
pub fn dynamic(pixels: ArrayView3<'_, u8>) -> Result<image::DynamicImage> {
    let (height, width, channels) = pixels.dim();
    let bytes: Vec<u8> = pixels.iter().copied().collect();
    let (w, h) = (width as u32, height as u32);
    let made: Option<image::DynamicImage> = match channels {
        1 => image::GrayImage::from_raw(w, h, bytes).map(Into::into),
        2 => image::GrayAlphaImage::from_raw(w, h, bytes).map(Into::into),
        3 => image::RgbImage::from_raw(w, h, bytes).map(Into::into),
        4 => image::RgbaImage::from_raw(w, h, bytes).map(Into::into),
        _ => None,
    };
    let wrong =
        || argument(format!("an image has shape [{height}, {width}, {channels}], expected [h, w, 1 to 4]"));
    made.filter(|_| height > 0 && width > 0).ok_or_else(wrong)
}
