//! Folders of images: decoded once into memory, or again each time where they do not fit.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};

use super::decode::{self, Unusable};
use super::fit;
use super::folder::Listing;
use super::memory::Memory;
use super::split;
use super::{DataError, Dataset, Example, ImageShape, OpenOptions, SkippedReport, Splits};

/// Opens the images below `root` that are listed.
pub(super) fn open(
    root: &Path,
    listing: Listing,
    shape: ImageShape,
    options: &OpenOptions,
) -> Result<Splits, DataError> {
    let decoded_bytes = listing.files.len() as u64 * shape.bytes() as u64;
    if decoded_bytes <= options.cache_bytes {
        cached(root, listing, shape, options)
    } else {
        streamed(root, listing, shape, options)
    }
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn cached(
    root: &Path,
    listing: Listing,
    shape: ImageShape,
    options: &OpenOptions,
) -> Result<Splits, DataError> {
    let Listing { files, classes } = listing;
    let (mut pixels, failures) = decode_all(root, &files, shape);
    if failures.len() == files.len() {
        return Err(none_usable(failures.into_iter().map(|(_, failure)| failure)));
    }
    let skipped = Arc::new(SkippedReport::default());
    let mut usable = vec![true; files.len()];
    for (index, (file, reason)) in failures {
        skipped.record(&file, &reason);
        usable[index] = false;
    }

    // Close the gaps.
    let bytes = shape.bytes();
    let kept: Vec<usize> = (0..files.len()).filter(|&index| usable[index]).collect();
    for (to, &from) in kept.iter().enumerate() {
        pixels.copy_within(from * bytes..(from + 1) * bytes, to * bytes);
    }
    pixels.truncate(kept.len() * bytes);
    let memory = Memory {
        shape,
        pixels,
        labels: kept.iter().map(|&index| files[index].1).collect(),
        names: kept.iter().map(|&index| name(&files[index].0)).collect(),
        classes,
    };
    let parts = split::divide(memory.names.iter().map(String::as_str), options)
        .ok_or_else(|| DataError::TooFew { path: root.into() })?;
    let (train, validation) = split::subsets(Arc::new(memory), parts);
    Ok(Splits { train, validation, skipped })
}

/// A file that failed, and why.
type Failure = (PathBuf, Unusable);

/// Decodes `files` on all cores into one buffer, in their order. Returns it with the failures and
/// their indices, sorted, whose parts of the buffer mean nothing.
fn decode_all(root: &Path, files: &[(PathBuf, u32)], shape: ImageShape) -> (Vec<u8>, Vec<(usize, Failure)>) {
    let style = ProgressStyle::with_template("decoding {wide_bar} {pos}/{len} images, {eta} left")
        .expect("the template is valid");
    let progress = ProgressBar::new(files.len() as u64).with_style(style);
    let mut pixels = vec![0; files.len() * shape.bytes()];
    let mut failures = Vec::new();
    {
        let slots = pixels.chunks_exact_mut(shape.bytes());
        let jobs = Mutex::new(files.iter().zip(slots).enumerate());
        let failed = Mutex::new(&mut failures);
        let work = || {
            loop {
                // The lock is held for this statement only.
                let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((index, ((path, _), slot))) = job else {
                    return;
                };
                let file = root.join(path);
                match decode::load(&file, shape) {
                    Ok(pixels) => slot.copy_from_slice(&pixels),
                    Err(reason) => {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push((index, (file, reason)))
                    }
                }
                progress.inc(1);
            }
        };
        thread::scope(|scope| {
            for _ in 1..thread::available_parallelism().map_or(1, usize::from) {
                // Without the thread the work merely takes longer.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
    }
    progress.finish_and_clear();
    failures.sort_unstable_by_key(|&(index, _)| index);
    (pixels, failures)
}

fn streamed(
    root: &Path,
    listing: Listing,
    shape: ImageShape,
    options: &OpenOptions,
) -> Result<Splits, DataError> {
    let skipped = Arc::new(SkippedReport::default());
    let part = |files: Vec<(PathBuf, u32)>| {
        let part = Streamed {
            root: root.into(),
            files,
            classes: listing.classes.clone(),
            shape,
            skipped: skipped.clone(),
        };
        // Comes to an image that is usable, or to the conclusion that none is.
        part.load(0).map(|_| part)
    };
    let whole = part(listing.files)?;
    let names: Vec<String> = (0..whole.len()).map(|index| whole.name(index)).collect();
    let (train, validation) = split::divide(names.iter().map(String::as_str), options)
        .ok_or_else(|| DataError::TooFew { path: root.into() })?;
    let files = |indices: Vec<usize>| indices.into_iter().map(|i| whole.files[i].clone()).collect();
    Ok(Splits {
        train: Arc::new(part(files(train))?),
        validation: Arc::new(part(files(validation))?),
        skipped: skipped.clone(),
    })
}

/// Images that are decoded when they are asked for.
struct Streamed {
    root: PathBuf,
    /// Paths relative to the root, and labels.
    files: Vec<(PathBuf, u32)>,
    classes: Vec<String>,
    shape: ImageShape,
    skipped: Arc<SkippedReport>,
}

impl Dataset for Streamed {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn shape(&self) -> ImageShape {
        self.shape
    }

    /// An image that cannot be used is replaced by the next one that can, which depends on nothing
    /// but the files.
    fn load(&self, index: usize) -> Result<Example, DataError> {
        let mut failures: Vec<Failure> = Vec::new();
        let (before, from) = self.files.split_at(index);
        for (path, label) in from.iter().chain(before) {
            let file = self.root.join(path);
            match decode::load(&file, self.shape) {
                Ok(pixels) => {
                    for (file, reason) in &failures {
                        self.skipped.record(file, reason);
                    }
                    let label = *label;
                    return Ok(Example { pixels, label });
                }
                Err(reason) => failures.push((file, reason)),
            }
        }
        Err(none_usable(failures.into_iter()))
    }

    fn name(&self, index: usize) -> String {
        name(&self.files[index].0)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }
}

/// The error for images that all failed: what is wrong with each, if it is the same for all.
fn none_usable(mut failures: impl ExactSizeIterator<Item = Failure>) -> DataError {
    let count = failures.len();
    let (file, first) = failures.next().expect("a data set has images");
    let kind = |reason: &Unusable| match reason {
        Unusable::Misfit(misfit) => Some(mem::discriminant(misfit)),
        Unusable::Unreadable(_) => None,
    };
    let alike = failures.all(|(_, other)| kind(&other) == kind(&first));
    match first {
        Unusable::Misfit(misfit) if alike => fit::misfits(misfit, &file, count),
        first => DataError::NoneUsable { file, reason: first.to_string(), count },
    }
}
