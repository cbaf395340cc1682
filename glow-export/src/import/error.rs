//! Why a model could not be imported.
use crate::ExportError;
use glow_models::{ArchitectureError, BundleError, CheckpointError, ThawError, ValuesError};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// A file that was not imported. Whatever was at the destination before is still there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be read, or the checkpoint cannot be written.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is damaged, or none of those that are read.
    #[error("{path} cannot be read as {form}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it was taken for.
        form: &'static str,
        /// Why it is not one.
        reason: String,
    },
    /// The file's tensors have the names of no implementation that is known.
    #[error(
        "{path} holds none of the models that can be imported (rosinality, chaiyujin, y0ast, normflows, \
         openai); its first tensor is {first}"
    )]
    UnknownModel {
        /// The file.
        path: PathBuf,
        /// One of its names, or that there is none.
        first: String,
    },
    /// Something that the file does not say.
    #[error("give {setting}: {reason}")]
    Ask {
        /// The flag.
        setting: &'static str,
        /// Why it is asked for, and what the choices are.
        reason: String,
    },
    /// A setting that contradicts the file or has no meaning for it.
    #[error("{setting} {value} does not fit: {reason}")]
    Setting {
        /// The flag.
        setting: &'static str,
        /// Its value.
        value: String,
        /// Why not.
        reason: String,
    },
    /// The model computes what no checkpoint of this project can.
    #[error("this {implementation} model cannot be imported exactly: {reason}. What it would take: {needs}")]
    Refused {
        /// Whose it is.
        implementation: &'static str,
        /// What cannot be had.
        reason: String,
        /// What would make it possible.
        needs: String,
    },
    /// A tensor is missing or not what it should be.
    #[error("tensor {tensor} {problem}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor that has no place in the model: to leave it out could change what the model computes.
    #[error("tensor {tensor} is none that a model of {implementation} has, so that nothing was imported")]
    UnknownTensor {
        /// The first such tensor.
        tensor: String,
        /// Whose model it was taken for.
        implementation: &'static str,
    },
    /// What the file describes cannot be built.
    #[error("the file's architecture cannot be built")]
    Architecture(#[from] ArchitectureError),
    /// The mapped parameters do not make up the model.
    #[error("the file does not hold the whole model")]
    Values(#[from] ValuesError),
    /// The bundle is damaged.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle cannot be thawed.
    #[error(transparent)]
    Thaw(#[from] ThawError),
    /// The checkpoint just written cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// What was imported cannot be evaluated.
    #[error(transparent)]
    Evaluation(#[from] ExportError),
    /// Decoding does not undo encoding: the parameters are degenerate.
    #[error(
        "the imported model does not decode what it encodes (off by {difference:.1e}): the file is of a model that diverged"
    )]
    NotInvertible {
        /// The largest difference of x.
        difference: f64,
    },
}

impl ImportError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(super) fn tensor(tensor: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Tensor { tensor: tensor.into(), problem: problem.into() }
    }

    pub(super) fn ask(setting: &'static str, reason: impl Into<String>) -> Self {
        Self::Ask { setting, reason: reason.into() }
    }
}
