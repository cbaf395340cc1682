//! NVIDIA GPUs.
use super::cudart::{Cudart, Way};
use super::{Device, Memory};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::value::{DynTensor, TensorElementType};

/// A GPU by its number.
pub(super) struct Cuda(pub u32);

impl Device for Cuda {
    /// Pinned: the GPU's copy engine reads and writes it by itself, where other memory is copied by the driver first.
    fn host(&self, session: &Session, element: TensorElementType, shape: &[usize]) -> ort::Result<DynTensor> {
        // Before version 1.23 ONNX Runtime has pinned memory under the number 0, whichever GPU it is for.
        for id in [self.0 as i32, 0] {
            let (device, memory) = (AllocationDevice::CUDA_PINNED, MemoryType::CPUOutput);
            let pinned = MemoryInfo::new(device, id, AllocatorType::Device, memory)?;
            if let Ok(allocator) = Allocator::new(session, pinned) {
                return DynTensor::new(&allocator, element, shape);
            }
        }
        // Slower, and no less right.
        DynTensor::new(&Allocator::default(), element, shape)
    }

    fn allocate(
        &self,
        session: &Session,
        element: TensorElementType,
        shape: &[usize],
    ) -> ort::Result<Box<dyn Memory>> {
        let (device, id) = (AllocationDevice::CUDA, self.0 as i32);
        let memory = MemoryInfo::new(device, id, AllocatorType::Device, MemoryType::Default)?;
        Ok(Box::new(DynTensor::new(&Allocator::new(session, memory)?, element, shape)?))
    }

    fn upload(&self, host: &DynTensor, device: &mut dyn Memory, bytes: usize) -> ort::Result<()> {
        let to = device.tensor_mut().data_ptr_mut().cast();
        // SAFETY: both tensors have at least so many bytes, and nothing else uses them meanwhile.
        unsafe { Cudart::get()?.copy(self.0, to, host.data_ptr().cast(), bytes, Way::ToDevice) }
    }

    fn download(&self, device: &dyn Memory, host: &mut DynTensor, bytes: usize) -> ort::Result<()> {
        let from = device.tensor().data_ptr().cast();
        // SAFETY: as above.
        unsafe { Cudart::get()?.copy(self.0, host.data_ptr_mut().cast(), from, bytes, Way::ToHost) }
    }
}
