//! Arrays inside npz files, read where they lie: an npz file is a zip archive of npy files.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use zip::{CompressionMethod, ZipArchive};

use crate::DataError;

/// No npy header is longer; a larger number is damage.
const MAX_HEADER: usize = 1 << 16;

/// A two-dimensional array of bytes, row by row.
#[derive(Debug)]
pub(crate) struct ByteRows {
    path: PathBuf,
    pub rows: usize,
    pub columns: usize,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Uncompressed in the file, from this byte on.
    File { file: File, begin: u64 },
    /// Compressed in the file, so kept in memory.
    Memory(Vec<u8>),
}

impl ByteRows {
    /// Appends row `index` to `out`.
    pub fn read(&self, index: usize, out: &mut Vec<u8>) -> Result<(), DataError> {
        assert!(index < self.rows, "row {index} of {}", self.rows);
        match &self.place {
            Place::Memory(bytes) => out.extend_from_slice(&bytes[index * self.columns..][..self.columns]),
            Place::File { file, begin } => {
                let end = out.len();
                out.resize(end + self.columns, 0);
                file.read_exact_at(&mut out[end..], begin + (index * self.columns) as u64)
                    .map_err(DataError::read(&self.path))?;
            }
        }
        Ok(())
    }
}

/// An npz file.
#[derive(Debug)]
pub(crate) struct Npz {
    path: PathBuf,
    archive: ZipArchive<File>,
}

impl Npz {
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::read(path))?;
        let archive = ZipArchive::new(file).map_err(|error| DataError::Format {
            path: path.into(),
            problem: format!("it is not an npz file, which is a zip archive: {error}"),
        })?;
        Ok(Self { path: path.into(), archive })
    }

    fn problem(&self, problem: String) -> DataError {
        DataError::Format { path: self.path.clone(), problem }
    }

    /// The array `name` of bytes. Where it is compressed, it is kept in memory if it has at most
    /// `memory` bytes.
    pub fn byte_rows(&mut self, name: &str, memory: u64) -> Result<ByteRows, DataError> {
        let (path, entry) = (self.path.clone(), format!("{name}.npy"));
        let problem = |problem: String| DataError::Format { path: path.clone(), problem };
        let mut member = self
            .archive
            .by_name(&entry)
            .map_err(|error| problem(format!("it has no array {name:?}: {error}")))?;
        let header = Header::read(&mut member).map_err(|what| problem(format!("{name}: {what}")))?;
        let (rows, columns) = match (header.descr.as_str(), header.shape.as_slice()) {
            ("|u1", [rows, columns]) => (*rows, *columns),
            (descr, shape) => {
                let found = format!("{name} has the type {descr:?} and the shape {shape:?}");
                return Err(problem(format!("{found}; bytes of two axes are wanted")));
            }
        };
        let size = member.size();
        let bytes = rows
            .checked_mul(columns)
            .filter(|&bytes| (bytes as u64).checked_add(header.length as u64) == Some(size));
        let bytes = bytes.ok_or_else(|| {
            problem(format!("{name} of {rows} × {columns} bytes does not fill its {size} bytes"))
        })?;
        if member.compression() == CompressionMethod::Stored {
            let begin = member.data_start().and_then(|start| start.checked_add(header.length as u64));
            drop(member);
            let file = File::open(&path).map_err(DataError::read(&path))?;
            let length = file.metadata().map_err(DataError::read(&path))?.len();
            let begin = begin
                .filter(|begin| begin.checked_add(bytes as u64).is_some_and(|end| end <= length))
                .ok_or_else(|| problem(format!("{name} reaches past the end of the file")))?;
            return Ok(ByteRows { path, rows, columns, place: Place::File { file, begin } });
        }
        if bytes as u64 > memory {
            return Err(problem(format!(
                "{name} is compressed and takes {bytes} bytes of memory; allow more with --cache-bytes, or \
                 write the file again with numpy.savez, which does not compress, so that it can be read in place"
            )));
        }
        let mut pixels = Vec::new();
        member.take(bytes as u64).read_to_end(&mut pixels).map_err(DataError::read(&path))?;
        if pixels.len() != bytes {
            return Err(problem(format!("{name} ends after {} of {bytes} bytes", pixels.len())));
        }
        Ok(ByteRows { path, rows, columns, place: Place::Memory(pixels) })
    }

    /// The array `name` of whole numbers; `None` if there is none of that name.
    pub fn integers(&mut self, name: &str) -> Result<Option<Vec<i64>>, DataError> {
        const MAX: usize = 1 << 28;
        let Ok(mut member) = self.archive.by_name(&format!("{name}.npy")) else { return Ok(None) };
        let mut read = || -> Result<Vec<i64>, String> {
            let header = Header::read(&mut member)?;
            let count = header.shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side));
            let count = count.filter(|&n| n <= MAX).ok_or("too many numbers")?;
            let width = match header.descr.as_str() {
                "|u1" => 1,
                "<i2" => 2,
                "<i4" => 4,
                "<i8" => 8,
                other => return Err(format!("the type {other:?} is none of uint8, int16, int32 and int64")),
            };
            let mut bytes = Vec::new();
            (&mut member)
                .take((count * width) as u64)
                .read_to_end(&mut bytes)
                .map_err(|error| error.to_string())?;
            if bytes.len() != count * width {
                return Err(format!("it ends after {} of {} bytes", bytes.len(), count * width));
            }
            let number = |bytes: &[u8]| match *bytes {
                [a] => i64::from(a),
                [a, b] => i64::from(i16::from_le_bytes([a, b])),
                [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
                _ => i64::from_le_bytes(bytes.try_into().expect("eight bytes")),
            };
            Ok(bytes.chunks_exact(width).map(number).collect())
        };
        let numbers = read();
        drop(member);
        numbers.map(Some).map_err(|what| self.problem(format!("{name}: {what}")))
    }
}

