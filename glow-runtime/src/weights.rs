//! Weights in memory: one copy of a file, mapped or read, which all sessions use in place.
use crate::onnx::{self, ExternalTensor};
use glow_models::{Bundle, WEIGHTS_FILE};
use memmap2::Mmap;
use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::builder::SessionBuilder;
use ort::value::DynValue;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

/// The bytes of a file of weights.
pub(crate) struct Weights(Bytes);

enum Bytes {
    /// The pages are shared with every other process that maps the file.
    Mapped(Mmap),
    /// Those of a file that only this process has, and that may be in memory itself.
    Own(Mmap),
    /// Blocks, of which the last may be longer than what is left of the file.
    Read { blocks: Vec<Block>, length: usize },
    /// Those of a bundle in memory.
    Bundle(Box<Bundle>),
}

/// As large as the strictest alignment of any kernel.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Block([u8; 64]);

/// A graph's constants that lie in the weights.
pub(crate) struct Constants {
    weights: Arc<Weights>,
    tensors: Vec<(ExternalTensor, ElementType)>,
}

impl std::ops::Deref for Weights {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(mapping) | Bytes::Own(mapping) => mapping,
            Bytes::Read { blocks, length } => {
                // SAFETY: the blocks are initialised bytes one after the other, without padding, and no
                // fewer than the length.
                unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), *length) }
            }
            Bytes::Bundle(bundle) => bundle.bytes(WEIGHTS_FILE).unwrap_or_default(),
        }
    }
}

