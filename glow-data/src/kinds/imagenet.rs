//! Downsampled ImageNet (Chrabaszcz et al. 2017): npz files of rows of R, G and B planes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::containers::npz::{ByteRows, Npz};
use crate::fit::Fit;
use crate::opening::{Opening, Part, Parts};
use crate::{DataError, Dataset, Example, ImageShape};

/// Labels in the files are 1 to 1000.
const CLASSES: usize = 1000;

/// Opens the official split: every `train_data*.npz` to train on, `val_data.npz` for validation. The pixels
/// stay in the files.
pub(crate) fn open(root: &Path, opening: &Opening<'_>) -> Result<Parts, DataError> {
    let mut train = Vec::new();
    for entry in fs::read_dir(root).map_err(DataError::read(root))? {
        let path = entry.map_err(DataError::read(root))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("train_data") && name.ends_with(".npz") {
            train.push(path);
        }
    }
    train.sort();
    let validation = root.join("val_data.npz");
    let missing = [("train_data_batch_1.npz", train.is_empty()), ("val_data.npz", !validation.exists())];
    if let Some((name, _)) = missing.into_iter().find(|(_, missing)| *missing) {
        return Err(DataError::Missing {
            path: root.join(name),
            hint: "imagenet wants train_data_batch_1.npz and so on beside val_data.npz, as in downsampled \
                   ImageNet's npz form",
        });
    }
    let part = |paths: &[PathBuf]| -> Result<Part, DataError> {
        let dataset = Arc::new(Downsampled::open(paths, opening.fit, opening.options.data.cache_bytes)?);
        Ok(Part::Dataset { dataset, gray: false })
    };
    Ok(Parts { train: part(&train)?, test: Some(part(&[validation])?) })
}

/// Images of several files, one after the other.
struct Downsampled {
    fit: Fit,
    /// Side in pixels of the images in the files.
    side: usize,
    files: Vec<(PathBuf, ByteRows)>,
    labels: Vec<u32>,
    classes: Vec<String>,
}

impl Downsampled {
    fn open(paths: &[PathBuf], fit: Fit, cache_bytes: u64) -> Result<Self, DataError> {
        let mut memory = cache_bytes;
        let classes = (1..=CLASSES).map(|class| class.to_string()).collect();
        let mut whole = Self { fit, side: 0, files: Vec::new(), labels: Vec::new(), classes };
        for path in paths {
            let problem = |problem: String| DataError::Format { path: path.clone(), problem };
            let mut npz = Npz::open(path)?;
            let rows = npz.byte_rows("data", memory)?;
            memory = memory.saturating_sub((rows.rows * rows.columns) as u64);
            let side = (rows.columns / 3).isqrt();
            if rows.rows == 0 || side == 0 || rows.columns != 3 * side * side {
                let (rows, columns) = (rows.rows, rows.columns);
                return Err(problem(format!(
                    "{rows} rows of {columns} bytes are no square images of 3 planes"
                )));
            }
            if whole.side != 0 && whole.side != side {
                return Err(problem(format!("its images have the side {side}, those before {}", whole.side)));
            }
            whole.side = side;
            let labels = npz
                .integers("labels")?
                .ok_or_else(|| problem("it has no array \"labels\"".into()))?
                .into_iter()
                .map(|label| (1..=CLASSES as i64).contains(&label).then(|| label as u32 - 1))
                .collect::<Option<Vec<u32>>>()
                .ok_or_else(|| problem("a label is not among 1 to 1000".into()))?;
            if labels.len() != rows.rows {
                return Err(problem(format!("{} labels for {} images", labels.len(), rows.rows)));
            }
            whole.labels.extend(labels);
            whole.files.push((path.clone(), rows));
        }
        // Whether they fit is the same for all, as all are of one size.
        fit.check([whole.side; 2])
            .map_err(|misfit| DataError::misfits(misfit, &whole.files[0].0, whole.labels.len()))?;
        Ok(whole)
    }

    /// The file of image `index`, and its row there.
    fn locate(&self, mut index: usize) -> (&Path, &ByteRows, usize) {
        for (path, rows) in &self.files {
            if index < rows.rows {
                return (path, rows, index);
            }
            index -= rows.rows;
        }
        panic!("an index below len");
    }
}

impl Dataset for Downsampled {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> ImageShape {
        self.fit.shape
    }

    fn load(&self, index: usize, _chance: u64) -> Result<Example, DataError> {
        let (path, rows, row) = self.locate(index);
        let mut planes = Vec::with_capacity(rows.columns);
        rows.read(row, &mut planes)?;
        let plane = self.side * self.side;
        let pixels: Vec<u8> =
            (0..plane).flat_map(|at| [0, 1, 2].map(|channel| planes[channel * plane + at])).collect();
        let fitted = self
            .fit
            .apply(&pixels, [self.side, self.side, 3], 0)
            .map_err(|misfit| DataError::misfits(misfit, path, self.len()))?;
        Ok(Example { pixels: fitted.pixels, label: self.labels[index] })
    }

