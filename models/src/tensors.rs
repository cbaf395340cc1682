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

/// Writes a safetensors file: the header padded so that the data begins on a 64-byte border, tensors
/// whose size is a multiple of that first. The bytes depend on nothing but the arguments.
///
/// # Errors
/// Whatever `out` gives.
///
/// # Panics
/// If a tensor's bytes do not fit its shape.
pub fn write_tensors(
    out: &mut dyn Write,
    metadata: &BTreeMap<String, String>,
    tensors: &[TensorBytes<'_>],
) -> io::Result<Vec<Placed>> {
    let mut order: Vec<&TensorBytes<'_>> = tensors.iter().collect();
    // Stable: the caller's order, architecture order, otherwise stands. The odd-sized tail goes from
    // the wider type to the narrower, so that every element stays naturally aligned.
    order.sort_by_key(|t| (t.bytes.len() % ALIGNMENT != 0, std::cmp::Reverse(dtype_size(t.dtype))));
    let mut entries = serde_json::Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".into(), serde_json::json!(metadata));
    }
    let mut begin = 0;
    let mut placed = Vec::with_capacity(order.len());
    for tensor in &order {
        let elements: usize = tensor.shape.iter().product();
        assert_eq!(elements * dtype_size(tensor.dtype), tensor.bytes.len(), "tensor {}", tensor.name);
        let end = begin + tensor.bytes.len();
        entries.insert(
            tensor.name.into(),
            serde_json::json!({
                "dtype": tensor.dtype,
                "shape": tensor.shape,
                "data_offsets": [begin, end],
            }),
        );
        placed.push(Placed {
            name: tensor.name.into(),
            offset: begin as u64,
            length: tensor.bytes.len() as u64,
        });
        begin = end;
    }
    let mut header = serde_json::to_vec(&entries)?;
    header.resize((8 + header.len()).next_multiple_of(ALIGNMENT) - 8, b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for tensor in &order {
        out.write_all(tensor.bytes)?;
    }
    for place in &mut placed {
        place.offset += 8 + header.len() as u64;
    }
    Ok(placed)
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
}
