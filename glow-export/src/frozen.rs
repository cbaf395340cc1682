//! The frozen weights on their way into `model.safetensors`, or into the graphs themselves.
use crate::ExportError;
use glow_models::{TensorBytes, write_atomically, write_tensors};
use ndarray::{Array, ArrayD, Dimension};
use prost::bytes::Bytes;
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::path::Path;

/// Frozen tensors in the architecture's order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frozen {
    tensors: Vec<Tensor>,
}

/// One frozen tensor; its elements little-endian.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Bytes,
}

/// The frozen tensors as the graphs refer to them.
#[derive(Debug)]
pub(crate) struct FrozenFile {
    tensors: BTreeMap<String, FrozenTensor>,
}

/// Type, shape and place of one frozen tensor.
#[derive(Debug)]
pub(crate) struct FrozenTensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub place: Place,
}

/// Where the elements of a frozen tensor are.
#[derive(Debug)]
pub(crate) enum Place {
    /// In `model.safetensors`.
    External { offset: u64, length: u64 },
    /// In the graph itself.
    Inline(Bytes),
}

impl Tensor {
    /// A tensor of fp32.
    pub fn floats(name: String, shape: &[usize], values: impl IntoIterator<Item = f32>) -> Self {
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Self { name, dtype: Dtype::F32, shape: shape.into(), bytes: bytes.into() }
    }

    /// The elements of a tensor of fp32.
    ///
    /// # Panics
    /// If it is of another type.
    pub fn array(&self) -> ArrayD<f32> {
        assert_eq!(self.dtype, Dtype::F32, "{}", self.name);
        let values = self.bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        ArrayD::from_shape_vec(self.shape.clone(), values).expect("as many numbers")
    }
}

impl Frozen {
    /// Rounds a folded tensor to fp32 and takes it in.
    ///
    /// # Errors
    /// [`ExportError::Overflow`] if a value does not fit.
    pub fn push<D: Dimension>(&mut self, name: String, tensor: &Array<f64, D>) -> Result<(), ExportError> {
        if tensor.iter().any(|&value| !(value as f32).is_finite()) {
            return Err(ExportError::Overflow { tensor: name, format: "fp32" });
        }
        let values = tensor.iter().map(|&value| value as f32);
        self.tensors.push(Tensor::floats(name, tensor.shape(), values));
        Ok(())
    }

    /// A tensor; `None` if folding left none of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// All tensors.
    pub fn iter(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.iter()
    }

    /// Puts other tensors in the place of each.
    ///
    /// # Errors
    /// The first error that `replace` gives.
    pub fn try_map(
        self,
        mut replace: impl FnMut(Tensor) -> Result<Vec<Tensor>, ExportError>,
    ) -> Result<Self, ExportError> {
        let mut tensors = Vec::with_capacity(self.tensors.len());
        for tensor in self.tensors {
            tensors.extend(replace(tensor)?);
        }
        Ok(Self { tensors })
    }

    /// Writes all tensors into one safetensors file. Single numbers, such as the scale of an activation,
    /// go into the graphs: a range of a file for four bytes would cost every reader more.
    pub fn write(self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<FrozenFile, ExportError> {
        let tensors: Vec<TensorBytes<'_>> = self
            .tensors
            .iter()
            .filter(|tensor| !tensor.shape.is_empty())
            .map(|t| TensorBytes { name: &t.name, dtype: t.dtype, shape: &t.shape, bytes: &t.bytes })
            .collect();
        let mut placed = Vec::new();
        write_atomically(path, |out| {
            placed = write_tensors(out, metadata, &tensors)?;
            Ok(())
        })
        .map_err(ExportError::io("write", path))?;
        let places: BTreeMap<_, _> = placed.iter().map(|p| (p.name.as_str(), p)).collect();
        Ok(self.placed(|tensor| match places.get(tensor.name.as_str()) {
            Some(place) => Place::External { offset: place.offset, length: place.length },
            None => Place::Inline(tensor.bytes.clone()),
        }))
    }

    /// Leaves all tensors to the graphs.
    pub fn inline(self) -> FrozenFile {
        self.placed(|tensor| Place::Inline(tensor.bytes.clone()))
    }

    fn placed(&self, place: impl Fn(&Tensor) -> Place) -> FrozenFile {
        let entry = |tensor: &Tensor| {
            let (dtype, shape, place) = (tensor.dtype, tensor.shape.clone(), place(tensor));
            (tensor.name.clone(), FrozenTensor { dtype, shape, place })
        };
        FrozenFile { tensors: self.tensors.iter().map(entry).collect() }
    }
}

impl FrozenFile {
    /// A tensor; `None` if folding left none of this name.
    pub fn get(&self, name: &str) -> Option<&FrozenTensor> {
        self.tensors.get(name)
    }
}
