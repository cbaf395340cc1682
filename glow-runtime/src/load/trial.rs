//! Whether a loaded model gives an image back.
use crate::{Architecture, EncodeOptions, Error, Glow};
use glow_models::Precision;
use ndarray::Array4;

/// Encodes and decodes a picture with smooth and with rough parts.
pub(super) fn check(glow: &Glow, a: &Architecture) -> Result<(), Error> {
    let picture = Array4::from_shape_fn((1, a.height, a.width, a.channels), |(_, y, x, c)| {
        let smooth = 255 * (x + y) / (a.width + a.height) + 40 * c;
        let rough = (x * 2_654_435_761 + y * 40_503 + c * 97) >> 3;
        (if y < a.height / 2 { smooth } else { rough }) as u8
    });
    let labels = (a.classes > 0).then(|| vec![0]);
    let options = EncodeOptions::new().labels(labels.clone());
    let back = glow.decode(&glow.encode(&picture, &options)?.latents, labels.as_deref())?.images;
    let expected = glow.quantize(&picture);
    let difference = back.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    let step = 1u8.checked_shl(8 - a.n_bits).unwrap_or(1);
    // In float the values come back within a fraction of a step; networks in less leave more.
    let allowed = if glow.manifest().precision == Precision::Fp32 { 0 } else { 4 * step };
    if difference > allowed {
        return Err(Error::Check { difference, allowed });
    }
    Ok(())
}