impl Weights {
    /// Maps the file, or reads it where `map` says no.
    pub fn open(path: &Path, map: bool) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // An empty file cannot be mapped.
        if map && length > 0 {
            // SAFETY: the bytes are read as plain numbers, of which any will do. That nobody changes or
            // truncates the file meanwhile is asked of the caller: `GlowBuilder::map_weights`.
            return Ok(Self(Bytes::Mapped(unsafe { Mmap::map(&file) }?)));
        }
        Self::fill(length, |bytes| file.read_exact(bytes))
    }

    /// Maps a file that no other process can change.
    pub fn own(path: &Path) -> io::Result<Self> {
        Ok(match Self::open(path, true)?.0 {
            Bytes::Mapped(mapping) => Self(Bytes::Own(mapping)),
            empty => Self(empty),
        })
    }

    /// The weights of a bundle in memory: where they are if they lie as blocks do, otherwise a copy.
    pub fn of(bundle: &Bundle) -> io::Result<Self> {
        let bytes = bundle.bytes(WEIGHTS_FILE).unwrap_or_default();
        match bytes.as_ptr().addr().is_multiple_of(size_of::<Block>()) {
            true => Ok(Self(Bytes::Bundle(bundle.clone().into()))),
            false => Self::fill(bytes.len(), |copy| {
                copy.copy_from_slice(bytes);
                Ok(())
            }),
        }
    }

    fn fill(length: usize, read: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<Self> {
        let mut blocks = vec![Block([0; 64]); length.div_ceil(64)];
        // SAFETY: the blocks are initialised bytes one after the other, and nothing else refers to them.
        read(unsafe { std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast(), length) })?;
        Ok(Self(Bytes::Read { blocks, length }))
    }

    /// Lets go of the pages that were read while sessions were made from them: those that the sessions
    /// use in place come back from the file when they are needed.
    pub fn release(&self) {
        #[cfg(unix)]
        if let Bytes::Mapped(mapping) = &self.0 {
            // SAFETY: nothing was written to the mapping, so what is read again is the same. That it fails
            // on some system does no harm.
            let _ = unsafe { mapping.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }
}

impl Constants {
    /// The constants of a graph. Each must lie within the weights, where its numbers may lie, and have as many of
    /// them as its shape says: what is read of it is left to C++.
    pub fn new(graph: &[u8], weights: &Arc<Weights>) -> Result<Self, String> {
        let check = |tensor: ExternalTensor| {
            let element = check(&tensor, weights.len() as u64)
                .map_err(|reason| format!("its tensor {} {reason}", tensor.name))?;
            Ok((tensor, element))
        };
        let tensors = onnx::external_tensors(graph)?.into_iter().map(check).collect::<Result<_, String>>()?;
        Ok(Self { weights: Arc::clone(weights), tensors })
    }

    /// The file that they lie in.
    pub fn weights(&self) -> Arc<Weights> {
        Arc::clone(&self.weights)
    }

    /// Has the session use the constants in place. The weights must outlive it.
    pub fn add_to(&self, mut builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        for (tensor, element) in &self.tensors {
            // SAFETY: checked above, and the caller keeps the weights.
            let value = unsafe { value(tensor, *element, &self.weights) }?;
            builder = builder.with_initializer(&tensor.name, Arc::new(value))?;
        }
        Ok(builder)
    }
}

type ElementType = ort::sys::ONNXTensorElementDataType;

/// ONNX's number of an element type, its size in bytes, and ONNX Runtime's name of it.
const TYPES: [(u32, u64, ElementType); 7] = [
    (1, 4, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT),
    (2, 1, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8),
    (3, 1, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8),
    (6, 4, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32),
    (7, 8, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64),
    (10, 2, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16),
    (16, 2, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16),
];

/// Whether a tensor can be read from a file of so many bytes: its element type, or what is wrong.
fn check(tensor: &ExternalTensor, file: u64) -> Result<ElementType, String> {
    if tensor.offset.checked_add(tensor.length).is_none_or(|end| end > file) {
        return Err("leaves the file of the weights".into());
    }
    let Some(&(_, size, element)) = TYPES.iter().find(|(number, ..)| *number == tensor.data_type) else {
        return Err(format!("is of ONNX's type {}, which no bundle has", tensor.data_type));
    };
    if !tensor.offset.is_multiple_of(size) {
        return Err(format!(
            "begins at byte {}, which is no multiple of its elements' {size}",
            tensor.offset
        ));
    }
    let bytes = |bytes: u64, &n: &i64| bytes.checked_mul(u64::try_from(n).ok()?);
    if tensor.shape.iter().try_fold(size, bytes) != Some(tensor.length) {
        return Err(format!("has {} bytes, which its shape {:?} has not", tensor.length, tensor.shape));
    }
    Ok(element)
}

/// A tensor of any element type over the bytes of the mapping.
///
/// # Safety
/// The tensor has been checked against the bytes, and they outlive the value.
unsafe fn value(tensor: &ExternalTensor, element: ElementType, bytes: &[u8]) -> ort::Result<DynValue> {
    let place = tensor.offset as usize..(tensor.offset + tensor.length) as usize;
    let data = bytes[place].as_ptr().cast_mut().cast();
    let memory = MemoryInfo::default();
    let mut pointer = std::ptr::null_mut();
    // SAFETY: the length is that of the shape, the numbers are aligned, and constants are only read.
    unsafe {
        ort::Error::<()>::result_from_status((ort::api().CreateTensorWithDataAsOrtValue)(
            memory.ptr(),
            data,
            tensor.length as usize,
            tensor.shape.as_ptr(),
            tensor.shape.len(),
            element,
            &mut pointer,
        ))?;
    }
    let pointer = NonNull::new(pointer).ok_or_else(|| ort::Error::new("no tensor was made"))?;
    // SAFETY: the value is new, and its memory is not the allocator's to free.
    Ok(unsafe { DynValue::from_ptr(pointer, Some(&Allocator::default())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(data_type: u32, shape: &[i64], offset: u64, length: u64) -> ExternalTensor {
        let (name, location) = ("w".to_string(), "model.safetensors".to_string());
        ExternalTensor { name, data_type, shape: shape.to_vec(), location, offset, length }
    }

    #[test]
    fn tensors_that_cannot_be_read_are_refused() {
        for whole in [
            tensor(1, &[2, 3], 8, 24),
            tensor(1, &[], 96, 4),
            tensor(10, &[3], 2, 6),
            tensor(3, &[5], 95, 5),
            tensor(7, &[0, 4], 0, 0),
        ] {
            assert!(check(&whole, 100).is_ok(), "{whole:?}");
        }
        for wrong in [
            tensor(1, &[2, 3], 9, 24),
            tensor(7, &[1], 4, 8),
            tensor(1, &[2, 3], 8, 20),
            tensor(1, &[2, 3], 8, 28),
            tensor(1, &[2, -3], 8, 24),
            tensor(1, &[i64::MAX, i64::MAX], 8, 24),
            tensor(1, &[25], 4, 100),
            tensor(1, &[1], u64::MAX - 1, 4),
            tensor(99, &[1], 0, 4),
        ] {
            assert!(check(&wrong, 100).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn read_weights_are_those_that_are_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        for length in [0, 1, 63, 64, 65, 1000] {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            for map in [true, false] {
                let weights = Weights::open(&path, map).unwrap();
                assert_eq!(*weights, bytes[..]);
                assert!(length == 0 || weights.as_ptr().addr().is_multiple_of(64));
            }
        }
    }
}
