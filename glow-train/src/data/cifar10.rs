//! CIFAR-10 in its binary version: records of a label byte and 32 × 32 planes of R, G and B.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use glow_models::fit_image;

use super::fit::misfits;
use super::memory::Memory;
use super::{DataError, ImageShape, Splits};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const RECORD: usize = 1 + 3 * PLANE;

const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Opens the official split: five files to train on and one for validation, all kept in memory.
pub(super) fn open(root: &Path, shape: ImageShape) -> Result<Splits, DataError> {
    let load = |files: &[String]| -> Result<Arc<Memory>, DataError> {
        let mut images = Memory::new(shape, CLASSES.map(String::from).into());
        for file in files {
            append(root, file, &mut images)?;
        }
        Ok(Arc::new(images))
    };
    Ok(Splits {
        train: load(&[1, 2, 3, 4, 5].map(|i| format!("data_batch_{i}.bin")))?,
        validation: load(&["test_batch.bin".into()])?,
        skipped: Arc::default(),
    })
}

/// Appends the images of one file to `images`.
fn append(root: &Path, file: &str, images: &mut Memory) -> Result<(), DataError> {
    let path = root.join(file);
    let records = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => DataError::Missing {
            path: path.clone(),
            hint: "cifar10 wants data_batch_1.bin to data_batch_5.bin and test_batch.bin, as in \
                   CIFAR-10's binary version (not the Python or Matlab one)",
        },
        _ => DataError::read(&path)(error),
    })?;
    let format = |problem| DataError::Format { path: path.clone(), problem };
    if records.is_empty() || records.len() % RECORD != 0 {
        return Err(format(format!(
            "{} bytes are not a whole number of records of {RECORD} bytes; the file is incomplete \
             or not from CIFAR-10's binary version",
            records.len()
        )));
    }
    for (number, record) in records.chunks_exact(RECORD).enumerate() {
        let (label, planes) = (record[0], &record[1..]);
        if usize::from(label) >= CLASSES.len() {
            return Err(format(format!("record {number} has the label {label}; CIFAR-10's are 0 to 9")));
        }
        let mut pixels = Vec::with_capacity(3 * PLANE);
        for at in 0..PLANE {
            pixels.extend([0, 1, 2].map(|channel| planes[channel * PLANE + at]));
        }
        let fitted = fit_image(&pixels, [SIDE, SIDE, 3], images.shape.sizes())
            .map_err(|misfit| misfits(misfit, &path, records.len() / RECORD))?;
        images.push(format!("{file}#{number}"), label.into(), &fitted);
    }
    Ok(())
}
