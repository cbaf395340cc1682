//! Images of which single ones may be unusable: decoded once into memory, or again each time where they do
//! not fit.

use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};

use crate::fit::Fitted;
use crate::memory::Memory;
use crate::opening::{Opening, Part, Source};
use crate::split;
use crate::{DataError, DataSpec, Dataset, Example, ImageError, ImageShape, SkippedReport, Splits, notice};

/// Images that are looked at to tell whether a data set is gray.
const PROBES: usize = 16;

/// A data set in two parts: those given, or one of them divided.
pub(crate) fn split(
    spec: &DataSpec,
    train: Part,
    validation: Option<Part>,
    opening: &Opening<'_>,
) -> Result<Splits, DataError> {
    let skipped = opening.skipped.clone();
    let Some(validation) = validation else {
        let (train, validation) = divided(spec, train, opening)?;
        return Ok(Splits { train, validation, official: false, skipped });
    };
    let in_memory = fits_into_memory(&[&train, &validation], opening);
    let train = held(train, in_memory, Gray::in_training(opening), opening)?;
    let validation = held(validation, in_memory, Gray::Converted, opening)?;
    Ok(Splits { train, validation, official: true, skipped })
}

/// All images of a part.
pub(crate) fn whole(part: Part, opening: &Opening<'_>) -> Result<Arc<dyn Dataset>, DataError> {
    let in_memory = fits_into_memory(&[&part], opening);
    held(part, in_memory, Gray::Converted, opening)
}

type Pair = (Arc<dyn Dataset>, Arc<dyn Dataset>);

/// A part without a test set of its own, of which some images are set aside.
fn divided(spec: &DataSpec, part: Part, opening: &Opening<'_>) -> Result<Pair, DataError> {
    let data = &opening.options.data;
    let divide = |names: &[String]| {
        let names = names.iter().map(String::as_str);
        split::divide(names, data.validation_fraction, opening.options.seed)
            .ok_or_else(|| DataError::TooFew { path: spec.path.clone() })
    };
    let in_memory = fits_into_memory(&[&part], opening);
    match part {
        Part::Source(source) if !in_memory => {
            let all = Streamed::open(source.clone(), (0..source.len()).collect(), opening.skipped.clone())?;
            if Gray::in_training(opening) == Gray::Refused {
                all.refuse_gray()?;
            }
            let names: Vec<String> = (0..source.len()).map(|index| source.name(index)).collect();
            let (train, validation) = divide(&names)?;
            let part = |indices| -> Result<Arc<dyn Dataset>, DataError> {
                Ok(Arc::new(Streamed::open(source.clone(), indices, opening.skipped.clone())?))
            };
            Ok((part(train)?, part(validation)?))
        }
        part => {
            let all = held(part, in_memory, Gray::in_training(opening), opening)?;
            let names: Vec<String> = (0..all.len()).map(|index| all.name(index)).collect();
            let parts = divide(&names)?;
            Ok(split::subsets(all, parts))
        }
    }
}

/// What is done with images that are all gray if the model takes RGB.
#[derive(Clone, Copy, PartialEq)]
enum Gray {
    Refused,
    Converted,
}

impl Gray {
    /// For images to train on.
    fn in_training(opening: &Opening<'_>) -> Self {
        if opening.options.data.gray_as_rgb { Self::Converted } else { Self::Refused }
    }
}

/// A part as a data set, its images decoded now or when they are asked for.
fn held(
    part: Part,
    in_memory: bool,
    gray: Gray,
    opening: &Opening<'_>,
) -> Result<Arc<dyn Dataset>, DataError> {
    match part {
        Part::Dataset { dataset, gray: true } if gray == Gray::Refused && dataset.shape().channels == 3 => {
            Err(DataError::Gray { file: dataset.name(0).into(), count: dataset.len() })
        }
        Part::Dataset { dataset, .. } => Ok(dataset),
        Part::Source(source) if in_memory => Ok(Arc::new(decoded(&*source, gray, &opening.skipped)?)),
        Part::Source(source) => {
            let all = (0..source.len()).collect();
            let streamed = Streamed::open(source, all, opening.skipped.clone())?;
            if gray == Gray::Refused {
                streamed.refuse_gray()?;
            }
            Ok(Arc::new(streamed))
        }
    }
}

/// Whether the pixels may be kept. Random crops differ from time to time, so that there is nothing to keep.
fn fits_into_memory(parts: &[&Part], opening: &Opening<'_>) -> bool {
    let bytes = |part: &Part| match part {
        Part::Source(source) => source.len() as u64 * source.fit().shape.bytes() as u64,
        Part::Dataset { .. } => 0,
    };
    let data = &opening.options.data;
    data.random_crop == 0 && parts.iter().map(|part| bytes(part)).sum::<u64>() <= data.cache_bytes
}

/// The usable images of a source.
fn decoded(source: &dyn Source, gray: Gray, skipped: &SkippedReport) -> Result<Memory, DataError> {
    let shape = source.fit().shape;
    let (mut pixels, results) = decode_all(source, skipped)?;
    let labels: Vec<Option<u32>> = results.iter().map(|result| result.map(|(label, _)| label)).collect();
    let usable = results.iter().flatten().count();
    let grays = results.iter().flatten().filter(|(_, was_gray)| *was_gray).count();
    if grays == usable && gray == Gray::Refused {
        let file = source.root().join(source.name(0));
        return Err(DataError::Gray { file, count: usable });
    }
    skipped.count_gray(grays, usable);
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

/// The pixels of all images, and of each its label and whether it was gray; `None` for images that cannot
/// be used, whose pixels mean nothing.
type Decoded = (Vec<u8>, Vec<Option<(u32, bool)>>);

/// Decodes a source on all cores into one buffer, in its order.
fn decode_all(source: &dyn Source, skipped: &SkippedReport) -> Result<Decoded, DataError> {
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
                    Ok((fitted, class)) => {
                        slot.copy_from_slice(&fitted.pixels);
                        *label = Some((class, fitted.was_gray));
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
    let bar = ProgressBar::new(count as u64).with_style(style);
    notice::above(&bar);
    bar
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

    fn example(&self, index: usize, fitted: Fitted, label: u32) -> Example {
        if fitted.was_gray {
            self.skipped.record_gray(&self.source.name(index));
        }
        Example { pixels: fitted.pixels, label }
    }

    /// Fails if the model takes RGB and all of a few images, spread over the data set, are gray.
    fn refuse_gray(&self) -> Result<(), DataError> {
        let probes = self.indices.iter().step_by(self.indices.len().div_ceil(PROBES));
        let mut usable = probes.filter_map(|&index| self.source.load(index, 0).ok()).peekable();
        if usable.peek().is_some() && usable.all(|(fitted, _)| fitted.was_gray) {
            let file = self.source.root().join(self.source.name(self.indices[0]));
            return Err(DataError::Gray { file, count: self.indices.len() });
        }
        Ok(())
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
                Ok((fitted, label)) => {
                    for (file, reason) in &failures {
                        self.skipped.record(file, &reason.reason());
                    }
                    return Ok(self.example(index, fitted, label));
                }
                Err(reason) => failures.push(failure(&*self.source, index, reason)),
            }
        }
        Err(none_usable(failures.into_iter()))
    }

    fn get(&self, index: usize) -> Result<Option<Example>, DataError> {
        let index = self.indices[index];
        match self.source.load(index, 0) {
            Ok((fitted, label)) => Ok(Some(self.example(index, fitted, label))),
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
