//! safetensors files whose tensors lie on 64-byte borders, so that they can be mapped and used in place.
//!
//! The safetensors crate reads and checks; it pads only to 8 bytes when it writes, hence the writer here.
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use thiserror::Error;

/// Border, in bytes, on which the data of every tensor lies whose own size is a multiple of it.
pub const ALIGNMENT: usize = 64;

/// A tensor to write: its name, type, shape and little-endian bytes.
#[derive(Debug, Clone, Copy)]
pub struct TensorBytes<'a> {
    /// Name, unique in the file.
    pub name: &'a str,
    /// Element type.
    pub dtype: Dtype,
    /// Shape, row-major.
    pub shape: &'a [usize],
    /// Elements, little-endian.
    pub bytes: &'a [u8],
}

/// Where a tensor lies in a written file, in bytes from the file's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The tensor's name.
    pub name: String,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// A safetensors file that cannot be used.
#[derive(Debug, Error)]
pub enum TensorFileError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not safetensors, or is truncated.
    #[error("{path} is not a complete safetensors file")]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
    /// The file states a header that is longer than any can be.
    #[error("{path} states a header of {bytes} bytes, and is therefore not taken for a safetensors file")]
    Header {
        /// The file.
        path: PathBuf,
        /// What it states.
        bytes: u64,
    },
    /// The file is longer or shorter than its header says.
    #[error("{path} has {actual} bytes where its header says {expected}: it is damaged, copy it again")]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes by the header.
        expected: u64,
        /// Bytes in fact.
        actual: u64,
    },
}

/// A tensor to write, without its data.
#[derive(Debug, Clone, Copy)]
pub struct TensorSpec<'a> {
    /// Name, unique in the file.
    pub name: &'a str,
    /// Element type.
    pub dtype: Dtype,
    /// Shape, row-major.
    pub shape: &'a [usize],
}

impl TensorSpec<'_> {
    /// Bytes of the tensor's data; `None` if they do not fit 64 bits.
    fn length(&self) -> Option<u64> {
        let count = self.shape.iter().try_fold(1u64, |count, &n| count.checked_mul(n as u64))?;
        count.checked_mul(dtype_size(self.dtype) as u64)
    }
}

