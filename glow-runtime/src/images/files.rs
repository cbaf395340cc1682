//! Image files and folders of them.
use crate::Error;
pub use glow_data::folder::EXTENSIONS;
use glow_data::{Fit, Fitted, ImageError, folder, open_image, read_image};
use glow_models::write_atomically;
use image::{DynamicImage, ImageFormat};
use ndarray::Array3;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

/// The image files below a folder, sorted by path. Hidden files and folders are left out; symbolic
/// links are followed, a folder that can be reached in several ways counts once.
///
/// # Errors
/// [`Error::Data`] if a folder cannot be read.
pub fn list(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>, Error> {
    let folder = folder.as_ref();
    let listing = folder::list(folder)?;
    Ok(listing.files.into_iter().map(|(file, _)| folder.join(file)).collect())
}

/// Reads an image file (PNG, JPEG, WebP, BMP, PNM, TIFF or the first frame of a GIF; the content decides
/// which), turns it as its EXIF orientation says and brings it to the model's size, [H, W, C].
///
/// # Errors
/// [`Error::Read`] or [`Error::Decode`] if it cannot be read, [`Error::Misfit`] if it is too small.
pub fn read(path: impl AsRef<Path>, fit: impl Into<Fit>) -> Result<Array3<u8>, Error> {
    let fit = fit.into();
    let fitted = read_fitted(path, fit)?;
    let dim = (fit.shape.height, fit.shape.width, fit.shape.channels);
    Ok(Array3::from_shape_vec(dim, fitted.pixels).expect("it has the model's shape"))
}

/// Like [`read`], with whether the image is gray and became RGB.
///
/// # Errors
/// As [`read`].
pub fn read_fitted(path: impl AsRef<Path>, fit: impl Into<Fit>) -> Result<Fitted, Error> {
    let path = path.as_ref();
    read_image(path, fit.into(), 0).map_err(|error| of_file(path, error))
}

/// Reads an image file as [`read`] does, whole and as it is, turned as its EXIF orientation says.
///
/// # Errors
/// [`Error::Read`] or [`Error::Decode`].
pub fn open(path: impl AsRef<Path>) -> Result<DynamicImage, Error> {
    let path = path.as_ref();
    open_image(path).map_err(|error| of_file(path, error))
}

fn of_file(path: &Path, error: ImageError) -> Error {
    match error {
        ImageError::Read(source) => Error::Read { path: path.into(), source },
        ImageError::Misfit(misfit) => Error::Misfit { image: path.display().to_string(), misfit },
        ImageError::Decode(source) => Error::Decode { path: path.into(), source },
        other => Error::Decode { path: path.into(), source: io::Error::other(other.to_string()).into() },
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use glow_data::ImageShape;
    use image::RgbImage;

    fn model() -> Fit {
        Fit::centre(ImageShape { height: 4, width: 4, channels: 3 })
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
        assert!(list(folder.path().join("c")).is_err());
    }

    #[test]
    fn a_file_is_read_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.jpg");
        write_png(&picture(4, 4), &path).unwrap();
        let read = read(&path, model()).unwrap();
        assert_eq!(read.into_raw_vec_and_offset().0, picture(4, 4).to_rgb8().into_raw());
    }

    #[test]
    fn bad_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        let refused = |expected: &str| {
            let error = read(&path, model()).expect_err(expected);
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
