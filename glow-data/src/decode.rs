//! From a file to the pixels that the model takes.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use glow_models::Colour;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::fit::{Fit, Fitted, Misfit};
use crate::{ImageError, jpeg};

/// Larger files are refused unread.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Images that decode to more are refused undecoded.
const MAX_DECODED_BYTES: u64 = 512 << 20;
/// The longest side of an image, in pixels.
const MAX_SIDE: u32 = 65_535;

/// Reads the image file `path` (PNG, JPEG, WebP, BMP, PNM, TIFF or the first frame of a GIF; its content
/// decides which), turns it as its EXIF orientation says and fits it; `chance` picks the place of a random
/// crop.
///
/// # Errors
/// The file cannot be read or decoded, or the image is a [`Misfit`].
pub fn read_image(path: &Path, fit: Fit, chance: u64) -> Result<Fitted, ImageError> {
    decode_image(&read(path)?, ImageFormat::from_path(path).ok(), fit, chance)
}

/// Reads the image file `path` as [`read_image`] does, whole and as it is, turned as its EXIF orientation says.
///
/// # Errors
/// The file cannot be read or decoded.
pub fn open_image(path: &Path) -> Result<DynamicImage, ImageError> {
    let bytes = read(path)?;
    guarded(|| decode(&bytes, ImageFormat::from_path(path).ok(), |_| Ok(())))
}

/// Like [`read_image`], from the bytes of a file; `format` is for those that have no signature.
///
/// # Errors
/// As [`read_image`].
pub fn decode_image(
    bytes: &[u8],
    format: Option<ImageFormat>,
    fit: Fit,
    chance: u64,
) -> Result<Fitted, ImageError> {
    guarded(|| Ok(fit_decoded(decode(bytes, format, |size| fit.check(size))?, fit, chance)?))
}

/// A decoder that panics at a malformed file makes that file unreadable and no more.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(ImageError::Record("the decoder panicked".into())))
}

/// An image that is decoded already, fitted; transparent pixels get the background's colour.
///
/// # Errors
/// The image is a [`Misfit`].
pub fn fit_decoded(image: DynamicImage, fit: Fit, chance: u64) -> Result<Fitted, Misfit> {
    let (height, width) = (image.height() as usize, image.width() as usize);
    let (pixels, channels) = opaque(image, fit.preprocessing.background);
    fit.apply(&pixels, [height, width, channels], chance)
}

