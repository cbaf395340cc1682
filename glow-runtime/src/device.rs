//! Memory of the device that a provider computes on, and the way there and back.
use crate::provider::Provider;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::value::{DynTensor, TensorElementType};
use std::sync::Arc;

/// Memory that is not the host's: tensors that a session reads and writes lie there.
pub(crate) trait Device: Send + Sync {
    /// A tensor in this memory. What it holds is not defined.
    fn allocate(
        &self,
        session: &Session,
        element: TensorElementType,
        shape: &[usize],
    ) -> ort::Result<DynTensor>;

    /// Copies a tensor of the host to one of the device.
    fn upload(&self, host: &DynTensor, device: &mut DynTensor) -> ort::Result<()>;

    /// Copies a tensor of the device to one of the host.
    fn download(&self, device: &DynTensor, host: &mut DynTensor) -> ort::Result<()>;
}

/// The device of the first provider; `None` if its tensors are the host's.
pub(crate) fn of(providers: &[Provider]) -> Option<Arc<dyn Device>> {
    let id = providers.first()?.cuda_device()?;
    Some(Arc::new(Cuda(id)))
}

/// An NVIDIA GPU by its number.
struct Cuda(u32);

impl Device for Cuda {
    fn allocate(
        &self,
        session: &Session,
        element: TensorElementType,
        shape: &[usize],
    ) -> ort::Result<DynTensor> {
        let (device, id) = (AllocationDevice::CUDA, self.0 as i32);
        let memory = MemoryInfo::new(device, id, AllocatorType::Device, MemoryType::Default)?;
        DynTensor::new(&Allocator::new(session, memory)?, element, shape)
    }

    fn upload(&self, host: &DynTensor, device: &mut DynTensor) -> ort::Result<()> {
        host.copy_into(device)
    }

    fn download(&self, device: &DynTensor, host: &mut DynTensor) -> ort::Result<()> {
        device.copy_into(host)
    }
}

#[cfg(test)]
pub(crate) mod fake {
    use super::*;
    use crate::ports::Element;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A device whose memory is the host's, kept apart from it by poison: new tensors and those that were
    /// read hold what no model computes, so that a copy that is forgotten shows in the results.
    #[derive(Default)]
    pub struct Poisoned {
        pub uploads: AtomicUsize,
        pub downloads: AtomicUsize,
    }

    fn poison(tensor: &mut DynTensor) -> ort::Result<()> {
        match Element::of(tensor.dtype()) {
            Element::U8 => tensor.try_extract_tensor_mut::<u8>()?.1.fill(0xAB),
            Element::F32 => tensor.try_extract_tensor_mut::<f32>()?.1.fill(f32::NAN),
            Element::I64 => tensor.try_extract_tensor_mut::<i64>()?.1.fill(-1),
        }
        Ok(())
    }

    fn copy(from: &DynTensor, to: &mut DynTensor) -> ort::Result<()> {
        match Element::of(from.dtype()) {
            Element::U8 => {
                to.try_extract_tensor_mut()?.1.copy_from_slice(from.try_extract_tensor::<u8>()?.1);
            }
            Element::F32 => {
                to.try_extract_tensor_mut()?.1.copy_from_slice(from.try_extract_tensor::<f32>()?.1);
            }
            Element::I64 => {
                to.try_extract_tensor_mut()?.1.copy_from_slice(from.try_extract_tensor::<i64>()?.1);
            }
        }
        Ok(())
    }

    impl Device for Poisoned {
        fn allocate(
            &self,
            _session: &Session,
            element: TensorElementType,
            shape: &[usize],
        ) -> ort::Result<DynTensor> {
            let mut tensor = DynTensor::new(&Allocator::default(), element, shape)?;
            poison(&mut tensor)?;
            Ok(tensor)
        }

        fn upload(&self, host: &DynTensor, device: &mut DynTensor) -> ort::Result<()> {
            self.uploads.fetch_add(1, Ordering::Relaxed);
            copy(host, device)
        }

        fn download(&self, device: &DynTensor, host: &mut DynTensor) -> ort::Result<()> {
            self.downloads.fetch_add(1, Ordering::Relaxed);
            copy(device, host)
        }
    }
}
