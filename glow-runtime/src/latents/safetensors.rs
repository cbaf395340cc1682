//! Latents in a safetensors file: tensors `eps_0` … `eps_{L-1}`.
use super::Latents;
use crate::Error;
use glow_models::{TensorBytes, parse_tensors, read_tensor_file, write_atomically, write_tensors};
use ndarray::Array4;
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

impl Latents {
    /// Writes a safetensors file with the tensors `eps_0` … `eps_{L-1}`, float32 [N, c, h, w]. The
    /// file is there whole or not at all.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        write_atomically(path, |out| self.write(out))
            .map_err(|source| Error::Write { path: path.into(), source })
    }

    /// The bytes of the file that [`Latents::save`] writes.
    pub fn to_safetensors(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).expect("memory takes all");
        bytes
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let bytes = |level: &Array4<f32>| level.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let contents: Vec<(String, Vec<u8>)> =
            self.levels.iter().enumerate().map(|(i, level)| (format!("eps_{i}"), bytes(level))).collect();
        let tensors: Vec<TensorBytes<'_>> = contents
            .iter()
            .zip(&self.levels)
            .map(|((name, bytes), level)| TensorBytes {
                name,
                dtype: Dtype::F32,
                shape: level.shape(),
                bytes,
            })
            .collect();
        let metadata = BTreeMap::from([("format".to_string(), "glow-latents".to_string())]);
        write_tensors(out, &metadata, &tensors).map(|_| ())
    }

    /// Reads a file that [`Latents::save`] wrote, or any safetensors file with such tensors; others
    /// in it are ignored.
    ///
    /// # Errors
    /// [`Error::TensorFile`] if the file cannot be read or is not safetensors, [`Error::Latents`] or
    /// [`Error::Shape`] if it does not hold latents.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = read_tensor_file(path)?;
        let file = parse_tensors(&bytes, path)?;
        let wrong = |reason: String| Error::Latents { path: path.into(), reason };
        let mut levels = Vec::new();
        while let Ok(tensor) = file.tensor(&format!("eps_{}", levels.len())) {
            let name = format!("eps_{}", levels.len());
            if tensor.dtype() != Dtype::F32 {
                return Err(wrong(format!("{name} is of type {:?}, not F32", tensor.dtype())));
            }
            let &[n, c, h, w] = tensor.shape() else {
                return Err(wrong(format!("{name} has shape {:?}, not [N, c, h, w]", tensor.shape())));
            };
            let floats = tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
            let level = Array4::from_shape_vec((n, c, h, w), floats.collect())
                .map_err(|error| wrong(format!("{name}: {error}")))?;
            levels.push(level);
        }
        if levels.is_empty() {
            return Err(wrong("it has no tensor eps_0".into()));
        }
        Self::from_levels(levels)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::counted;
    use super::*;

    #[test]
    fn a_saved_file_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latents.safetensors");
        for batch in [0, 1, 3] {
            counted(batch).save(&path).unwrap();
            assert_eq!(Latents::load(&path).unwrap(), counted(batch));
            assert_eq!(std::fs::read(&path).unwrap(), counted(batch).to_safetensors());
        }
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latents.safetensors");
        let write = |name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]| {
            write_atomically(&path, |out| {
                let tensor = TensorBytes { name, dtype, shape, bytes };
                write_tensors(out, &BTreeMap::new(), &[tensor]).map(|_| ())
            })
            .unwrap();
        };
        let refused = |expected: &str| {
            let error = Latents::load(&path).expect_err(expected);
            let text = format!(
                "{error}: {}",
                std::error::Error::source(&error).map_or(String::new(), |s| s.to_string())
            );
            assert!(text.contains(expected), "{text:?} does not say {expected:?}");
        };
        refused("cannot read");
        std::fs::write(&path, "eps").unwrap();
        refused("has 3 bytes where its header says 8");
        counted(2).save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        refused("where its header says");
        write("eps_1", Dtype::F32, &[1, 1, 1, 1], &[0; 4]);
        refused("it has no tensor eps_0");
        write("eps_0", Dtype::I64, &[1, 1, 1, 1], &[0; 8]);
        refused("eps_0 is of type I64, not F32");
        write("eps_0", Dtype::F32, &[1, 4], &[0; 16]);
        refused("eps_0 has shape [1, 4], not [N, c, h, w]");
    }
}
