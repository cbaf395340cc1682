//! From a file to the pixels that the model takes.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use glow_models::{Misfit, check_fit, jpeg_is_complete};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::fit::Fit;

/// Larger files are refused unread.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Images that decode to more are refused undecoded.
const MAX_DECODED_BYTES: u64 = 512 << 20;
/// The longest side of an image, in pixels.
const MAX_SIDE: u32 = 65_535;

/// Why one file cannot be used; the text follows the file's name.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error("cannot be read as an image: {0}")]
    Unreadable(String),
}

impl From<ImageError> for Unusable {
    fn from(error: ImageError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<std::io::Error> for Unusable {
    fn from(error: std::io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Reads the image in `file` and fits it.
pub(super) fn file(file: &Path, fit: Fit, chance: u64) -> Result<Vec<u8>, Unusable> {
    bytes(&read(file)?, ImageFormat::from_path(file).ok(), fit, chance)
}

/// Decodes an image of any format and fits it; `format` is for those that have no signature.
pub(super) fn bytes(
    bytes: &[u8],
    format: Option<ImageFormat>,
    fit: Fit,
    chance: u64,
) -> Result<Vec<u8>, Unusable> {
    // A decoder that panics at a malformed file makes that file unreadable and no more.
    catch_unwind(AssertUnwindSafe(|| decode(bytes, format, fit, chance)))
        .unwrap_or_else(|_| Err(Unusable::Unreadable("the decoder panicked".into())))
}

fn decode(bytes: &[u8], format: Option<ImageFormat>, fit: Fit, chance: u64) -> Result<Vec<u8>, Unusable> {
    // The content decides, as files with the extension of another format are common.
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    if reader.format().is_none()
        && let Some(format) = format
    {
        reader.set_format(format);
    }
    if reader.format() == Some(ImageFormat::Jpeg) && !jpeg_is_complete(bytes) {
        return Err(Unusable::Unreadable("the file ends before the image".into()));
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
    let pixels = match channels {
        1 => image.into_luma8().into_raw(),
        _ => image.into_rgb8().into_raw(),
    };
    Ok(fit.apply(&pixels, [height, width, channels], chance)?)
}

/// Whether the orientation exchanges height and width.
fn is_turned(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_FILE_BYTES {
        return Err(Unusable::Unreadable(format!("{length} bytes are too many")));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // The file may grow while it is read.
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
