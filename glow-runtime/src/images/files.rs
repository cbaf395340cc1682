//! Image files and folders of them.
use super::fit;
use crate::{Architecture, Error};
use glow_models::{check_fit, jpeg_is_complete, write_atomically};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use ndarray::Array3;
use std::collections::HashSet;
use std::io::{self, Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Extensions of the files that [`list`] takes for images, in lower case.
pub const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "webp", "bmp", "pgm", "ppm", "pnm"];

/// Larger files are refused unread.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Images that decode to more are refused undecoded.
const MAX_DECODED_BYTES: u64 = 512 << 20;
/// The longest side of an image, in pixels.
const MAX_SIDE: u32 = 65_535;

/// The image files below a folder, sorted by path. Hidden files and folders are left out; symbolic
/// links are followed, a folder that can be reached in several ways counts once.
///
/// # Errors
/// [`Error::Read`] if a folder cannot be read.
pub fn list(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    list_into(folder.as_ref(), &mut files, &mut HashSet::new())?;
    files.sort_unstable();
    Ok(files)
}

fn list_into(folder: &Path, files: &mut Vec<PathBuf>, seen: &mut HashSet<PathBuf>) -> Result<(), Error> {
    let read = |source: io::Error| Error::Read { path: folder.into(), source };
    if !seen.insert(folder.canonicalize().map_err(read)?) {
        return Ok(());
    }
    let mut folders = Vec::new();
    for entry in folder.read_dir().map_err(read)? {
        let entry = entry.map_err(read)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let (path, kind) = (entry.path(), entry.file_type().map_err(read)?);
        if kind.is_dir() || kind.is_symlink() && path.is_dir() {
            folders.push(path);
        } else if (kind.is_file() || kind.is_symlink()) && is_image(&path) {
            files.push(path);
        }
    }
    folders.sort_unstable();
    folders.iter().try_for_each(|folder| list_into(folder, files, seen))
}

fn is_image(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Reads an image file (PNG, JPEG, WebP, BMP, PNM; the content decides which), turns it as its EXIF
/// orientation says and brings it to the model's size, [H, W, C].
///
/// # Errors
/// [`Error::Read`] or [`Error::Decode`] if it cannot be read, [`Error::Misfit`] if it is too small, or
/// gray for an RGB model.
pub fn read(path: impl AsRef<Path>, architecture: &Architecture) -> Result<Array3<u8>, Error> {
    let path = path.as_ref();
    let bytes = read_bytes(path).map_err(|source| Error::Read { path: path.into(), source })?;
    // A decoder that panics at a malformed file makes that file unreadable and no more.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode(&bytes, path, architecture)))
        .unwrap_or_else(|_| Err(Failure::Unreadable(io::Error::other("the decoder panicked").into())));
    let pixels = decoded.map_err(|failure| match failure {
        Failure::Unreadable(source) => Error::Decode { path: path.into(), source },
        Failure::Misfit(misfit) => Error::Misfit { image: path.display().to_string(), misfit },
    })?;
    let dim = (architecture.height, architecture.width, architecture.channels);
    Ok(Array3::from_shape_vec(dim, pixels).expect("it has the model's shape"))
}

/// Writes an image as PNG; the file is there whole or not at all.
///
/// # Errors
/// [`Error::Write`].
pub fn write_png(image: &DynamicImage, path: impl AsRef<Path>) -> Result<(), Error> {
    let path = path.as_ref();
    let mut png = Cursor::new(Vec::new());
    image
        .write_to(&mut png, ImageFormat::Png)
        .map_err(io::Error::other)
        .and_then(|()| write_atomically(path, |out| out.write_all(png.get_ref())))
        .map_err(|source| Error::Write { path: path.into(), source })
}

enum Failure {
    Unreadable(ImageError),
    Misfit(glow_models::Misfit),
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::Unreadable(error)
    }
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("{length} bytes are too many for an image")));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // The file may grow while it is read.
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn decode(bytes: &[u8], path: &Path, architecture: &Architecture) -> Result<Vec<u8>, Failure> {
    // The content decides, as files with the extension of another format are common.
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(ImageError::from)?;
    if reader.format().is_none()
        && let Ok(format) = ImageFormat::from_path(path)
    {
        reader.set_format(format);
    }
    if reader.format() == Some(ImageFormat::Jpeg) && !jpeg_is_complete(bytes) {
        let truncated = io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before the image");
        return Err(ImageError::from(truncated).into());
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;

    // Metadata that cannot be read is no reason to lose the image.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    // What the header says is enough to refuse, which spares decoding a folder of misfits.
    let (width, height) = decoder.dimensions();
    let (width, height) = if is_turned(orientation) { (height, width) } else { (width, height) };
    let channels = if decoder.color_type().has_color() { 3 } else { 1 };
    let to = [architecture.height, architecture.width, architecture.channels];
    check_fit([height as usize, width as usize, channels], to).map_err(Failure::Misfit)?;

    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    fit(&image, architecture).map_err(Failure::Misfit)
}

/// Whether the orientation exchanges height and width.
fn is_turned(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    fn model() -> Architecture {
        Architecture { height: 4, width: 4, levels: 1, ..Default::default() }
    }

    fn picture(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8 * 5, y as u8 * 5, 30])).into()
    }

    #[test]
    fn a_folder_is_listed_sorted_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b/2.PNG", "b/10.png", "a.jpg", ".hidden/x.png", "notes.txt", "b/.x.png"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.path(), folder.path().join("b/loop")).unwrap();
        let expected: Vec<_> = ["a.jpg", "b/10.png", "b/2.PNG"].map(|name| folder.path().join(name)).into();
        assert_eq!(list(folder.path()).unwrap(), expected);
        assert!(list(folder.path().join("c")).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn a_file_is_read_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.jpg");
        write_png(&picture(4, 4), &path).unwrap();
        let read = read(&path, &model()).unwrap();
        assert_eq!(read.into_raw_vec_and_offset().0, picture(4, 4).to_rgb8().into_raw());
    }

    #[test]
    fn bad_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        let refused = |expected: &str| {
            let error = read(&path, &model()).expect_err(expected);
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            let text = format!("{error}: {source}");
            assert!(text.contains("picture.png") && text.contains(expected), "{text:?}: no {expected:?}");
        };
        refused("cannot read");
        std::fs::write(&path, "no image").unwrap();
        refused("cannot be decoded as an image");
        write_png(&picture(3, 9), &path).unwrap();
        refused("picture.png is 3×9 pixels, smaller than the model's 4×4");
        let mut jpeg = Cursor::new(Vec::new());
        picture(40, 40).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        std::fs::write(&path, &jpeg.get_ref()[..jpeg.get_ref().len() - 20]).unwrap();
        refused("the file ends before the image");
        let mut png = Cursor::new(Vec::new());
        picture(40, 40).write_to(&mut png, ImageFormat::Png).unwrap();
        std::fs::write(&path, &png.get_ref()[..png.get_ref().len() / 2]).unwrap();
        refused("cannot be decoded as an image");
    }
}
