//! Opening a data set: its kind's parts, the division for validation, and classes by their names.
use std::fmt;
use std::sync::Arc;

use glow_models::Data;

use crate::fit::Fit;
use crate::kinds::{celeba, cifar10, imagenet, images, lsun, mnist, openai};
use crate::opening::{OpenOptions, Opening, Parts};
use crate::source;
use crate::split::{Concatenated, Relabelled};
use crate::{DataError, DataKind, DataSpec, Dataset, ImageShape, SkippedReport, Splits, folder};

/// All images of a data set.
#[derive(Clone)]
pub struct Opened {
    /// The images.
    pub dataset: Arc<dyn Dataset>,
    /// The images that were skipped so far.
    pub skipped: Arc<SkippedReport>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("images", &self.dataset.len()).finish()
    }
}

/// Opens the data set `spec` for a model that takes images of `shape`.
///
/// Each image is cropped as [`Data::crop`] says; the largest centred rectangle of the model's aspect ratio
/// is averaged down by area, or a place of it is cropped at random. RGB becomes gray for a model of one
/// channel, and gray images among others become RGB with R = G = B. Nothing is enlarged. Transparent pixels
/// get the colour [`Data::background`], and the orientation that a camera noted is applied.
///
/// The validation images are those of [`Data::validation`] if it names some, else the data set's own, else a
/// part of it that is set aside.
///
/// Images in folders, LMDB and TFRecord files that fit [`Data::cache_bytes`] are decoded here, on all
/// cores, with a progress bar if stderr is a terminal, and those that cannot be used are left out. More are
/// only listed; an image that later turns out to be unusable is replaced by the next one.
///
/// # Errors
/// If the folder or its files are missing, malformed or hold no image that the model can take, if all are
/// gray and the model takes RGB, if the data set has a class that the model has not, or if `shape` or
/// `options` make no sense. See [`DataError`].
pub fn open(spec: &DataSpec, shape: ImageShape, options: &OpenOptions) -> Result<Splits, DataError> {
    if !(0.0..1.0).contains(&options.data.validation_fraction) {
        return Err(DataError::Option {
            problem: format!(
                "the validation fraction {}: give a number from 0 to below 1",
                options.data.validation_fraction
            ),
        });
    }
    let opening = opening(spec, shape, options)?;
    let Parts { train, test } = parts(spec, &opening)?;
    let validation = match options.data.validation.as_str() {
        "" => test,
        text => {
            let Parts { train, test } = parts(&DataSpec::from_argument(text)?, &opening)?;
            Some(test.unwrap_or(train))
        }
    };
    let mut splits = source::split(spec, train, validation, &opening)?;
    if options.classes > 0 {
        let names = match options.class_names.as_slice() {
            [] => splits.train.classes().to_vec(),
            names => names.to_vec(),
        };
        splits.train = by_name(spec, splits.train, &names)?;
        splits.validation = by_name(spec, splits.validation, &names)?;
    }
    Ok(splits)
}

/// Opens all images of the data set `spec`, those to train on first. Gray images become RGB for a model
/// that takes RGB, also if all are gray.
///
/// # Errors
/// As for [`open`].
pub fn open_all(spec: &DataSpec, shape: ImageShape, options: &OpenOptions) -> Result<Opened, DataError> {
    let opening = opening(spec, shape, options)?;
    let Parts { train, test } = parts(spec, &opening)?;
    let mut datasets = Vec::new();
    for part in [Some(train), test].into_iter().flatten() {
        let dataset = source::whole(part, &opening)?;
        datasets.push(match options.classes {
            0 => dataset,
            _ => by_name(spec, dataset, &options.class_names)?,
        });
    }
    Ok(Opened { dataset: Concatenated::of(datasets), skipped: opening.skipped })
}

/// What the kind of `spec` needs to know.
fn opening<'a>(
    spec: &DataSpec,
    shape: ImageShape,
    options: &'a OpenOptions,
) -> Result<Opening<'a>, DataError> {
    shape.check()?;
    check_options(spec.kind, shape, &options.data)?;
    let fit =
        Fit { shape, preprocessing: options.data.preprocessing(), random_crop: options.data.random_crop };
    Ok(Opening { fit, options, skipped: Arc::default() })
}

/// What the kind of `spec` finds in its folder.
fn parts(spec: &DataSpec, opening: &Opening<'_>) -> Result<Parts, DataError> {
    let path = &spec.path;
    // lsun: may name a category in its folder.
    if spec.kind != DataKind::Lsun {
        folder::check(path)?;
    }
    match spec.kind {
        DataKind::Images => images::open(path, opening),
        DataKind::Celeba => celeba::open(path, opening),
        DataKind::Cifar10 => cifar10::open(path, opening),
        DataKind::Imagenet => imagenet::open(path, opening),
        DataKind::Lsun => lsun::open(path, opening),
        DataKind::Mnist => mnist::open(path, opening),
        DataKind::Tfrecord => openai::open(path, opening),
    }
}

/// A data set with the labels of `names`.
fn by_name(
    spec: &DataSpec,
    dataset: Arc<dyn Dataset>,
    names: &[String],
) -> Result<Arc<dyn Dataset>, DataError> {
    let classes = dataset.classes();
    if names.is_empty() || classes == names {
        return Ok(dataset);
    }
    let unknown: Vec<String> = classes.iter().filter(|class| !names.contains(class)).cloned().collect();
    if classes.is_empty() || !unknown.is_empty() {
        return Err(DataError::Classes { data: spec.to_string(), unknown, known: names.to_vec() });
    }
    Ok(Arc::new(Relabelled::new(dataset, names.to_vec())))
}

/// Refuses options that the kind would ignore.
fn check_options(kind: DataKind, shape: ImageShape, data: &Data) -> Result<(), DataError> {
    let problem = if !data.attribute.is_empty() && kind != DataKind::Celeba {
        format!("--attribute {}: only celeba: has attributes, not {}:", data.attribute, kind.name())
    } else if data.random_crop == 0 {
        return Ok(());
    } else if matches!(kind, DataKind::Cifar10 | DataKind::Imagenet | DataKind::Mnist) {
        format!(
            "--random-crop {}: images of {}: have their size already; set it to 0",
            data.random_crop,
            kind.name()
        )
    } else if data.random_crop < shape.height.max(shape.width) {
        format!(
            "--random-crop {}: the model takes {shape} pixels; give at least its longer side, or 0",
            data.random_crop
        )
    } else {
        return Ok(());
    };
    Err(DataError::Option { problem })
}
