//! Real images, of which some calibrate a quantised model and others tell how good it is.
use crate::ExportError;
use crate::verify::Images;
use glow_models::{Architecture, fit_image};
use ndarray::{Array3, Axis, stack};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Images in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// A folder tree of image files. For a class-conditional model its sub-folders are the classes, in
    /// the order of their names.
    Folder(PathBuf),
    /// CelebA: a folder with `images` in it.
    Celeba(PathBuf),
    /// CIFAR-10, the binary version: `data_batch_1.bin` and so on; `test_batch.bin` if it is there.
    Cifar10(PathBuf),
}

impl FromStr for ImageSource {
    type Err = String;

    /// From `images:DIR`, `celeba:DIR`, `cifar10:DIR`, or the folder alone.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None => Ok(Self::Folder(text.into())),
            Some(("images", path)) => Ok(Self::Folder(path.into())),
            Some(("celeba", path)) => Ok(Self::Celeba(path.into())),
            Some(("cifar10", path)) => Ok(Self::Cifar10(path.into())),
            Some((kind, _)) => {
                Err(format!("there is no kind of data {kind:?}; give images:DIR, celeba:DIR or cifar10:DIR"))
            }
        }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path) = match self {
            Self::Folder(path) => ("images", path),
            Self::Celeba(path) => ("celeba", path),
            Self::Cifar10(path) => ("cifar10", path),
        };
        write!(f, "{kind}:{}", path.display())
    }
}

/// An image [H, W, C] and its class.
type Example = (Array3<u8>, Option<i64>);

impl ImageSource {
    /// Two sets that share no image, of these sizes; where there are too few images, the first gets half
    /// of them at most. Which they are is drawn, always the same.
    pub(crate) fn draw(
        &self,
        architecture: &Architecture,
        first: usize,
        second: usize,
    ) -> Result<(Images, Images), ExportError> {
        let failed = |reason: String| ExportError::Calibration { data: self.to_string(), reason };
        let mut examples = match self {
            Self::Folder(path) => from_folder(path, architecture, first + second),
            Self::Celeba(path) => from_folder(&path.join("images"), architecture, first + second),
            Self::Cifar10(path) => from_cifar10(path, architecture, first + second),
        }
        .map_err(failed)?;
        if examples.len() < 2 {
            return Err(failed(format!(
                "{} of its images can be read; at least 2 are needed",
                examples.len()
            )));
        }
        let all = examples.len();
        let second = examples.split_off(first.min(all / 2));
        Ok((collect(examples), collect(second)))
    }
}

fn collect(examples: Vec<Example>) -> Images {
    let views: Vec<_> = examples.iter().map(|(pixels, _)| pixels.view()).collect();
    let pixels = stack(Axis(0), &views).expect("all have the model's shape");
    Images { pixels, labels: examples.iter().map(|(_, label)| *label).collect() }
}

fn shuffled<T>(mut all: Vec<T>) -> Vec<T> {
    all.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
    all
}

fn from_folder(folder: &Path, architecture: &Architecture, most: usize) -> Result<Vec<Example>, String> {
    use glow_runtime::images;
    let files = images::list(folder).map_err(|error| describe(&error))?;
    let classes = match architecture.classes {
        0 => Vec::new(),
        count => {
            let mut classes: Vec<PathBuf> =
                files.iter().filter_map(|file| class_folder(folder, file)).collect();
            classes.dedup();
            if classes.len() != count {
                return Err(format!(
                    "the model has {count} classes, and {} sub-folders hold images",
                    classes.len()
                ));
            }
            classes
        }
    };
    let mut examples = Vec::new();
    let mut unreadable = None;
    for file in shuffled(files) {
        if examples.len() == most {
            break;
        }
        let label = class_folder(folder, &file).and_then(|class| classes.binary_search(&class).ok());
        if architecture.classes > 0 && label.is_none() {
            continue;
        }
        match images::read(&file, architecture) {
            Ok(pixels) => examples.push((pixels, label.map(|label| label as i64))),
            Err(error) => unreadable = Some(describe(&error)),
        }
    }
    match unreadable {
        Some(reason) if examples.is_empty() => Err(reason),
        _ => Ok(examples),
    }
}

/// The folder right below `root` that a file is in.
fn class_folder(root: &Path, file: &Path) -> Option<PathBuf> {
    let inside = file.strip_prefix(root).ok()?;
    let mut parts = inside.components();
    let first = parts.next()?;
    parts.next().map(|_| first.as_os_str().into())
}

fn from_cifar10(folder: &Path, architecture: &Architecture, most: usize) -> Result<Vec<Example>, String> {
    const SIDE: usize = 32;
    const PLANE: usize = SIDE * SIDE;
    // Test images alone, if they are there: of those no model has been trained on any.
    let names = ["test_batch.bin", "data_batch_1.bin"];
    let path = names.iter().map(|name| folder.join(name)).find(|path| path.exists()).ok_or_else(|| {
        format!("it has neither {} nor {} (the binary version is read)", names[0], names[1])
    })?;
    let file = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (records, rest) = file.as_chunks::<{ 1 + 3 * PLANE }>();
    if !rest.is_empty() {
        return Err(format!("{} is not of whole records of {} bytes", path.display(), 1 + 3 * PLANE));
    }
    let to = [architecture.height, architecture.width, architecture.channels];
    let example = |record: &[u8; 1 + 3 * PLANE]| {
        let pixels: Vec<u8> = (0..3 * PLANE).map(|i| record[1 + i % 3 * PLANE + i / 3]).collect();
        let pixels = fit_image(&pixels, [SIDE, SIDE, 3], to).map_err(|misfit| misfit.to_string())?;
        let label = (architecture.classes > 0).then_some(i64::from(record[0]));
        let pixels = Array3::from_shape_vec((to[0], to[1], to[2]), pixels).expect("the model's shape");
        match label {
            Some(label) if label >= architecture.classes as i64 => {
                Err(format!("it has a class {label}, the model {} classes", architecture.classes))
            }
            _ => Ok((pixels, label)),
        }
    };
    shuffled(records.iter().collect()).into_iter().take(most).map(example).collect()
}

/// An error with its causes.
fn describe(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
