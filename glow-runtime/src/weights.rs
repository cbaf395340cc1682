//! Weights in memory: one mapping of a file, which all sessions use in place.
use crate::onnx::{self, ExternalTensor};
use memmap2::Mmap;
use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::builder::SessionBuilder;
use ort::value::DynValue;
use std::fs::File;
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

/// A file of weights, mapped; the pages are shared with every other process that maps it.
pub(crate) struct Weights(Mmap);

/// A graph's constants that lie in the mapping.
pub(crate) struct Constants {
    weights: Arc<Weights>,
    tensors: Vec<ExternalTensor>,
}

impl std::ops::Deref for Weights {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Weights {
    pub fn map(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the bytes are read as plain numbers, of which any will do. That nobody truncates the
        // file meanwhile is as for every mapped file, ONNX Runtime's own mappings included.
        unsafe { Mmap::map(&file) }.map(Self)
    }

    /// Lets go of the pages that were read while sessions were made from them: those that the sessions
    /// use in place come back from the file when they are needed.
    pub fn release(&self) {
        #[cfg(unix)]
        {
            // SAFETY: nothing was written to the mapping, so what is read again is the same. That it fails
            // on some system does no harm.
            let _ = unsafe { self.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }
}

impl Constants {
    /// The constants of a graph, all of which must lie within the weights.
    pub fn new(graph: &[u8], weights: &Arc<Weights>) -> Result<Self, String> {
        let tensors = onnx::external_tensors(graph)?;
        for tensor in &tensors {
            if tensor.offset.checked_add(tensor.length).is_none_or(|end| end > weights.0.len() as u64) {
                return Err(format!("its tensor {} leaves the file of the weights", tensor.name));
            }
        }
        Ok(Self { weights: Arc::clone(weights), tensors })
    }

    /// The file that they lie in.
    pub fn weights(&self) -> Arc<Weights> {
        Arc::clone(&self.weights)
    }

    /// Has the session use the constants in place. The weights must outlive it.
    pub fn add_to(&self, mut builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        for tensor in &self.tensors {
            // SAFETY: the bounds are checked above, and the caller keeps the weights.
            let value = unsafe { value(tensor, &self.weights.0) }?;
            builder = builder.with_initializer(&tensor.name, Arc::new(value))?;
        }
        Ok(builder)
    }
}

/// A tensor of any element type over the bytes of the mapping.
///
/// # Safety
/// The tensor lies within the bytes, and they outlive the value.
unsafe fn value(tensor: &ExternalTensor, bytes: &[u8]) -> ort::Result<DynValue> {
    type ElementType = ort::sys::ONNXTensorElementDataType;
    const TYPES: [(u32, ElementType); 7] = [
        (1, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT),
        (2, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8),
        (3, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8),
        (6, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32),
        (7, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64),
        (10, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16),
        (16, ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16),
    ];
    let Some(&(_, data_type)) = TYPES.iter().find(|(number, _)| *number == tensor.data_type) else {
        let (name, number) = (&tensor.name, tensor.data_type);
        return Err(ort::Error::new(format!("the tensor {name} is of ONNX's type {number}")));
    };
    let place = tensor.offset as usize..(tensor.offset + tensor.length) as usize;
    let data = bytes[place].as_ptr().cast_mut().cast();
    let memory = MemoryInfo::default();
    let mut pointer = std::ptr::null_mut();
    // SAFETY: ONNX Runtime compares the length with the shape and only reads constants.
    unsafe {
        ort::Error::<()>::result_from_status((ort::api().CreateTensorWithDataAsOrtValue)(
            memory.ptr(),
            data,
            tensor.length as usize,
            tensor.shape.as_ptr(),
            tensor.shape.len(),
            data_type,
            &mut pointer,
        ))?;
    }
    let pointer = NonNull::new(pointer).ok_or_else(|| ort::Error::new("no tensor was made"))?;
    // SAFETY: the value is new, and its memory is not the allocator's to free.
    Ok(unsafe { DynValue::from_ptr(pointer, Some(&Allocator::default())) })
}
