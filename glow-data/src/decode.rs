//! From a file to the pixels that the model takes.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::fit::{Fit, Misfit, check_fit};
use crate::{ImageError, jpeg_is_complete};

/// Larger files are refused unread.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Images that decode to more are refused undecoded.
const MAX_DECODED_BYTES: u64 = 512 << 20;
/// The longest side of an image, in pixels.
const MAX_SIDE: u32 = 65_535;

/// Reads the image file `path` (PNG, JPEG, WebP, BMP or PNM; its content decides which), turns it as its EXIF
/// orientation says and fits it; `chance` picks the place of a random crop.
///
/// # Errors
/// The file cannot be read or decoded, or the image is a [`Misfit`](crate::Misfit).
pub fn read_image(path: &Path, fit: Fit, chance: u64) -> Result<Vec<u8>, ImageError> {
    decode_image(&read(path)?, ImageFormat::from_path(path).ok(), fit, chance)
}

/// As [`read_image`], from the bytes of a file; `format` is for those that have no signature.
///
/// # Errors
/// As [`read_image`].
pub fn decode_image(
    bytes: &[u8],
    format: Option<ImageFormat>,
    fit: Fit,
    chance: u64,
) -> Result<Vec<u8>, ImageError> {
    // A decoder that panics at a malformed file makes that file unreadable and no more.
    catch_unwind(AssertUnwindSafe(|| decode(bytes, format, fit, chance)))
        .unwrap_or_else(|_| Err(ImageError::Record("the decoder panicked".into())))
}

/// An image that is decoded already, fitted.
///
/// # Errors
/// The image is a [`Misfit`](crate::Misfit).
pub fn fit_decoded(image: &DynamicImage, fit: Fit, chance: u64) -> Result<Vec<u8>, Misfit> {
    let (height, width) = (image.height() as usize, image.width() as usize);
    if image.color().has_color() {
        fit.apply(&image.to_rgb8(), [height, width, 3], chance)
    } else {
        fit.apply(&image.to_luma8(), [height, width, 1], chance)
    }
}

fn decode(bytes: &[u8], format: Option<ImageFormat>, fit: Fit, chance: u64) -> Result<Vec<u8>, ImageError> {
    // The content decides, as files with the extension of another format are common.
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    if reader.format().is_none()
        && let Some(format) = format
    {
        reader.set_format(format);
    }
    if reader.format() == Some(ImageFormat::Jpeg) && !jpeg_is_complete(bytes) {
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before the image");
        return Err(image::ImageError::from(cut).into());
    }

    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;

    // What the header says is enough to refuse, which spares decoding a folder of misfits.
    let (width, height) = decoder.dimensions();
    // Metadata that cannot be read is no reason to lose the image.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let (width, height) = if is_turned(orientation) {
        (height as usize, width as usize)
    } else {
        (width as usize, height as usize)
    };
    let channels = if decoder.color_type().has_color() { 3 } else { 1 };
    check_fit([height, width, channels], fit.shape.sizes())?;

    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(fit_decoded(&image, fit, chance)?)
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
