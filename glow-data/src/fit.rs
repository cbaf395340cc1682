//! From the pixels of an image of any size to those that a model takes. Training, evaluation and
//! applications all go through here, so that they see the same image in the same file.
use std::borrow::Cow;

use glow_models::{Manifest, Preprocessing};
use thiserror::Error;

use crate::ImageShape;
use crate::area::{self, Crop};

/// Why an image cannot be brought to a model's size; the text follows the image's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misfit {
    /// It would have to be enlarged.
    #[error("is {width}×{height} pixels, smaller than the model's {model_width}×{model_height}")]
    TooSmall {
        /// The image's rows, after the crop.
        height: usize,
        /// The image's columns, after the crop.
        width: usize,
        /// The model's rows.
        model_height: usize,
        /// The model's columns.
        model_width: usize,
    },
}

/// An image at the model's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// H·W·C bytes in (row, column, channel) order.
    pub pixels: Vec<u8>,
    /// Whether the image is gray and the model takes RGB, so that R = G = B.
    pub was_gray: bool,
}

/// Brings an image, uint8 [height, width, channels] row-major, to the shape `to`: the largest centred
/// rectangle of its aspect ratio, averaged down by area. RGB becomes gray by Rec. 601 luma, gray becomes RGB
/// with R = G = B. An image of the shape `to` is unchanged.
///
/// # Errors
/// Images are never enlarged.
///
/// # Panics
/// If `pixels` is not height · width · channels long, or channels are neither 1 nor 3.
pub fn fit_image(pixels: &[u8], from: [usize; 3], to: [usize; 3]) -> Result<Vec<u8>, Misfit> {
    let ([height, width, channels], [to_height, to_width, to_channels]) = (from, to);
    assert!([channels, to_channels].iter().all(|channels| matches!(channels, 1 | 3)), "{from:?} to {to:?}");
    assert_eq!(pixels.len(), height * width * channels);
    if height < to_height || width < to_width {
        return Err(Misfit::TooSmall { height, width, model_height: to_height, model_width: to_width });
    }
    if channels > to_channels {
        return fit_image(&luma(pixels), [height, width, 1], to);
    }
    let fitted = if [height, width] == [to_height, to_width] {
        pixels.to_vec()
    } else {
        let crop = Crop::centre(height, width, to_height, to_width);
        let reduce = if channels == 1 { area::reduce::<1> } else { area::reduce::<3> };
        reduce(pixels, width, crop, to_height, to_width)
    };
    Ok(if channels < to_channels { fitted.into_iter().flat_map(|gray| [gray; 3]).collect() } else { fitted })
}

/// RGB to gray with the weights of Rec. 601, rounded to the nearest.
fn luma(pixels: &[u8]) -> Vec<u8> {
    let weigh = |pixel: &[u8]| {
        let [r, g, b] = [0, 1, 2].map(|c| u32::from(pixel[c]));
        ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
    };
    pixels.chunks_exact(3).map(weigh).collect()
}

/// How images are brought to the model's shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// The model's shape.
    pub shape: ImageShape,
    /// What is done first: the crop, and the colour behind transparent pixels.
    pub preprocessing: Preprocessing,
    /// 0: the centre, averaged down. Otherwise a random place of the image, averaged down until its
    /// shorter side has so many pixels; at least the model's longer side.
    pub random_crop: usize,
}

impl Fit {
    /// The centre of the whole image, for images of `shape`; white behind transparent pixels.
    pub fn centre(shape: ImageShape) -> Self {
        Self { shape, preprocessing: Preprocessing::default(), random_crop: 0 }
    }

    /// Whether an image of `size` = [height, width] can be brought to the model's; needs no pixels.
    ///
    /// # Errors
    /// The crop is smaller than the model's images.
    pub fn check(&self, [height, width]: [usize; 2]) -> Result<(), Misfit> {
        let [_, _, width, height] = self.preprocessing.crop.pixels(width, height);
        let (model_height, model_width) = (self.shape.height, self.shape.width);
        if height < model_height || width < model_width {
            return Err(Misfit::TooSmall { height, width, model_height, model_width });
        }
        Ok(())
    }

    /// What is averaged down of an image of `size` = [height, width], in pixels: left, top, width and height of the
    /// largest rectangle of the model's aspect ratio in the middle of the crop. Without a random crop.
    pub fn window(&self, [height, width]: [usize; 2]) -> [usize; 4] {
        let [left, top, width, height] = self.preprocessing.crop.pixels(width, height);
        let centre = Crop::centre(height, width, self.shape.height, self.shape.width);
        [left + centre.left, top + centre.top, centre.width, centre.height]
    }