/// `check` looks at [height, width] before anything is decoded.
fn decode(
    bytes: &[u8],
    format: Option<ImageFormat>,
    check: impl FnOnce([usize; 2]) -> Result<(), Misfit>,
) -> Result<DynamicImage, ImageError> {
    // The content decides, as files with the extension of another format are common.
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    if reader.format().is_none()
        && let Some(format) = format
    {
        reader.set_format(format);
    }
    let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    if is_jpeg && !jpeg::is_complete(bytes, decoder.dimensions()) {
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before the image");
        return Err(image::ImageError::from(cut).into());
    }
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;

    // What the header says is enough to refuse, which saves decoding a folder of small images.
    let (width, height) = decoder.dimensions();
    // Metadata that cannot be read is no reason to lose the image.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let (width, height) = if is_turned(orientation) { (height, width) } else { (width, height) };
    check([height as usize, width as usize])?;

    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// An image's pixels, row by row, with 1 (gray) or 3 (RGB) channels of 8 bits. Transparent pixels are laid
/// over the background: out = α · pixel + (1 − α) · background.
fn opaque(image: DynamicImage, background: Colour) -> (Vec<u8>, usize) {
    let color = image.color();
    if !color.has_alpha() {
        return match color.has_color() {
            true => (image.into_rgb8().into_raw(), 3),
            false => (image.into_luma8().into_raw(), 1),
        };
    }
    let rgb: Vec<u8> = if color.bytes_per_pixel() / color.channel_count() == 1 {
        let blend = |value: u8, behind: u8, alpha: u8| {
            let [value, behind, alpha] = [value, behind, alpha].map(u32::from);
            ((value * alpha + behind * (255 - alpha) + 127) / 255) as u8
        };
        image.into_rgba8().chunks_exact(4).flat_map(|p| over(p, background.0, blend)).collect()
    } else {
        // Blended in 16 bits and rounded once.
        let blend = |value: u16, behind: u8, alpha: u16| {
            let [value, behind, alpha] = [value.into(), u64::from(behind) * 257, alpha.into()];
            let most = u64::from(u16::MAX);
            let scale = most * 257;
            ((value * alpha + behind * (most - alpha) + scale / 2) / scale) as u8
        };
        image.into_rgba16().chunks_exact(4).flat_map(|p| over(p, background.0, blend)).collect()
    };
    let [red, green, blue] = background.0;
    match color.has_color() || red != green || green != blue {
        true => (rgb, 3),
        false => (rgb.into_iter().step_by(3).collect(), 1),
    }
}

/// A pixel of red, green, blue and alpha over the background.
fn over<T: Copy>(pixel: &[T], background: [u8; 3], blend: impl Fn(T, u8, T) -> u8) -> [u8; 3] {
    [0, 1, 2].map(|channel| blend(pixel[channel], background[channel], pixel[3]))
}

/// Whether the orientation exchanges height and width.
fn is_turned(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("{length} bytes are too many for an image")));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // The file may grow while it is read.
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageShape;
    use glow_models::Preprocessing;
    use image::{GrayAlphaImage, ImageBuffer, LumaA, Rgb, RgbImage, Rgba, RgbaImage};

    fn fit(side: usize, channels: usize, background: [u8; 3]) -> Fit {
        let preprocessing = Preprocessing { background: Colour(background), ..Default::default() };
        let shape = ImageShape { height: side, width: side, channels };
        Fit { preprocessing, ..Fit::centre(shape) }
    }

    fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
        encoded(image, ImageFormat::Png)
    }

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        image.into().write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    fn pixels(file: &[u8], fit: Fit) -> Vec<u8> {
        decode_image(file, None, fit, 0).unwrap().pixels
    }

    #[test]
    fn transparency_shows_the_background_and_never_the_hidden_colour() {
        // Straight alpha: 200 at half opacity over 100 is 150, over white 227 or 228.
        let color = |alpha| png(RgbaImage::from_pixel(1, 1, Rgba([200, 0, 255, alpha])));
        let white = fit(1, 3, [255; 3]);
        assert_eq!(pixels(&color(255), white), [200, 0, 255]);
        assert_eq!(pixels(&color(0), white), [255, 255, 255]);
        assert_eq!(pixels(&color(51), white), [244, 204, 255]);
        assert_eq!(pixels(&color(0), fit(1, 3, [1, 2, 3])), [1, 2, 3]);
        assert_eq!(pixels(&color(51), fit(1, 3, [100, 50, 0])), [120, 40, 51]);

        let sixteen = |alpha| {
            let pixel = Rgba([200 * 257u16, 0, 65_535, alpha]);
            png(DynamicImage::ImageRgba16(ImageBuffer::from_pixel(1, 1, pixel)))
        };
        assert_eq!(pixels(&sixteen(0), white), [255, 255, 255]);
        assert_eq!(pixels(&sixteen(51 * 257), fit(1, 3, [100, 50, 0])), [120, 40, 51]);

        let gray = |alpha| png(GrayAlphaImage::from_pixel(1, 1, LumaA([100, alpha])));
        assert_eq!(pixels(&gray(0), fit(1, 1, [255; 3])), [255]);
        assert_eq!(pixels(&gray(51), fit(1, 1, [0; 3])), [20]);
        assert_eq!(pixels(&gray(51), fit(1, 3, [100, 0, 200])), [100, 20, 180]);
        // A gray image over a gray background is gray still, over a coloured one it is not.
        let is_gray = |background| decode_image(&gray(51), None, fit(1, 3, background), 0).unwrap().was_gray;
        assert!(is_gray([9; 3]) && !is_gray([9, 9, 10]));
    }

    #[test]
    fn a_palette_with_a_transparent_entry() {
        // 2×1 pixels of one byte each: entry 0 is opaque red, entry 1 a blue that is not to be seen.
        let mut file = Vec::new();
        let mut encoder = png_encoder(&mut file, 2, 1);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(vec![255, 0, 0, 0, 0, 255]);
        encoder.set_trns(vec![255, 0]);
        encoder.write_header().unwrap().write_image_data(&[0, 1]).unwrap();
        let shape = ImageShape { height: 1, width: 2, channels: 3 };
        assert_eq!(pixels(&file, Fit::centre(shape)), [255, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn one_colour_made_transparent() {
        let mut file = Vec::new();
        let mut encoder = png_encoder(&mut file, 2, 1);
        encoder.set_color(png::ColorType::Rgb);
        // The colour 7, 8, 9 is transparent; tRNS holds 16 bits a channel.
        encoder.set_trns(vec![0, 7, 0, 8, 0, 9]);
        encoder.write_header().unwrap().write_image_data(&[7, 8, 9, 7, 8, 10]).unwrap();
        let shape = ImageShape { height: 1, width: 2, channels: 3 };
        assert_eq!(pixels(&file, Fit::centre(shape)), [255, 255, 255, 7, 8, 10]);
    }

    fn png_encoder(file: &mut Vec<u8>, width: u32, height: u32) -> png::Encoder<'_, &mut Vec<u8>> {
        png::Encoder::new(file, width, height)
    }

    #[test]
    fn sixteen_bits_are_rounded_to_eight() {
        let values = [0u16, 128, 129, 255, 256, 32_767, 65_407, 65_535];
        let image: ImageBuffer<image::Luma<u16>, _> = ImageBuffer::from_raw(8, 1, values.to_vec()).unwrap();
        let file = png(DynamicImage::ImageLuma16(image));
        let shape = ImageShape { height: 1, width: 8, channels: 1 };
        let expected = values.map(|value| (f64::from(value) / 257.0).round() as u8);
        assert_eq!(pixels(&file, Fit::centre(shape)), expected);
    }

    #[test]
    fn gray_becomes_rgb_and_is_told() {
        let file = png(DynamicImage::from(image::GrayImage::from_pixel(4, 4, image::Luma([9]))));
        let fitted = decode_image(&file, None, fit(2, 3, [255; 3]), 0).unwrap();
        assert_eq!((fitted.pixels, fitted.was_gray), (vec![9; 12], true));
        assert!(!decode_image(&file, None, fit(2, 1, [255; 3]), 0).unwrap().was_gray);
    }

    #[test]
    fn a_crop_is_taken_after_the_orientation() {
        // A TIFF keeps an orientation in one tag; without it, the crop is of the file's own rows.
        let image = RgbImage::from_fn(89, 109, |x, y| Rgb([x as u8, y as u8, 0]));
        let preprocessing =
            Preprocessing { crop: "6.7%,17.4%,85.4%,69.7%".parse().unwrap(), ..Default::default() };
        let shape = ImageShape { height: 76, width: 76, channels: 3 };
        let fit = Fit { preprocessing, ..Fit::centre(shape) };
        let cropped = pixels(&png(image), fit);
        let expected: Vec<u8> =
            (19..95).flat_map(|y| (6..82).flat_map(move |x| [x as u8, y as u8, 0])).collect();
        assert_eq!(cropped, expected);
        let small = RgbImage::new(80, 109);
        assert!(matches!(
            decode_image(&png(small), None, fit, 0),
            Err(ImageError::Misfit(Misfit::TooSmall { width: 68, .. }))
        ));
    }

    #[test]
    fn every_format_is_read_by_its_content() {
        let image = RgbImage::from_pixel(8, 8, Rgb([200, 100, 50]));
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Bmp,
            ImageFormat::Pnm,
            ImageFormat::Tiff,
            ImageFormat::Gif,
        ] {
            let file = encoded(image.clone(), format);
            let read = pixels(&file, fit(8, 3, [255; 3]));
            let far = read.iter().zip(image.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(far.unwrap() <= 3, "{format:?}");
        }
    }

    #[test]
    fn a_jpeg_in_printing_colours_becomes_rgb() {
        // Written by Pillow in CMYK, as Adobe's programs do: left magenta and yellow, right cyan and half black.
        let read = pixels(include_bytes!("tests/cmyk.jpg"), fit(8, 3, [255; 3]));
        for (x, expected) in [(1, [255, 0, 0]), (6, [0, 127, 127])] {
            let pixel = &read[3 * x..3 * x + 3];
            let far = pixel.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max();
            assert!(far <= Some(6), "{pixel:?}, not {expected:?}");
        }
    }

    #[test]
    fn a_small_file_that_declares_a_large_image_is_refused() {
        let mut file = encoded(RgbImage::new(16, 16), ImageFormat::Jpeg);
        // Height and width stand behind the start-of-frame marker, its length and the precision.
        let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        file[frame + 5..frame + 9].copy_from_slice(&[0x40, 0, 0x20, 0]);
        let refused = decode_image(&file, None, fit(16, 3, [255; 3]), 0);
        assert!(matches!(refused, Err(ImageError::Decode(_))), "{refused:?}");
    }

    #[test]
    fn a_jpeg_that_lacks_its_end_marker_alone_is_read() {
        let image = RgbImage::from_fn(40, 40, |x, y| Rgb([x as u8 * 5, y as u8 * 5, (x * y) as u8]));
        let file = encoded(image, ImageFormat::Jpeg);
        let fit = fit(40, 3, [255; 3]);
        assert_eq!(pixels(&file[..file.len() - 2], fit), pixels(&file, fit));
        assert_eq!(pixels(&file[..file.len() - 1], fit), pixels(&file, fit));
        for cut in [20, 100, file.len() / 2] {
            assert!(decode_image(&file[..file.len() - cut], None, fit, 0).is_err(), "{cut} bytes less");
        }
    }
}
