//! Folders of images, a file each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decode::{self, Unusable};
use super::fit::Fit;
use super::folder::Listing;
use super::source::{self, Source};
use super::{DataError, Example, OpenOptions, Splits};

/// Opens the images below `root` that are listed.
pub(super) fn open(
    root: &Path,
    listing: Listing,
    fit: Fit,
    options: &OpenOptions,
) -> Result<Splits, DataError> {
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

    fn load(&self, index: usize, chance: u64) -> Result<Example, Unusable> {
        let (path, label) = &self.listing.files[index];
        let pixels = decode::file(&self.root.join(path), self.fit, chance)?;
        Ok(Example { pixels, label: *label })
    }
}
