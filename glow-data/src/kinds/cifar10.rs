//! CIFAR-10: 32 × 32 planes of R, G and B, in records behind a label byte or in Python's pickles.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::DataError;
use crate::containers::pickle::Pickle;
use crate::fit::Fit;
use crate::memory::Memory;
use crate::opening::{Opening, Part, Parts};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const RECORD: usize = 1 + 3 * PLANE;

const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The two forms in which CIFAR-10 is given out.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Binary,
    Python,
}

impl Form {
    /// The form of the files in a folder.
    fn of(root: &Path) -> Self {
        let python = root.join("data_batch_1").exists() && !root.join("data_batch_1.bin").exists();
        if python { Self::Python } else { Self::Binary }
    }

    fn file(self, name: &str) -> String {
        format!("{name}{}", if self == Self::Binary { ".bin" } else { "" })
    }

    /// Each image's label and its planes.
    fn records(self, file: &[u8]) -> Result<Vec<(i64, &[u8])>, String> {
        match self {
            Self::Binary if file.is_empty() || !file.len().is_multiple_of(RECORD) => Err(format!(
                "{} bytes are not a whole number of records of {RECORD} bytes; the file is incomplete \
                 or not from CIFAR-10's binary version",
                file.len()
            )),
            Self::Binary => Ok(file.chunks_exact(RECORD).map(|r| (i64::from(r[0]), &r[1..])).collect()),
            Self::Python => {
                let pickle = Pickle::parse(file).map_err(|what| format!("no pickle of CIFAR-10: {what}"))?;
                let data = pickle
                    .byte_array("data")
                    .filter(|data| data.rows > 0 && data.columns == 3 * PLANE)
                    .ok_or("it has no array \"data\" of rows of 3072 bytes")?;
                let labels = pickle
                    .integers("labels")
                    .filter(|labels| labels.len() == data.rows)
                    .ok_or("it has no list \"labels\" of a number an image")?;
                Ok(labels.into_iter().zip(data.bytes.chunks_exact(3 * PLANE)).collect())
            }
        }
    }
}

/// Opens the official split: five files to train on and one for validation, all kept in memory.
pub(crate) fn open(root: &Path, opening: &Opening<'_>) -> Result<Parts, DataError> {
    let form = Form::of(root);
    let load = |names: &[String]| -> Result<Part, DataError> {
        let mut images = Memory::new(opening.fit.shape, CLASSES.map(String::from).into());
        for name in names {
            append(root, &form.file(name), form, opening.fit, &mut images)?;
        }
        Ok(Part::Dataset { dataset: Arc::new(images), gray: false })
    };
    Ok(Parts {
        train: load(&[1, 2, 3, 4, 5].map(|i| format!("data_batch_{i}")))?,
        test: Some(load(&["test_batch".into()])?),
    })
}

/// Appends the images of one file to `images`.
fn append(root: &Path, file: &str, form: Form, fit: Fit, images: &mut Memory) -> Result<(), DataError> {
    let path = root.join(file);
    let bytes = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => DataError::Missing {
            path: path.clone(),
            hint: "cifar10 wants data_batch_1.bin to data_batch_5.bin and test_batch.bin, as in \
                   CIFAR-10's binary version, or data_batch_1 to data_batch_5 and test_batch, as in its \
                   Python version (not the Matlab one)",
        },
        _ => DataError::read(&path)(error),
    })?;
    let format = |problem| DataError::Format { path: path.clone(), problem };
    let records = form.records(&bytes).map_err(format)?;
    let count = records.len();
    for (number, (label, planes)) in records.into_iter().enumerate() {
        let label = u32::try_from(label)
            .ok()
            .filter(|&label| (label as usize) < CLASSES.len())
            .ok_or_else(|| format(format!("record {number} has the label {label}; CIFAR-10's are 0 to 9")))?;
        let mut pixels = Vec::with_capacity(3 * PLANE);
        for at in 0..PLANE {
            pixels.extend([0, 1, 2].map(|channel| planes[channel * PLANE + at]));
        }
        let fitted = fit
            .apply(&pixels, [SIDE, SIDE, 3], 0)
            .map_err(|misfit| DataError::misfits(misfit, &path, count))?;
        images.push(format!("{file}#{number}"), label, &fitted.pixels);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataKind, DataSpec, ImageShape, OpenOptions};

    /// A file as Python 2 pickled it, protocol 2: the same opcodes in the same order.
    fn python(labels: &[u8], planes: &[u8]) -> Vec<u8> {
        let mut file = b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03(".to_vec();
        file.extend(labels.iter().flat_map(|&label| [b'K', label]));
        file.extend(b"eU\x04dataq\x04cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06");
        file.extend(b"K\x00\x85U\x01b\x87Rq\x07(K\x01");
        file.extend([b'J']);
        file.extend((labels.len() as i32).to_le_bytes());
        file.extend(b"M\x00\x0c\x86cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87Rq\x09");
        file.extend(b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
        file.extend((planes.len() as u32).to_le_bytes());
        file.extend(planes);
        file.extend(b"tbu.");
        file
    }

    #[test]
    fn both_forms_give_the_same_images() {
        let planes: Vec<u8> = (0..2 * 3 * PLANE).map(|i| (i * 7 % 256) as u8).collect();
        let labels = [9, 4];
        let binary: Vec<u8> =
            labels.iter().zip(planes.chunks(3 * PLANE)).flat_map(|(l, p)| [&[*l], p].concat()).collect();
        let shape = ImageShape { height: SIDE, width: SIDE, channels: 3 };
        let write = |form: Form, bytes: &[u8]| {
            let folder = tempfile::tempdir().unwrap();
            let train = (1..=5).map(|i| format!("data_batch_{i}"));
            for name in train.chain(["test_batch".to_string()]) {
                fs::write(folder.path().join(form.file(&name)), bytes).unwrap();
            }
            let spec = DataSpec { kind: DataKind::Cifar10, path: folder.path().into() };
            crate::open(&spec, shape, &OpenOptions::default())
        };
        let (a, b) =
            (write(Form::Binary, &binary).unwrap(), write(Form::Python, &python(&labels, &planes)).unwrap());
        assert_eq!((a.train.len(), b.train.len(), b.validation.len()), (10, 10, 2));
        for index in 0..2 {
            assert_eq!(a.train.load(index, 0).unwrap(), b.train.load(index, 0).unwrap());
        }
        for (bytes, expected) in [
            (python(&[9, 10], &planes), "label 10"),
            (python(&[9], &planes), "no array"),
            (python(&labels, &planes[1..]), "no array"),
            (python(&labels, &planes)[..5000].to_vec(), "ends too early"),
            (b"}.".to_vec(), "no array"),
        ] {
            let error = write(Form::Python, &bytes).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("data_batch_1"), "{error}");
        }
    }
}
