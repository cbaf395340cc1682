//! The frozen tensors of a bundle as numbers, whichever number format they have and wherever they lie.
use super::ThawError;
use crate::protobuf::{Fields, Value};
use crate::{Bundle, DECODER_FILE, ENCODER_FILE, WEIGHTS_FILE, parse_tensors, read_tensor_file};
use half::f16;
use safetensors::Dtype;
use std::collections::HashMap;

/// A frozen tensor's type, shape and little-endian elements.
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The frozen tensors of a bundle by name.
pub(super) struct Frozen(HashMap<String, Tensor>);

impl Frozen {
    /// Reads `model.safetensors` and what the graphs hold themselves, all of it checked against the
    /// manifest before.
    pub fn read(bundle: &Bundle) -> Result<Self, ThawError> {
        let mut tensors = HashMap::new();
        for graph in [ENCODER_FILE, DECODER_FILE] {
            bundle.verify(graph)?;
            bundle.check_graph(graph)?;
            for (name, tensor) in initializers(&bundle.read_graph(graph)?) {
                tensors.insert(name, tensor);
            }
        }
        if !bundle.manifest().is_inline() {
            bundle.verify(WEIGHTS_FILE)?;
            let path = bundle.path(WEIGHTS_FILE);
            let owned;
            let bytes = match bundle.bytes(WEIGHTS_FILE) {
                Some(bytes) => bytes,
                None => {
                    owned = read_tensor_file(&path)?;
                    &owned
                }
            };
            for (name, view) in parse_tensors(bytes, &path)?.tensors() {
                let (dtype, shape, bytes) = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
                tensors.insert(name, Tensor { dtype, shape, bytes });
            }
        }
        Ok(Self(tensors))
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A tensor's shape.
    pub fn shape(&self, name: &str) -> Result<&[usize], ThawError> {
        Ok(&self.get(name)?.shape)
    }

    /// The numbers that a tensor of this shape stands for.
    pub fn array(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>, ThawError> {
        let tensor = self.get(name)?;
        if tensor.shape != shape {
            return Err(ThawError::tensor(
                name,
                format!("has shape {:?} instead of {shape:?}", tensor.shape),
            ));
        }
        self.numbers(name, tensor)
    }

    /// The number that a tensor of one element stands for.
    pub fn number(&self, name: &str) -> Result<f64, ThawError> {
        match self.numbers(name, self.get(name)?)?[..] {
            [number] => Ok(number),
            _ => Err(ThawError::tensor(name, "is no single number")),
        }
    }

    fn get(&self, name: &str) -> Result<&Tensor, ThawError> {
        self.0.get(name).ok_or_else(|| ThawError::tensor(name, "is missing"))
    }

    fn numbers(&self, name: &str, tensor: &Tensor) -> Result<Vec<f64>, ThawError> {
        let bytes = &tensor.bytes;
        let mut numbers: Vec<f64> = match tensor.dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b).into()).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).into()).collect(),
            Dtype::I32 => bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b).into()).collect(),
            Dtype::I8 => bytes.iter().map(|&b| f64::from(b as i8)).collect(),
            Dtype::U8 => bytes.iter().copied().map(f64::from).collect(),
            other => return Err(ThawError::tensor(name, format!("is of type {other:?}"))),
        };
        let elements = tensor.shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        if elements != Some(numbers.len()) {
            return Err(ThawError::tensor(name, "has another number of elements than its shape says"));
        }
        // 8-bit weights and 32-bit biases are in steps of a scale for each entry of the first axis.
        let scale = format!("{name}_scale");
        if matches!(tensor.dtype, Dtype::I8 | Dtype::I32) && self.has(&scale) {
            let scales = self.array(&scale, &tensor.shape[..1.min(tensor.shape.len())])?;
            let zeros = format!("{name}_zero_point");
            if self.has(&zeros) && self.numbers(&zeros, self.get(&zeros)?)?.iter().any(|&zero| zero != 0.0) {
                return Err(ThawError::tensor(&zeros, "is not zero"));
            }
            let entry = (numbers.len() / scales.len().max(1)).max(1);
            for (entry, scale) in numbers.chunks_mut(entry).zip(scales) {
                entry.iter_mut().for_each(|number| *number *= scale);
            }
        }
        match numbers.iter().find(|number| !number.is_finite()) {
            Some(number) => Err(ThawError::tensor(name, format!("holds {number}"))),
            None => Ok(numbers),
        }
    }
}

/// The initialisers of a graph that it holds itself, of the types that a bundle has. The field numbers are
/// those of `onnx.proto3`; the graph has passed [`Bundle::check_graph`].
fn initializers(file: &[u8]) -> Vec<(String, Tensor)> {
    let mut found = Vec::new();
    for (number, value) in Fields::new(file).flatten() {
        let (7, Value::Bytes(graph)) = (number, value) else { continue };
        for (number, value) in Fields::new(graph).flatten() {
            if let (5, Value::Bytes(tensor)) = (number, value) {
                found.extend(initializer(tensor));
            }
        }
    }
    found
}

fn initializer(message: &[u8]) -> Option<(String, Tensor)> {
    let (mut name, mut dtype, mut shape, mut bytes) = (String::new(), None, Vec::new(), None);
    for (number, value) in Fields::new(message).flatten() {
        match (number, value) {
            (1, Value::Number(size)) => shape.push(size as usize),
            // Packed: whole numbers of seven bits a byte, one behind the other.
            (1, Value::Bytes(packed)) => shape.extend(varints(packed)),
            (2, Value::Number(1)) => dtype = Some(Dtype::F32),
            (2, Value::Number(2)) => dtype = Some(Dtype::U8),
            (2, Value::Number(3)) => dtype = Some(Dtype::I8),
            (2, Value::Number(6)) => dtype = Some(Dtype::I32),
            (2, Value::Number(10)) => dtype = Some(Dtype::F16),
            (8, Value::Bytes(text)) => name = String::from_utf8_lossy(text).into_owned(),
            (9, Value::Bytes(raw)) => bytes = Some(raw.to_vec()),
            _ => {}
        }
    }
    Some((name, Tensor { dtype: dtype?, shape, bytes: bytes? }))
}

fn varints(packed: &[u8]) -> Vec<usize> {
    let (mut numbers, mut number, mut shift) = (Vec::new(), 0u64, 0);
    for &byte in packed {
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if byte & 0x80 == 0 {
            numbers.push(number as usize);
            (number, shift) = (0, 0);
        }
    }
    numbers
}
