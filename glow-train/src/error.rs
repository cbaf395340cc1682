//! What can go wrong in a run.
use crate::device::DeviceError;
use crate::distributed::DistributedError;
use crate::flow::MissingLabels;
use glow_data::DataError;
use glow_models::{Architecture, CheckpointError, Config, ConfigError, PretrainedError};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// A run that cannot start or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The configuration cannot be used.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The data set cannot be used.
    #[error("the data set cannot be used")]
    Data(#[from] DataError),
    /// The data set is not where a relative path leads from here.
    #[error(
        "the run was started in {folder}, and {data} is meant from there: resume it there, or name the data set anew \
         by --data"
    )]
    MovedData {
        /// The data set.
        data: String,
        /// The folder that the run was started in.
        folder: String,
        /// Why it cannot be used from here.
        source: Box<DataError>,
    },
    /// The device cannot be used.
    #[error("the device cannot be used")]
    Device(#[from] DeviceError),
    /// The processes cannot train together.
    #[error(transparent)]
    Distributed(#[from] DistributedError),
    /// A checkpoint cannot be used.
    #[error("cannot go on from the checkpoint")]
    Checkpoint(#[from] CheckpointError),
    /// A batch without labels reached a model with classes.
    #[error(transparent)]
    Labels(#[from] MissingLabels),
    /// A run cannot start from these weights.
    #[error("cannot start from the weights asked for")]
    Pretrained(#[from] PretrainedError),
    /// A file of the run cannot be written.
    #[error("cannot write {path}; what was saved before still stands")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A sample grid cannot be written.
    #[error("cannot write the picture {path}")]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
    /// A file of the run cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder already holds a run.
    #[error("{path} already holds a run: go on with it by --resume, or choose another --out")]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// Another process trains in the folder.
    #[error(
        "{path} is in use: {} trains there; let it end or stop it (it saves what it has at Ctrl-C or SIGTERM), or \
         choose another --out",
        if holder.is_empty() { "another process" } else { holder }
    )]
    Busy {
        /// The folder.
        path: PathBuf,
        /// Which process of which machine, if it is known.
        holder: String,
    },
    /// Reversible steps with products in TF32.
    #[error(
        "--precision tf32 cannot be used with --memory reversible, which it was never tried with: take --precision \
         bf16 or fp32, or --memory checkpoint"
    )]
    ReversibleTf32,
    /// A reversible step's inputs, recomputed from its outputs, are not what they were.
    #[error(
        "at step {step}, reversible training recomputed its images only to within {drift:.2e} of what they were (at \
         most {} is taken): the step is not taken; resume with --memory checkpoint or a lower --lr",
        crate::trainer::MAX_DRIFT
    )]
    Drift {
        /// Steps done.
        step: u64,
        /// The largest |recomputed − given| of a number of x, in which a pixel's 256 values span 1.
        drift: f64,
    },
    /// A batch does not hold what the model asks for.
    #[error("a batch of images does not fit the model: {problem}")]
    Batch {
        /// What is wrong with it.
        problem: String,
    },
    /// libtorch refused an operation: memory ran out, above all.
    #[error("{doing} failed{}: {message}", remedy(message))]
    Torch {
        /// What was being done.
        doing: &'static str,
        /// What libtorch said.
        message: String,
    },
    /// An error in the middle of an update left parameters of which some are from before the step and some
    /// from after it.
    #[error("{path} is not written, as a step was half taken; the checkpoint before stands")]
    HalfStep {
        /// The checkpoint.
        path: PathBuf,
    },
    /// The checkpoint is of another architecture.
    #[error("{path} holds another model than the one asked for: {}", differences(checkpoint, asked))]
    OtherArchitecture {
        /// The checkpoint.
        path: PathBuf,
        /// Its architecture.
        checkpoint: Box<Architecture>,
        /// The architecture asked for.
        asked: Box<Architecture>,
    },
    /// The data set has more classes than the model, or none for a model with classes.
    #[error(
        "the data set has {data} classes, the model {model}: set --classes {data}{}",
        if *data == 0 { "" } else { ", or 0 for an unconditional model" }
    )]
    Classes {
        /// Classes of the data set.
        data: usize,
        /// Classes of the model.
        model: usize,
    },
    /// Training diverged.
    #[error(
        "at step {step}, loss or gradient were not finite for {skipped} steps in a row, first in {layer}; \
         no such step was taken and the last checkpoint is good: go on from it with a lower --lr or with \
         --clip-grad-norm"
    )]
    Diverged {
        /// Steps done.
        step: u64,
        /// Steps skipped in a row.
        skipped: u64,
        /// The first layer whose output was not finite, or the first parameter, going back, whose gradient
        /// was not.
        layer: String,
    },
}

impl TrainError {
    /// Tells of the folder that the run was started in, if `data` has a relative path and is not found.
    pub(crate) fn with_working_folder(self, data: &str, folder: &str) -> Self {
        let relative = data.split_once(':').is_some_and(|(_, path)| std::path::Path::new(path).is_relative());
        let here = std::env::current_dir().is_ok_and(|here| here == std::path::Path::new(folder));
        match self {
            Self::Data(source @ DataError::Missing { .. }) if relative && !here && !folder.is_empty() => {
                Self::MovedData { data: data.into(), folder: folder.into(), source: Box::new(source) }
            }
            other => other,
        }
    }
}

/// What to do about an error of libtorch.
fn remedy(message: &str) -> &'static str {
    if crate::torch::is_out_of_memory(message) {
        " for want of memory (lower --batch-size, --init-batch or --hidden, or train with --memory reversible and \
         --precision bf16)"
    } else {
        ""
    }
}

/// The hyperparameters in which two architectures differ.
fn differences(checkpoint: &Architecture, asked: &Architecture) -> String {
    let [there, asked] = [checkpoint, asked].map(|architecture| {
        let config = Config { model: architecture.clone(), ..Config::default() };
        move |name| config.get(name).unwrap_or_default()
    });
    let names =
        Architecture::FIELDS.iter().map(|field| field.name).filter(|&name| there(name) != asked(name));
    let list: Vec<String> =
        names.map(|name| format!("{name} is {} there and {} here", there(name), asked(name))).collect();
    list.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_architecture_is_told_by_what_differs() {
        let checkpoint = Architecture::default();
        let asked = Architecture { depth: 4, edge_bias: false, ..checkpoint.clone() };
        let told = differences(&checkpoint, &asked);
        assert_eq!(told, "depth is 32 there and 4 here; edge_bias is true there and false here");
    }
}
