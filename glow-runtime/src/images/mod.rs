//! Images of the `image` crate and image files (feature `image`).
//!
//! An image of any size becomes one that a model takes, as in the model's training: the crop and the
//! colour behind transparent pixels that the bundle names, then the largest centred rectangle of the model's
//! aspect ratio, averaged down by area. RGB becomes gray for a gray model, and gray becomes RGB with
//! R = G = B for an RGB model. Images are never enlarged.
//!
//! Functions take a [`Fit`], which comes from a loaded model: `images::read(path, &glow)`.
mod files;

pub use files::{EXTENSIONS, list, open, read, read_fitted, write_png};
pub use glow_data::{Fit, Fitted, ImageShape, Misfit};
/// The crate whose images are in signatures here.
pub use image;

use crate::{Error, Glow};
use glow_data::{Grid, GridLayout, fit_decoded};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, GrayImage, ImageEncoder, RgbImage};
use ndarray::{Array4, ArrayView4};

/// Images brought to the model's size, as [N, H, W, C]: `RgbImage`, `GrayImage`, `DynamicImage` or any
/// other that becomes the latter. More than 8 bits a channel are rounded to 8.
///
/// ```
/// use glow_runtime::images::{self, Fit, ImageShape};
/// use image::RgbImage;
///
/// // With a loaded model, give `&glow` instead.
/// let model = Fit::centre(ImageShape { height: 32, width: 32, channels: 3 });
/// let photo = RgbImage::from_pixel(64, 48, image::Rgb([200, 100, 50]));
/// let array = images::to_array([photo], model)?;
/// assert_eq!(array.dim(), (1, 32, 32, 3));
/// let back: RgbImage = images::from_array(&array)?.remove(0).into_rgb8();
/// assert_eq!(back, RgbImage::from_pixel(32, 32, image::Rgb([200, 100, 50])));
/// # Ok::<(), glow_runtime::Error>(())
/// ```
///
/// # Errors
/// [`Error::Misfit`] for the first that is too small.
pub fn to_array<I: Into<DynamicImage>>(
    images: impl IntoIterator<Item = I>,
    fit: impl Into<Fit>,
) -> Result<Array4<u8>, Error> {
    let fit = fit.into();
    let (mut pixels, mut count) = (Vec::new(), 0);
    for image in images {
        let fitted = fit_decoded(image.into(), fit, 0);
        let fitted = fitted.map_err(|misfit| Error::Misfit { image: format!("image {count}"), misfit })?;
        pixels.extend(fitted.pixels);
        count += 1;
    }
    let dim = (count, fit.shape.height, fit.shape.width, fit.shape.channels);
    Ok(Array4::from_shape_vec(dim, pixels).expect("each has the model's shape"))
}

/// Images [N, H, W, C] as values of the `image` crate: gray for one channel, RGB for three.
///
/// # Errors
/// [`Error::Shape`] for another number of channels.
pub fn from_array<'a>(images: impl Into<ArrayView4<'a, u8>>) -> Result<Vec<DynamicImage>, Error> {
    let images = images.into();
    let (_, height, width, channels) = check_channels(images)?;
    let convert = |image: ndarray::ArrayView3<'_, u8>| {
        dynamic(image.iter().copied().collect(), [height, width, channels])
    };
    Ok(images.outer_iter().map(convert).collect())
}

/// Bits of each image [N, H, W, C] as a PNG file, compressed as well as the `image` crate can, over H·W·C.
///
/// # Errors
/// [`Error::Shape`] for images of no pixels or of neither one nor three channels.
pub fn png_bits_per_dim<'a>(images: impl Into<ArrayView4<'a, u8>>) -> Result<Vec<f64>, Error> {
    let images = images.into();
    let (_, height, width, channels) = check_channels(images)?;
    let bits = |image: ndarray::ArrayView3<'_, u8>| {
        let pixels: Vec<u8> = image.iter().copied().collect();
        let color = if channels == 1 { image::ExtendedColorType::L8 } else { image::ExtendedColorType::Rgb8 };
        let mut png = Vec::new();
        PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive)
            .write_image(&pixels, width as u32, height as u32, color)
            .map_err(|_| Error::Shape {
                array: "images".into(),
                expected: "images that PNG can hold".into(),
                actual: images.shape().to_vec(),
            })?;
        Ok(8.0 * png.len() as f64 / pixels.len() as f64)
    };
    images.outer_iter().map(bits).collect()
}

