//! PyTorch's files, zip and legacy: read by a table of known names, never unpickled.
use super::ImportError;
use super::tensors::{Entry, Tensors};
use pytorch_reader::{DType, PytorchReader, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// A view may stand for more than the file holds; that of a model's tensors is the file's size, all of them
/// together, and as much again for those that share.
const SHARED: u64 = 2;
/// Files below this size may hold anything.
const SMALL: u64 = 1 << 20;

/// The tensors of a file, by their path through its dictionaries.
pub(super) fn read(path: &Path) -> Result<Tensors, ImportError> {
    let damaged = |reason: String| ImportError::Damaged { path: path.into(), form: "a PyTorch file", reason };
    let length = std::fs::metadata(path).map_err(ImportError::io("read", path))?.len();
    let reader = PytorchReader::new(path).map_err(|error| damaged(error.to_string()))?;
    let mut total = 0u64;
    let mut entries = BTreeMap::new();
    for (name, tensor) in reader.into_tensors() {
        total = total.saturating_add(tensor.byte_len() as u64);
        if total > SHARED * length.max(SMALL) {
            return Err(damaged("its tensors stand for more numbers than it holds".into()));
        }
        let shape = tensor.shape().to_vec();
        let read = Box::new(move || numbers(&tensor));
        entries.insert(name, Entry { shape, read });
    }
    Ok(Tensors::new(entries))
}

/// A whole number that stands beside the tensors under this key.
pub(super) fn number(path: &Path, key: &str) -> Option<u64> {
    PytorchReader::load_config(path, Some(key)).ok()
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>, String> {
    let bytes = tensor.read().map_err(|error| format!("cannot be read: {error}"))?;
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)).collect()
    }
    Ok(match tensor.dtype() {
        DType::F32 => each(&bytes, |bytes| f32::from_ne_bytes(bytes).into()),
        DType::F64 => each(&bytes, f64::from_ne_bytes),
        DType::F16 => each(&bytes, |bytes| half::f16::from_ne_bytes(bytes).into()),
        DType::BF16 => each(&bytes, |bytes| half::bf16::from_ne_bytes(bytes).into()),
        DType::U8 | DType::Bool => bytes.iter().map(|&byte| byte.into()).collect(),
        DType::I8 => bytes.iter().map(|&byte| f64::from(byte as i8)).collect(),
        DType::I16 => each(&bytes, |bytes| i16::from_ne_bytes(bytes).into()),
        DType::I32 => each(&bytes, |bytes| i32::from_ne_bytes(bytes).into()),
        DType::I64 => each(&bytes, |bytes| i64::from_ne_bytes(bytes) as f64),
        other => return Err(format!("is of type {other:?}, which no model has")),
    })
}