    /// Brings `pixels` of shape `from` = [height, width, channels] to the model's; `chance` picks the place
    /// of a random crop.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    ///
    /// # Panics
    /// As [`fit_image`].
    pub fn apply(&self, pixels: &[u8], from: [usize; 3], chance: u64) -> Result<Fitted, Misfit> {
        self.check([from[0], from[1]])?;
        let (pixels, from) = self.cropped(pixels, from);
        let to = self.shape.sizes();
        let was_gray = from[2] < to[2];
        if self.random_crop == 0 {
            return Ok(Fitted { pixels: fit_image(&pixels, from, to)?, was_gray });
        }
        let [height, width] = self.reduced(from);
        let reduced = fit_image(&pixels, from, [height, width, to[2]])?;
        let pick = |chance: u64, room: usize| (chance % (room as u64 + 1)) as usize;
        let top = pick(chance >> 32, height - to[0]);
        let left = pick(chance & 0xFFFF_FFFF, width - to[1]);
        let window = Crop { top, left, height: to[0], width: to[1] };
        Ok(Fitted { pixels: cut(&reduced, [height, width, to[2]], window), was_gray })
    }

    /// The pixels of the preprocessing's crop, and their shape.
    fn cropped<'a>(&self, pixels: &'a [u8], from: [usize; 3]) -> (Cow<'a, [u8]>, [usize; 3]) {
        if self.preprocessing.crop.is_whole() {
            return (pixels.into(), from);
        }
        let [left, top, width, height] = self.preprocessing.crop.pixels(from[1], from[0]);
        let window = Crop { top, left, height, width };
        (cut(pixels, from, window).into(), [height, width, from[2]])
    }

    /// Height and width of an image once its shorter side has `random_crop` pixels, if it has more.
    fn reduced(&self, [height, width, _]: [usize; 3]) -> [usize; 2] {
        let shorter = height.min(width);
        let wanted = shorter.min(self.random_crop);
        [height, width].map(|side| (side * wanted + shorter / 2) / shorter)
    }
}

/// As in the training of a bundle's model, random crops apart.
impl From<&Manifest> for Fit {
    fn from(manifest: &Manifest) -> Self {
        let model = &manifest.architecture;
        let shape = ImageShape { height: model.height, width: model.width, channels: model.channels };
        Self { preprocessing: manifest.preprocessing, ..Self::centre(shape) }
    }
}

/// The pixels of a window of an image of shape [height, width, channels].
fn cut(pixels: &[u8], [_, width, channels]: [usize; 3], window: Crop) -> Vec<u8> {
    let rows = pixels.chunks_exact(width * channels).skip(window.top).take(window.height);
    let columns = window.left * channels..(window.left + window.width) * channels;
    rows.flat_map(|row| &row[columns.clone()]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { height: 2, width: 2, channels: 1 };

    #[test]
    fn random_crops_come_from_every_place_of_the_reduced_image() {
        // 6×9 pixels, reduced to 4×6 and then cropped to 2×2: 3 × 5 places.
        let fit = Fit { random_crop: 4, ..Fit::centre(SHAPE) };
        assert_eq!(fit.reduced([6, 9, 1]), [4, 6]);
        let pixels: Vec<u8> = (0..54).map(|i| i * 4).collect();
        let reduced = fit_image(&pixels, [6, 9, 1], [4, 6, 1]).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for chance in 0..1000u64 {
            let chance = chance.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let crop = fit.apply(&pixels, [6, 9, 1], chance).unwrap().pixels;
            let at = reduced.iter().position(|&value| value == crop[0]).unwrap();
            assert_eq!(crop, [at, at + 1, at + 6, at + 7].map(|at| reduced[at]));
            seen.insert(at);
        }
        assert_eq!(seen.len(), 15);
    }

    #[test]
    fn random_crops_enlarge_nothing() {
        let fit = Fit { random_crop: 4, ..Fit::centre(SHAPE) };
        assert_eq!(fit.reduced([3, 8, 1]), [3, 8]);
        assert_eq!(fit.apply(&[7; 12], [3, 4, 1], 5).unwrap().pixels, [7; 4]);
        assert!(matches!(fit.apply(&[7; 4], [1, 4, 1], 5), Err(Misfit::TooSmall { model_height: 2, .. })));
    }

    #[test]
    fn rgb_becomes_gray() {
        let pixels = [255, 0, 0, 0, 255, 0, 0, 0, 255, 77, 77, 77];
        assert_eq!(fit_image(&pixels, [2, 2, 3], [2, 2, 1]).unwrap(), [76, 150, 29, 77]);
    }

    #[test]
    fn the_middle_is_averaged_down() {
        let pixels = [9, 9, 1, 3, 9, 9, 9, 9, 5, 7, 9, 9];
        assert_eq!(fit_image(&pixels, [2, 6, 1], [1, 1, 1]).unwrap(), [4]);
        assert_eq!(fit_image(&pixels, [2, 6, 1], [2, 6, 1]).unwrap(), pixels);
    }

    #[test]
    fn gray_becomes_rgb_and_nothing_is_enlarged() {
        assert_eq!(fit_image(&[1, 2], [1, 2, 1], [1, 2, 3]).unwrap(), [1, 1, 1, 2, 2, 2]);
        assert_eq!(fit_image(&[1, 3], [1, 2, 1], [1, 1, 3]).unwrap(), [1, 1, 1]);
        let misfit = fit_image(&[0; 32], [4, 8, 1], [6, 6, 1]).unwrap_err();
        assert_eq!(misfit.to_string(), "is 8×4 pixels, smaller than the model's 6×6");
    }
}
