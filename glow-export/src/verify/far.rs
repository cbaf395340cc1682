//! Up to which score an 8-bit bundle can be relied upon: its activations are clipped on images far from those that
//! they were calibrated on.
use super::inputs::Images;
use crate::ExportError;
use glow_runtime::Glow;
use ndarray::{Axis, concatenate, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Images that are changed.
const IMAGES: usize = 4;
/// Shares of an image that give way to uniform noise.
const NOISE: [f32; 5] = [0.05, 0.1, 0.25, 0.5, 1.0];
/// A score may be off by so many bits/dim and this share of it.
const ALLOWED: f64 = 0.05;
const ALLOWED_SHARE: f64 = 0.01;

/// The largest score, in bits/dim, below which every probe's score is within 0.05 bits/dim and 1 % of that in fp32;
/// `None` if all probes' are. The probes are images, ever more noise in them, their negatives, and plain black,
/// gray and white.
pub(super) fn reliable_bits_per_dim(
    glow: &Glow,
    fp32: &Glow,
    images: &Images,
) -> Result<Option<f64>, ExportError> {
    let probes = probes(images);
    let (own, exact) = (probes.bits_per_dim(glow)?, probes.bits_per_dim(fp32)?);
    let off = own.iter().zip(&exact).filter(|(own, exact)| {
        let difference = (*own - *exact).abs();
        difference.is_nan() || difference > ALLOWED + ALLOWED_SHARE * exact.abs()
    });
    // What the bundle itself says of the nearest probe that is off, or a finite score if it says nothing.
    let least = off.map(|(own, exact)| if own.is_finite() { own.min(*exact) } else { *exact });
    Ok(least.filter(|bits| bits.is_finite()).reduce(f64::min))
}

fn probes(images: &Images) -> Images {
    let few: Vec<usize> = (0..images.len().min(IMAGES)).collect();
    let few = images.select(&few);
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let mut all = vec![few.pixels.clone(), few.pixels.mapv(|value| 255 - value)];
    for share in NOISE {
        all.push(few.pixels.mapv(|value| {
            let noise: f32 = random.random_range(0.0..256.0);
            (f32::from(value) * (1.0 - share) + noise * share) as u8
        }));
    }
    for plain in [0, 128, 255] {
        let mut image = few.pixels.slice(s![..1, .., .., ..]).to_owned();
        image.fill(plain);
        all.push(image);
    }
    let views: Vec<_> = all.iter().map(|images| images.view()).collect();
    let labels =
        few.labels.map(|labels| all.iter().flat_map(|images| labels[..images.dim().0].to_vec()).collect());
    Images { pixels: concatenate(Axis(0), &views).expect("images of one model"), labels }
}