    fn name(&self, index: usize) -> String {
        let (path, _, row) = self.locate(index);
        format!("{}#{row}", path.file_name().unwrap_or_default().to_string_lossy())
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataKind, DataSpec, OpenOptions, Splits};
    use glow_models::Data;
    use std::io::Write;
    use zip::CompressionMethod;
    use zip::write::{SimpleFileOptions, ZipWriter};

    type Arrays = Vec<(&'static str, Vec<u8>)>;

    const SHAPE: ImageShape = ImageShape { height: 2, width: 2, channels: 3 };

    fn npy(descr: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        let header = format!("{header:117}\n");
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(bytes);
        file
    }

    fn npz(path: &Path, method: CompressionMethod, arrays: &[(&str, Vec<u8>)]) {
        let mut zip = ZipWriter::new(fs::File::create(path).unwrap());
        for (name, bytes) in arrays {
            let options = SimpleFileOptions::default().compression_method(method);
            zip.start_file(format!("{name}.npy"), options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    /// Two images of 2×2; plane by plane in the file.
    fn good(first: u8) -> Arrays {
        let bytes: Vec<u8> = (0..24).map(|i| first + i).collect();
        let labels: Vec<u8> = [1i64, 1000].iter().flat_map(|label| label.to_le_bytes()).collect();
        vec![("data", npy("|u1", "(2, 12)", &bytes)), ("labels", npy("<i8", "(2,)", &labels))]
    }

    fn open_folder(root: &Path, options: &OpenOptions) -> Result<Splits, DataError> {
        crate::open(&DataSpec { kind: DataKind::Imagenet, path: root.into() }, SHAPE, options)
    }

    #[test]
    fn stored_and_compressed_files_give_the_same_images() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let folder = tempfile::tempdir().unwrap();
            npz(&folder.path().join("train_data_batch_1.npz"), method, &good(0));
            npz(&folder.path().join("train_data_batch_2.npz"), method, &good(100));
            npz(&folder.path().join("val_data.npz"), method, &good(200));
            let splits = open_folder(folder.path(), &OpenOptions::default()).unwrap();
            assert_eq!((splits.train.len(), splits.validation.len()), (4, 2));
            let example = splits.train.load(3, 0).unwrap();
            assert_eq!(example.pixels, [112, 116, 120, 113, 117, 121, 114, 118, 122, 115, 119, 123]);
            assert_eq!((example.label, splits.train.name(3)), (999, "train_data_batch_2.npz#1".into()));
            assert_eq!(splits.validation.load(0, 0).unwrap().label, 0);

            let none =
                OpenOptions { data: Data { cache_bytes: 0, ..Data::default() }, ..OpenOptions::default() };
            let result = open_folder(folder.path(), &none);
            match method {
                CompressionMethod::Stored => assert!(result.is_ok()),
                _ => assert!(result.unwrap_err().to_string().contains("--cache-bytes")),
            }
        }
    }

    #[test]
    fn what_is_broken_is_named() {
        let cases: Vec<(&str, Arrays)> = vec![
            ("no array \"data\"", vec![]),
            ("no array \"labels\"", vec![good(0).remove(0)]),
            ("type \"<f4\"", vec![("data", npy("<f4", "(2, 12)", &[0; 96]))]),
            ("does not fill", vec![("data", npy("|u1", "(3, 12)", &[0; 24]))]),
            ("does not fill", vec![("data", npy("|u1", "(9999999999999999, 9999999999)", &[0; 24]))]),
            ("no square images", vec![("data", npy("|u1", "(2, 13)", &[0; 26])), good(0).remove(1)]),
            ("1 labels for 2", vec![good(0).remove(0), ("labels", npy("|u1", "(1,)", &[1]))]),
            ("not among 1 to 1000", vec![good(0).remove(0), ("labels", npy("|u1", "(2,)", &[1, 0]))]),
            ("ends after", vec![good(0).remove(0), ("labels", npy("<i4", "(2,)", &[1, 0]))]),
            ("no npy file", vec![("data", b"no array at all".to_vec())]),
            ("the header", vec![("data", npy("|u1", "2, 12", &[0; 24]))]),
        ];
        for (expected, arrays) in cases {
            let folder = tempfile::tempdir().unwrap();
            npz(&folder.path().join("train_data_batch_1.npz"), CompressionMethod::Stored, &arrays);
            npz(&folder.path().join("val_data.npz"), CompressionMethod::Stored, &good(0));
            let error =
                open_folder(folder.path(), &OpenOptions::default()).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
            assert!(error.contains("train_data_batch_1.npz"), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let missing =
            open_folder(folder.path(), &OpenOptions::default()).map(|_| ()).unwrap_err().to_string();
        assert!(missing.contains("train_data_batch_1.npz: not found"), "{missing}");
        npz(&folder.path().join("train_data_batch_1.npz"), CompressionMethod::Stored, &good(0));
        fs::write(folder.path().join("val_data.npz"), b"PK\x03\x04 and no more").unwrap();
        let broken = open_folder(folder.path(), &OpenOptions::default()).map(|_| ()).unwrap_err().to_string();
        assert!(broken.contains("not an npz file"), "{broken}");
    }
}