/// How images are laid out by [`grid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GridOptions {
    /// Images a row; 0 makes the grid about square. Default 0.
    pub columns: usize,
    /// White pixels around every image. Default 2.
    pub padding: usize,
    /// Every pixel is drawn as scale × scale, so that small images can be seen; 0 brings small images
    /// to about 128 pixels. Default 0.
    pub scale: usize,
}

impl Default for GridOptions {
    fn default() -> Self {
        Self { columns: 0, padding: 2, scale: 0 }
    }
}

impl GridOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`GridOptions::columns`].
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = columns;
        self
    }

    /// Sets [`GridOptions::padding`].
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    /// Sets [`GridOptions::scale`].
    pub fn scale(mut self, scale: usize) -> Self {
        self.scale = scale;
        self
    }
}

/// Side to which [`GridOptions::scale`] 0 brings images.
const VISIBLE: usize = 128;

/// Larger sheets are refused: a scale with a digit too many would otherwise take all memory.
const MAX_GRID_BYTES: f64 = (1u64 << 30) as f64;

/// Images [N, H, W, C], row by row on one white sheet.
///
/// # Errors
/// [`Error::Shape`] without images, or if they have neither one nor three channels,
/// [`Error::Option`] if the sheet would take more than a gigabyte.
pub fn grid<'a>(images: impl Into<ArrayView4<'a, u8>>, options: &GridOptions) -> Result<DynamicImage, Error> {
    let images = images.into();
    let (n, height, width, channels) = check_channels(images)?;
    if images.is_empty() {
        let expected = "at least one image".to_string();
        return Err(Error::Shape { array: "images".into(), expected, actual: images.shape().to_vec() });
    }
    let columns = if options.columns == 0 { (n as f64).sqrt().ceil() as usize } else { options.columns };
    let scale = if options.scale == 0 { (VISIBLE / height.max(width)).max(1) } else { options.scale };
    let side = |size: usize, count: usize| {
        let padding = options.padding as f64;
        (size as f64 * scale as f64 + padding) * count as f64 + padding
    };
    let (rows, columns) = (n.div_ceil(columns), columns.min(n));
    let (sheet_height, sheet_width) = (side(height, rows), side(width, columns));
    if sheet_height * sheet_width * channels as f64 > MAX_GRID_BYTES {
        return Err(Error::Option {
            option: "grid",
            value: format!("{sheet_width}×{sheet_height} pixels"),
            allowed: "at most a gigabyte; take fewer images or a smaller scale",
        });
    }
    let pixels = images.as_standard_layout();
    let layout = GridLayout { columns, padding: options.padding, scale };
    let grid = Grid::new(pixels.as_slice().expect("standard layout"), [height, width, channels], layout);
    Ok(dynamic(grid.pixels, [grid.height, grid.width, channels]))
}

fn check_channels(images: ArrayView4<'_, u8>) -> Result<(usize, usize, usize, usize), Error> {
    let dim = images.dim();
    if matches!(dim.3, 1 | 3) {
        return Ok(dim);
    }
    let expected = "[N, H, W, 1 or 3]".to_string();
    Err(Error::Shape { array: "images".into(), expected, actual: images.shape().to_vec() })
}

fn dynamic(pixels: Vec<u8>, [height, width, channels]: [usize; 3]) -> DynamicImage {
    let (width, height) = (width as u32, height as u32);
    match channels {
        1 => GrayImage::from_raw(width, height, pixels).expect("one byte a pixel").into(),
        _ => RgbImage::from_raw(width, height, pixels).expect("three bytes a pixel").into(),
    }
}

