//! Latents in numpy's format: one float array [N, H·W·C] (numpy's `numpy.lib.format`).
use super::Latents;
use crate::Error;
use glow_models::{LatentShape, write_atomically};
use ndarray::{Array2, ShapeBuilder};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longer headers are refused: numpy's own have 118 bytes.
const MAX_HEADER_BYTES: usize = 1 << 16;
/// Borders on which the data begins.
const ALIGNMENT: usize = 64;

impl Latents {
    /// Writes [`Latents::flat`] as numpy's `.npy`: `numpy.load` gives a float32 array [N, H·W·C]. The
    /// file is there whole or not at all.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn save_npy(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let (path, flat) = (path.as_ref(), self.flat());
        write_atomically(path, |out| {
            out.write_all(&header(flat.dim()))?;
            flat.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
        })
        .map_err(|source| Error::Write { path: path.into(), source })
    }

    /// Reads a `.npy` with an array [N, H·W·C] of float32 or float64, in C's or Fortran's order: the rows
    /// are those of [`Latents::flat`] for levels of the given shapes.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Latents`] if it holds something else, [`Error::Shape`] if the rows do not
    /// hold as many numbers as the shapes.
    pub fn load_npy(path: impl AsRef<Path>, shapes: &[LatentShape]) -> Result<Self, Error> {
        let path = path.as_ref();
        let flat = read(path).map_err(|problem| match problem {
            Problem::Read(source) => Error::Read { path: path.into(), source },
            Problem::Format(reason) => Error::Latents { path: path.into(), reason },
        })?;
        Self::from_flat(flat.view(), shapes)
    }
}

