//! What can be wrong with a data set.

use std::io;
use std::path::{Path, PathBuf};

#[cfg(feature = "datasets")]
use crate::DataKind;
use crate::Misfit;
use crate::folder::{EXTENSIONS, LeftOut};

/// Why one image cannot be used; the text follows the name of its file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The operating system refused.
    #[error("cannot be read as an image")]
    Read(#[from] io::Error),
    /// It is not an image, is damaged, or is larger than the limits.
    #[error("cannot be read as an image")]
    Decode(#[from] image::ImageError),
    /// A record of a data set's file is not of the form that it should have.
    #[error("cannot be read as an image: {0}")]
    Record(String),
    /// It cannot be brought to the model's shape.
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

impl ImageError {
    /// The text with its cause.
    pub fn reason(&self) -> String {
        match self {
            Self::Read(source) => format!("{self}: {source}"),
            // Its text contains those of its causes.
            Self::Decode(source) => format!("{self}: {source}"),
            Self::Record(_) | Self::Misfit(_) => self.to_string(),
        }
    }
}

/// Why data cannot be used. Each message names the file and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The text is not `KIND:PATH`.
    #[cfg(feature = "datasets")]
    #[error(
        "data set {text:?}: write KIND:PATH, where KIND is one of {}",
        DataKind::ALL.map(|kind| format!("{}:", kind.name())).join(", ")
    )]
    Spec {
        /// The text as given.
        text: String,
    },

    /// An option has a value that makes no sense.
    #[error("{problem}")]
    Option {
        /// The option, its value and the values it can have.
        problem: String,
    },

    /// A file or folder is not there.
    #[error("{}: not found; {hint}", path.display())]
    Missing {
        /// What was looked for.
        path: PathBuf,
        /// What should be there.
        hint: &'static str,
    },

    /// The path of a data set is not a folder.
    #[error("{}: is not a folder; give the folder that holds the data set", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },

    /// The operating system refused.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },

    /// A file of a data set is malformed.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },

    /// There is no file with the extension of an image.
    #[error(
        "{}: no images here; looked in all sub-folders for files ending in {}{}{left_out}",
        path.display(), EXTENSIONS.join(", "), if left_out.is_empty() { "" } else { "; " }
    )]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// What was seen and is not read.
        left_out: LeftOut,
    },

    /// A data set has classes that the model has not, or none where the model has some.
    #[error(
        "{data}: {}; the model's classes are {}",
        match unknown.as_slice() {
            [] => "its images have no classes (a folder for each class, or an attribute of celeba:)".to_string(),
            names => format!("the model has no class {}: rename or take out these folders", names.join(", ")),
        },
        known.join(", ")
    )]
    Classes {
        /// The data set.
        data: String,
        /// Its classes that the model has not.
        unknown: Vec<String>,
        /// The names of the model's classes.
        known: Vec<String>,
    },

    /// A single image cannot be divided into training and validation.
    #[error(
        "{}: one usable image is too few; at least two are needed, one of them for validation",
        path.display()
    )]
    TooFew {
        /// The folder.
        path: PathBuf,
    },

    /// All images are smaller than the model's.
    #[error(
        "{}: {width}×{height} pixels, smaller than the model's {model_width}×{model_height}, as are all {count} images; \
         images are never enlarged, so train a smaller model or take larger images",
        file.display()
    )]
    TooSmall {
        /// The first image.
        file: PathBuf,
        /// Its height in pixels.
        height: usize,
        /// Its width in pixels.
        width: usize,
        /// The model's height in pixels.
        model_height: usize,
        /// The model's width in pixels.
        model_width: usize,
        /// How many images there are.
        count: usize,
    },

    /// All images to train on are gray and the model takes RGB.
    #[error(
        "{}: grayscale, as are all {count} images, and the model takes RGB; \
         train a model of one channel (--channels 1), or let them be RGB with R = G = B (--gray-as-rgb true)",
        file.display()
    )]
    Gray {
        /// The first image.
        file: PathBuf,
        /// How many images there are.
        count: usize,
    },

    /// None of a folder's images can be used, and not all for one of the reasons above.
    #[error("none of the {count} images can be used; the first, {}, {reason}", file.display())]
    NoneUsable {
        /// The first image.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// How many images there are.
        count: usize,
    },

    /// A decoding thread panicked: a bug, in a `Dataset` or below it.
    #[error("a data loading thread panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },

    /// The operating system starts no more threads.
    #[error("cannot start a data loading thread")]
    Thread {
        /// Its reason.
        source: io::Error,
    },
}

impl DataError {
    /// For `map_err` on input and output that concerns `path`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Read { path: path.into(), source }
    }

    /// The error for a data set whose `count` images, the first of them in `file`, are all misfits.
    #[cfg(feature = "datasets")]
    pub(crate) fn misfits(misfit: Misfit, file: &Path, count: usize) -> Self {
        let file = file.into();
        let Misfit::TooSmall { height, width, model_height, model_width } = misfit;
        Self::TooSmall { file, height, width, model_height, model_width, count }
    }
}
