//! Data sets: the images of one shape in an order, and their division into two parts.
use std::fmt;
use std::sync::Arc;

use crate::{DataError, ImageShape, SkippedReport};

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
    /// Number of images; at least one in every data set that [`open`](crate::open) returns.
    fn len(&self) -> usize;

    /// Whether there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of every image.
    fn shape(&self) -> ImageShape;

    /// Image `index`, decoded and fitted to [`shape`](Self::shape). `chance`, any number, picks the place
    /// where the data set crops at random ([`Data::random_crop`](glow_models::Data::random_crop)).
    ///
    /// # Errors
    /// When neither this image nor any that could stand in for it can be read.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    fn load(&self, index: usize, chance: u64) -> Result<Example, DataError>;

    /// Image `index` itself, never one that stands in for it, cropped at the centre; `None` if it cannot be
    /// used, which is noted in [`Splits::skipped`].
    ///
    /// # Errors
    /// If the data set can no longer be read.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    fn get(&self, index: usize) -> Result<Option<Example>, DataError> {
        self.load(index, 0).map(Some)
    }

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
    /// Whether the validation images are the data set's own test set, rather than a part set aside.
    pub official: bool,
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
