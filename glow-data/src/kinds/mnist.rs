//! MNIST, and other sets of gray images in the same files: idx, gzipped or not.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::containers::idx::{self, Idx};
use crate::fit::Fit;
use crate::memory::Memory;
use crate::opening::{Opening, Part, Parts};
use crate::{DataError, ImageShape};

/// The sides of MNIST's images and of the models that take them with a black border, as a power of
/// two can be halved at every level.
const SIDE: usize = 28;
const PADDED: usize = 32;

/// Opens the training files, and the test files for validation if they are there; all are kept in memory.
pub(crate) fn open(root: &Path, opening: &Opening<'_>) -> Result<Parts, DataError> {
    let train = load(root, "train", opening.fit)?;
    let has_test = ["images-idx3", "labels-idx1"].iter().any(|part| find(root, "t10k", part).is_ok());
    let test = if has_test { Some(load(root, "t10k", opening.fit)?) } else { None };
    let labels = test.iter().chain([&train]).flat_map(|part| &part.labels);
    let classes = classes(labels.max());
    let part = |mut images: Memory| {
        images.classes = classes.clone();
        Part::Dataset { dataset: Arc::new(images), gray: true }
    };
    Ok(Parts { train: part(train), test: test.map(part) })
}

/// The digits, or as many numbers as there are labels.
fn classes(most: Option<&u32>) -> Vec<String> {
    let most = most.map_or(9, |&label| label.max(9));
    (0..=most).map(|label| label.to_string()).collect()
}

/// The file of `part` of `set`, gzipped or not; some copies have a dot for the second hyphen.
fn find(root: &Path, set: &str, part: &str) -> Result<PathBuf, DataError> {
    let name = format!("{set}-{part}-ubyte");
    let dotted = name.replace("s-idx", "s.idx");
    let names = [name.clone(), format!("{name}.gz"), dotted.clone(), format!("{dotted}.gz")];
    names.iter().map(|name| root.join(name)).find(|path| path.exists()).ok_or_else(|| DataError::Missing {
        path: root.join(&name),
        hint: "mnist wants train-images-idx3-ubyte and train-labels-idx1-ubyte, gzipped (.gz) \
               or not, and both of t10k-… or neither",
    })
}

fn load(root: &Path, set: &str, fit: Fit) -> Result<Memory, DataError> {
    let images_path = find(root, set, "images-idx3")?;
    let labels_path = find(root, set, "labels-idx1")?;
    let images: Idx<3> = idx::read(&images_path)?;
    let labels: Idx<1> = idx::read(&labels_path)?;
    let [count, height, width] = images.dimensions;
    if count == 0 || count != labels.bytes.len() {
        return Err(DataError::Format {
            path: images_path,
            problem: format!(
                "holds {count} images, and {} holds {} labels",
                labels_path.display(),
                labels.bytes.len()
            ),
        });
    }
    // Refused before the images are divided, so that they have at least one byte each.
    let padded = pads(height, width, fit.shape);
    let size = if padded { [PADDED, PADDED, 1] } else { [height, width, 1] };
    let unfit = |misfit| DataError::misfits(misfit, &images_path, count);
    fit.check([size[0], size[1]]).map_err(unfit)?;

    let mut memory = Memory::new(fit.shape, Vec::new());
    let pixels = images.bytes.chunks_exact(height * width);
    for (number, (pixels, &label)) in pixels.zip(&labels.bytes).enumerate() {
        let pixels = if padded { pad(pixels) } else { Cow::Borrowed(pixels) };
        let fitted = fit.apply(&pixels, size, 0).map_err(unfit)?;
        memory.push(format!("{set}#{number}"), label.into(), &fitted.pixels);
    }
    Ok(memory)
}

fn pads(height: usize, width: usize, shape: ImageShape) -> bool {
    (height, width) == (SIDE, SIDE) && (shape.height, shape.width) == (PADDED, PADDED)
}

/// Puts a 28 × 28 image into the middle of a black one of 32 × 32.
fn pad(pixels: &[u8]) -> Cow<'_, [u8]> {
    let margin = (PADDED - SIDE) / 2;
    let mut padded = vec![0; PADDED * PADDED];
    let rows = padded.chunks_exact_mut(PADDED).skip(margin);
    for (to, from) in rows.zip(pixels.chunks_exact(SIDE)) {
        to[margin..margin + SIDE].copy_from_slice(from);
    }
    padded.into()
}
