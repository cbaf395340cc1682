//! From the pixels of an image of any size to those that a model takes. Training, evaluation and
//! applications all go through here, so that they see the same image in the same file.
use thiserror::Error;

use crate::ImageShape;
use crate::area::{self, Crop};

/// Why an image cannot be brought to a model's size; the text follows the image's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Misfit {
    /// It would have to be enlarged.
    #[error("is {width}×{height} pixels, smaller than the model's {model_width}×{model_height}")]
    TooSmall {
        /// The image's rows.
        height: usize,
        /// The image's columns.
        width: usize,
        /// The model's rows.
        model_height: usize,
        /// The model's columns.
        model_width: usize,
    },
    /// It would have to be coloured.
    #[error("is grayscale, and the model takes RGB")]
    Gray,
}

/// Whether an image of shape `from` = [height, width, channels] can be brought to the shape `to`, of
/// 1 (gray) or 3 (RGB) channels each; needs no pixels.
///
/// # Errors
/// What is in the way: images are neither enlarged nor coloured.
pub fn check_fit(from: [usize; 3], to: [usize; 3]) -> Result<(), Misfit> {
    let ([height, width, channels], [model_height, model_width, model_channels]) = (from, to);
    if channels < model_channels {
        return Err(Misfit::Gray);
    }
    if height < model_height || width < model_width {
        return Err(Misfit::TooSmall { height, width, model_height, model_width });
    }
    Ok(())
}

/// Brings an image, uint8 [height, width, channels] row-major, to the shape `to`: RGB to gray where
/// the model is (Rec. 601 luma), the largest centred rectangle of the model's aspect ratio, and that
/// averaged down by area. An image of the model's own size is unchanged.
///
/// # Errors
/// As [`check_fit`].
///
/// # Panics
/// If `pixels` is not height · width · channels long, or the channels are neither 1 nor 3.
pub fn fit_image(pixels: &[u8], from: [usize; 3], to: [usize; 3]) -> Result<Vec<u8>, Misfit> {
    let [height, width, channels] = from;
    assert!(matches!(channels, 1 | 3), "{channels} channels");
    assert_eq!(pixels.len(), height * width * channels);
    check_fit(from, to)?;
    if channels > to[2] {
        return fit_image(&luma(pixels), [height, width, 1], to);
    }
    if from == to {
        return Ok(pixels.to_vec());
    }
    let crop = Crop::centre(height, width, to[0], to[1]);
    let reduce = if channels == 1 { area::reduce::<1> } else { area::reduce::<3> };
    Ok(reduce(pixels, width, crop, to[0], to[1]))
}

/// RGB to gray with the weights of Rec. 601, rounded to the nearest.
fn luma(pixels: &[u8]) -> Vec<u8> {
    let weigh = |pixel: &[u8]| {
        let [r, g, b] = [0, 1, 2].map(|c| u32::from(pixel[c]));
        ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
    };
    pixels.chunks_exact(3).map(weigh).collect()
}

/// How larger images are brought to the model's shape.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    /// The model's shape.
    pub shape: ImageShape,
    /// 0: the centre, averaged down. Otherwise a place by chance, of the image averaged down until its
    /// shorter side has so many pixels, no fewer than the model's sides.
    pub random_crop: usize,
}

impl Fit {
    /// The centre, for images of `shape`.
    pub fn centre(shape: ImageShape) -> Self {
        Self { shape, random_crop: 0 }
    }

    /// Brings `pixels` of shape `from` = [height, width, channels] to the model's; `chance` picks the place
    /// of a random crop.
    ///
    /// # Errors
    /// As [`check_fit`].
    ///
    /// # Panics
    /// As [`fit_image`].
    pub fn apply(self, pixels: &[u8], from: [usize; 3], chance: u64) -> Result<Vec<u8>, Misfit> {
        let to = self.shape.sizes();
        if self.random_crop == 0 {
            return fit_image(pixels, from, to);
        }
        check_fit(from, to)?;
        let [height, width] = self.reduced(from);
        let reduced = fit_image(pixels, from, [height, width, to[2]])?;
        let pick = |chance: u64, room: usize| (chance % (room as u64 + 1)) as usize;
        let top = pick(chance >> 32, height - to[0]);
        let left = pick(chance & 0xFFFF_FFFF, width - to[1]);
        let rows = reduced.chunks_exact(width * to[2]).skip(top).take(to[0]);
        Ok(rows.flat_map(|row| &row[left * to[2]..(left + to[1]) * to[2]]).copied().collect())
    }

    /// Height and width of an image once its shorter side has `random_crop` pixels, if it has more.
    fn reduced(self, [height, width, _]: [usize; 3]) -> [usize; 2] {
        let shorter = height.min(width);
        let wanted = shorter.min(self.random_crop);
        [height, width].map(|side| (side * wanted + shorter / 2) / shorter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { height: 2, width: 2, channels: 1 };

    #[test]
    fn random_crops_come_from_every_place_of_the_reduced_image() {
        // 6×9 pixels, reduced to 4×6 and then cropped to 2×2: 3 × 5 places.
        let fit = Fit { shape: SHAPE, random_crop: 4 };
        assert_eq!(fit.reduced([6, 9, 1]), [4, 6]);
        let pixels: Vec<u8> = (0..54).map(|i| i * 4).collect();
        let reduced = fit_image(&pixels, [6, 9, 1], [4, 6, 1]).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for chance in 0..1000u64 {
            let chance = chance.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let crop = fit.apply(&pixels, [6, 9, 1], chance).unwrap();
            let at = reduced.iter().position(|&value| value == crop[0]).unwrap();
            assert_eq!(crop, [at, at + 1, at + 6, at + 7].map(|at| reduced[at]));
            seen.insert(at);
        }
        assert_eq!(seen.len(), 15);
    }

    #[test]
    fn random_crops_enlarge_nothing() {
        let fit = Fit { shape: SHAPE, random_crop: 4 };
        assert_eq!(fit.reduced([3, 8, 1]), [3, 8]);
        assert_eq!(fit.apply(&[7; 12], [3, 4, 1], 5).unwrap(), [7; 4]);
        assert!(matches!(fit.apply(&[7; 4], [1, 4, 1], 5), Err(Misfit::TooSmall { model_height: 2, .. })));
        let colour = Fit { shape: ImageShape { channels: 3, ..SHAPE }, random_crop: 4 };
        assert_eq!(colour.apply(&[7; 12], [3, 4, 1], 5), Err(Misfit::Gray));
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
    fn neither_enlarges_nor_colours() {
        assert_eq!(fit_image(&[0; 32], [4, 8, 1], [4, 4, 3]), Err(Misfit::Gray));
        let misfit = fit_image(&[0; 32], [4, 8, 1], [6, 6, 1]).unwrap_err();
        assert_eq!(misfit.to_string(), "is 8×4 pixels, smaller than the model's 6×6");
    }
}
