//! Images for training: data sets as `KIND:PATH`, and a loader that decodes ahead of the model.
//!
//! [`open`] turns a [`DataSpec`] into a training and a validation [`Dataset`]; a [`Loader`] turns a
//! data set into [`Batch`]es on threads of its own. Pixels are bytes in (row, column, channel)
//! order throughout; dequantization and the reduction to fewer bits are the model's work.
//!
//! ```no_run
//! use glow_train::data::{self, ImageShape, Loader, LoaderOptions, OpenOptions};
//!
//! let spec = "images:photos".parse()?;
//! let shape = ImageShape { height: 64, width: 64, channels: 3 };
//! let splits = data::open(&spec, shape, &OpenOptions::default())?;
//! let loader = Loader::new(splits.train, &LoaderOptions::default())?;
//! for batch in loader.take(1000) {
//!     let batch = batch?;
//!     println!("{} images from number {}", batch.count, batch.first_image);
//! }
//! if splits.skipped.count() > 0 {
//!     eprintln!("{}", splits.skipped);
//! }
//! # Ok::<(), data::DataError>(())
//! ```
//!
//! What the outside gets wrong ends in a [`DataError`] that names the file and what to do, never in
//! a panic. In a folder of many images, single ones that cannot be used are skipped and listed in a
//! [`SkippedReport`].

mod augment;
mod celeba;
mod cifar10;
mod decode;
mod error;
mod fit;
mod folder;
mod idx;
mod imagenet;
mod images;
mod lmdb;
mod loader;
mod lsun;
mod memory;
mod mnist;
mod npz;
mod order;
mod pickle;
mod skipped;
mod source;
mod spec;
mod split;
#[cfg(test)]
mod tests;
mod tfrecord;

use std::fmt;
use std::sync::Arc;

use fit::Fit;

pub use error::DataError;
pub use loader::{Batch, Loader, LoaderOptions};
pub use skipped::{SkippedImage, SkippedReport};
pub use spec::{DataKind, DataSpec};

/// The shape of the images that a model takes, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows, 1 to 32,768.
    pub height: usize,
    /// Columns, 1 to 32,768.
    pub width: usize,
    /// 1 (gray) or 3 (RGB).
    pub channels: usize,
}

impl ImageShape {
    /// Bytes of one image: height · width · channels.
    pub fn bytes(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn check(&self) -> Result<(), DataError> {
        let sides = 1..=32_768;
        if !sides.contains(&self.height) || !sides.contains(&self.width) {
            return Err(DataError::Option {
                problem: format!("the image size {self}: sides are 1 to 32768 pixels"),
            });
        }
        if self.channels != 1 && self.channels != 3 {
            return Err(DataError::Option {
                problem: format!("{} channels: give 1 for gray or 3 for RGB", self.channels),
            });
        }
        Ok(())
    }
}

/// `WIDTH×HEIGHT`, as image sizes are commonly written.
impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.width, self.height)
    }
}

/// One image and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// `H·W·C` bytes in (row, column, channel) order.
    pub pixels: Vec<u8>,
    /// Index into [`Dataset::classes`]; 0 where there are none.
    pub label: u32,
}

/// A finite, ordered collection of images of one shape.
pub trait Dataset: Send + Sync {
    /// Number of images; at least one in every data set that [`open`] returns.
    fn len(&self) -> usize;

    /// Whether there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of every image.
    fn shape(&self) -> ImageShape;

    /// Image `index`, decoded and fitted to [`shape`](Self::shape). `chance`, any number, picks the place
    /// where the data set crops at random ([`OpenOptions::random_crop`]).
    ///
    /// # Errors
    /// When neither this image nor any that could stand in for it can be read.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    fn load(&self, index: usize, chance: u64) -> Result<Example, DataError>;

    /// What to call image `index` in messages: a path below the data set's folder, or a file and
    /// the number of a record.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    fn name(&self, index: usize) -> String;

    /// The names of the classes in the order of their labels; empty if images have no classes.
    fn classes(&self) -> &[String];
}

/// A data set in two parts that share no image.
#[derive(Clone)]
pub struct Splits {
    /// Images to train on.
    pub train: Arc<dyn Dataset>,
    /// Images to measure on: the official test set, or a part set aside.
    pub validation: Arc<dyn Dataset>,
    /// The images that were skipped so far, in either part.
    pub skipped: Arc<SkippedReport>,
}

impl fmt::Debug for Splits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Splits")
            .field("train", &self.train.len())
            .field("validation", &self.validation.len())
            .field("skipped", &self.skipped.count())
            .finish()
    }
}

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
        DataKind::Tfrecord => tfrecord::open(&spec.path, fit, options),
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
