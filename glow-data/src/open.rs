//! Opening a data set.
use crate::fit::Fit;
use crate::kinds::{celeba, cifar10, imagenet, images, lsun, mnist, openai};
use crate::{DataError, DataKind, DataSpec, ImageShape, Splits, folder};

/// How [`open`] divides and holds a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenOptions {
    /// The part of the images set aside for validation, at least 0 and below 1, where the data set
    /// has no test set of its own. Whatever it is, each part gets one image or more. Default 0.1.
    pub validation_fraction: f64,
    /// Decides, together with the images' names alone, which of them are set aside: where images
    /// are added to a folder, nearly all others stay in their part. Default 0.
    pub seed: u64,
    /// Images whose decoded pixels fit into this many bytes are decoded once, at opening; more are decoded
    /// again each time they are needed. Default 2 GiB.
    pub cache_bytes: u64,
    /// Pixels that an image's shorter side is averaged down to, if it has more, before a place of the model's
    /// size is cropped from it at random; 0 for the centre, averaged down to the model's size. Such images
    /// are decoded each time they are needed. Default 0.
    pub random_crop: usize,
    /// Classes of the model; the labels in TFRecord files are below it. 0 for a model that takes no labels.
    /// Default 0.
    pub classes: usize,
    /// The attribute of `celeba:` that gives the images their classes, 1 with it and 0 without; empty
    /// for no classes. Default empty.
    pub attribute: String,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            validation_fraction: 0.1,
            seed: 0,
            cache_bytes: 2 << 30,
            random_crop: 0,
            classes: 0,
            attribute: String::new(),
        }
    }
}

/// Opens the data set `spec` for a model that takes images of `shape`.
///
/// Larger images are centre-cropped to the model's aspect ratio and reduced by exact area
/// averaging, or cropped at random; RGB becomes gray for a model of one channel. Nothing is enlarged and gray never
/// becomes RGB. Transparency is ignored, and the orientation that a camera noted is applied.
///
/// Images in folders, LMDB and TFRecord files that fit [`OpenOptions::cache_bytes`] are decoded here, on all
/// cores, with a progress bar if stderr is a terminal, and those that cannot be used are left out. More are
/// only listed; an image that later turns out to be unusable is replaced by the next one.
///
/// # Errors
/// If the folder or its files are missing, malformed or hold no image that the model can take, or
/// if `shape` or `options` make no sense. See [`DataError`].
pub fn open(spec: &DataSpec, shape: ImageShape, options: &OpenOptions) -> Result<Splits, DataError> {
    shape.check()?;
    if !(0.0..1.0).contains(&options.validation_fraction) {
        return Err(DataError::Option {
            problem: format!(
                "the validation fraction {}: give a number from 0 to below 1",
                options.validation_fraction
            ),
        });
    }
    check_options(spec.kind, shape, options)?;
    let fit = Fit { shape, random_crop: options.random_crop };
    // lsun: may name a category in its folder.
    if spec.kind != DataKind::Lsun {
        folder::check(&spec.path)?;
    }
    match spec.kind {
        DataKind::Images => images::open(&spec.path, folder::list(&spec.path)?, fit, options),
        DataKind::Celeba => celeba::open(&spec.path, fit, options),
        DataKind::Cifar10 => cifar10::open(&spec.path, shape),
        DataKind::Imagenet => imagenet::open(&spec.path, shape, options),
        DataKind::Lsun => lsun::open(&spec.path, fit, options),
        DataKind::Mnist => mnist::open(&spec.path, shape, options),
        DataKind::Tfrecord => openai::open(&spec.path, fit, options),
    }
}

/// Refuses options that the kind would ignore.
fn check_options(kind: DataKind, shape: ImageShape, options: &OpenOptions) -> Result<(), DataError> {
    let problem = if !options.attribute.is_empty() && kind != DataKind::Celeba {
        format!("--attribute {}: only celeba: has attributes, not {}:", options.attribute, kind.name())
    } else if options.random_crop == 0 {
        return Ok(());
    } else if matches!(kind, DataKind::Cifar10 | DataKind::Imagenet | DataKind::Mnist) {
        format!(
            "--random-crop {}: images of {}: have their size already; set it to 0",
            options.random_crop,
            kind.name()
        )
    } else if options.random_crop < shape.height.max(shape.width) {
        format!(
            "--random-crop {}: the model takes {shape} pixels; give at least its longer side, or 0",
            options.random_crop
        )
    } else {
        return Ok(());
    };
    Err(DataError::Option { problem })
}
