//! Reading safetensors files that may come from anyone.
use crate::TensorFileError;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{SafeTensorError, SafeTensors};
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Longer headers are refused unread: those of the largest models have a few megabytes.
pub const MAX_HEADER_BYTES: u64 = 32 << 20;

/// Bytes that say how long the header is.
const PREFIX: u64 = 8;

/// Reads a safetensors file whole. Its header is checked before anything of a size that the file states
/// is allocated: it may have [`MAX_HEADER_BYTES`] at most, and must describe a file of just this length.
///
/// # Errors
/// The file cannot be read, is no regular file, or is not a complete safetensors file.
pub fn read_tensor_file(path: &Path) -> Result<Vec<u8>, TensorFileError> {
    let read = |source| TensorFileError::Read { path: path.into(), source };
    let (mut file, length) = open_regular(path).map_err(read)?;
    let mut bytes = Vec::new();
    read_header(&mut file, length, &mut bytes).map_err(|problem| problem.at(path))?;
    // The file may grow while it is read.
    file.take(length - bytes.len() as u64).read_to_end(&mut bytes).map_err(read)?;
    Ok(bytes)
}

/// Opens a file and gives its length; refuses what is no regular file.
fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    // Asked before it is opened, for to open a pipe is to wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// A safetensors file of which only the header is in memory. Tensors are read one by one as they are asked
/// for, so that a large file costs no more memory than the tensor in use.
///
/// The file is read, not mapped: a file that another program cuts short, or a disk that fails, gives an
/// error and not a signal that ends the process.
pub struct TensorFile {
    path: PathBuf,
    source: Source,
    /// Where the tensors' data begin.
    begin: u64,
    header: Metadata,
}

enum Source {
    /// Locked, as reading moves its position.
    File(Mutex<File>),
    Memory(Vec<u8>),
}

impl TensorFile {
    /// Opens a file; its header is checked as [`read_tensor_file`] does.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, or is not a complete safetensors file.
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        let read = |source| TensorFileError::Read { path: path.into(), source };
        let (mut file, length) = open_regular(path).map_err(read)?;
        let mut bytes = Vec::new();
        let header = read_header(&mut file, length, &mut bytes).map_err(|problem| problem.at(path))?;
        Ok(Self {
            path: path.into(),
            source: Source::File(Mutex::new(file)),
            begin: bytes.len() as u64,
            header,
        })
    }

    /// The same of a file in memory; `path` is for the messages.
    ///
    /// # Errors
    /// It is not a complete safetensors file.
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, TensorFileError> {
        let mut head = Vec::new();
        let header = read_header(&mut &bytes[..], bytes.len() as u64, &mut head)
            .map_err(|problem| problem.at(path))?;
        Ok(Self { path: path.into(), source: Source::Memory(bytes), begin: head.len() as u64, header })
    }

    /// The file that it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The texts in the header's `__metadata__`; `None` if it has none.
    pub fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.header.metadata().as_ref()
    }

    /// The names of its tensors, in the order of their data.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Type and shape of a tensor; `None` if there is none of this name.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    /// The little-endian bytes of a tensor, row-major; `None` if there is none of this name.
    ///
    /// # Errors
    /// The file cannot be read, or has become shorter since it was opened.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, TensorFileError> {
        let Some(info) = self.info(name) else { return Ok(None) };
        let (from, to) = info.data_offsets;
        let begin = self.begin + from as u64;
        let mut bytes = vec![0; to - from];
        match &self.source {
            Source::Memory(whole) => {
                let begin = begin as usize;
                bytes.copy_from_slice(&whole[begin..begin + (to - from)]);
            }
            Source::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(begin))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|source| TensorFileError::Read { path: self.path.clone(), source })?;
            }
        }
        Ok(Some(bytes))
    }
}

/// The path and the number of tensors, not the contents.
impl fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensors = self.header.tensors().len();
        f.debug_struct("TensorFile").field("path", &self.path).field("tensors", &tensors).finish()
    }
}

/// The tensors of a safetensors file in memory; `path` is for the messages.
///
/// # Errors
/// It is not a complete safetensors file, or its header is longer than [`MAX_HEADER_BYTES`].
pub fn parse_tensors<'a>(bytes: &'a [u8], path: &Path) -> Result<SafeTensors<'a>, TensorFileError> {
    read_header(&mut &bytes[..], bytes.len() as u64, &mut Vec::new()).map_err(|problem| problem.at(path))?;
    SafeTensors::deserialize(bytes).map_err(|source| Problem::Format(source).at(path))
}

enum Problem {
    Read(io::Error),
    Format(SafeTensorError),
    Header { bytes: u64 },
    Length { expected: u64, actual: u64 },
}

impl Problem {
    fn at(self, path: &Path) -> TensorFileError {
        let path = path.into();
        match self {
            Self::Read(source) => TensorFileError::Read { path, source },
            Self::Format(source) => TensorFileError::Format { path, source },
            Self::Header { bytes } => TensorFileError::Header { path, bytes },
            Self::Length { expected, actual } => TensorFileError::Length { path, expected, actual },
        }
    }
}

