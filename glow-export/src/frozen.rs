//! The frozen weights on their way into `model.safetensors`.
use crate::ExportError;
use glow_models::{Dtype, TensorBytes, write_atomically, write_tensors};
use ndarray::{Array, Dimension};
use std::collections::BTreeMap;
use std::path::Path;

/// Folded tensors, rounded to fp32, in the architecture's order.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    tensors: Vec<Tensor>,
}

#[derive(Debug)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Where each frozen tensor lies in `model.safetensors`.
#[derive(Debug)]
pub(crate) struct FrozenFile {
    tensors: BTreeMap<String, FrozenTensor>,
}

/// Shape and place of one frozen tensor.
#[derive(Debug)]
pub(crate) struct FrozenTensor {
    pub shape: Vec<usize>,
    pub offset: u64,
    pub length: u64,
}

impl Frozen {
    /// Rounds a folded tensor to fp32 and takes it in.
    ///
    /// # Errors
    /// [`ExportError::Overflow`] if a value does not fit.
    pub fn push<D: Dimension>(&mut self, name: String, tensor: &Array<f64, D>) -> Result<(), ExportError> {
        let mut bytes = Vec::with_capacity(4 * tensor.len());
        for &value in tensor {
            let rounded = value as f32;
            if !rounded.is_finite() {
                return Err(ExportError::Overflow { tensor: name });
            }
            bytes.extend(rounded.to_le_bytes());
        }
        self.tensors.push(Tensor { name, shape: tensor.shape().to_vec(), bytes });
        Ok(())
    }

    /// Writes all tensors into one safetensors file.
    pub fn write(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<FrozenFile, ExportError> {
        let tensors: Vec<TensorBytes<'_>> = self
            .tensors
            .iter()
            .map(|t| TensorBytes { name: &t.name, dtype: Dtype::F32, shape: &t.shape, bytes: &t.bytes })
            .collect();
        let mut placed = Vec::new();
        write_atomically(path, |out| {
            placed = write_tensors(out, metadata, &tensors)?;
            Ok(())
        })
        .map_err(ExportError::io("write", path))?;
        let places: BTreeMap<_, _> = placed.iter().map(|p| (p.name.as_str(), p)).collect();
        let tensors = self
            .tensors
            .iter()
            .map(|tensor| {
                let place = places[tensor.name.as_str()];
                let (shape, offset, length) = (tensor.shape.clone(), place.offset, place.length);
                (tensor.name.clone(), FrozenTensor { shape, offset, length })
            })
            .collect();
        Ok(FrozenFile { tensors })
    }
}

impl FrozenFile {
    /// A tensor's shape and place; `None` if folding left no such tensor.
    pub fn get(&self, name: &str) -> Option<&FrozenTensor> {
        self.tensors.get(name)
    }
}
