//! Why a checkpoint could not be frozen.
use crate::Verification;
use glow_models::{BundleError, CheckpointError};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// A checkpoint that was not exported. Whatever was at the destination before is still there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Training never began: the actnorms were not initialised from data.
    #[error(
        "{path} is of a model that has not seen an image (its actnorms are not initialised): train it first"
    )]
    Uninitialised {
        /// The checkpoint.
        path: PathBuf,
    },
    /// A parameter is infinite or not a number.
    #[error(
        "tensor {tensor} of the checkpoint holds {value}: the training diverged; export an earlier checkpoint"
    )]
    NotFinite {
        /// The tensor, with its group.
        tensor: String,
        /// The first such value.
        value: f32,
    },
    /// A fixed permutation names a channel twice, or one that does not exist.
    #[error("tensor {tensor} of the checkpoint is not a permutation of the channels")]
    NotPermutation {
        /// The tensor, with its group.
        tensor: String,
    },
    /// An invertible 1×1 convolution that has no inverse.
    #[error("the 1×1 convolution {layer} cannot be inverted: its matrix is singular")]
    Singular {
        /// The layer.
        layer: String,
    },
    /// A folded weight does not fit its number format.
    #[error(
        "the folded weight {tensor} is too large for {format}: actnorm or 1×1 convolution of this layer are degenerate"
    )]
    Overflow {
        /// The frozen tensor.
        tensor: String,
        /// The number format.
        format: &'static str,
    },
    /// Quantising needs images to measure activations on, and none were given.
    #[error(
        "int8 needs real images to calibrate on: give some, like those of the training, with --calibrate DATA"
    )]
    NoCalibration,
    /// The steps that are to stay in fp32 cannot be.
    #[error("steps to keep in fp32: the model has no such choice: {problem}")]
    Keep {
        /// What is wrong with them.
        problem: String,
    },
    /// The images to calibrate on cannot be used.
    #[error("cannot calibrate on {data}: {reason}")]
    Calibration {
        /// The data set.
        data: String,
        /// Why not, and the way out.
        reason: String,
    },
    /// The float64 evaluation itself finds no finite sample of the model, at no temperature.
    #[error(
        "the model has no samples: even at temperature 0 its decoder gives numbers that are not finite, in \
         float64 as well; it has hardly been trained, or the training diverged: export a later or an earlier checkpoint"
    )]
    NoSamples,
    /// A real image leads the float64 evaluation to numbers that are not finite.
    #[error(
        "calibration image {image} leads to numbers that are not finite, in float64 as well: the training diverged; \
         export an earlier checkpoint"
    )]
    NotFiniteImage {
        /// Its number among the images to calibrate on, from 0.
        image: usize,
    },
    /// An activation comes so near to the largest number of half precision that other images may pass it.
    #[error(
        "{layer} gives {largest:.0} on the images looked at, too near to 65504, the largest number of half precision: \
         other images may overflow; export in fp32, or in int8 for CPUs"
    )]
    HalfRange {
        /// The convolution.
        layer: String,
        /// Its largest absolute output.
        largest: f32,
    },
    /// The images to calibrate on cannot be read.
    #[error("cannot calibrate on {data}")]
    Data {
        /// The data set.
        data: String,
        /// Why not.
        source: glow_data::DataError,
    },
    /// A graph with its weights inside would be larger than protobuf allows.
    #[error(
        "{file} would have {bytes} bytes, more than the 2 GiB of a single-file graph: export without --inline"
    )]
    InlineTooLarge {
        /// The graph.
        file: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// The number format costs more than it should, or images do not come back as they should.
    #[error(
        "the bundle is worse than its number format should be, and nothing was written (--allow-inexact writes it all \
         the same):\n{0}"
    )]
    Inexact(Verification),
    /// The destination is something else than a bundle.
    #[error("{path} is not a place for a bundle: {reason}")]
    Destination {
        /// The destination.
        path: PathBuf,
        /// What stands there, and the way out.
        reason: &'static str,
    },
    /// A file or folder cannot be written, read or renamed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The bundle just written cannot be sealed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle just written does not run.
    #[error(
        "the exported graphs could not be run for verification, and nothing was written (a model that has \
         hardly been trained can be like that; --no-verify skips it)"
    )]
    Runtime(#[from] glow_runtime::Error),
    /// The graphs compute something else than the float64 evaluation of the checkpoint.
    #[error("verification failed, and nothing was written (--no-verify skips it):\n{0}")]
    Verification(Verification),
}

impl ExportError {
    /// Turns an I/O error into one that says what was tried with which path.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