/// Reads length and header of a file of `length` bytes into `bytes`, and checks that the tensors lie one
/// behind the other and fill the rest.
fn read_header(input: &mut impl Read, length: u64, bytes: &mut Vec<u8>) -> Result<Metadata, Problem> {
    input.by_ref().take(PREFIX).read_to_end(bytes).map_err(Problem::Read)?;
    let Ok(prefix) = <[u8; PREFIX as usize]>::try_from(&bytes[..]) else {
        return Err(Problem::Length { expected: PREFIX, actual: length });
    };
    let header = u64::from_le_bytes(prefix);
    if header > MAX_HEADER_BYTES {
        return Err(Problem::Header { bytes: header });
    }
    let begin = PREFIX + header;
    if begin > length {
        return Err(Problem::Length { expected: begin, actual: length });
    }
    input.by_ref().take(header).read_to_end(bytes).map_err(Problem::Read)?;
    let wrong = |error| Problem::Format(SafeTensorError::InvalidHeaderDeserialization(error));
    let header: Metadata = serde_json::from_slice(&bytes[PREFIX as usize..]).map_err(wrong)?;
    let expected = begin.saturating_add(header.data_len() as u64);
    if expected != length {
        return Err(Problem::Length { expected, actual: length });
    }
    check_offsets(&header).map_err(Problem::Format)?;
    Ok(header)
}

fn check_offsets(header: &Metadata) -> Result<(), SafeTensorError> {
    let mut begin = 0;
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else { continue };
        let (from, to) = info.data_offsets;
        if from != begin || to < from {
            return Err(SafeTensorError::InvalidOffset(name));
        }
        let bits = info
            .shape
            .iter()
            .try_fold(info.dtype.bitsize(), |bits, &n| bits.checked_mul(n))
            .ok_or(SafeTensorError::ValidationOverflow)?;
        if bits % 8 != 0 || bits / 8 != to - from {
            return Err(SafeTensorError::TensorInvalidInfo);
        }
        begin = to;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TensorBytes, write_tensors};
    use safetensors::Dtype;
    use std::collections::BTreeMap;

    fn file() -> Vec<u8> {
        let tensor = TensorBytes { name: "a", dtype: Dtype::F32, shape: &[2, 1], bytes: &[1; 8] };
        let mut file = Vec::new();
        write_tensors(&mut file, &BTreeMap::new(), &[tensor]).unwrap();
        file
    }

    fn with_header(header: &str, data: usize) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
    }

    #[test]
    fn what_is_whole_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        std::fs::write(&path, file()).unwrap();
        let bytes = read_tensor_file(&path).unwrap();
        assert_eq!(bytes, file());
        assert_eq!(parse_tensors(&bytes, &path).unwrap().tensor("a").unwrap().shape(), [2, 1]);
        for file in [TensorFile::open(&path).unwrap(), TensorFile::from_bytes(file(), &path).unwrap()] {
            assert_eq!((file.read("a").unwrap(), file.read("b").unwrap()), (Some(vec![1; 8]), None));
        }
        let opened = TensorFile::open(&path).unwrap();
        std::fs::write(&path, &file()[..file().len() - 1]).unwrap();
        assert!(matches!(opened.read("a"), Err(TensorFileError::Read { .. })), "cut since it was opened");
        let empty = with_header("{}", 0);
        assert!(parse_tensors(&empty, &path).unwrap().is_empty());
    }

    #[test]
    fn what_a_header_must_not_say() {
        let tensor = |shape: &str, begin: u64, end: u64| {
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#)
        };
        let cut = file()[..file().len() - 1].to_vec();
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("has 0 bytes where its header says 8", vec![]),
            ("has 7 bytes where its header says 8", vec![0; 7]),
            ("states a header of 18446744073709551615 bytes", vec![0xff; 9]),
            ("states a header of 100000000 bytes", 100_000_000u64.to_le_bytes().to_vec()),
            ("has 8 bytes where its header says 33554440", MAX_HEADER_BYTES.to_le_bytes().to_vec()),
            ("where its header says", cut),
            ("where its header says", [file(), vec![0]].concat()),
            ("not a complete safetensors file", with_header("{", 0)),
            ("not a complete safetensors file", with_header(&tensor("[2]", 0, 4), 4)),
            ("not a complete safetensors file", with_header(&tensor("[1]", 4, 8), 8)),
            ("not a complete safetensors file", with_header(&tensor("[1]", 4, 0), 8)),
            ("not a complete safetensors file", with_header(&tensor("[4611686018427387904, 8]", 0, 0), 0)),
            (
                "where its header says 576460752303423",
                with_header(&tensor("[144115188075855872]", 0, 1 << 59), 0),
            ),
            ("not a complete safetensors file", with_header(&"[".repeat(100_000), 0)),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        for (expected, bytes) in cases {
            std::fs::write(&path, &bytes).unwrap();
            let errors = [
                parse_tensors(&bytes, &path).map(drop),
                read_tensor_file(&path).map(drop),
                TensorFile::open(&path).map(drop),
                TensorFile::from_bytes(bytes, &path).map(drop),
            ];
            for error in errors.map(|result| result.expect_err(expected).to_string()) {
                assert!(error.contains(expected), "{error:?} does not say {expected:?}");
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read_tensor_file(&path).unwrap_err().to_string().contains("cannot read"));
        std::fs::create_dir(&path).unwrap();
        assert!(read_tensor_file(&path).unwrap_err().to_string().contains("cannot read"));
    }
}
