//! What tells one data set from another, without reading all of it.
use super::Description;
use glow_data::{DataError, Dataset, Splits};
use sha2::{Digest, Sha256};

/// Images that are looked at, evenly spaced, in each part of the data set.
const IMAGES: usize = 32;

/// The numbers of images, the names of the classes, and a digest of some images with their names.
///
/// # Errors
/// An image cannot be read.
pub fn describe_data(splits: &Splits) -> Result<Description, DataError> {
    let Splits { train, validation, .. } = splits;
    let classes = train.classes();
    let classes = if classes.is_empty() { "none".into() } else { format!("{classes:?}") };
    Ok(Description::new()
        .with("the number of training images", train.len())
        .with("the number of validation images", validation.len())
        .with("the list of classes", classes)
        .with("the digest of the training images", digest(&**train)?)
        .with("the digest of the validation images", digest(&**validation)?))
}

fn digest(images: &dyn Dataset) -> Result<String, DataError> {
    let mut hash = Sha256::new();
    let count = images.len().min(IMAGES);
    for part in 0..count {
        let example = images.load(part * images.len() / count, 0)?;
        hash.update(u64::from(example.label).to_le_bytes());
        hash.update(&example.pixels);
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}