/// The header of an npy file (NumPy's format versions 1 to 3).
struct Header {
    descr: String,
    shape: Vec<usize>,
    /// Bytes before the first element.
    length: usize,
}

impl Header {
    fn read(file: &mut impl Read) -> Result<Self, String> {
        let mut start = [0; 8];
        file.read_exact(&mut start).map_err(|error| error.to_string())?;
        if &start[..6] != b"\x93NUMPY" {
            return Err("it is no npy file".into());
        }
        let wide = start[6] > 1;
        let mut length = [0; 4];
        file.read_exact(&mut length[..if wide { 4 } else { 2 }]).map_err(|error| error.to_string())?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER {
            return Err(format!("a header of {length} bytes"));
        }
        let mut text = vec![0; length];
        file.read_exact(&mut text).map_err(|error| error.to_string())?;
        let text = String::from_utf8(text).map_err(|_| "a header that is not text".to_string())?;
        let parsed = Self::parse(&text).ok_or_else(|| format!("the header {:?}", text.trim()))?;
        Ok(Self { length: length + if wide { 12 } else { 10 }, ..parsed })
    }

    /// `{'descr': '|u1', 'fortran_order': False, 'shape': (5, 3), }`
    fn parse(text: &str) -> Option<Self> {
        let after = |key: &str| Some(text.split_once(key)?.1.trim_start_matches([':', ' ']));
        let descr = after("'descr'")?.strip_prefix('\'')?.split_once('\'')?.0.to_string();
        if !after("'fortran_order'")?.starts_with("False") {
            return None;
        }
        let shape = after("'shape'")?.strip_prefix('(')?.split_once(')')?.0;
        let sides = shape.split(',').map(str::trim).filter(|side| !side.is_empty());
        let shape = sides.map(|side| side.parse().ok()).collect::<Option<Vec<usize>>>()?;
        Some(Self { descr, shape, length: 0 })
    }
}
