//! Folders of images, a file each: one folder, or folders `train`, `val` and `test` below it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decode::read_image;
use crate::fit::{Fit, Fitted};
use crate::folder::{self, Listing};
use crate::opening::{Opening, Part, Parts, Source};
use crate::{DataError, ImageError};

/// Opens the images below `root`.
pub(crate) fn open(root: &Path, opening: &Opening<'_>) -> Result<Parts, DataError> {
    let listing = folder::list(root)?;
    opening.note(&listing.left_out);
    let Some(folders) = split_folders(root, &listing)? else {
        return Ok(Parts { train: part(root, listing, opening)?, test: None });
    };
    let [train, validation, test] = folders.map(|name| name.map(|name| below(&listing, &name)));
    if validation.is_some() && test.is_some() {
        opening.note(&format_args!("{}: the folder of test images is left out", root.display()));
    }
    let train = part(root, train.unwrap_or_default(), opening)?;
    let test = validation.or(test).map(|listing| part(root, listing, opening)).transpose()?;
    Ok(Parts { train, test })
}

/// The images of `listing`, which are below `root`.
pub(crate) fn part(root: &Path, listing: Listing, opening: &Opening<'_>) -> Result<Part, DataError> {
    if listing.files.is_empty() {
        return Err(DataError::NoImages { path: root.into(), left_out: listing.left_out });
    }
    Ok(Part::Source(Arc::new(Folder { root: root.into(), listing, fit: opening.fit })))
}

/// The names of the folders for training, validation and test, if all images are in such folders and
/// training has another beside it.
fn split_folders(root: &Path, listing: &Listing) -> Result<Option<[Option<String>; 3]>, DataError> {
    let mut folders = [None, None, None];
    for name in &listing.classes {
        let Some(split) = split(name) else { return Ok(None) };
        if let Some(other) = folders[split].replace(name.clone()) {
            return Err(DataError::Format {
                path: root.into(),
                problem: format!(
                    "it holds both {other} and {name}: give the folder to train on itself, and the folder to \
                     validate on by --validation"
                ),
            });
        }
    }
    let is_divided = folders[0].is_some() && (folders[1].is_some() || folders[2].is_some());
    Ok(is_divided.then_some(folders))
}

/// 0 for a folder to train on, 1 to validate on, 2 to test on, by its name: `train`, `val`, `test` and the
/// like, perhaps with a size, as in downsampled ImageNet's `train_64x64`.
fn split(name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    let is_size = |size: &str| {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        size.split_once('x').is_some_and(|(height, width)| number(height) && number(width))
    };
    let name = match name.rsplit_once('_') {
        Some((name, size)) if is_size(size) => name,
        _ => &name,
    };
    match name {
        "train" | "training" => Some(0),
        "val" | "valid" | "validation" => Some(1),
        "test" | "testing" => Some(2),
        _ => None,
    }
}

/// The images in the folder `name` of a listing, with the folders below it as classes.
fn below(listing: &Listing, name: &str) -> Listing {
    let paths = listing.files.iter().map(|(path, _)| path).filter(|path| path.starts_with(name));
    let (files, classes) = folder::label(paths.cloned().collect(), 1);
    Listing { files, classes, ..Listing::default() }
}

struct Folder {
    root: PathBuf,
    listing: Listing,
    fit: Fit,
}

impl Source for Folder {
    fn len(&self) -> usize {
        self.listing.files.len()
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn name(&self, index: usize) -> String {
        self.listing.files[index].0.to_string_lossy().into_owned()
    }

    fn classes(&self) -> &[String] {
        &self.listing.classes
    }

    fn fit(&self) -> Fit {
        self.fit
    }

    fn load(&self, index: usize, chance: u64) -> Result<(Fitted, u32), ImageError> {
        let (path, label) = &self.listing.files[index];
        Ok((read_image(&self.root.join(path), self.fit, chance)?, *label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_splits() {
        for (name, expected) in [
            ("train", Some(0)),
            ("Train", Some(0)),
            ("train_64x64", Some(0)),
            ("valid_64x64", Some(1)),
            ("val", Some(1)),
            ("validation", Some(1)),
            ("test", Some(2)),
            ("trains", None),
            ("train_1", None),
            ("train_x", None),
            ("cat", None),
        ] {
            assert_eq!(split(name), expected, "{name}");
        }
    }
}
