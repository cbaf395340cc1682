//! Bringing images to the model's shape, with this module's errors; the work is in glow-models, which
//! applications share, so that they see the pixels that training saw.

use std::path::Path;

use glow_models::{Misfit, check_fit, fit_image};

use super::{DataError, ImageShape};

impl ImageShape {
    /// [height, width, channels].
    pub(super) fn sizes(self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }
}

/// How larger images are brought to the model's shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    pub shape: ImageShape,
    /// 0: the centre, averaged down. Otherwise a place by chance, of the image averaged down until its
    /// shorter side has so many pixels, no fewer than the model's sides.
    pub random_crop: usize,
}

impl Fit {
    /// Brings `pixels` of shape `from` = [height, width, channels] to the model's; `chance` picks the place
    /// of a random crop.
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

/// The error for a data set whose `count` images, the first of them in `file`, are all misfits.
pub(super) fn misfits(misfit: Misfit, file: &Path, count: usize) -> DataError {
    let file = file.into();
    match misfit {
        Misfit::Gray => DataError::Gray { file, count },
        Misfit::TooSmall { height, width, model_height, model_width } => {
            DataError::TooSmall { file, height, width, model_height, model_width, count }
        }
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
}
