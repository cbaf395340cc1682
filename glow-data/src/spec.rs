//! `KIND:PATH`, the way a data set is named on the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::DataError;

/// The kinds of data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// A folder tree of images; its first-level sub-folders are classes.
    Images,
    /// CIFAR-10, the binary version (`data_batch_1.bin` … `data_batch_5.bin`, `test_batch.bin`) or the Python
    /// one (the same names without `.bin`).
    Cifar10,
    /// MNIST or a set in its form: idx files, gzipped or not.
    Mnist,
    /// CelebA: the folder that holds `images` or `img_align_celeba`, and its attributes.
    Celeba,
    /// Downsampled ImageNet of any side: `train_data_batch_*.npz` and `val_data.npz`.
    Imagenet,
    /// LSUN: the folder that holds `bedroom_train_lmdb` and so on, or that and a category.
    Lsun,
    /// The TFRecord files of the published code: `train` and `validation` with `train-r08-s-0000-of-0120.tfrecords`
    /// and so on.
    Tfrecord,
}

impl DataKind {
    /// Every kind, in the order in which messages list them.
    pub const ALL: [Self; 7] =
        [Self::Images, Self::Cifar10, Self::Mnist, Self::Celeba, Self::Imagenet, Self::Lsun, Self::Tfrecord];

    /// The name before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Cifar10 => "cifar10",
            Self::Mnist => "mnist",
            Self::Celeba => "celeba",
            Self::Imagenet => "imagenet",
            Self::Lsun => "lsun",
            Self::Tfrecord => "tfrecord",
        }
    }
}

/// A data set on disk: what kind it is and the folder it is in. Parsed from `KIND:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSpec {
    /// How to read the folder.
    pub kind: DataKind,
    /// The folder.
    pub path: PathBuf,
}

impl DataSpec {
    /// From `KIND:PATH`, or from the path alone of a folder of images, as programs take it where images
    /// are the usual case.
    ///
    /// # Errors
    /// The text names a kind that does not exist and no folder either.
    pub fn from_argument(text: &str) -> Result<Self, DataError> {
        let folder = Self { kind: DataKind::Images, path: home(text) };
        if !text.is_empty() && !text.contains(':') {
            return Ok(folder);
        }
        text.parse().or_else(|error| if folder.path.exists() { Ok(folder) } else { Err(error) })
    }
}

impl FromStr for DataSpec {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        // Only the first colon separates: a path may hold more of them.
        let parsed = text.split_once(':').and_then(|(kind, path)| {
            let kind = DataKind::ALL.into_iter().find(|k| k.name() == kind)?;
            (!path.is_empty()).then(|| Self { kind, path: home(path) })
        });
        parsed.ok_or_else(|| DataError::Spec { text: text.into() })
    }
}

/// The path, with the home folder for a `~` before the first slash: shells put it there only at the
/// beginning of a word, and in `images:~/photos` that is `images:`.
fn home(path: &str) -> PathBuf {
    match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            std::env::home_dir().map_or_else(|| path.into(), |home| home.join(rest.trim_start_matches('/')))
        }
        _ => path.into(),
    }
}

impl fmt::Display for DataSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_displays() {
        for kind in DataKind::ALL {
            let text = format!("{}:some/folder:with colon", kind.name());
            let spec: DataSpec = text.parse().unwrap();
            assert_eq!(spec.kind, kind);
            assert_eq!(spec.path, PathBuf::from("some/folder:with colon"));
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn a_tilde_is_the_home_folder() {
        let home = std::env::home_dir().unwrap();
        let path = |text: &str| text.parse::<DataSpec>().unwrap().path;
        assert_eq!(path("images:~/photos"), home.join("photos"));
        assert_eq!(path("images:~"), home);
        assert_eq!(path("images:~photos"), PathBuf::from("~photos"));
        assert_eq!(DataSpec::from_argument("~/photos").unwrap().path, home.join("photos"));
    }

    #[test]
    fn a_folder_alone_is_one_of_images() {
        let images = |path: &str| DataSpec { kind: DataKind::Images, path: path.into() };
        assert_eq!(DataSpec::from_argument("photos").unwrap(), images("photos"));
        assert_eq!(DataSpec::from_argument("images:photos").unwrap(), images("photos"));
        let cifar10 = DataSpec { kind: DataKind::Cifar10, path: "a:b".into() };
        assert_eq!(DataSpec::from_argument("cifar10:a:b").unwrap(), cifar10);
        let folder = tempfile::tempdir().unwrap();
        let colon = folder.path().join("2026: summer");
        std::fs::create_dir(&colon).unwrap();
        let colon = colon.to_str().unwrap();
        assert_eq!(DataSpec::from_argument(colon).unwrap(), images(colon));
        for text in ["", "lsum:x"] {
            assert!(matches!(DataSpec::from_argument(text), Err(DataError::Spec { .. })), "{text}");
        }
    }

    #[test]
    fn lists_the_kinds_when_it_cannot_parse() {
        for text in ["", "photos", "imagenet", "images:", ":x", "Images:x"] {
            let message = text.parse::<DataSpec>().unwrap_err().to_string();
            assert!(
                message.contains("images:, cifar10:, mnist:, celeba:, imagenet:, lsun:, tfrecord:"),
                "{text}: {message}"
            );
        }
    }
}