fn header((rows, columns): (usize, usize)) -> Vec<u8> {
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // Magic, version and length take 10 bytes, the end of the line one.
    let padded = (10 + text.len() + 1).next_multiple_of(ALIGNMENT) - 11;
    text.extend(std::iter::repeat_n(' ', padded - text.len()));
    text.push('\n');
    [&MAGIC[..], &[1, 0], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}

enum Problem {
    Read(io::Error),
    Format(String),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<String> for Problem {
    fn from(reason: String) -> Self {
        Self::Format(reason)
    }
}

/// How the numbers lie in the file.
struct Layout {
    /// Bytes of each.
    size: usize,
    fortran: bool,
    dim: (usize, usize),
}

fn read(path: &Path) -> Result<Array2<f32>, Problem> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let header = read_header(&mut file)?;
    let layout = parse(&header.text)?;
    let expected =
        [layout.dim.0, layout.dim.1, layout.size].iter().try_fold(1, |a: u64, &b| a.checked_mul(b as u64));
    // Compared before anything of this size is allocated.
    if expected.and_then(|bytes| bytes.checked_add(header.bytes)) != Some(length) {
        let (rows, columns) = layout.dim;
        return Err(
            format!("it has {length} bytes, which is not the size of {rows} × {columns} numbers").into()
        );
    }
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    let floats: Vec<f32> = match layout.size {
        4 => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        _ => bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
    };
    Array2::from_shape_vec(layout.dim.set_f(layout.fortran), floats).map_err(|error| error.to_string().into())
}

struct Header {
    text: String,
    /// Length of all that comes before the data.
    bytes: u64,
}

fn read_header(file: &mut impl Read) -> Result<Header, Problem> {
    let none = |_| Problem::Format("it is not a .npy file".into());
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(none)?;
    if &start[..6] != MAGIC {
        return Err("it is not a .npy file".to_string().into());
    }
    let mut length = [0; 4];
    let field = match start[6] {
        1 => 2,
        2 | 3 => 4,
        version => return Err(format!("it is a .npy file of version {version}").into()),
    };
    file.read_exact(&mut length[..field]).map_err(none)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER_BYTES {
        return Err(format!("it states a header of {length} bytes").into());
    }
    let mut text = vec![0; length];
    file.read_exact(&mut text).map_err(none)?;
    let bytes = (8 + field + length) as u64;
    Ok(Header { text: String::from_utf8(text).map_err(|_| "its header is not UTF-8".to_string())?, bytes })
}

/// Reads the header, a Python dictionary such as
/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
fn parse(header: &str) -> Result<Layout, String> {
    let value = |key: &str| {
        let (_, rest) = header.split_once(&format!("'{key}':")).ok_or(format!("its header has no {key}"))?;
        Ok::<_, String>(rest.trim_start())
    };
    let size = match value("descr")? {
        descr if descr.starts_with("'<f4'") => 4,
        descr if descr.starts_with("'<f8'") => 8,
        descr => {
            let descr = descr.split(',').next().unwrap_or_default();
            return Err(format!("it holds {descr}, neither float32 nor float64 ('<f4', '<f8')"));
        }
    };
    let shape = value("shape")?;
    let numbers = shape.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(numbers, _)| numbers);
    let axes: Option<Vec<usize>> = numbers.and_then(|axes| {
        axes.split(',').map(|n| n.trim()).filter(|n| !n.is_empty()).map(|n| n.parse().ok()).collect()
    });
    match axes.as_deref() {
        Some(&[rows, columns]) => {
            Ok(Layout { size, fortran: value("fortran_order")?.starts_with("True"), dim: (rows, columns) })
        }
        Some(axes) => Err(format!("it has shape {axes:?}, not [N, H·W·C]")),
        None => Err("its header has no shape".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{counted, shapes};
    use super::*;

    const SHAPE: [LatentShape; 1] = [LatentShape { channels: 1, height: 1, width: 2 }];

    /// What numpy 2.3 writes: `numpy.save(file, numpy.array([[1, -2.5, 3], [4, 5, 6]], "<f4"))`.
    const NUMPY: &[u8] = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\
        \x20                                                         \n\
        \x00\x00\x80?\x00\x00 \xc0\x00\x00@@\x00\x00\x80@\x00\x00\xa0@\x00\x00\xc0@";
    /// `numpy.save(file, numpy.array([[0.5, 1]], "<f8"))`.
    const DOUBLE: &[u8] =
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }\
        \x20                                                         \n\
        \x00\x00\x00\x00\x00\x00\xe0?\x00\x00\x00\x00\x00\x00\xf0?";
    /// `numpy.lib.format.write_array(file, numpy.array([[0.5, 1]], "<f4"), version=(2, 0))`.
    const VERSION_2: &[u8] = b"\x93NUMPY\x02\x00t\x00\x00\x00{'descr': '<f4', 'fortran_order': False, \
        'shape': (1, 2), }                                                        \n\
        \x00\x00\x00?\x00\x00\x80?";
    /// `numpy.save(file, numpy.asfortranarray(numpy.array([[1, 2], [3, 4]], "<f4")))`.
    const FORTRAN: &[u8] =
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }\
        \x20                                                          \n\
        \x00\x00\x80?\x00\x00@@\x00\x00\x00@\x00\x00\x80@";

    #[test]
    fn the_bytes_are_numpys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latents.npy");
        let shape = [LatentShape { channels: 3, height: 1, width: 1 }];
        let flat = ndarray::array![[1.0, -2.5, 3.0], [4.0, 5.0, 6.0]];
        Latents::from_flat(flat.view(), &shape).unwrap().save_npy(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), NUMPY);
        assert_eq!(Latents::load_npy(&path, &shape).unwrap().flat(), flat);
        for (bytes, expected) in [
            (DOUBLE, ndarray::array![[0.5, 1.0]]),
            (VERSION_2, ndarray::array![[0.5, 1.0]]),
            (FORTRAN, ndarray::array![[1.0, 2.0], [3.0, 4.0]]),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Latents::load_npy(&path, &SHAPE).unwrap().flat(), expected);
        }
    }

    #[test]
    fn a_saved_file_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latents.npy");
        for batch in [0, 1, 1000] {
            counted(batch).save_npy(&path).unwrap();
            assert_eq!(Latents::load_npy(&path, &shapes()).unwrap(), counted(batch));
        }
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latents.npy");
        let refused = |bytes: &[u8], expected: &str| {
            std::fs::write(&path, bytes).unwrap();
            let error = Latents::load_npy(&path, &SHAPE).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        };
        let with = |from: &str, to: &str| {
            let at = VERSION_2.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
            [&VERSION_2[..at], to.as_bytes(), &VERSION_2[at + from.len()..]].concat()
        };
        refused(b"", "not a .npy file");
        refused(b"PK\x03\x04 an archive of several", "not a .npy file");
        refused(&NUMPY[..40], "not a .npy file");
        refused(b"\x93NUMPY\x04\x00v\x00", "version 4");
        refused(b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "a header of 4294967295 bytes");
        refused(&with("'<f4'", "'<i4'"), "it holds '<i4', neither float32 nor float64");
        refused(&with("(1, 2)", "(1, 3)"), "is not the size of 1 × 3 numbers");
        refused(&with("(1, 2)", "(2,  )"), "it has shape [2], not [N, H·W·C]");
        refused(&with("(1, 2)", "(-1,2)"), "its header has no shape");
        refused(&with("'shape'", "'sharp'"), "its header has no shape");
        refused(&NUMPY[..NUMPY.len() - 1], "is not the size of 2 × 3 numbers");
        refused(NUMPY, "has shape [2, 3], expected [N, 2]");
        let huge = with("(1, 2), }     ", "(4294967296, 4294967296), }     ");
        refused(&huge, "numbers");
    }
}