/// Writes a safetensors file of tensors in memory, as [`stream_tensors`] does.
///
/// # Errors
/// Whatever `out` gives, or a tensor's bytes do not fit its shape.
pub fn write_tensors(
    out: &mut dyn Write,
    metadata: &BTreeMap<String, String>,
    tensors: &[TensorBytes<'_>],
) -> io::Result<Vec<Placed>> {
    let specs: Vec<TensorSpec<'_>> =
        tensors.iter().map(|t| TensorSpec { name: t.name, dtype: t.dtype, shape: t.shape }).collect();
    stream_tensors(out, metadata, &specs, |index, out| out.write_all(tensors[index].bytes))
}

/// Writes a safetensors file without holding its data: `data` is called for each tensor in turn, with its
/// index in `tensors`, and writes its little-endian bytes.
///
/// The header is padded so that the data begins on a 64-byte border, and tensors whose size is a multiple of
/// that come first. The bytes depend on nothing but the arguments.
///
/// # Errors
/// Whatever `out` or `data` gives; [`io::ErrorKind::InvalidInput`] if `data` wrote more or fewer bytes than
/// the tensor's shape asks for.
pub fn stream_tensors(
    out: &mut dyn Write,
    metadata: &BTreeMap<String, String>,
    tensors: &[TensorSpec<'_>],
    mut data: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> io::Result<Vec<Placed>> {
    let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidInput, problem);
    let mut order = Vec::with_capacity(tensors.len());
    for (index, tensor) in tensors.iter().enumerate() {
        let length =
            tensor.length().ok_or_else(|| invalid(format!("tensor {} is too large", tensor.name)))?;
        order.push((index, tensor, length));
    }
    // Stable: the caller's order, architecture order, otherwise stands. The odd-sized tail goes from
    // the wider type to the narrower, so that every element stays naturally aligned.
    order.sort_by_key(|(_, tensor, length)| {
        (length % ALIGNMENT as u64 != 0, std::cmp::Reverse(dtype_size(tensor.dtype)))
    });
    let mut entries = serde_json::Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".into(), serde_json::json!(metadata));
    }
    let mut begin = 0;
    let mut placed = Vec::with_capacity(order.len());
    for &(_, tensor, length) in &order {
        let end = begin + length;
        entries.insert(
            tensor.name.into(),
            serde_json::json!({
                "dtype": tensor.dtype,
                "shape": tensor.shape,
                "data_offsets": [begin, end],
            }),
        );
        placed.push(Placed { name: tensor.name.into(), offset: begin, length });
        begin = end;
    }
    let mut header = serde_json::to_vec(&entries)?;
    header.resize((8 + header.len()).next_multiple_of(ALIGNMENT) - 8, b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (index, tensor, length) in order {
        let mut counted = Counted { out: &mut *out, written: 0 };
        data(index, &mut counted)?;
        if counted.written != length {
            let written = counted.written;
            return Err(invalid(format!(
                "tensor {} has {length} bytes by its shape, and {written} were written",
                tensor.name
            )));
        }
    }
    for place in &mut placed {
        place.offset += 8 + header.len() as u64;
    }
    Ok(placed)
}

/// Counts what is written.
struct Counted<'a> {
    out: &'a mut dyn Write,
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Bytes of an element; types of less than a byte are not written here.
fn dtype_size(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    #[test]
    fn the_library_reads_what_we_write_and_large_tensors_are_aligned() {
        let (odd, whole, wide, narrow) = ([1u8; 12], [2u8; 128], [3u8; 8], [4u8; 5]);
        let tensors = [
            TensorBytes { name: "narrow", dtype: Dtype::I8, shape: &[5], bytes: &narrow },
            TensorBytes { name: "half", dtype: Dtype::F16, shape: &[32, 2], bytes: &whole },
            TensorBytes { name: "odd", dtype: Dtype::F32, shape: &[3], bytes: &odd },
            TensorBytes { name: "whole", dtype: Dtype::F32, shape: &[4, 8], bytes: &whole },
            TensorBytes { name: "wide", dtype: Dtype::I64, shape: &[1], bytes: &wide },
        ];
        let metadata = BTreeMap::from([("format".to_string(), "test".to_string())]);
        let mut file = Vec::new();
        let placed = write_tensors(&mut file, &metadata, &tensors).unwrap();
        let read = SafeTensors::deserialize(&file).unwrap();
        for place in placed {
            let view = read.tensor(&place.name).unwrap();
            let (from, to) = (place.offset as usize, (place.offset + place.length) as usize);
            assert_eq!(&file[from..to], view.data());
            let tensor = tensors.iter().find(|t| t.name == place.name).unwrap();
            assert_eq!((view.shape(), view.data()), (tensor.shape, tensor.bytes));
            if tensor.bytes.len().is_multiple_of(ALIGNMENT) {
                assert_eq!(from % ALIGNMENT, 0);
            }
        }
        let (_, header) = SafeTensors::read_metadata(&file).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "test");
    }

    #[test]
    fn a_tensor_of_another_length_than_its_shape_is_an_error() {
        let tensors = [TensorSpec { name: "a", dtype: Dtype::F32, shape: &[2] }];
        for length in [0, 4, 7, 12] {
            let written = stream_tensors(&mut Vec::new(), &BTreeMap::new(), &tensors, |_, out| {
                out.write_all(&vec![0; length])
            });
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{length}");
        }
        let endless = [TensorSpec { name: "a", dtype: Dtype::F32, shape: &[usize::MAX, 2] }];
        let written = stream_tensors(&mut Vec::new(), &BTreeMap::new(), &endless, |_, _| Ok(()));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
