//! Images of which single ones may be unusable: decoded once into memory, or again each time where they do
//! not fit.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};

use crate::fit::Fit;
use crate::memory::Memory;
use crate::split;
use crate::{DataError, Dataset, Example, ImageError, ImageShape, OpenOptions, SkippedReport, Splits};

/// Images in some kind of files, in an order.
pub(crate) trait Source: Send + Sync {
    fn len(&self) -> usize;

    /// The data set's folder.
    fn root(&self) -> &Path;

    /// What to call image `index`, below the folder.
    fn name(&self, index: usize) -> String;

    fn classes(&self) -> &[String];

    fn fit(&self) -> Fit;

    /// Image `index`, fitted; `chance` is as for [`Dataset::load`].
    fn load(&self, index: usize, chance: u64) -> Result<Example, ImageError>;
}

/// A source without a test set of its own.
pub(crate) fn divided(source: Arc<dyn Source>, options: &OpenOptions) -> Result<Splits, DataError> {
    let skipped = Arc::new(SkippedReport::default());
    let divide = |names: &[String]| {
        split::divide(names.iter().map(String::as_str), options)
            .ok_or_else(|| DataError::TooFew { path: source.root().into() })
    };
    if fits_into_memory(&[&*source], options) {
        let memory = decoded(&*source, &skipped)?;
        let parts = divide(&memory.names)?;
        let (train, validation) = split::subsets(Arc::new(memory), parts);
        return Ok(Splits { train, validation, official: false, skipped });
    }
    let all = (0..source.len()).collect();
    Streamed::open(source.clone(), all, skipped.clone())?;
    let names: Vec<String> = (0..source.len()).map(|index| source.name(index)).collect();
    let (train, validation) = divide(&names)?;
    Ok(Splits {
        train: Arc::new(Streamed::open(source.clone(), train, skipped.clone())?),
        validation: Arc::new(Streamed::open(source.clone(), validation, skipped.clone())?),
        official: false,
        skipped,
    })
}

/// Two sources that are the official split.
pub(crate) fn official(
    train: Arc<dyn Source>,
    validation: Arc<dyn Source>,
    options: &OpenOptions,
) -> Result<Splits, DataError> {
    let skipped = Arc::new(SkippedReport::default());
    let in_memory = fits_into_memory(&[&*train, &*validation], options);
    let part = |source: Arc<dyn Source>| -> Result<Arc<dyn Dataset>, DataError> {
        if in_memory {
            return Ok(Arc::new(decoded(&*source, &skipped)?));
        }
        let all = (0..source.len()).collect();
        Ok(Arc::new(Streamed::open(source, all, skipped.clone())?))
    };
    Ok(Splits {
        train: part(train)?,
        validation: part(validation)?,
        official: true,
        skipped: skipped.clone(),
    })
}

/// Whether the pixels may be kept. Random crops differ from time to time, so that there is nothing to keep.
fn fits_into_memory(sources: &[&dyn Source], options: &OpenOptions) -> bool {
    let bytes = |source: &dyn Source| source.len() as u64 * source.fit().shape.bytes() as u64;
    options.random_crop == 0
        && sources.iter().map(|&source| bytes(source)).sum::<u64>() <= options.cache_bytes
}

/// The usable images of a source.
fn decoded(source: &dyn Source, skipped: &SkippedReport) -> Result<Memory, DataError> {
    let shape = source.fit().shape;
    let (mut pixels, labels) = decode_all(source, skipped)?;
    // Close the gaps.
    let bytes = shape.bytes();
    let kept: Vec<usize> = (0..labels.len()).filter(|&index| labels[index].is_some()).collect();
    for (to, &from) in kept.iter().enumerate() {
        pixels.copy_within(from * bytes..(from + 1) * bytes, to * bytes);
    }
    pixels.truncate(kept.len() * bytes);
    Ok(Memory {
        shape,
        pixels,
        labels: labels.into_iter().flatten().collect(),
        names: kept.iter().map(|&index| source.name(index)).collect(),
        classes: source.classes().to_vec(),
    })
}

/// An image that failed, and why.
type Failure = (PathBuf, ImageError);

fn failure(source: &dyn Source, index: usize, reason: ImageError) -> Failure {
    (source.root().join(source.name(index)), reason)
}

