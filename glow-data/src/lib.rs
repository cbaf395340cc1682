//! Images and data sets, without any tensor library: from files to the pixels that a model takes.
//!
//! | module | is |
//! | --- | --- |
//! | `decode` | an image file's pixels, within limits, turned as its EXIF orientation says |
//! | `fit`, `area` | an image of any size at the model's size: crop, area averaging, RGB to gray |
//! | `jpeg` | whether a JPEG file is complete |
//! | [`folder`] | the image files below a folder, and their classes |
//! | `grid` | many images on one sheet |
//!
//! With the feature `datasets`:
//!
//! | module | is |
//! | --- | --- |
//! | `spec`, `open` | `KIND:PATH`, and opening what it names |
//! | `opening` | what a kind is given to open a folder, and what it gives back |
//! | `dataset` | the trait [`Dataset`] and its two parts, [`Splits`] |
//! | `kinds` | a file for each kind of data set |
//! | `containers` | the file formats that kinds are stored in: idx, LMDB, npz, pickle, TFRecord |
//! | [`notice`] | lines for a person, above a progress bar |
//! | `source`, `memory`, `skipped` | decoding at once or on demand, and the account of unusable images |
//! | `split`, `order`, `augment` | held-out images, the order of images, random changes to them |
//! | `loader` | batches, decoded ahead on threads |
//!
//! Pixels are bytes in (row, column, channel) order throughout; dequantization and the reduction to
//! fewer bits are the model's work.
//!
//! ```no_run
//! # #[cfg(feature = "datasets")] {
//! use glow_data::{ImageShape, Loader, LoaderOptions, OpenOptions};
//!
//! let spec = "images:photos".parse()?;
//! let shape = ImageShape { height: 64, width: 64, channels: 3 };
//! let splits = glow_data::open(&spec, shape, &OpenOptions::default())?;
//! let loader = Loader::new(splits.train, &LoaderOptions::default())?;
//! for batch in loader.take(1000) {
//!     let batch = batch?;
//!     println!("{} images from number {}", batch.count, batch.first_image);
//! }
//! if splits.skipped.count() > 0 {
//!     eprintln!("{}", splits.skipped);
//! }
//! # }
//! # Ok::<(), glow_data::DataError>(())
//! ```
//!
//! Bad input ends in a [`DataError`] or [`ImageError`] that names the file and the way out, never in a
//! panic. In a folder of many images, single unusable ones are skipped and listed in a `SkippedReport`.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod area;
mod decode;
mod error;
mod fit;
pub mod folder;
#[cfg(all(fuzzing, feature = "datasets"))]
pub mod fuzzed;
mod grid;
mod jpeg;
mod shape;

#[cfg(feature = "datasets")]
mod augment;
#[cfg(feature = "datasets")]
mod containers;
#[cfg(feature = "datasets")]
mod dataset;
#[cfg(feature = "datasets")]
mod kinds;
#[cfg(feature = "datasets")]
mod loader;
#[cfg(feature = "datasets")]
mod memory;
#[cfg(feature = "datasets")]
pub mod notice;
#[cfg(feature = "datasets")]
mod open;
#[cfg(feature = "datasets")]
mod opening;
#[cfg(feature = "datasets")]
mod order;
#[cfg(feature = "datasets")]
mod skipped;
#[cfg(feature = "datasets")]
mod source;
#[cfg(feature = "datasets")]
mod spec;
#[cfg(feature = "datasets")]
mod split;
#[cfg(all(test, feature = "datasets"))]
mod tests;

pub use decode::{decode_image, fit_decoded, open_image, read_image};
pub use error::{DataError, ImageError};
pub use fit::{Fit, Fitted, Misfit, fit_image};
pub use grid::{Grid, GridLayout};
pub use shape::ImageShape;

#[cfg(feature = "datasets")]
pub use {
    containers::tfrecord,
    dataset::{Dataset, Example, Splits},
    kinds::celeba_lists::{CelebaAttributes, images_folder as celeba_images_folder},
    loader::{Batch, Loader, LoaderOptions, Part},
    open::{Opened, open, open_all},
    opening::OpenOptions,
    skipped::{SkippedImage, SkippedReport},
    spec::{DataKind, DataSpec},
};
