//! Making an image of any size into one that the model takes, or saying why not.

use std::path::Path;

use super::area::{self, Crop};
use super::{DataError, ImageShape};

/// Decoded pixels in (row, column, channel) order, gray or RGB.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    pub pixels: &'a [u8],
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

/// Why an image cannot be made into one for the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    #[error("is {width}×{height} pixels, smaller than the model's {model}")]
    TooSmall { height: usize, width: usize, model: ImageShape },
    #[error("is grayscale, and the model takes RGB")]
    Gray,
}

impl Misfit {
    /// The error for a data set whose `count` images, the first of them in `file`, are all misfits.
    pub fn of_all(self, file: &Path, count: usize) -> DataError {
        let file = file.into();
        match self {
            Self::Gray => DataError::Gray { file, count },
            Self::TooSmall { height, width, model } => {
                DataError::TooSmall { file, height, width, model, count }
            }
        }
    }
}

/// Whether an image of these dimensions can be fitted to `shape`; needs no pixels.
pub(super) fn check(height: usize, width: usize, channels: usize, shape: ImageShape) -> Result<(), Misfit> {
    if channels < shape.channels {
        return Err(Misfit::Gray);
    }
    if height < shape.height || width < shape.width {
        return Err(Misfit::TooSmall { height, width, model: shape });
    }
    Ok(())
}

/// Crops and reduces `raw` to `shape`, and turns RGB into gray if `shape` is.
pub(super) fn fit(raw: Raw<'_>, shape: ImageShape) -> Result<Vec<u8>, Misfit> {
    check(raw.height, raw.width, raw.channels, shape)?;
    if raw.channels > shape.channels {
        let gray = Raw { pixels: &luma(raw.pixels), channels: 1, ..raw };
        return fit(gray, shape);
    }
    if (raw.height, raw.width) == (shape.height, shape.width) {
        return Ok(raw.pixels.to_vec());
    }
    let crop = Crop::centre(raw.height, raw.width, shape.height, shape.width);
    let reduce = match raw.channels {
        1 => area::reduce::<1>,
        _ => area::reduce::<3>,
    };
    Ok(reduce(raw.pixels, raw.width, crop, shape.height, shape.width))
}

/// RGB to gray with the weights of Rec. 601, rounded to the nearest.
fn luma(pixels: &[u8]) -> Vec<u8> {
    let weigh = |pixel: &[u8]| {
        let [r, g, b] = [0, 1, 2].map(|c| u32::from(pixel[c]));
        ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
    };
    pixels.chunks_exact(3).map(weigh).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(height: usize, width: usize, channels: usize) -> ImageShape {
        ImageShape { height, width, channels }
    }

    #[test]
    fn rgb_becomes_gray() {
        let raw =
            Raw { pixels: &[255, 0, 0, 0, 255, 0, 0, 0, 255, 77, 77, 77], height: 2, width: 2, channels: 3 };
        assert_eq!(fit(raw, shape(2, 2, 1)).unwrap(), [76, 150, 29, 77]);
    }

    #[test]
    fn neither_enlarges_nor_colours() {
        let raw = Raw { pixels: &[0; 4 * 8], height: 4, width: 8, channels: 1 };
        assert_eq!(fit(raw, shape(4, 4, 3)), Err(Misfit::Gray));
        let model = shape(6, 6, 1);
        let misfit = fit(raw, model).unwrap_err();
        assert_eq!(misfit, Misfit::TooSmall { height: 4, width: 8, model });
        assert_eq!(misfit.to_string(), "is 8×4 pixels, smaller than the model's 6×6");
    }
}