/// Decodes a source on all cores into one buffer, in its order, with the labels: `None` for images that
/// cannot be used, whose parts of the buffer mean nothing.
fn decode_all(
    source: &dyn Source,
    skipped: &SkippedReport,
) -> Result<(Vec<u8>, Vec<Option<u32>>), DataError> {
    let progress = progress("decoding", "images", source.len());
    let mut pixels = vec![0; source.len() * source.fit().shape.bytes()];
    let mut labels = vec![None; source.len()];
    let mut failures = Vec::new();
    {
        let slots = pixels.chunks_exact_mut(source.fit().shape.bytes()).zip(&mut labels);
        let jobs = Mutex::new(slots.enumerate());
        let failed = Mutex::new(&mut failures);
        let work = || {
            loop {
                // The lock is held for this statement only.
                let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((index, (slot, label))) = job else {
                    return;
                };
                match source.load(index, 0) {
                    Ok(example) => {
                        slot.copy_from_slice(&example.pixels);
                        *label = Some(example.label);
                    }
                    Err(reason) => {
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.push((index, failure(source, index, reason)));
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
    if failures.len() == source.len() {
        return Err(none_usable(failures.into_iter().map(|(_, failure)| failure)));
    }
    for (_, (file, reason)) in &failures {
        skipped.record(file, &reason.reason());
    }
    Ok((pixels, labels))
}

/// A bar on a terminal, nothing elsewhere.
pub(crate) fn progress(doing: &str, things: &str, count: usize) -> ProgressBar {
    let style =
        ProgressStyle::with_template(&format!("{doing} {{wide_bar}} {{pos}}/{{len}} {things}, {{eta}} left"))
            .expect("the template is valid");
    ProgressBar::new(count as u64).with_style(style)
}

/// Images that are decoded when they are asked for.
struct Streamed {
    source: Arc<dyn Source>,
    /// Those of the source's images that belong to this data set.
    indices: Vec<usize>,
    skipped: Arc<SkippedReport>,
}

impl Streamed {
    fn open(
        source: Arc<dyn Source>,
        indices: Vec<usize>,
        skipped: Arc<SkippedReport>,
    ) -> Result<Self, DataError> {
        let streamed = Self { source, indices, skipped };
        // Comes to an image that is usable, or to the conclusion that none is.
        streamed.load(0, 0)?;
        Ok(streamed)
    }
}

impl Dataset for Streamed {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn shape(&self) -> ImageShape {
        self.source.fit().shape
    }

    /// An image that cannot be used is replaced by the next one that can, which depends on nothing
    /// but the files.
    fn load(&self, index: usize, chance: u64) -> Result<Example, DataError> {
        let mut failures: Vec<Failure> = Vec::new();
        let (before, from) = self.indices.split_at(index);
        for &index in from.iter().chain(before) {
            match self.source.load(index, chance) {
                Ok(example) => {
                    for (file, reason) in &failures {
                        self.skipped.record(file, &reason.reason());
                    }
                    return Ok(example);
                }
                Err(reason) => failures.push(failure(&*self.source, index, reason)),
            }
        }
        Err(none_usable(failures.into_iter()))
    }

    fn get(&self, index: usize) -> Result<Option<Example>, DataError> {
        let index = self.indices[index];
        match self.source.load(index, 0) {
            Ok(example) => Ok(Some(example)),
            Err(reason) => {
                let (file, reason) = failure(&*self.source, index, reason);
                self.skipped.record(&file, &reason.reason());
                Ok(None)
            }
        }
    }

    fn name(&self, index: usize) -> String {
        self.source.name(self.indices[index])
    }

    fn classes(&self) -> &[String] {
        self.source.classes()
    }
}

/// The error for images that all failed: what is wrong with each, if it is the same for all.
fn none_usable(mut failures: impl ExactSizeIterator<Item = Failure>) -> DataError {
    let count = failures.len();
    let (file, first) = failures.next().expect("a data set has images");
    let kind = |reason: &ImageError| match reason {
        ImageError::Misfit(misfit) => Some(mem::discriminant(misfit)),
        _ => None,
    };
    let alike = failures.all(|(_, other)| kind(&other) == kind(&first));
    match first {
        ImageError::Misfit(misfit) if alike => DataError::misfits(misfit, &file, count),
        first => DataError::NoneUsable { file, reason: first.reason(), count },
    }
}