/// As in the model's training.
impl From<&Glow> for Fit {
    fn from(glow: &Glow) -> Self {
        glow.manifest().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(height: usize, width: usize, channels: usize) -> Fit {
        Fit::centre(ImageShape { height, width, channels })
    }

    #[test]
    fn there_and_back() {
        for channels in [1, 3] {
            let model = model(4, 6, channels);
            let array =
                Array4::from_shape_fn((3, 4, 6, channels), |(n, y, x, c)| (n * 50 + y * 10 + x + c) as u8);
            let images = from_array(&array).unwrap();
            assert_eq!(images[1].color().has_color(), channels == 3);
            assert_eq!(to_array(images.clone(), model).unwrap(), array);
            // The crate's own types go in as they are.
            let again = match channels {
                1 => to_array(images.iter().map(DynamicImage::to_luma8), model),
                _ => to_array(images.iter().map(DynamicImage::to_rgb8), model),
            };
            assert_eq!(again.unwrap(), array);
        }
        let error = from_array(&Array4::zeros((1, 2, 2, 2))).unwrap_err().to_string();
        assert_eq!(error, "images has shape [1, 2, 2, 2], expected [N, H, W, 1 or 3]");
    }

    #[test]
    fn a_simple_image_takes_fewer_bits() {
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        };
        for channels in [1, 3] {
            let dim = (1, 64, 64, channels);
            let flat = png_bits_per_dim(&Array4::zeros(dim)).unwrap()[0];
            let slope = Array4::from_shape_fn(dim, |(_, y, x, _)| (y + 2 * x) as u8);
            let slope = png_bits_per_dim(&slope).unwrap()[0];
            let noise = png_bits_per_dim(&Array4::from_shape_simple_fn(dim, &mut noise)).unwrap()[0];
            assert!(flat < 0.3 && flat <= slope && slope < 1.0 && noise > 7.5, "{flat} {slope} {noise}");
        }
        assert!(png_bits_per_dim(&Array4::zeros((1, 4, 4, 2))).is_err());
    }

    #[test]
    fn larger_images_are_reduced_and_smaller_ones_refused() {
        let image = |width, height, gray| match gray {
            true => DynamicImage::from(GrayImage::from_pixel(width, height, image::Luma([7]))),
            false => DynamicImage::from(RgbImage::from_pixel(width, height, image::Rgb([7, 7, 7]))),
        };
        let array = to_array([image(9, 5, false), image(4, 4, true)], model(4, 4, 1)).unwrap();
        assert_eq!(array, Array4::from_elem((2, 4, 4, 1), 7));
        let refused = |image, channels| to_array([image], model(4, 4, channels)).unwrap_err().to_string();
        assert_eq!(refused(image(9, 3, false), 3), "image 0 is 9×3 pixels, smaller than the model's 4×4");
        let gray = to_array([image(4, 4, true)], model(4, 4, 3)).unwrap();
        assert_eq!(gray, Array4::from_elem((1, 4, 4, 3), 7));
    }

    #[test]
    fn a_grid_is_about_square_and_large_enough_to_see() {
        let sheet = grid(&Array4::zeros((5, 32, 32, 3)), &GridOptions::default()).unwrap();
        assert_eq!((sheet.width(), sheet.height()), (3 * 130 + 2, 2 * 130 + 2));
        let options = GridOptions { columns: 5, padding: 0, scale: 1 };
        let sheet = grid(&Array4::zeros((5, 32, 32, 3)), &options).unwrap();
        assert_eq!((sheet.width(), sheet.height()), (160, 32));
        assert!(grid(&Array4::zeros((0, 32, 32, 3)), &options).is_err());
        for (scale, padding) in [(100_000, 0), (usize::MAX, 0), (1, usize::MAX)] {
            let options = GridOptions { columns: 5, padding, scale };
            let error = grid(&Array4::zeros((5, 32, 32, 3)), &options).unwrap_err().to_string();
            assert!(error.contains("take fewer images or a smaller scale"), "{error}");
        }
    }
}
