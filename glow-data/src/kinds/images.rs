//! Folders of images, a file each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decode::read_image;
use crate::fit::Fit;
use crate::folder::Listing;
use crate::source::{self, Source};
use crate::{DataError, Example, ImageError, OpenOptions, Splits};

/// Opens the images below `root` that are listed.
pub(crate) fn open(
    root: &Path,
    listing: Listing,
    fit: Fit,
    options: &OpenOptions,
) -> Result<Splits, DataError> {
    if listing.files.is_empty() {
        return Err(DataError::NoImages { path: root.into() });
    }
    source::divided(Arc::new(Folder { root: root.into(), listing, fit }), options)
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

    fn load(&self, index: usize, chance: u64) -> Result<Example, ImageError> {
        let (path, label) = &self.listing.files[index];
        let pixels = read_image(&self.root.join(path), self.fit, chance)?;
        Ok(Example { pixels, label: *label })
    }
}
