//! Memory of the device that a provider computes on, and the way there and back.
mod cuda;
mod cudart;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use crate::provider::Provider;
use ort::memory::Allocator;
use ort::session::Session;
use ort::value::{DynTensor, TensorElementType};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A device with memory of its own.
pub(crate) trait Device: Send + Sync {
    /// A tensor in the host's memory that the device reads and writes without a detour. What it holds is not
    /// defined.
    fn host(&self, session: &Session, element: TensorElementType, shape: &[usize]) -> ort::Result<DynTensor>;

    /// A tensor in the device's memory. What it holds is not defined.
    fn allocate(
        &self,
        session: &Session,
        element: TensorElementType,
        shape: &[usize],
    ) -> ort::Result<Box<dyn Memory>>;

    /// Copies so many bytes of a tensor of the host to one of the device, and returns when they are there.
    fn upload(&self, host: &DynTensor, device: &mut dyn Memory, bytes: usize) -> ort::Result<()>;

    /// Copies so many bytes of a tensor of the device to one of the host, and returns when they are there.
    fn download(&self, device: &dyn Memory, host: &mut DynTensor, bytes: usize) -> ort::Result<()>;
}

/// A tensor in a device's memory. The host must not look into it.
pub(crate) trait Memory: Send {
    fn tensor(&self) -> &DynTensor;

    fn tensor_mut(&mut self) -> &mut DynTensor;
}

impl Memory for DynTensor {
    fn tensor(&self) -> &DynTensor {
        self
    }

    fn tensor_mut(&mut self) -> &mut DynTensor {
        self
    }
}

/// The device of the first provider; `None` if it computes in the host's memory.
pub(crate) fn of(providers: &[Provider]) -> Option<Arc<dyn Device>> {
    let id = providers.first()?.cuda_device()?;
    Some(Arc::new(cuda::Cuda(id)))
}

/// A tensor in the host's memory, of the device's kind if there is a device.
pub(crate) fn host(
    device: Option<&dyn Device>,
    session: &Session,
    element: TensorElementType,
    shape: &[usize],
) -> ort::Result<DynTensor> {
    match device {
        Some(device) => device.host(session, element, shape),
        None => DynTensor::new(&Allocator::default(), element, shape),
    }
}

/// While a thread captures a CUDA graph, no thread of the process may allocate or free memory of a GPU: CUDA makes
/// that an error, and the captured graph invalid.
static CAPTURE: RwLock<()> = RwLock::new(());

/// Held by whoever may allocate memory of a device or free it.
pub(crate) fn allocating() -> RwLockReadGuard<'static, ()> {
    CAPTURE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held by whoever captures a graph.
pub(crate) fn capturing() -> RwLockWriteGuard<'static, ()> {
    CAPTURE.write().unwrap_or_else(PoisonError::into_inner)
}
